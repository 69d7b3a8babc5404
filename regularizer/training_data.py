"""Training pairs made with our own instrument: phantom, interferograms, raw tomogram, TV.

Each sample is a new object seen by the simulated bench (multi-slice scattering, noise, static
aberration, phase drift), reconstructed by the code that reconstructs live scans, and regularized by
split Bregman. It holds the contrast (n/n_m)^2 - 1 of raw, TV and truth on the tomogram's voxels and
the measured spectrum, so that training and evaluation need nothing else. Deterministic by seed; a
split is a range of seeds, so no object is in two of them.
"""

import math
import multiprocessing
import os
import sys
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from acquisition.gratings import DmdGeometry
from acquisition.illumination import AngleSet, Preset, circular_scan, preset, spiral_scan
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from acquisition.simulation.bench import Illumination, OpticalBench, SimulationSettings
from acquisition.simulation.phantom import Phantom
from acquisition.simulation.scene import Motion, Scene, SceneObject
from acquisition.simulation.specimens import SPECIMENS, bead
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.total_variation import PARAMETERS, SplitBregman

__all__ = [
    "KINDS",
    "TEST_SEED",
    "VALIDATION_SEED",
    "Sample",
    "files",
    "load",
    "make_data",
    "make_sample",
    "sample_file",
    "sample_of",
    "save",
]

TARGET = PARAMETERS["tv"]
VALIDATION_SEED = 1000  # seeds from here on are never trained on
TEST_SEED = 2000  # nor do these choose the weights
_SHARE = {"cell": 1.0, "cocci": 0.8, "bead": 0.6}  # of the number of cells
_OTHERS = 0.45
_FAR_UM = 1000.0  # a stage position without objects

# The seed of an object depends on its kind's place here: append only.
KINDS = ("cell", "cocci", "bead", "rods", "fatty", "adherent", "debris", "random", "several")
_SMALL = ("cocci", "rods", "debris")  # looked at with the larger field of "bacteria", mostly


@dataclass(frozen=True, slots=True)
class Sample:
    """One object: contrasts (z, y, x) float32 and the measured spectrum."""

    kind: str
    seed: int
    spectrum: Spectrum
    raw: torch.Tensor
    tv: torch.Tensor
    truth: torch.Tensor

    @property
    def tomogram(self) -> Tomogram:
        """The raw tomogram, as a regularizer takes it."""
        optics = self.spectrum.optics
        index = index_from_contrast(self.raw, optics.medium_index)
        return Tomogram(index, self.spectrum.voxel_size_um, optics)


