"""Training samples in bulk: the potential of an object on the caps of a scan of nothing.

Most of a simulated scan's time goes into multi-slice scattering. To first order the scattering
potential's spectrum is what the samples of a scan are (Fourier diffraction theorem), so here an
object is transformed straight to where the samples of a real geometry lie, and noise is added
there. It is that of the instrument: the bench records the empty field twice, and what the
reconstruction makes of the second one over the first (shot noise of both, quantisation, drift) are
the samples of nothing. Averages in voxels, depths, the estimate of the noise and the raw tomogram
are the live code's, so a voxel that was measured n times has 1/n of the noise's variance.

What is not in it: all that the Rytov approximation gets wrong on a strong object.
"""

from collections.abc import Sequence
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
    "make_bulk",
    "make_geometry",
    "on_caps",
    "put_into",
]

BULK_SEED = 10_000  # seeds from here on are objects made in bulk; none is validated or tested on
_CHUNK = 8192  # samples that are summed over an object's slices at a time


class EmptyScan:
    """A planned scan geometry, and scans of the empty field in it.

    Parameters
    ----------
    chosen : Preset
        Optics and angles.
    seed : int
        Of camera noise, dust and aberration, and of when the scans are taken.
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
        self.lost = tuple(self._reconstructor.known_bad(background))
        self.positions = self.inversion.caps.positions()

    def samples(self) -> tuple[torch.Tensor, ...]:
        """Scan the empty field once more; return what is on the caps, (n,) complex64 a depth."""
        stack = record(self._bench, self._angles, 0.0, float(self._rng.uniform(1, 60)))
        fields, _ = self._reconstructor.retrieved(stack.frames, stack, lost=self.lost)
        return self.inversion.scattered(fields).samples


def bulk_sample(scan: EmptyScan, kind: str, seed: int) -> Sample:
    """Put the object of that kind and seed into an empty scan; ``tv`` is not computed."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    pixel = scan.inversion.caps.optics.pixel_size_um
    phantom, position_um = draw_phantom(kind, (2 * pixel, pixel, pixel), rng), draw_position(rng)
    spectrum = put_into(scan, phantom, position_um)
    truth = true_contrast(phantom, position_um, spectrum)
    return Sample(kind, seed, spectrum, contrast_of(spectrum), None, truth)


def put_into(
    scan: EmptyScan, phantom: Phantom, position_um: Position, *, noisy: bool = True
) -> Spectrum:
    """Return what a scan measures of an object at a position (x, y, z) in um."""
    dz_um = scan.inversion.caps.grid.voxel_size_um[0]
    exact = on_caps(phantom, position_um, scan)
    samples = tuple(  # each depth with its plane at z = 0
        exact * _turn(scan.positions[:, 0] * (step * dz_um)) for step in scan.inversion.focus.steps
    )
    if noisy:
        samples = tuple(a + b for a, b in zip(samples, scan.samples(), strict=True))
    spectrum, _ = scan.inversion.spectrum(samples, scan.lost)
    return spectrum


def on_caps(phantom: Phantom, position_um: Position, scan: EmptyScan) -> torch.Tensor:
    """Return the unitary spectrum of an object's contrast at the samples of a scan, (n,) complex64.

    The Fourier sum over the object's own voxels, laterally at the volume's frequencies, axially
    where each sample is.
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
        _turn(-np.outer(y_um, rows)),
        _turn(-np.outer(x_um, columns)),
    )
    at = torch.tensor(row * len(columns) + column)
    total = torch.empty(len(kz), dtype=torch.complex64)
    for first in range(0, len(kz), _CHUNK):
        part = slice(first, first + _CHUNK)
        total[part] = (slices.flatten(1)[:, at[part]] * _turn(-np.outer(z_um, kz[part]))).sum(dim=0)
    voxels = np.prod(phantom.voxel_size_um) / np.prod(caps.grid.voxel_size_um)
    return total * float(voxels / np.sqrt(np.prod(caps.grid.fine_shape)))


def _axes(phantom: Phantom, position_um: Position) -> list[NDArray[np.float64]]:
    """Return where the phantom's voxels are along z, y and x, um from the volume's centre."""
    edges = zip(phantom.contrast.shape, phantom.voxel_size_um, reversed(position_um), strict=True)
    return [(np.arange(n) - n // 2) * d + at for n, d, at in edges]


def _turn(turns: NDArray[np.float64]) -> torch.Tensor:
    """Return exp(2 pi i turns), complex64."""
    angle = torch.tensor(2 * np.pi * turns, dtype=torch.float32)
    return torch.polar(torch.ones(()), angle)


def make_bulk(data: Path, scans: int, jobs: int) -> None:
    """Make the samples that are missing: an object of each kind in each of ``scans`` geometries."""
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
    """Put an object of each kind into the empty scan of a seed and keep them."""
    scan = EmptyScan(_geometry(seed), seed, frame)
    for kind in kinds:
        sample = bulk_sample(scan, kind, seed)
        made = replace(sample, quick=quick_start(sample), tv=target_tv(sample) if tv else None)
        save(made, sample_file(data, kind, seed))


def _geometry(seed: int) -> Preset:
    """Return random optics for odd seeds, the two presets in turn for even ones."""
    if seed % 2:
        return draw_optics(np.random.default_rng([seed, len(KINDS) + 1]))
    return preset(("cell", "bacteria")[seed // 2 % 2])
