"""The scans that ``benchmarks.scattering`` measures: exact spheres, and simulated cells.

Spheres are exact partial-wave solutions, so that the forward model had no part in them. Cells are
made with the multi-slice model itself, and so only show how structure is kept. The map of a real
cell needs the folder of the ground truth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from acquisition.illumination.angles import preset
from benchmarks.accuracy_cases import Sphere, View, record
from benchmarks.real_cell import hl60_phantom
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.training.training_data import simulated, simulated_scan, true_contrast
from tests.scans import distance_um

__all__ = ["HL60", "TABLES", "Case", "Scanned"]

HL60 = "HL60"  # the kind of case that is the map of a real cell

_AROUND = 2.5  # radii within which volumes are correlated
_FINER = 4  # points an axis over which the truth is averaged in a voxel
_FRAME = 320  # camera pixels a side that hold the real cell
_NOISY = 5000.0
_VIEW = View("cell", _NOISY, cut=True)


@dataclass(frozen=True, slots=True)
class Scanned:
    """A reconstructed scan and its truth, the contrast (z, y, x)."""

    raw: Tomogram
    spectrum: Spectrum
    truth: torch.Tensor
    around: torch.Tensor
    distance_um: torch.Tensor
    sphere: Sphere | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A scan to be measured: a sphere, or a simulated object of a kind and seed.

    The kind "HL60" is the map of a real cell, in the folder of the ground truth.
    """

    name: str
    sphere: Sphere | None = None
    view: View = _VIEW
    kind: str = ""
    seed: int = 0

    def scan(self, data: Path | None = None) -> Scanned:
        """Simulate and reconstruct it, with what it needs of the ground truth."""
        if self.sphere is None:
            if self.kind != HL60:
                made = simulated(self.kind, self.seed)
            elif data is not None:
                rng = np.random.default_rng(self.seed)
                made = simulated_scan(hl60_phantom(data), preset("cell"), self.seed, rng, _FRAME)
            else:
                raise ValueError(f"{self.name} needs the folder of the ground truth")
            result = Reconstructor(made.background, keep_fields=True)(made.stack)
            truth = true_contrast(made.phantom, made.position_um, result.spectrum)
            whole = torch.ones_like(truth, dtype=torch.bool)
            return Scanned(result.tomogram, result.spectrum, truth, whole, truth)
        background, sample = record((self.sphere,), self.view)
        result = Reconstructor(background, keep_fields=True)(sample)
        spectrum = result.spectrum
        distance = distance_um(spectrum.shape, spectrum.voxel_size_um, self.sphere.centre_um)
        around = distance < _AROUND * self.sphere.radius_um
        truth = sphere_contrast(spectrum, self.sphere)
        return Scanned(result.tomogram, spectrum, truth, around, distance, self.sphere)


def sphere_contrast(spectrum: Spectrum, sphere: Sphere) -> torch.Tensor:
    """Return a sphere's contrast, averaged over each voxel (z, y, x)."""
    medium, voxel = spectrum.optics.medium_index, spectrum.voxel_size_um
    contrast = ((medium + sphere.contrast) / medium) ** 2 - 1
    steps = (np.arange(_FINER) + 0.5) / _FINER - 0.5
    total = torch.zeros(spectrum.shape)
    x, y, z = sphere.centre_um
    for a in steps:
        for b in steps:
            for c in steps:
                centre = (x - a * voxel[2], y - b * voxel[1], z - c * voxel[0])
                total += distance_um(spectrum.shape, voxel, centre) < sphere.radius_um
    return total * (contrast / _FINER**3)


def _sphere(radius: float, contrast: float, centre: tuple[float, float, float] = (0, 0, 0),
            view: View | None = None, words: str = "") -> Case:  # fmt: skip
    view = view or _VIEW
    aperture = {"cell": "1.2, 49 angles", "bacteria": "0.8, 71 angles"}[view.preset]
    where = f", centre {centre}" if any(centre) else ""
    name = f"R {radius:g} um, n {1.337 + contrast:.3f}, NA {aperture}{where}{words}"
    return Case(name, Sphere(radius, contrast, centre), view)


def _noisy(photons: float) -> Case:
    words = f", {photons:g} photo-electrons"
    return _sphere(2.0, 0.043, view=View("cell", photons, cut=True), words=words)


def _off(contrast: float = 0.043, **changes: float) -> Case:
    view = View("cell", _NOISY, cut=True, **changes)  # type: ignore[arg-type]  # floats of View
    words = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in changes.items())
    return _sphere(2.0, contrast, view=view, words=f", {words}")


_BACTERIA = View("bacteria", _NOISY, cut=True)
TABLES: dict[str, tuple[Case, ...]] = {
    "targets": (
        _sphere(2.0, 0.043),
        _sphere(2.0, 0.043, (1.5, -1.0, 0.6)),
        _noisy(500.0),
        _sphere(3.5, 0.040),
        _sphere(2.6, 0.048, (-1.0, 1.2, -0.5)),
        _sphere(3.0, 0.060),
        _sphere(2.0, 0.080, view=_BACTERIA),
    ),
    "unseen": (
        _sphere(2.3, 0.030, (-2.0, 0.7, 0.9)),
        _sphere(2.8, 0.036, (0.4, -1.7, -0.8)),
        _sphere(3.2, 0.043, (1.1, 1.3, 0.4)),
    ),
    "cells": (
        Case("cell, seed 9001", kind="cell", seed=9001),
        Case("cell with fat droplets, seed 9001", kind="fatty", seed=9001),
        Case("adherent cell, seed 9001", kind="adherent", seed=9001),
        Case("cocci, seed 9001", kind="cocci", seed=9001),
        Case("cell, seed 9002", kind="cell", seed=9002),
        Case("map of a real HL60 cell, frame 320, seed 2000", kind=HL60, seed=2000),
    ),
    "disturbed": (
        _off(k_error=0.003),
        _off(k_error=0.01),
        _off(drift_rad=0.5),
        _noisy(50000.0),
        _noisy(1500.0),
    ),
    "range": tuple(  # 0.04 is in the other tables
        _sphere(radius, contrast, view=View(kind, _NOISY, cut=True))
        for kind, radii in (("cell", (0.5, 1.0, 2.0, 3.5, 5.0)), ("bacteria", (0.5, 1.0, 2.0)))
        for radius in radii
        for contrast in (0.005, 0.02, 0.08)
    ),
}