def make_sample(kind: str, seed: int, frame: int = 192, *, varied: bool = False) -> Sample:
    """Simulate, reconstruct and regularize the object of that kind and seed.

    ``varied`` optics are not one of the presets: aperture, medium, number of angles and their
    pattern are random, too.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    chosen = preset("bacteria" if kind in _SMALL and rng.uniform() < 0.7 else "cell")
    if varied:
        chosen = _varied(rng)
    pixel = chosen.optics.pixel_size_um
    phantom = _phantom(kind, (2 * pixel, pixel, pixel), rng)
    return sample_of(phantom, chosen, kind, seed, rng, frame)


def sample_of(
    phantom: Phantom, chosen: Preset, kind: str, seed: int, rng: np.random.Generator, frame: int
) -> Sample:
    """Simulate a scan of a phantom near the centre of the field, reconstruct and regularize it.

    Parameters
    ----------
    phantom : Phantom
    chosen : Preset
        Optics and angles.
    kind : str
        The sample's name.
    seed : int
        Of camera noise, dust and aberration.
    rng : Generator
        Draws position and light.
    frame : int
        Camera pixels a side.
    """
    position = tuple(float(v) for v in rng.uniform(-1, 1, 3) * (1.0, 1.0, 0.6))
    scene = Scene(chosen.optics, (frame, frame), (SceneObject(phantom, position, Motion()),))  # type: ignore[arg-type]
    result = _scan(scene, chosen.angles, seed, rng)
    tv = SplitBregman(result.spectrum, TARGET).run()
    raw = result.tomogram.contrast
    truth = _true_contrast(phantom, position, chosen.optics, result)
    return Sample(kind, seed, result.spectrum, raw, tv, torch.tensor(truth))


def _varied(rng: np.random.Generator) -> Preset:
    """Return optics and angles as other instruments have them."""
    aperture, medium = rng.uniform(0.75, 1.22), rng.uniform(1.333, 1.36)
    optics = Optics(0.532, aperture, medium, 0.096 / aperture)
    scan = circular_scan if rng.uniform() < 0.5 else spiral_scan
    return Preset(optics, scan(int(rng.integers(30, 90)), rng.uniform(0.8, 0.95) * optics.cutoff))


def _phantom(kind: str, voxel: tuple[float, float, float], rng: np.random.Generator) -> Phantom:
    if kind == "bead":
        return bead(voxel, rng.uniform(0.6, 3.0), rng.uniform(0.01, 0.06))
    return SPECIMENS[kind](voxel, rng)


def _scan(scene: Scene, angles: AngleSet, seed: int, rng: np.random.Generator) -> Reconstruction:
    """Record background and sample and reconstruct them."""
    settings = SimulationSettings(
        frame_shape=scene.frame_shape,
        seed=seed,
        full_well=float(np.exp(rng.uniform(np.log(3e3), np.log(3e4)))),
    )
    geometry = DmdGeometry((64, 64), (0.34, 0.24), 0.06, 0.2)  # not used: light is set directly
    bench = OpticalBench(scene, geometry, settings)

    def record(stage_x: float, start: float) -> InterferogramStack:
        frames = [
            bench.expose(
                Illumination((float(kx), float(ky)), 1.0),
                start + 0.005 * i,
                (stage_x, 0.0, 0.0),
                settings.exposure_ms,
            )
            for i, (kx, ky) in enumerate(angles.k)
        ]
        return InterferogramStack(np.stack(frames), scene.optics, angles.k)

    scene.prepare(angles.k)
    background = record(_FAR_UM, 0.0)
    return Reconstructor(background)(record(0.0, float(rng.uniform(1, 60))))


def _true_contrast(
    phantom: Phantom, position: tuple[float, ...], optics: Optics, result: Reconstruction
) -> NDArray[np.float32]:
    """Sample the phantom's contrast on the tomogram's voxels, averaged over each."""
    voxel = result.tomogram.voxel_size_um
    index = 1 + phantom.contrast / optics.medium_index
    fine = (index * index - 1).astype(np.float32)
    ratio = [v / p for v, p in zip(voxel, phantom.voxel_size_um, strict=True)]
    blurred = scipy.ndimage.gaussian_filter(fine, [0.4 * max(q - 1, 0) for q in ratio])
    shape = result.spectrum.shape
    # output index i is at (i - n//2) v - position, input index at that over p, plus n_in//2
    shift = [
        n_in // 2 - (n // 2 * v + at) / p
        for n_in, n, v, p, at in zip(
            fine.shape, shape, voxel, phantom.voxel_size_um, reversed(position), strict=True
        )
    ]
    return np.asarray(
        scipy.ndimage.affine_transform(blurred, ratio, shift, output_shape=shape, order=1),
        dtype=np.float32,
    )


def save(sample: Sample, path: Path) -> None:
    """Write a sample as one .npz, whole or not at all."""
    spectrum = sample.spectrum
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        kind=sample.kind,
        seed=sample.seed,
        raw=sample.raw.numpy().astype(np.float16),
        tv=sample.tv.numpy().astype(np.float16),
        truth=sample.truth.numpy().astype(np.float16),
        values=spectrum.values.numpy(),
        measured=spectrum.measured.numpy().astype(np.float16),
        noise=math.nan if spectrum.noise is None else spectrum.noise,
        voxel_size_um=spectrum.voxel_size_um,
        optics=[
            spectrum.optics.wavelength_um,
            spectrum.optics.numerical_aperture,
            spectrum.optics.medium_index,
            spectrum.optics.pixel_size_um,
        ],
    )
    os.replace(partial, path)


def load(path: Path) -> Sample:
    """Read a sample written by ``save``."""
    with np.load(path) as data:
        raw, tv, truth = (
            torch.tensor(data[key].astype(np.float32)) for key in ("raw", "tv", "truth")
        )
        dz, dy, dx = (float(v) for v in data["voxel_size_um"])
        spectrum = Spectrum(
            torch.tensor(data["values"]),
            torch.tensor(data["measured"].astype(np.float32)),
            (raw.shape[0], raw.shape[1], raw.shape[2]),
            (dz, dy, dx),
            Optics(*(float(v) for v in data["optics"])),
            _noise(data),
        )
        return Sample(str(data["kind"]), int(data["seed"]), spectrum, raw, tv, truth)


def _noise(data: Mapping[str, NDArray[np.float64]]) -> float | None:
    """Return the noise of a sample's spectrum; samples from before it was measured have none."""
    noise = float(data["noise"]) if "noise" in data else math.nan
    return None if math.isnan(noise) else noise


def make_data(data: Path, objects: int, jobs: int) -> None:
    """Make the samples that are missing, in ``jobs`` processes.

    ``objects`` cells, fewer of the other kinds; every other one of each kind with random optics.
    """
    data.mkdir(parents=True, exist_ok=True)
    wanted = [(kind, VALIDATION_SEED + i) for i in range(2) for kind in KINDS]
    for seed in range(objects):
        wanted += [(kind, seed) for kind in KINDS if seed < _SHARE.get(kind, _OTHERS) * objects]
    missing = [one for one in wanted if not sample_file(data, *one).exists()]
    if not missing:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, torch.set_num_threads, (1,)) as pool:
        made = [pool.submit(_make, data, kind, seed) for kind, seed in missing]
        for done, future in enumerate(as_completed(made), 1):
            future.result()
            print(f"\rtraining data {done} of {len(missing)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _make(data: Path, kind: str, seed: int) -> None:
    save(make_sample(kind, seed, varied=seed % 2 == 1), sample_file(data, kind, seed))


def sample_file(data: Path, kind: str, seed: int) -> Path:
    """Return where a sample is kept."""
    return data / f"{kind}-{seed:05d}.npz"


def files(data: Path, first: int, end: int, kinds: Collection[str] = KINDS) -> list[Path]:
    """Return the files of the samples with seeds from ``first`` to before ``end``."""
    return [
        path
        for path in sorted(data.glob("*-?????.npz"))
        if first <= int(path.stem[-5:]) < end and path.stem[:-6] in kinds
    ]
