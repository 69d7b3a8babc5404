"""Training samples from the simulated instrument: phantom, interferograms, raw tomogram, TV.

Each sample is a new object, recorded by the simulated bench (multi-slice scattering, noise, static
aberration, phase drift), reconstructed by the live code, and regularized by split Bregman. It holds
the contrast (n/n_m)^2 - 1 of raw, TV and truth on the tomogram's voxels and the measured spectrum,
which is all that training and evaluation need. Samples are deterministic by seed. A split is a
range of seeds, so no object is in two splits. Samples in bulk, without scattering:
``regularizer.training.bulk_samples``.
"""

import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from acquisition.illumination.angles import AngleSet, Preset, circular_scan, preset, spiral_scan
from acquisition.illumination.gratings import DmdGeometry
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from acquisition.simulation.bench import Illumination, OpticalBench, SimulationSettings
from acquisition.simulation.phantom import Phantom
from acquisition.simulation.scene import Motion, Position, Scene, SceneObject
from acquisition.simulation.specimens import SPECIMENS, bead
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.total_variation.automatic import quick_contrast
from regularizer.total_variation.parameters import PARAMETERS
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = [
    "CONVERGED",
    "EMPTY_FIELD_X_UM",
    "FRAME",
    "KINDS",
    "TEST_SEED",
    "UNSEEN_KINDS",
    "VALIDATION_SEED",
    "Sample",
    "SimulatedScan",
    "arrays_of",
    "cached_sample",
    "draw_optics",
    "draw_phantom",
    "draw_position",
    "in_processes",
    "load",
    "make_data",
    "make_sample",
    "make_scan_sample",
    "open_bench",
    "quick_start",
    "record",
    "record_scene",
    "sample_file",
    "sample_files",
    "sample_of",
    "save",
    "scan_sample",
    "simulate_sample",
    "simulated",
    "simulated_scan",
    "target_tv",
    "training_objects",
    "true_contrast",
    "true_potential",
    "use_one_thread",
    "validation_objects",
]

Made = TypeVar("Made")

TARGET = PARAMETERS["tv"]
CONVERGED = replace(TARGET, inner=200)
VALIDATION_SEED = 1000  # first seed of the validation split, never trained on
TEST_SEED = 2000  # first seed of the test split, used neither for training nor validation
_SHARE = {"cocci": 0.8, "bead": 0.6, "rods": 0.45, "fatty": 0.45}  # of the number of cells
_LOST = 0.2  # largest share of angles lost
FRAME = 192  # camera pixels a side
EMPTY_FIELD_X_UM = 1000.0  # stage position without objects

# The random numbers of an object depend on its kind's position here: append only.
KINDS = ("cell", "cocci", "bead", "rods", "fatty", "adherent", "debris", "random", "several")
# Kinds that no shipped network was trained on, to try training on own data with.
UNSEEN_KINDS = ("crystal",)
_SMALL = ("cocci", "rods", "debris")  # mostly recorded with the larger field of "bacteria"


@dataclass(frozen=True, slots=True)
class Sample:
    """One object: contrasts (z, y, x) float32 and the measured spectrum.

    ``tv`` and ``quick``, the start of the networks, are None where they were not computed;
    ``target_tv`` and ``quick_start`` then compute them.
    """

    kind: str
    seed: int
    spectrum: Spectrum
    raw: torch.Tensor
    tv: torch.Tensor | None
    truth: torch.Tensor
    quick: torch.Tensor | None = None

    @property
    def tomogram(self) -> Tomogram:
        """The raw tomogram."""
        optics = self.spectrum.optics
        index = index_from_contrast(self.raw, optics.medium_index)
        return Tomogram(index, self.spectrum.voxel_size_um, optics)

    def to(self, device: str | torch.device) -> "Sample":
        """Return the sample on a device."""
        return replace(
            self,
            spectrum=self.spectrum.to(device),
            raw=self.raw.to(device),
            tv=None if self.tv is None else self.tv.to(device),
            truth=self.truth.to(device),
            quick=None if self.quick is None else self.quick.to(device),
        )


@dataclass(frozen=True, slots=True)
class SimulatedScan:
    """One simulated scan, and what it is of.

    Parameters
    ----------
    background, stack : InterferogramStack
    phantom : Phantom
    position_um : (x, y, z)
        From the middle of the field.
    """

    background: InterferogramStack
    stack: InterferogramStack
    phantom: Phantom
    position_um: Position


