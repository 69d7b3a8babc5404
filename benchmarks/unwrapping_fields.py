"""Fields to unwrap: computed ones with a known phase, and measured ones.

A pixel of phase p with noise has the wrapped phase arg((1 + noise) exp(ip)). The true phase is p
plus the argument of the factor, so that it differs from the wrapped one by whole turns only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from acquisition.illumination.angles import preset
from acquisition.optics import Optics
from reconstruction.empty_field import fit_empty_field
from reconstruction.fields import FieldPlan
from tests.partial_waves import sphere_field

__all__ = ["Case", "computed_cases", "measured_cases"]

Image = NDArray[np.float64]
Wave = NDArray[np.complex128]

_SIZE = 192
_SPHERE_SIZE = 256  # most of the frame is empty, as unwrapping assumes
_FRAMES = 4
_BAND = 0.2  # cycles/pixel, for noise limited by an objective


@dataclass(frozen=True, slots=True)
class Case:
    """Fields (frames, y, x) complex64, and their true phase or None."""

    name: str
    fields: torch.Tensor
    truth: torch.Tensor | None = None


def computed_cases(seed: int = 0) -> Iterator[Case]:
    """Yield all fields whose truth is known."""
    rng = np.random.default_rng(seed)
    slopes = _hills(rng, 25.0)
    low = slopes / 12
    yield _noisy("no jump: hills of 2 rad, noise 0.1", np.exp(1j * low), low, 0.1, rng)
    for sigma in (0.2, 0.5, 0.65, 0.8):
        yield _noisy(f"hills, noise {sigma}", np.exp(1j * slopes), slopes, sigma, rng)
    for sigma in (0.5, 0.65):
        noise = sigma * _band_noise(slopes.shape, rng)
        yield _case(f"hills, band noise {sigma}", np.exp(1j * slopes), slopes, noise)
    steep = _hills(rng, 1.0)
    steep *= 2.3 / np.abs(np.diff(steep, axis=1)).max(axis=(1, 2), keepdims=True)
    yield _noisy("steep hills (2.3 rad a pixel), noise 0.5", np.exp(1j * steep), steep, 0.5, rng)
    dim = _spot() * np.exp(1j * slopes)
    yield _noisy("hills, dark spot, noise 0.12", dim, slopes, 0.12, rng)
    yield _noisy("disc with a steep side, noise 0.15", np.exp(1j * _disc()), _disc(), 0.15, rng)
    phase, amplitude = _vortices(rng, 8)
    torn = 0.4 * slopes + phase
    wave = amplitude * np.exp(1j * torn)
    yield _case("8 vortex pairs", wave, torn, np.zeros(torn.shape, complex))
    yield _noisy("8 vortex pairs, noise 0.2", wave, torn, 0.2, rng)
    for radius, index in ((3.0, 1.40), (3.0, 1.45), (5.0, 1.417)):
        wave, phase = _spheres(radius, index)
        noise = 0.1 * _band_noise(phase.shape, rng)
        yield _case(f"sphere {radius} um, {index}, band noise 0.1", wave, phase, noise)


def measured_cases(folder: Path) -> Iterator[Case]:
    """Yield the fields of measurements, over their backgrounds."""
    yield Case("HL60 cell, hologram", _hologram(folder / "offaxis_holograms" / "hologram_cell.npz"))
    with np.load(folder / "hl60_cell" / "hl60_fields_A140.npz") as file:
        yield Case("HL60 cell, 140 directions", torch.from_numpy(file["field"]))


def _noisy(name: str, wave: Wave, phase: Image, sigma: float, rng: np.random.Generator) -> Case:
    noise = rng.standard_normal((2, *phase.shape))
    return _case(name, wave, phase, sigma * (noise[0] + 1j * noise[1]))


def _case(name: str, wave: Wave, phase: Image, noise: Wave) -> Case:
    field = wave + noise
    truth = phase + np.angle(field / np.where(wave == 0, 1, wave))
    return Case(name, torch.tensor(field).to(torch.complex64), torch.tensor(truth).float())


def _band_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Wave:
    """Return band-limited noise with standard deviation 1 per component."""
    spectrum = np.fft.fft2(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    ky, kx = (np.fft.fftfreq(n) for n in shape[-2:])
    noise = np.fft.ifft2(np.where(np.hypot(ky[:, None], kx) < _BAND, spectrum, 0))
    return np.asarray(noise / noise.real.std())


def _hills(rng: np.random.Generator, height: float) -> Image:
    smooth = [
        gaussian_filter(rng.standard_normal((_SIZE, _SIZE)), _SIZE / 12) for _ in range(_FRAMES)
    ]
    return np.stack([height * (s - s.min()) / np.ptp(s) for s in smooth])


def _grid() -> tuple[Image, Image]:
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float64)
    return y, x


def _spot() -> Image:
    """Return an amplitude of 1 with a spot of 0.03."""
    y, x = _grid()
    return np.asarray(1 - 0.97 * np.exp(-((x - 90) ** 2 + (y - 110) ** 2) / (2 * 18**2)))


def _disc() -> Image:
    """Return discs of 9 rad with an edge 1 to 9 pixels wide, each steepest on a different side."""
    y, x = _grid()
    radius, angle = np.hypot(x - 96, y - 96), np.arctan2(y - 96, x - 96)
    width = np.stack([0.5 + 2 * (1 + np.cos(angle - turn)) for turn in range(_FRAMES)])
    return np.asarray(4.5 * (1 - np.tanh((radius - 45) / (2 * width))))


def _vortices(rng: np.random.Generator, pairs: int) -> tuple[Image, Image]:
    """Return phase and amplitude of vortex pairs 3 to 25 pixels apart, with straight cuts."""
    y, x = _grid()
    phase, amplitude = np.zeros((_FRAMES, _SIZE, _SIZE)), np.ones((_FRAMES, _SIZE, _SIZE))
    for frame in range(_FRAMES):
        for _ in range(pairs):
            centre = complex(*rng.uniform(25, _SIZE - 25, 2))
            arm = rng.uniform(1.5, 12.5) * np.exp(2j * np.pi * rng.uniform())
            one, other = x + 1j * y - (centre - arm), x + 1j * y - (centre + arm)
            phase[frame] += np.angle(one / other)
            amplitude[frame] *= np.tanh(np.abs(one) / 2) * np.tanh(np.abs(other) / 2)
    return phase, amplitude


def _spheres(radius_um: float, index: float, steps: int = 30) -> tuple[Wave, Image]:
    """Return exact fields from four sides, and their phase, tracked while the index rises."""
    optics = preset("cell").optics
    sides = [0.9 * optics.cutoff * np.exp(0.5j * np.pi * turn + 0.2j) for turn in range(_FRAMES)]
    shape = (_SPHERE_SIZE, _SPHERE_SIZE)
    phase = np.zeros((_FRAMES, *shape))
    before = np.ones(phase.shape, complex)
    for step in range(1, steps + 1):
        n = optics.medium_index + (index - optics.medium_index) * step / steps
        field = np.stack(
            [sphere_field(optics, (k.real, k.imag), radius_um, n, shape) for k in sides]
        )
        phase, before = phase + np.angle(field / before), field
    return before, phase


def _hologram(file: Path) -> torch.Tensor:
    """Return the field over the background, in units of pixels: its optics are not recorded."""
    with np.load(file) as arrays:
        frames = torch.from_numpy(np.stack([arrays["data"], arrays["bg_data"]]))
    optics = Optics(wavelength_um=4.0, numerical_aperture=0.4, medium_index=1.333, pixel_size_um=1)
    carrier = (-0.124, -0.2)  # the sideband that gives a cell a positive phase
    plan = FieldPlan((frames.shape[1], frames.shape[2]), optics, carrier, torch.device("cpu"))
    fields = plan.retrieve(frames)
    quotient = fields[:1] / fields[1:]
    return fit_empty_field(quotient).remove(quotient)
