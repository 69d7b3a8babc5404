"""The total-variation problem that the solvers are timed on, and their stopwatch.

    minimise mu/2 ||M F f - g||^2 + |D f|_1 + [f >= 0]

on three spheres and their measured part of k-space with noise; D: periodic forward differences.
"""

import time

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.illumination.angles import preset
from reconstruction.tomogram import Spectrum
from regularizer.total_variation.parameters import TvParameters

__all__ = ["Ended", "Objective", "Shape", "Stopwatch", "Volume", "problem"]

_MOST_S = 60.0  # time limit of a solver
_NOISE = 0.028  # per voxel, over the brightest sphere's contrast
Shape = tuple[int, int, int]
Volume = NDArray[np.floating]


def problem(shape: Shape) -> Spectrum:
    """Return the noisy spectrum of three spheres, measured outside a double cone about z."""
    z, y, x = np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij")
    volume = np.zeros(shape, np.float32)
    for at, radius, contrast in ((0, 14, 1.0), (20, 7, 0.6), (-22, 9, 0.8)):
        volume[(z**2 + (y - at) ** 2 + (x + at) ** 2) < radius**2] = contrast
    # noise of a real volume: noise drawn on a half spectrum is not Hermitian in the plane kx = 0
    volume += _NOISE * np.random.default_rng(0).normal(size=shape).astype(np.float32)
    values = np.fft.rfftn(np.fft.ifftshift(volume), norm="ortho").astype(np.complex64)
    kz, ky = np.fft.fftfreq(shape[0])[:, None, None], np.fft.fftfreq(shape[1])[:, None]
    measured = np.hypot(ky, np.fft.rfftfreq(shape[2])) >= 1.2 * np.abs(kz)
    mask = torch.tensor(measured.astype(np.float32))
    return Spectrum(
        torch.tensor(values * measured), mask, shape, (0.1, 0.1, 0.1), preset("cell").optics
    )


class Objective:
    """The objective of a volume f (z, y, x), position 0 at index 0.

    With f >= 0, the negative part of f is clipped first.
    """

    def __init__(self, spectrum: Spectrum, parameters: TvParameters) -> None:
        self.mask = (spectrum.measured > 0).numpy()
        self.data = spectrum.values.numpy()
        # each column of the half spectrum but the first (and last, for even sizes) stands for two
        columns = spectrum.shape[2]
        twice = np.full(columns // 2 + 1, 2.0, np.float32)
        twice[0] = 1
        if columns % 2 == 0:
            twice[-1] = 1
        self.twice = twice
        self.parameters = parameters

    def __call__(self, f: Volume) -> float:
        """Return the objective of f."""
        if self.parameters.nonnegative:
            f = np.maximum(f, 0)
        rest = (np.fft.rfftn(f, norm="ortho") - self.data) * self.mask
        fidelity = float((np.abs(rest) ** 2 * self.twice).sum())
        d = np.stack([np.roll(f, -1, a) - f for a in range(3)])
        variation = np.sqrt((d**2).sum(0)) if self.parameters.isotropic else np.abs(d)
        return self.parameters.mu / 2 * fidelity + float(variation.sum(dtype=np.float64))


class Stopwatch:
    """Counts iterations and their time until the objective is reached or a minute is over."""

    def __init__(self, objective: Objective, limit: float, every: int) -> None:
        self.objective, self.limit, self.every = objective, limit, every
        self.count, self.seconds, self.reached = 0, 0.0, False
        self.restart()

    def restart(self) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()

    def note(self, f: Volume) -> None:
        """Evaluate an iterate with the clock stopped; raise Ended if it was the last."""
        self.seconds += time.perf_counter() - self._begin
        self.count += 1
        self.reached = self.count % self.every == 0 and self.objective(f) <= self.limit
        if self.reached or self.seconds > _MOST_S:
            raise Ended
        self._begin = time.perf_counter()


class Ended(Exception):
    """The objective is within the limit, or time is up."""
