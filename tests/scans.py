"""Interferograms of exact fields, and the exact spheres that they are compared with."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.illumination.angles import Preset, preset
from acquisition.illumination.gratings import DmdGeometry
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from acquisition.simulation.bench import OpticalBench, SimulationSettings
from acquisition.simulation.phantom import Phantom
from acquisition.simulation.scene import Motion, Position, Scene, SceneObject
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Spectrum, index_from_contrast
from regularizer.training.training_data import EMPTY_FIELD_X_UM, record

CELL = preset("cell")
CARRIER = (2.46 * CELL.optics.cutoff, 1.73 * CELL.optics.cutoff)


def interferograms(
    optics: Optics, k: NDArray[np.float64], fields: NDArray[np.complex128] | None = None,
    frame: tuple[int, int] = (256, 256), carrier: tuple[float, float] = CARRIER,
) -> InterferogramStack:  # fmt: skip
    """Return 16-bit, noise-free interferograms of fields over the incident wave (None: empty)."""
    y, x = ((np.arange(n) - n // 2) * optics.pixel_size_um for n in frame)
    frames = []
    for i, (kx, ky) in enumerate(k):
        wave = np.exp(2j * np.pi * (ky + carrier[1]) * y)[:, None]
        wave = wave * np.exp(2j * np.pi * (kx + carrier[0]) * x)
        field = wave if fields is None else wave * fields[i]
        frames.append(np.rint(np.abs(1 + field) ** 2 / 9 * 65535))
    return InterferogramStack(np.stack(frames).astype(np.uint16), optics, k)


def perfect_scan(
    phantom: Phantom, position_um: Position, chosen: Preset, frame: int
) -> Reconstruction:
    """Reconstruct a simulated scan by a camera without noise, through clean and still optics."""
    scene = Scene(chosen.optics, (frame, frame), (SceneObject(phantom, position_um, Motion()),))
    settings = SimulationSettings(
        frame_shape=(frame, frame), bit_depth=16, read_noise=0, wavefront_rad=0, dust=0,
        phase_drift_rad=0,
    )  # fmt: skip
    bench = OpticalBench(scene, DmdGeometry((64, 64), (0.34, 0.24), 0.06, 0.2), settings)
    scene.prepare(chosen.angles.k)
    background = record(bench, chosen.angles, EMPTY_FIELD_X_UM, 0.0)
    return Reconstructor(background)(record(bench, chosen.angles, 0.0, 1.0))


Centre = tuple[float, float, float]  # (x, y, z) in um
MIDDLE: Centre = (0.0, 0.0, 0.0)


def sphere_spectrum(
    spectrum: Spectrum, radius_um: float, index: float, centre_um: Centre = MIDDLE
) -> torch.Tensor:
    """Return the exact unitary spectrum of a sphere's contrast on the measured voxels."""
    shape, voxel = spectrum.shape, spectrum.voxel_size_um
    kz, ky = (
        torch.fft.fftfreq(n, d, dtype=torch.float64)
        for n, d in zip(shape[:2], voxel[:2], strict=True)
    )
    kx = torch.fft.rfftfreq(shape[2], voxel[2], dtype=torch.float64)
    q = 2 * torch.pi * radius_um * torch.sqrt(kz[:, None, None] ** 2 + ky[:, None] ** 2 + kx**2)
    ball = torch.where(
        q < 1e-3, torch.ones_like(q), 3 * (q.sin() - q * q.cos()) / q.clamp_min(1e-3) ** 3
    )
    contrast = (index / spectrum.optics.medium_index) ** 2 - 1
    volume = 4 / 3 * torch.pi * radius_um**3
    scale = contrast * volume / float(np.prod(voxel)) / float(np.prod(shape)) ** 0.5
    turns = kz[:, None, None] * centre_um[2] + ky[:, None] * centre_um[1] + kx * centre_um[0]
    values: torch.Tensor = (
        scale * ball * (spectrum.measured > 0) * torch.exp(-2j * torch.pi * turns)
    )
    return values


def distance_um(
    shape: tuple[int, int, int], voxel: tuple[float, float, float], centre_um: Centre = MIDDLE
) -> torch.Tensor:
    """Return each voxel's distance from the centre."""
    z, y, x = (
        (torch.arange(n) - n // 2) * d - c
        for n, d, c in zip(shape, voxel, reversed(centre_um), strict=True)
    )
    return torch.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)


def band_limited_sphere(
    spectrum: Spectrum, radius_um: float, index: float, centre_um: Centre = MIDDLE
) -> torch.Tensor:
    """Return the index (z, y, x) of a sphere, of which only the measured voxels are kept."""
    values = sphere_spectrum(spectrum, radius_um, index, centre_um).to(torch.complex64)
    exact = replace(spectrum, values=values)
    return index_from_contrast(contrast_of(exact), spectrum.optics.medium_index)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])
