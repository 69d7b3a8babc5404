"""Training samples in bulk: an object's potential on the Ewald caps of an empty-field scan.

Most of a simulated scan's time goes into multi-slice scattering. To first order, a scan samples the
spectrum of the scattering potential (Fourier diffraction theorem). So here an object is transformed
directly to the sample positions of a real geometry, and noise is added there. The noise is the
instrument's: the bench records the empty field twice, and the second scan is reconstructed with the
first as background (shot noise of both, quantisation, drift). Averages in voxels, depths, the noise
estimate and the raw tomogram are computed by the live code, so a voxel that was measured n times
has 1/n of the noise's variance.

Not included: the errors of the Rytov approximation on a strong object.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.illumination.angles import Preset, preset
from acquisition.simulation.phantom import Phantom
from acquisition.simulation.scene import Position, Scene
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum
from regularizer.training.training_data import (
    FRAME,
    KINDS,
    Sample,
    draw_optics,
    draw_phantom,
    draw_position,
    in_processes,
    open_bench,
    quick_start,
    record,
    sample_file,
    save,
    target_tv,
    true_contrast,
    true_potential,
)

__all__ = [
    "BULK_SEED",
    "EmptyScan",
    "bulk_sample",
    "geometry_samples",
    "make_bulk",
    "make_geometry",
    "measured_spectrum",
    "spectrum_on_caps",
]

BULK_SEED = 10_000  # first seed of objects made in bulk, which are used for training only
_CHUNK = 8192  # samples computed at a time, to limit memory


class EmptyScan:
    """A planned scan geometry, and scans of the empty field in it.

    Parameters
    ----------
    chosen : Preset
        Optics and angles.
    seed : int
        Seed of camera noise, dust, aberration and scan times.
    frame : int
        Camera pixels a side.
    """

    def __init__(self, chosen: Preset, seed: int, frame: int = FRAME) -> None:
        self._rng = np.random.default_rng([seed, len(KINDS)])
        self._bench = open_bench(Scene(chosen.optics, (frame, frame), ()), seed, self._rng)
        self._angles = chosen.angles
        background = record(self._bench, chosen.angles, 0.0, 0.0)
        self._reconstructor = Reconstructor(background)
        self.inversion = self._reconstructor.inversion
        self.lost = tuple(self._reconstructor.unusable_angles(background))
        self.positions = self.inversion.caps.positions()

    def samples(self) -> tuple[torch.Tensor, ...]:
        """Scan the empty field again; return its samples on the caps, (n,) complex64 per depth."""
        stack = record(self._bench, self._angles, 0.0, float(self._rng.uniform(1, 60)))
        fields, _ = self._reconstructor.retrieve(stack.frames, stack, lost=self.lost)
        return self.inversion.scattered(fields).samples


def bulk_sample(scan: EmptyScan, kind: str, seed: int) -> Sample:
    """Return the sample of an object of that kind and seed in an empty scan, without ``tv``."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    pixel = scan.inversion.caps.optics.pixel_size_um
    phantom, position_um = draw_phantom(kind, (2 * pixel, pixel, pixel), rng), draw_position(rng)
    spectrum = measured_spectrum(scan, phantom, position_um)
    truth = true_contrast(phantom, position_um, spectrum)
    return Sample(kind, seed, spectrum, contrast_of(spectrum), None, truth)


def measured_spectrum(
    scan: EmptyScan, phantom: Phantom, position_um: Position, *, noisy: bool = True
) -> Spectrum:
    """Return the spectrum that a scan measures of an object at a position (x, y, z) in um."""
    dz_um = scan.inversion.caps.grid.voxel_size_um[0]
    exact = spectrum_on_caps(phantom, position_um, scan)
    samples = tuple(  # for each depth, with its plane at z = 0
        exact * _phase_factor(scan.positions[:, 0] * (step * dz_um))
        for step in scan.inversion.focus.steps
    )
    if noisy:
        samples = tuple(a + b for a, b in zip(samples, scan.samples(), strict=True))
    spectrum, _ = scan.inversion.spectrum(samples, scan.lost)
    return spectrum


