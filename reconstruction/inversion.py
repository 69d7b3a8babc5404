"""Fourier diffraction theorem: scattered fields onto Ewald caps, and back to an index volume.

With psi the Rytov field ln(u/u0), its 2D spectrum times (4 pi kz / i), kz in cycles/um, is the
scattering potential's 3D spectrum on the cap K = (kt, kz - k0z), kz = sqrt(k^2 - |kt + k0t|^2)
(Wolf 1969; Devaney 1981; Kak and Slaney, chapter 6). The lateral frequencies of the fields are
those of the volume, so a cap is rounded to the grid along Kz only. The potential is real:
K and -K are averaged together. Where several samples meet in a voxel they are averaged, those
nearer to its centre with more weight.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from acquisition.optics import Optics
from reconstruction.tomogram import Spectrum
from reconstruction.wave_vectors import WaveVectors, folded_conjugates

__all__ = ["CapPlan", "CapSamples", "contrast_of"]

_WEIGHT_WIDTH = 0.5  # of the Gaussian weight along Kz, in voxels; best of 0.25 to 9 by a hair


@dataclass(frozen=True, slots=True)
class CapSamples:
    """Where the cap of one angle lies, for the samples inside the pupil.

    Parameters
    ----------
    source : (n,) int64
        Flat index into the angle's 2D spectrum.
    target : (n,) int64
        Flat index into the half spectrum of the volume.
    factor : (n,) complex64
        From the 2D discrete transform to unitary contrast, times the weight.
    weight : (n,) float32
        In the average of its voxel.
    conjugate : (n,) bool
        Samples stored at -K.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    factor: NDArray[np.complex64]
    weight: NDArray[np.float32]
    conjugate: NDArray[np.bool_]