def simulated(kind: str, seed: int, frame: int = FRAME, *, varied: bool = False) -> SimulatedScan:
    """Simulate the scan of the object of that kind and seed; see ``make_sample``."""
    rng = np.random.default_rng([seed, _number(kind)])
    chosen, phantom = _drawn(kind, rng, varied=varied)
    return simulated_scan(phantom, chosen, seed, rng, frame, losing=varied)


def _number(kind: str) -> int:
    """Return the number of a kind for its random numbers; those not trained on begin at 1000."""
    return KINDS.index(kind) if kind in KINDS else 1000 + UNSEEN_KINDS.index(kind)


def make_sample(
    kind: str, seed: int, frame: int = FRAME, *, varied: bool = False, tv: bool = True
) -> Sample:
    """Simulate, reconstruct and regularize the object of that kind and seed.

    With ``varied`` the optics are random instead of a preset: aperture, medium, number and pattern
    of the angles, and up to a fifth of the angles lost. Without ``tv`` total variation is left out.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    chosen, phantom = _drawn(kind, rng, varied=varied)
    return simulate_sample(phantom, chosen, kind, seed, rng, frame, losing=varied, tv=tv)


def _drawn(kind: str, rng: np.random.Generator, *, varied: bool) -> tuple[Preset, Phantom]:
    """Return the optics, and the object on voxels that suit them."""
    chosen = preset("bacteria" if kind in _SMALL and rng.uniform() < 0.7 else "cell")
    if varied:
        chosen = draw_optics(rng)
    pixel = chosen.optics.pixel_size_um
    return chosen, draw_phantom(kind, (2 * pixel, pixel, pixel), rng)


def simulate_sample(
    phantom: Phantom, chosen: Preset, kind: str, seed: int, rng: np.random.Generator, frame: int,
    *, losing: bool = False, tv: bool = True,
) -> Sample:  # fmt: skip
    """Simulate a scan of a phantom near the centre of the field, reconstruct and regularize it.

    Parameters
    ----------
    phantom : Phantom
    chosen : Preset
        Optics and angles.
    kind : str
        Kind that the sample is named after.
    seed : int
        Seed of camera noise, dust and aberration.
    rng : Generator
        Draws position and light level.
    frame : int
        Camera pixels a side.
    losing : bool
        Whether some angles are lost.
    tv : bool
        Whether total variation is computed as well.
    """
    made = simulated_scan(phantom, chosen, seed, rng, frame, losing=losing)
    result = Reconstructor(made.background)(made.stack)
    truth = true_contrast(phantom, made.position_um, result.spectrum)
    sample = Sample(kind, seed, result.spectrum, result.tomogram.contrast, None, truth)
    return replace(sample, tv=target_tv(sample)) if tv else sample


def target_tv(sample: Sample) -> torch.Tensor:
    """Return the total-variation contrast, the target of networks that learn it."""
    return SplitBregman(sample.spectrum, TARGET).run() if sample.tv is None else sample.tv


def quick_start(sample: Sample) -> torch.Tensor:
    """Return the contrast that networks start from."""
    return quick_contrast(sample.spectrum) if sample.quick is None else sample.quick


def draw_optics(rng: np.random.Generator) -> Preset:
    """Return random optics and angles, within the range of real instruments."""
    aperture, medium = rng.uniform(0.75, 1.22), rng.uniform(1.333, 1.36)
    optics = Optics(0.532, aperture, medium, 0.096 / aperture)
    scan = circular_scan if rng.uniform() < 0.5 else spiral_scan
    return Preset(optics, scan(int(rng.integers(30, 90)), rng.uniform(0.8, 0.95) * optics.cutoff))


def draw_phantom(kind: str, voxel: tuple[float, float, float], rng: np.random.Generator) -> Phantom:
    """Return a random object of that kind, on voxels (dz, dy, dx) in um."""
    if kind == "bead":
        return bead(voxel, rng.uniform(0.6, 3.0), rng.uniform(0.01, 0.06))
    return SPECIMENS[kind](voxel, rng)


def draw_position(rng: np.random.Generator) -> Position:
    """Return a random position (x, y, z) of an object, in um from the middle of the field."""
    x, y, z = (float(v) for v in rng.uniform(-1, 1, 3) * (1.0, 1.0, 0.6))
    return x, y, z


def simulated_scan(
    phantom: Phantom,
    chosen: Preset,
    seed: int,
    rng: np.random.Generator,
    frame: int,
    *,
    losing: bool = False,
) -> SimulatedScan:
    """Record background and sample, the phantom near the middle of the field.

    The parameters are those of ``simulate_sample``.
    """
    position = draw_position(rng)
    scene = Scene(chosen.optics, (frame, frame), (SceneObject(phantom, position, Motion()),))
    scene.prepare(chosen.angles.k)
    background, stack = record_scene(scene, chosen.angles, seed, rng, losing=losing)
    return SimulatedScan(background, stack, phantom, position)


def record_scene(
    scene: Scene, angles: AngleSet, seed: int, rng: np.random.Generator, *, losing: bool
) -> tuple[InterferogramStack, InterferogramStack]:
    """Return background and sample of a scene; where ``losing``, up to a fifth of angles lost."""
    bench = open_bench(scene, seed, rng)
    background = record(bench, angles, EMPTY_FIELD_X_UM, 0.0)
    stack = record(bench, angles, 0.0, float(rng.uniform(1, 60)))
    if losing:
        count = len(angles.k)
        lost = rng.choice(count, int(rng.uniform(0, _LOST) * count), replace=False)
        stack = replace(stack, lost=tuple(sorted(int(angle) for angle in lost)))
    return background, stack


def open_bench(scene: Scene, seed: int, rng: np.random.Generator) -> OpticalBench:
    """Return the bench of a scene; its camera's full well is 3,000 to 30,000 photo-electrons."""
    settings = SimulationSettings(
        frame_shape=scene.frame_shape,
        seed=seed,
        full_well=float(np.exp(rng.uniform(np.log(3e3), np.log(3e4)))),
    )
    geometry = DmdGeometry((64, 64), (0.34, 0.24), 0.06, 0.2)  # not used: light is set directly
    return OpticalBench(scene, geometry, settings)


