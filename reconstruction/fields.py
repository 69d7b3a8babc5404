"""Field retrieval: from off-axis interferograms to the complex field over the background's.

Each row is transformed, only the sideband's columns are transformed further, and the band around
the carrier is transformed back on a grid that holds twice the band: the quotient of two fields
reaches 2 NA/wavelength. Takeda, J. Opt. Soc. Am. 72, 156 (1982); Cuche, Appl. Opt. 39, 4070 (2000).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import check_rotations
from acquisition.optics import Optics
from reconstruction.transform_sizes import fast_size
from reconstruction.wave_vectors import folded_conjugates

__all__ = ["FieldPlan", "FieldStack"]

# A hard cut at the NA cost 0.002 RI on the exact sphere; 20 % more let noise in.
BAND_MARGIN = 1.05


@dataclass(frozen=True, slots=True)
class FieldStack:
    """Sample fields over background fields, one per angle.

    Parameters
    ----------
    values : (angles, y, x) complex64 tensor
        u/u0; the zero of position is at index n//2.
    pixel_size_um : (dy, dx)
    optics : Optics
    k : (angles, 2) float64
        Illumination wave vectors, cycles/um.
    rotations : (angles, 3, 3) float64 or None
        Rotation of the sample in each view: its point (x, y, z) lies at R (x, y, z) in the frame
        whose z is the optical axis. None: no rotation.
    provenance : mapping of str

    Raises
    ------
    DataError
        If shapes do not match, light is evanescent in the medium, or a matrix is not a rotation.
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
    """Retrieves fields from interferograms; what depends on geometry alone is computed once.

    Parameters
    ----------
    frame_shape : (y, x)
    optics : Optics
    carrier : (kx, ky) in cycles/um
    device : torch device

    Attributes
    ----------
    shape : (y, x)
        Shape of the retrieved fields: a fast FFT size that samples 2 NA/wavelength. A frame whose
        size has a large prime factor is cropped around its middle to the next smaller fast size.
    pixel_size_um : (dy, dx)
    frequencies : (rows,), (columns,) float64
        Frequencies of the sideband's spectrum relative to the carrier, along y and x, cycles/um.
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
        rows, columns = (
            np.array([(c + m) % n for m in _offsets(h)])
            for c, h, n in zip(centre, half, frame_shape, strict=True)
        )
        # rfft2 keeps columns 0 ... w/2; the others are conjugates, at -K
        conjugate = columns > frame_shape[1] // 2
        at_rows = np.where(conjugate, -rows[:, None] % frame_shape[0], rows[:, None])
        at_columns = np.where(conjugate, frame_shape[1] - columns, columns)
        source = at_rows * (frame_shape[1] // 2 + 1) + at_columns
        self._source = torch.tensor(source.reshape(-1), device=device)
        self._to_rows = torch.tensor([m % self.shape[0] for m in _offsets(half[0])], device=device)
        y, x = (
            (np.array(_offsets(h)) + c) / length - k
            for h, c, length, k in zip(half, centre, extent, reversed(carrier), strict=True)
        )
        self.frequencies = y, x
        pupil = self._band_mask(optics, carrier)
        turned = torch.tensor(np.where(conjugate, -1.0, 1.0), dtype=torch.float32)
        self._weight = torch.stack([pupil, pupil * turned], dim=-1).to(device)  # real, imaginary

    def _band_mask(self, optics: Optics, carrier: tuple[float, float]) -> torch.Tensor:
        """Return a mask (rows, columns), 1 within the widened pupil around the carrier."""
        y, x = self.frequencies
        radius = np.hypot(y[:, None], x[None, :])
        passed = radius <= BAND_MARGIN * optics.cutoff
        for kx, ky in folded_conjugates(carrier, optics):
            passed &= radius < np.hypot(y[:, None] - ky, x[None, :] - kx)  # halve an overlap
        return torch.tensor(passed, dtype=torch.float32)

    def retrieve(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the fields (angles, y, x) complex64 of interferograms (angles, y, x) of any type.

        The carrier's residue (a fraction of a frequency sample) and the phase of the reference
        remain; they cancel when the sample is divided by the background.
        """
        return self.fields_of(self.sideband(frames))

    def sideband(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the spectra of the sidebands, (angles, rows, columns) complex64."""
        if tuple(frames.shape[1:]) != self.frame_shape:
            raise DataError(
                f"frames must have the background's shape {self.frame_shape}, "
                f"got {tuple(frames.shape[1:])}: take a new background"
            )
        rows, columns = self._crop
        spectrum = torch.fft.rfft2(frames[:, rows, columns].to(torch.float32)).flatten(1)
        band: torch.Tensor = spectrum.index_select(1, self._source)
        band = band.reshape(-1, *self._weight.shape[:2])
        torch.view_as_real(band).mul_(self._weight)
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
    """Return the slice of ``kept`` pixels in the middle of n, centre (n//2) on centre."""
    start = n // 2 - kept // 2
    return slice(start, start + kept)


def _good_crop(n: int) -> int:
    """Return the largest size up to n with a fast transform: no prime factor above 11.

    509 pixels are cropped to 504: this costs five pixels at the rim, where the cut spectrum rings
    anyway, and halves the time of the transform.
    """
    kept = n
    while fast_size(kept) != kept:
        kept -= 1
    return kept


def _good_size(wanted: float, limit: int) -> int:
    """Return an even size with small prime factors, from ``wanted`` to at most ``limit``."""
    size = 2 * fast_size(math.ceil(wanted / 2))
    return min(size, limit + limit % 2)
