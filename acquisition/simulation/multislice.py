"""Multi-slice scattering of a plane wave by a refractive-index volume, exact to first order.

The field over the incident wave, q = u/u0, is carried through the volume slice by slice. With
kz(kt) = sqrt(k^2 - kt^2) and the incident wave vector (k0t, k0z), slice j of thickness dz sends out

    s_j = (k0z / kz) F[(t_j - 1) q],   t_j = exp(2 pi i dz (sqrt(k0z^2 + k^2 f_j) - k0z))

with f = (n/n_m)^2 - 1, and q^ <- (q^ + s_j) exp(2 pi i dz (kz - k0z)) goes on to the next one. t is
the exact phase of the incident direction. The factor k0z/kz, which a paraxial or plain split step
lacks, makes the first Born order exact in every other direction. Back-scattered light is neglected.
Compare Chen et al., Optica 7, 394 (2020), multi-layer Born. Because only q is propagated, oblique
waves need not match the period of the grid.

The collected field, sum_j s_j exp(-2 pi i z_j (kz - k0z)), is evaluated directly at the requested
frequencies: the sources are confined to the object, so nothing folds over, however oblique the
shadow. (Cropping the field at focus from the periodic grid gave errors of 7 to 13 %; this 1 %.)
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from acquisition.optics import Optics
from acquisition.simulation.phantom import Phantom

__all__ = ["Band", "ScatteredSpectra", "scattered_spectra"]

_Complex = NDArray[np.complex64]

_BATCH = 7  # angles that are carried together
_EVANESCENT = 0.98  # |kt| / k beyond which waves are dropped: they never reach the objective


@dataclass(frozen=True, slots=True)
class Band:
    """The band of one angle's field over the incident wave, on a periodic grid.

    Transverse frequencies kappa = (first + i) / period, in cycles/um, i = 0 ... size - 1 along y
    and x: a square around the pupil seen from the illumination, |kappa + k0t| <= NA/wavelength.
    """

    first: tuple[int, int]  # (y, x)
    size: int
    period_um: float
    k: tuple[float, float]  # illumination (kx, ky), cycles/um

    @classmethod
    def of(cls, optics: Optics, k: tuple[float, float], period_um: float) -> "Band":
        """Return the band of illumination k = (kx, ky) on a grid of the given period."""
        reach = optics.cutoff * period_um
        first_x, first_y = (math.ceil(-reach - component * period_um) for component in k)
        return cls((first_y, first_x), math.floor(2 * reach) + 1, period_um, k)

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return kappa_y (size, 1) and kappa_x (1, size) in cycles/um."""
        steps = np.arange(self.size)
        y, x = ((first + steps) / self.period_um for first in self.first)
        return y[:, None], x[None, :]

    def axial(self, optics: Optics) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return kz - k0z (size, size) in cycles/um, and the mask of the pupil."""
        y, x = self.axes()
        transverse = (x + self.k[0]) ** 2 + (y + self.k[1]) ** 2
        pupil = transverse <= optics.cutoff**2
        kz = np.sqrt(np.where(pupil, optics.k_medium**2 - transverse, 1.0))
        return np.where(pupil, kz - optics.axial_frequency(*self.k), 0.0), pupil


@dataclass(frozen=True, slots=True)
class ScatteredSpectra:
    """The scattered field of one object for each angle, as amplitudes of plane waves over u0.

    u/u0 - 1 at (x, y) of the focal plane is the sum over the band of
    values exp(2 pi i kappa.r), with the object's centre at the origin.
    """

    bands: tuple[Band, ...]
    values: NDArray[np.complex64]  # (angles, size, size)


def scattered_spectra(
    phantom: Phantom,
    optics: Optics,
    k: NDArray[np.float64],
    period_um: float,
    *,
    threads: int = 1,
) -> ScatteredSpectra:
    """Return the light scattered by a phantom that the objective collects.

    Parameters
    ----------
    phantom : Phantom
        With dy = dx <= 1 / (2 (k + NA/wavelength)), usually optics.pixel_size_um.
    optics : Optics
        The NA limits the field.
    k : (angles, 2) float64
        Transverse illumination wave vectors in cycles/um.
    period_um : float
        Period of the camera's field; sets the spacing of the frequencies.
    threads : int
        Angles are shared out to so many.
    """
    bands = tuple(Band.of(optics, (float(kx), float(ky)), period_um) for kx, ky in k)
    potential = (1 + phantom.contrast / np.float32(optics.medium_index)) ** 2 - 1
    batches = [bands[i : i + _BATCH] for i in range(0, len(bands), _BATCH)]

    def collected(batch: tuple[Band, ...]) -> _Complex:
        return _Slices(potential, phantom.voxel_size_um, optics, batch).spectra()

    pool = ThreadPoolExecutor(min(threads, len(batches)), "multislice")
    # threads of the matrix products, beside these, would only wait for each other, at full load
    with threadpool_limits(1, "blas"), pool:
        return ScatteredSpectra(bands, np.concatenate(list(pool.map(collected, batches))))


class _Slices:
    """Propagates one batch of angles through the potential (z, y, x)."""

    def __init__(
        self,
        potential: NDArray[np.float32],
        voxel_size_um: tuple[float, float, float],
        optics: Optics,
        bands: tuple[Band, ...],
    ) -> None:
        self.potential = potential
        self.dz, self.dx = voxel_size_um[0], voxel_size_um[2]
        self.optics = optics
        self.bands = bands
        self.k = np.array([band.k for band in bands])
        self.k0z = np.sqrt(optics.k_medium**2 - (self.k**2).sum(axis=1))
        self.n = self._period()

    def _period(self) -> int:
        """Return the grid size at which no oblique ray meets the object's periodic copy.

        A ray tilted by theta passes copies at the distance period x cos(theta).
        """
        rows, columns = self.potential.shape[1:]
        cosine = float(self.k0z.min()) / self.optics.k_medium
        return int(scipy.fft.next_fast_len(math.ceil(1.1 * max(rows, columns) / cosine)))

    def spectra(self) -> _Complex:
        """Return the collected amplitudes (angles, size, size) complex64."""
        step, obliquity = self._propagator()
        collect = _Collector(self)
        rows, columns = self.potential.shape[1:]
        field = np.zeros((len(self.bands), self.n, self.n), np.complex64)
        for j, layer in enumerate(self.potential):
            field *= step
            if not layer.any():
                continue
            along_y = scipy.fft.ifft(field, axis=-2)[:, :rows]
            source = scipy.fft.ifft(along_y, axis=-1)[:, :, :columns] + 1
            source *= self._transmission(layer) - 1
            collect.add(source, j)
            along_x = scipy.fft.fft(source, self.n, axis=-1)  # rows of zeros are left out
            scattered = scipy.fft.fft(along_x, self.n, axis=-2)
            scattered *= obliquity
            field += scattered
        return collect.result()

    def _transmission(self, layer: NDArray[np.float32]) -> _Complex:
        k0z = self.k0z.astype(np.float32)[:, None, None]
        phase = np.sqrt(k0z**2 + np.float32(self.optics.k_medium**2) * layer) - k0z
        return _wave(np.float32(2 * math.pi * self.dz) * phase)

    def _propagator(self) -> tuple[_Complex, NDArray[np.float32]]:
        """Return exp(2 pi i dz (kz - k0z)), zero if evanescent, and k0z/kz on the periodic grid."""
        frequency = scipy.fft.fftfreq(self.n, self.dx)
        transverse = (frequency[None, None, :] + self.k[:, 0, None, None]) ** 2
        transverse = transverse + (frequency[None, :, None] + self.k[:, 1, None, None]) ** 2
        radius = self.optics.k_medium
        k0z = self.k0z[:, None, None]
        propagating = transverse <= (_EVANESCENT * radius) ** 2
        kz = np.sqrt(np.where(propagating, radius**2 - transverse, 1.0))
        step = _wave(2 * math.pi * self.dz * (kz - k0z)) * propagating
        return step, (propagating * k0z / kz).astype(np.float32)


class _Collector:
    """Sums the sources at the band's frequencies, with phases relative to the plane z = 0."""

    def __init__(self, slices: _Slices) -> None:
        depth, rows, columns = slices.potential.shape
        y = (np.arange(rows) - rows // 2) * slices.dx
        x = (np.arange(columns) - columns // 2) * slices.dx
        kappa = [[axis.ravel() for axis in band.axes()] for band in slices.bands]
        kappa_y, kappa_x = (np.stack(axis) for axis in zip(*kappa, strict=True))
        self._to_y = _wave(-2 * math.pi * kappa_y[:, :, None] * y)
        self._to_x = _wave(-2 * math.pi * kappa_x[:, None, :] * x[:, None])
        axial = [band.axial(slices.optics) for band in slices.bands]
        difference, pupil = (np.stack(part) for part in zip(*axial, strict=True))
        k0z = slices.k0z[:, None, None]
        # dx^2 / period^2 turns the sum over pixels into amplitudes of plane waves
        scale = (slices.dx / slices.bands[0].period_um) ** 2
        self._weight = (scale * pupil * k0z / (difference + k0z)).astype(np.float32)
        self._phase = _wave(2 * math.pi * slices.dz * (depth // 2) * difference)  # of j = 0
        self._step = _wave(-2 * math.pi * slices.dz * difference)
        self._at = 0
        self._total = np.zeros_like(self._phase)

    def add(self, source: _Complex, j: int) -> None:
        """Add the source (angles, y, x) of slice j."""
        while self._at < j:
            self._phase *= self._step  # a power takes ten times as long
            self._at += 1
        self._total += self._phase * (self._to_y @ source @ self._to_x)

    def result(self) -> _Complex:
        """Return the amplitudes within the pupil."""
        return np.asarray(self._total * self._weight)


def _wave(phase: NDArray[np.floating]) -> _Complex:
    """Return exp(i phase) as complex64; cosine and sine are faster than a complex exponential."""
    wave = np.empty(phase.shape, np.complex64)
    wave.real = np.cos(phase)
    wave.imag = np.sin(phase)
    return wave