def record(
    bench: OpticalBench, angles: AngleSet, stage_x_um: float, start_s: float
) -> InterferogramStack:
    """Record one scan, a frame every 5 ms from ``start_s`` on."""
    frames = [
        bench.expose(
            Illumination((float(kx), float(ky)), 1.0),
            start_s + 0.005 * i,
            (stage_x_um, 0.0, 0.0),
            bench.settings.exposure_ms,
        )
        for i, (kx, ky) in enumerate(angles.k)
    ]
    return InterferogramStack(np.stack(frames), bench.optics, angles.k)


def true_potential(phantom: Phantom, medium_index: float) -> NDArray[np.float32]:
    """Return (n/n_m)^2 - 1 on the phantom's own voxels."""
    index = 1 + phantom.contrast / medium_index
    return np.asarray(index * index - 1, dtype=np.float32)


def true_contrast(phantom: Phantom, position_um: Position, spectrum: Spectrum) -> torch.Tensor:
    """Sample the phantom's contrast on the tomogram's voxels, averaged over each, (z, y, x)."""
    voxel, shape = spectrum.voxel_size_um, spectrum.shape
    ratio = [v / p for v, p in zip(voxel, phantom.voxel_size_um, strict=True)]
    fine = true_potential(phantom, spectrum.optics.medium_index)
    blurred = scipy.ndimage.gaussian_filter(fine, [0.4 * max(q - 1, 0) for q in ratio])
    # output index i is at (i - n//2) v - position, input index at that over p, plus n_in//2
    shift = [
        n_in // 2 - (n // 2 * v + at) / p
        for n_in, n, v, p, at in zip(
            fine.shape, shape, voxel, phantom.voxel_size_um, reversed(position_um), strict=True
        )
    ]
    return torch.tensor(
        scipy.ndimage.affine_transform(blurred, ratio, shift, output_shape=shape, order=1)
    )