class CapPlan:
    """The map from all angles' fields to the volume's half spectrum.

    Parameters
    ----------
    vectors : WaveVectors
        Illumination wave vectors; unusable angles are left out, and the samples that a folded
        conjugate sideband reaches.
    optics : Optics
    field_shape : (y, x)
    pixel_size_um : (dy, dx) of the fields
    slices : int
        z size of the volume.
    dz_um : float
        z step of the volume.
    device : torch device
    refocus_um : float
        z of the volume's centre over the plane in focus.

    Raises
    ------
    ConfigurationError
        If the z step does not sample the caps.
    """

    def __init__(
        self,
        vectors: WaveVectors,
        optics: Optics,
        field_shape: tuple[int, int],
        pixel_size_um: tuple[float, float],
        slices: int,
        dz_um: float,
        device: torch.device,
        *,
        refocus_um: float = 0.0,
    ) -> None:
        if dz_um > optics.axial_resolution_um * 1.001:
            raise ConfigurationError(
                f"the z step must be at most Lauer's axial resolution "
                f"{optics.axial_resolution_um:.3f} um, got {dz_um:.3f} um"
            )
        self.optics = optics
        self.shape = (slices, *field_shape)
        self.voxel_size_um = (dz_um, *pixel_size_um)
        self.angles = len(vectors.k)
        conjugates = folded_conjugates(vectors.carrier, optics)
        caps = [
            _cap(
                float(kx), float(ky), optics, conjugates, self.shape, self.voxel_size_um, refocus_um
            )
            for kx, ky in np.where(_usable(vectors)[:, None], vectors.k, np.nan)
        ]
        pixels = field_shape[0] * field_shape[1]

        def joined(parts: list[NDArray[Any]]) -> torch.Tensor:
            return torch.tensor(np.concatenate(parts), device=device)

        self._angle_of = joined([np.full(len(cap.source), i) for i, cap in enumerate(caps)])
        self._source = joined([i * pixels + cap.source for i, cap in enumerate(caps)])
        self._target = joined([cap.target for cap in caps])
        self._factor = joined([cap.factor for cap in caps])
        self._weight = joined([cap.weight for cap in caps])
        self._sign = joined([np.where(cap.conjugate, -1, 1).astype(np.float32) for cap in caps])
        self._complete = self._count(torch.ones(self.angles, device=device))

    @property
    def half_shape(self) -> tuple[int, int, int]:
        """Shape of the half spectrum."""
        z, y, x = self.shape
        return z, y, x // 2 + 1

    def _count(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the summed weight of every voxel, flat."""
        z, y, x = self.half_shape
        count = torch.zeros(z * y * x, device=weights.device)
        return count.index_add_(0, self._target, weights[self._angle_of] * self._weight)

    def spectrum(self, psi: torch.Tensor, lost: tuple[int, ...] = ()) -> Spectrum:
        """Return the measured spectrum of the contrast.

        Parameters
        ----------
        psi : (angles, y, x) complex64
            Rytov (or Born) fields, zero of position at n//2.
        lost : tuple of int
            Angles that are left out.
        """
        samples = torch.fft.fft2(psi).reshape(-1)[self._source] * self._factor
        count = self._complete
        if lost:
            weights = torch.ones(self.angles, device=psi.device)
            weights[list(lost)] = 0
            samples = samples * weights[self._angle_of]
            count = self._count(weights)
        pairs = torch.view_as_real(samples)
        pairs[:, 1] *= self._sign
        total = torch.zeros((count.numel(), 2), device=psi.device).index_add_(
            0, self._target, pairs
        )
        total /= count.clamp_min(1e-6)[:, None]
        return Spectrum(
            torch.view_as_complex(total).reshape(self.half_shape),
            count.reshape(self.half_shape),
            self.shape,
            self.voxel_size_um,
            self.optics,
        )


def contrast_of(spectrum: Spectrum) -> torch.Tensor:
    """Return the contrast (z, y, x), zero where nothing was measured, centre at n//2."""
    volume = torch.fft.irfftn(spectrum.values, s=spectrum.shape, norm="ortho")
    centred: torch.Tensor = torch.fft.fftshift(volume)
    return centred


def _usable(vectors: WaveVectors) -> NDArray[np.bool_]:
    usable = np.asarray(np.isfinite(vectors.k).all(axis=1))
    usable[list(vectors.unusable)] = False
    return usable


def _cap(
    kx: float, ky: float, optics: Optics, conjugates: NDArray[np.float64],
    shape: tuple[int, int, int], voxel_size_um: tuple[float, float, float], refocus_um: float,
) -> CapSamples:  # fmt: skip
    """Return the samples of one angle; none if its wave vector is unknown."""
    slices, rows, columns = shape
    if not math.isfinite(kx + ky):
        nothing = np.empty(0, np.int64)
        none = np.empty(0, np.float32)
        return CapSamples(nothing, nothing, none.astype(np.complex64), none, nothing > 0)
    my, mx = _integers(rows)[:, None], _integers(columns)[None, :]
    fy, fx = my / (rows * voxel_size_um[1]) + ky, mx / (columns * voxel_size_um[2]) + kx
    transverse = fx**2 + fy**2
    passed = transverse <= optics.cutoff**2
    for away_x, away_y in conjugates:
        passed &= (fx - away_x) ** 2 + (fy - away_y) ** 2 > optics.cutoff**2
    kz = np.sqrt(np.where(passed, optics.k_medium**2 - transverse, 1.0))
    exact_z = (kz - optics.axial_frequency(kx, ky)) * slices * voxel_size_um[0]
    mz = np.rint(exact_z).astype(np.int64)
    weight = np.exp(-(((exact_z - mz) / _WEIGHT_WIDTH) ** 2))
    # the transforms count positions from index 0, the field from n//2
    turn = my * (rows // 2) / rows + mx * (columns // 2) / columns
    turn = turn + exact_z * refocus_um / (slices * voxel_size_um[0])
    wave_number = 2 * math.pi * optics.k_medium
    voxels = float(np.prod(shape))
    scale = 4 * math.pi / 1j / (wave_number**2 * voxel_size_um[0] * math.sqrt(voxels))
    factor = scale * weight * kz * np.exp(2j * np.pi * turn)
    y, x = np.nonzero(passed)
    return _fold(y, x, mz[y, x], my[y, 0], mx[0, x], factor[y, x], weight[y, x], shape)


def _fold(
    y: NDArray[np.int64], x: NDArray[np.int64], mz: NDArray[np.int64], my: NDArray[np.int64],
    mx: NDArray[np.int64], factor: NDArray[np.complex128], weight: NDArray[np.float64],
    shape: tuple[int, int, int],
) -> CapSamples:  # fmt: skip
    """Store samples with mx < 0 at -K; those with mx = 0 at both, since both are kept there."""
    slices, rows, columns = shape
    source = y * columns + x

    def place(chosen: NDArray[np.bool_], sign: int) -> NDArray[np.int64]:
        row = (sign * mz[chosen] % slices) * rows + sign * my[chosen] % rows
        return np.asarray(row * (columns // 2 + 1) + sign * mx[chosen])

    positive, negative = mx >= 0, mx <= 0
    return CapSamples(
        np.concatenate([source[positive], source[negative]]),
        np.concatenate([place(positive, 1), place(negative, -1)]),
        np.concatenate([factor[positive], factor[negative]]).astype(np.complex64),
        np.concatenate([weight[positive], weight[negative]]).astype(np.float32),
        np.repeat([False, True], [positive.sum(), negative.sum()]),
    )


def _integers(n: int) -> NDArray[np.int64]:
    """Return the integer frequencies of an n-point transform, in its order."""
    return np.fft.ifftshift(np.arange(n) - n // 2)