def spectrum_on_caps(phantom: Phantom, position_um: Position, scan: EmptyScan) -> torch.Tensor:
    """Return the unitary spectrum of an object's contrast at the samples of a scan, (n,) complex64.

    It is the Fourier sum over the object's own voxels, evaluated laterally at the volume's
    frequencies and axially at the position of each sample.
    """
    caps = scan.inversion.caps
    kz, ky, kx = scan.positions.T
    z_um, y_um, x_um = _axes(phantom, position_um)
    rows, row = np.unique(ky, return_inverse=True)
    columns, column = np.unique(kx, return_inverse=True)
    potential = torch.tensor(true_potential(phantom, caps.optics.medium_index))
    slices = torch.einsum(
        "zyx,yr,xc->zrc",
        potential.to(torch.complex64),
        _phase_factor(-np.outer(y_um, rows)),
        _phase_factor(-np.outer(x_um, columns)),
    )
    at = torch.tensor(row * len(columns) + column)
    total = torch.empty(len(kz), dtype=torch.complex64)
    for first in range(0, len(kz), _CHUNK):
        part = slice(first, first + _CHUNK)
        total[part] = (
            slices.flatten(1)[:, at[part]] * _phase_factor(-np.outer(z_um, kz[part]))
        ).sum(dim=0)
    voxels = np.prod(phantom.voxel_size_um) / np.prod(caps.grid.voxel_size_um)
    return total * float(voxels / np.sqrt(np.prod(caps.grid.fine_shape)))


def _axes(phantom: Phantom, position_um: Position) -> list[NDArray[np.float64]]:
    """Return the phantom's voxel positions along z, y and x, in um from the volume's centre."""
    edges = zip(phantom.contrast.shape, phantom.voxel_size_um, reversed(position_um), strict=True)
    return [(np.arange(n) - n // 2) * d + at for n, d, at in edges]


def _phase_factor(turns: NDArray[np.float64]) -> torch.Tensor:
    """Return exp(2 pi i turns), complex64."""
    angle = torch.tensor(2 * np.pi * turns, dtype=torch.float32)
    return torch.polar(torch.ones(()), angle)


def make_bulk(data: Path, scans: int, jobs: int) -> None:
    """Make the missing samples: one object of each kind in each of ``scans`` geometries."""
    data.mkdir(parents=True, exist_ok=True)
    tasks = []
    for seed in range(BULK_SEED, BULK_SEED + scans):
        kinds = [kind for kind in KINDS if not sample_file(data, kind, seed).exists()]
        if kinds:
            tasks.append((data, kinds, seed, False))
    in_processes(make_geometry, tasks, jobs, "geometries of bulk data")


def make_geometry(
    data: Path, kinds: Sequence[str], seed: int, tv: bool, frame: int = FRAME
) -> None:
    """Save one sample of each kind, made with the empty scan of a seed."""
    for made in geometry_samples(kinds, seed, tv, frame):
        save(made, sample_file(data, made.kind, seed))


def geometry_samples(
    kinds: Sequence[str], seed: int, tv: bool, frame: int = FRAME
) -> Iterator[Sample]:
    """Yield one sample of each kind, made with the empty scan of a seed, for training."""
    scan = EmptyScan(_geometry(seed), seed, frame)
    for kind in kinds:
        sample = bulk_sample(scan, kind, seed)
        yield replace(sample, quick=quick_start(sample), tv=target_tv(sample) if tv else None)


def _geometry(seed: int) -> Preset:
    """Return random optics for odd seeds, and alternately the two presets for even ones."""
    if seed % 2:
        return draw_optics(np.random.default_rng([seed, len(KINDS) + 1]))
    return preset(("cell", "bacteria")[seed // 2 % 2])