def save(sample: Sample, path: Path) -> None:
    """Write a sample as one .npz, whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays_of(sample))
    os.replace(partial, path)


def arrays_of(sample: Sample) -> dict[str, Any]:
    """Return a sample as arrays and numbers, to be written; volumes in half precision."""
    spectrum = sample.spectrum
    return {
        "kind": sample.kind,
        "seed": sample.seed,
        "raw": _halved(sample.raw),
        "tv": _halved(sample.tv),
        "quick": _halved(sample.quick),
        "truth": _halved(sample.truth),
        "values": spectrum.values.numpy(),
        "measured": _halved(spectrum.measured),
        "noise": math.nan if spectrum.noise is None else spectrum.noise,
        "voxel_size_um": spectrum.voxel_size_um,
        "optics": [
            spectrum.optics.wavelength_um,
            spectrum.optics.numerical_aperture,
            spectrum.optics.medium_index,
            spectrum.optics.pixel_size_um,
        ],
    }


def _halved(volume: torch.Tensor | None) -> NDArray[np.float16]:
    """Return a volume in half precision; an empty array for None."""
    return np.zeros(0, np.float16) if volume is None else volume.numpy().astype(np.float16)


def load(path: Path) -> Sample:
    """Read a sample written by ``save``."""
    with np.load(path) as data:
        return sample_of(data)


def sample_of(data: Mapping[str, Any]) -> Sample:
    """Return the sample of arrays that ``arrays_of`` has made."""
    raw, tv, truth, quick = (
        torch.tensor(data[key].astype(np.float32)) for key in ("raw", "tv", "truth", "quick")
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
    kind = data["kind"]
    return Sample(
        kind.decode() if isinstance(kind, bytes) else str(kind),  # HDF5 gives bytes
        int(data["seed"]),
        spectrum,
        raw,
        tv if tv.numel() else None,
        truth,
        quick if quick.numel() else None,
    )


def _noise(data: Mapping[str, Any]) -> float | None:
    """Return the noise of a sample's spectrum; None where it is unknown."""
    noise = float(data["noise"])
    return None if math.isnan(noise) else noise


def make_data(data: Path, objects: int, jobs: int, *, tv: bool = True) -> None:
    """Make the missing samples, in ``jobs`` processes.

    ``objects`` cells and at most as many of each other kind, every other one with random optics.
    Without ``tv`` total variation, a third of the time, is left out.
    """
    data.mkdir(parents=True, exist_ok=True)
    wanted = [*validation_objects(), *training_objects(objects)]
    missing = [one for one in wanted if not sample_file(data, *one).exists()]
    tasks = [(data, kind, seed, tv) for kind, seed in missing]
    in_processes(make_scan_sample, tasks, jobs, "training data")


def validation_objects() -> list[tuple[str, int]]:
    """Return kind and seed of the objects to validate with, two of each kind."""
    return [(kind, VALIDATION_SEED + i) for i in range(2) for kind in KINDS]


def training_objects(objects: int) -> list[tuple[str, int]]:
    """Return kind and seed of the scans to train on, for so many cells; kinds alternate."""
    return [
        (kind, seed)
        for seed in range(objects)
        for kind in KINDS
        if seed < _SHARE.get(kind, 1.0) * objects
    ]


def in_processes(
    work: Callable[..., Made],
    tasks: Sequence[tuple[object, ...]],
    jobs: int,
    what: str,
    take: Callable[[Made], object] = lambda made: None,
) -> None:
    """Call work(*task) for every task in ``jobs`` single-threaded processes; print progress.

    ``take`` is called with what each returns, as soon as it is there.
    """
    if not tasks:
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, use_one_thread) as pool:
        begun = [pool.submit(work, *task) for task in tasks]
        for done, future in enumerate(as_completed(begun), 1):
            take(future.result())
            print(f"\r{what} {done} of {len(tasks)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def use_one_thread() -> None:
    """Limit torch in this process to one thread."""
    torch.set_num_threads(1)


def make_scan_sample(data: Path, kind: str, seed: int, tv: bool, frame: int = FRAME) -> None:
    """Save the simulated scan of an object by kind and seed."""
    save(scan_sample(kind, seed, tv, frame), sample_file(data, kind, seed))


def scan_sample(kind: str, seed: int, tv: bool, frame: int = FRAME) -> Sample:
    """Return the simulated scan of an object, for training; odd seeds have random optics."""
    sample = make_sample(kind, seed, frame, varied=seed % 2 == 1, tv=tv)
    return replace(sample, quick=quick_start(sample))


def sample_file(data: Path, kind: str, seed: int) -> Path:
    """Return the path of a sample's file."""
    return data / f"{kind}-{seed:05d}.npz"


def cached_sample(kind: str, seed: int, cache: Path) -> Sample:
    """Return a sample with preset optics, without total variation, from ``cache`` or made there."""
    path = sample_file(cache, kind, seed)
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save(make_sample(kind, seed, tv=False), path)
    return load(path)


def sample_files(data: Path, first: int, end: int, kinds: Collection[str] = KINDS) -> list[Path]:
    """Return the files of the samples with seeds ``first`` to ``end - 1``."""
    return [
        path
        for path in sorted(data.glob("*-?????.npz"))
        if first <= int(path.stem[-5:]) < end and path.stem[:-6] in kinds
    ]
