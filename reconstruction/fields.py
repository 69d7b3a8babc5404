"""Field retrieval: from off-axis interferograms to the complex field over the background's.

Each row is transformed, only the sideband's columns are transformed further, and the band around
the carrier is transformed back on a grid that holds twice the band: the quotient of two fields
reaches 2 NA/wavelength. Takeda, J. Opt. Soc. Am. 72, 156 (1982); Cuche, Appl. Opt. 39, 4070 (2000).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import check_rotations
from acquisition.optics import Optics
from reconstruction.wave_vectors import folded_conjugates

__all__ = ["FieldPlan", "FieldStack"]

# A hard cut at the NA cost 0.002 RI on the exact sphere, 20 % more let noise in.
BAND_MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class FieldStack:
    """Sample field over background field, one angle a frame.

    Parameters
    ----------
    values : (angles, y, x) complex64 tensor
        u/u0; the zero of position is at index n//2.
    pixel_size_um : (dy, dx)
    optics : Optics
    k : (angles, 2) float64
        Illumination wave vectors, cycles/um.
    rotations : (angles, 3, 3) float64 or None
        How the sample is turned in each view: a point (x, y, z) of it lies at R (x, y, z) in the
        frame whose z is the optical axis. None: not at all.
    provenance : mapping of str

    Raises
    ------
    DataError
        If shapes do not fit together, light is evanescent in the medium, or a rotation is none.
    """

    values: torch.Tensor
    pixel_size_um: tuple[float, float]
    optics: Optics
    k: NDArray[np.float64]
    rotations: NDArray[np.float64] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.dtype != torch.complex64:
            raise DataError(
                f"fields must be (views, y, x) complex64, got {tuple(self.values.shape)} "
                f"{self.values.dtype}"
            )
        if self.k.shape != (len(self.values), 2):
            raise DataError(f"k must have shape ({len(self.values)}, 2), got {self.k.shape}")
        longest = float(np.hypot(*self.k.T).max(initial=0.0, where=np.isfinite(self.k).all(axis=1)))
        if longest >= self.optics.k_medium:
            raise DataError(
                f"|k| must be below n/wavelength = {self.optics.k_medium:.3f} cycles/um, got "
                f"{longest:.3f}: give k in cycles/um, not rad/um, and check wavelength and medium"
            )
        if self.rotations is not None:
            check_rotations(self.rotations, len(self.values))


class FieldPlan:
    """Everything about the retrieval that depends on geometry alone.

    Parameters
    ----------
    frame_shape : (y, x)
    optics : Optics
    carrier : (kx, ky) in cycles/um
    device : torch device

    Attributes
    ----------
    shape : (y, x)
        Of the retrieved fields: a good FFT size that samples 2 NA/wavelength. The middle of a frame
        whose size has a large prime factor is used, up to the next smaller good size.
    pixel_size_um : (dy, dx)
    frequencies : (rows,), (columns,) float64
        Of the sideband's spectrum, from the carrier, along y and x in cycles/um.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int],
        optics: Optics,
        carrier: tuple[float, float],
        device: torch.device,
    ) -> None:
        self.frame_shape = frame_shape
        self._crop = [_middle(n, _good_crop(n)) for n in frame_shape]
        frame_shape = (_good_crop(frame_shape[0]), _good_crop(frame_shape[1]))
        extent = [n * optics.pixel_size_um for n in frame_shape]
        sizes = [
            _good_size(4 * optics.cutoff * length, n)
            for length, n in zip(extent, frame_shape, strict=True)
        ]
        self.shape = (sizes[0], sizes[1])
        self.pixel_size_um = (extent[0] / sizes[0], extent[1] / sizes[1])
        half = [math.ceil(BAND_MARGIN * optics.cutoff * length) for length in extent]
        centre = [round(c * length) for c, length in zip(reversed(carrier), extent, strict=True)]
        self._rows = torch.tensor(
            [(centre[0] + m) % frame_shape[0] for m in _offsets(half[0])], device=device
        )
        columns = torch.tensor(
            [(centre[1] + m) % frame_shape[1] for m in _offsets(half[1])], device=device
        )
        # rfft keeps columns 0 ... w/2; the others are conjugates, row by row
        conjugate = columns > frame_shape[1] // 2
        self._columns = torch.where(conjugate, frame_shape[1] - columns, columns)
        self._sign = torch.where(conjugate, -1.0, 1.0)
        self._to_rows = torch.tensor([m % self.shape[0] for m in _offsets(half[0])], device=device)
        y, x = (
            (np.array(_offsets(h)) + c) / length - k
            for h, c, length, k in zip(half, centre, extent, reversed(carrier), strict=True)
        )
        self.frequencies = y, x
        self._pupil = self._band_mask(optics, carrier).to(device)

    def _band_mask(self, optics: Optics, carrier: tuple[float, float]) -> torch.Tensor:
        """Return 1 within the widened pupil around the carrier, (rows, columns)."""
        y, x = self.frequencies
        radius = np.hypot(y[:, None], x[None, :])
        passed = radius <= BAND_MARGIN * optics.cutoff
        for kx, ky in folded_conjugates(carrier, optics):
            passed &= radius < np.hypot(y[:, None] - ky, x[None, :] - kx)  # halve an overlap
        return torch.tensor(passed, dtype=torch.float32)

    def retrieve(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the fields (angles, y, x) complex64 of interferograms (angles, y, x) of any type.

        The carrier's rest (a fraction of a frequency sample) and the reference's phase stay in
        them; they cancel when a sample is divided by its background.
        """
        return self.fields_of(self.sideband(frames))

    def sideband(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the spectra of the sidebands, (angles, rows, columns) complex64."""
        if tuple(frames.shape[1:]) != self.frame_shape:
            raise DataError(
                f"frames must be {self.frame_shape} like the background, "
                f"got {tuple(frames.shape[1:])}"
            )
        rows, columns = self._crop
        along_x = torch.fft.rfft(frames[:, rows, columns].to(torch.float32), dim=2)
        along_x = along_x.index_select(2, self._columns)
        torch.view_as_real(along_x)[..., 1].mul_(self._sign)
        band: torch.Tensor = torch.fft.fft(along_x, dim=1)[:, self._rows] * self._pupil
        return band

    def fields_of(self, band: torch.Tensor) -> torch.Tensor:
        """Return the fields (angles, y, x) of sidebands (angles, rows, columns)."""
        angles, _, columns = band.shape
        tall = band.new_zeros((angles, self.shape[0], columns))
        tall.index_copy_(1, self._to_rows, band)
        along_y = torch.fft.ifft(tall, dim=1)
        wide = band.new_zeros((angles, *self.shape))
        half = columns // 2  # the band's columns are -half ... half
        wide[:, :, : half + 1] = along_y[:, :, half:]
        wide[:, :, self.shape[1] - half :] = along_y[:, :, :half]
        fields: torch.Tensor = torch.fft.ifft(wide, dim=2)
        return fields


def _offsets(half: int) -> list[int]:
    return list(range(-half, half + 1))


def _middle(n: int, kept: int) -> slice:
    """Return where the middle of n pixels is, centre (n//2) on centre."""
    start = n // 2 - kept // 2
    return slice(start, start + kept)


def _good_crop(n: int) -> int:
    """Return the largest size up to n whose transform is fast: no prime factor above 11.

    A region of 509 pixels is cut to 504: five pixels at the rim, where the cut spectrum rings
    anyway, for half of the transform's time.
    """
    kept = n
    while scipy.fft.next_fast_len(kept, real=False) != kept:
        kept -= 1
    return kept


def _good_size(wanted: float, limit: int) -> int:
    """Return an even size with small factors, at least ``wanted`` but not beyond ``limit``."""
    size = 2 * int(scipy.fft.next_fast_len(math.ceil(wanted / 2), real=False))
    return min(size, limit + limit % 2)
