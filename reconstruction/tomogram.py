"""Results of reconstruction: the measured spectrum of the scattering potential, and the RI volume.

Arrays (z, y, x), volume centre at index n//2. Helmholtz (lap + K^2) u = -V u with K = 2 pi k and
V = K^2 ((n/n_m)^2 - 1), so n = n_m sqrt(1 + V/K^2). Spectra are kept for the dimensionless
``contrast`` f = V/K^2, as the half spectrum of a real volume (numpy's rfftn layout over z, y, x).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch.utils.weak import WeakIdKeyDictionary

from acquisition.errors import DataError
from acquisition.optics import Optics

if TYPE_CHECKING:
    from reconstruction.scattering.measured_fields import MeasuredFields

__all__ = [
    "Spectrum",
    "Tomogram",
    "VolumeWindow",
    "contrast_from_index",
    "index_from_contrast",
    "norm",
    "to_centre",
    "to_corner",
]

VoxelSize = tuple[float, float, float]
_voxels = WeakIdKeyDictionary()  # of each ``Spectrum.measured``, which all scans of a plan share


def index_from_contrast(contrast: torch.Tensor, medium_index: float) -> torch.Tensor:
    """Return n = n_m sqrt(1 + f); f below -1 (no real index) is clamped to -1."""
    return (contrast + 1).clamp_min_(0).sqrt_().mul_(medium_index)


def contrast_from_index(index: torch.Tensor, medium_index: float) -> torch.Tensor:
    """Return f = (n/n_m)^2 - 1, the scattering potential over K^2."""
    return (index / medium_index).square_().sub_(1)


def to_centre(volume: torch.Tensor) -> torch.Tensor:
    """Return a volume (..., z, y, x) with position 0 at n//2 instead of 0, as fftshift does."""
    return _rolled(volume, [n // 2 for n in volume.shape[-3:]])


def to_corner(volume: torch.Tensor) -> torch.Tensor:
    """Return a volume (..., z, y, x) with position 0 at 0 instead of n//2, as ifftshift does."""
    return _rolled(volume, [n - n // 2 for n in volume.shape[-3:]])


def _rolled(volume: torch.Tensor, by: Sequence[int]) -> torch.Tensor:
    if volume.device.type != "cpu":
        return torch.roll(volume, tuple(by), dims=(-3, -2, -1))
    rolled = torch.empty_like(volume)  # in one pass: torch copies the volume once for each axis
    halves = [
        ((slice(b, n), slice(0, n - b)), (slice(0, b), slice(n - b, n)))
        for b, n in zip(by, volume.shape[-3:], strict=True)
    ]
    for parts in itertools.product(*halves):
        to, of = zip(*parts, strict=True)
        rolled[(..., *to)] = volume[(..., *of)]
    return rolled


def norm(values: torch.Tensor) -> float:
    """Return the norm of complex values.

    ``torch.linalg.vector_norm`` takes fifteen times as long, and errs by 3e-4 on a spectrum.
    """
    return math.sqrt(float(torch.view_as_real(values).square().sum()))


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The measured part of the contrast's spectrum.

    Parameters
    ----------
    values : (z, y, x//2 + 1) complex64 tensor
        Unitary ("ortho") half spectrum of the real contrast f, centred volume shifted to index 0
        (as ``rfftn(ifftshift(f), norm="ortho")``); zero where unmeasured.
    measured : (z, y, x//2 + 1) float32 tensor
        How often each voxel was measured, K and -K together; 0 where unmeasured.
    shape : (z, y, x)
        Shape of the real volume.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    noise : float or None
        Rms of the noise over that of the values, estimated from the differences between K and -K;
        None if unknown.
    fields : MeasuredFields or None
        The fields it was made from, for regularizers that know the scattering; None: not kept.
    """

    values: torch.Tensor
    measured: torch.Tensor
    shape: tuple[int, int, int]
    voxel_size_um: VoxelSize
    optics: Optics
    noise: float | None = None
    fields: "MeasuredFields | None" = None

    def __post_init__(self) -> None:
        half = (*self.shape[:2], self.shape[2] // 2 + 1)
        if tuple(self.values.shape) != half or tuple(self.measured.shape) != half:
            raise DataError(
                f"a spectrum of a {self.shape} volume must have shape {half}, got values "
                f"{tuple(self.values.shape)} and measured {tuple(self.measured.shape)}"
            )

    @property
    def voxels(self) -> torch.Tensor:
        """Flat indices of the measured voxels, (n,) int64: one in fourteen."""
        if self.measured not in _voxels:
            _voxels[self.measured] = (self.measured.flatten() > 0).nonzero()[:, 0]
        found: torch.Tensor = _voxels[self.measured]
        return found

    def to(self, device: str | torch.device) -> "Spectrum":
        """Return the spectrum on a device."""
        return replace(self, values=self.values.to(device), measured=self.measured.to(device))


@dataclass(frozen=True, slots=True)
class VolumeWindow:
    """The requested part of a volume, around the same centre, with its own voxel size.

    Parameters
    ----------
    shape : (z, y, x)
    voxel_size_um : (dz, dy, dx)
    """

    shape: tuple[int, int, int]
    voxel_size_um: VoxelSize

    def __call__(
        self, volume: torch.Tensor, voxel_size_um: VoxelSize, outside: float, *, smooth: bool
    ) -> torch.Tensor:
        """Return a volume (z, y, x) cut and resampled to the window.

        Parameters
        ----------
        volume : (z, y, x) float32
        voxel_size_um : (dz, dy, dx)
            Voxel size of the volume.
        outside : float
            Value outside the volume.
        smooth : bool
            Whether the volume is band-limited, as a raw tomogram is: trigonometric interpolation is
            then exact. Other volumes, with edges, are interpolated linearly.
        """
        seen = volume - outside
        for axis in range(3):
            size, n = self.voxel_size_um[axis], self.shape[axis]
            ratio = size / voxel_size_um[axis]
            seen = _along(seen, axis, n, ratio, smooth=smooth)
        return seen + outside


def _along(volume: torch.Tensor, axis: int, n: int, ratio: float, *, smooth: bool) -> torch.Tensor:
    """Return ``volume`` at n positions along an axis, ``ratio`` voxels apart, zero beyond it."""
    held = volume.shape[axis]
    if abs(ratio - 1) < 1e-6:
        return _cut(volume, axis, n)
    at = (torch.arange(n, dtype=torch.float64) - n // 2) * ratio + held // 2
    distance = at[:, None] - torch.arange(held, dtype=torch.float64)
    weights = _dirichlet(distance, held) if smooth else (1 - distance.abs()).clamp_min(0)
    weights *= ((at > -1) & (at < held))[:, None]
    moved: torch.Tensor = torch.tensordot(weights.to(volume), volume, dims=([1], [axis]))
    return moved.movedim(0, axis).contiguous()


def _dirichlet(distance: torch.Tensor, n: int) -> torch.Tensor:
    """Return the periodic kernel of trigonometric interpolation between n samples."""
    turn = torch.pi * distance / n
    below = torch.tan(turn) if n % 2 == 0 else torch.sin(turn)
    whole = torch.sin(turn).abs() < 1e-9
    return torch.where(whole, 1.0, torch.sin(torch.pi * distance) / (n * below))


def _cut(volume: torch.Tensor, axis: int, n: int) -> torch.Tensor:
    """Cut or pad with zeros along an axis, centre (n//2) on centre."""
    held = volume.shape[axis]
    start = n // 2 - held // 2  # of the volume in what is returned
    first, last = max(-start, 0), min(n - start, held)
    kept = volume.narrow(axis, first, last - first)
    if n <= held:
        return kept
    wide = volume.new_zeros([n if a == axis else size for a, size in enumerate(volume.shape)])
    wide.narrow(axis, start, held).copy_(kept)
    return wide


@dataclass(frozen=True, slots=True)
class Tomogram:
    """A refractive-index volume.

    It is the whole reconstructed volume; ``windowed`` returns the requested part.

    Parameters
    ----------
    index : (z, y, x) float32 tensor
        Refractive index.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    timestamp : float
        Start of the scan it came from, seconds since the epoch.
    sequence : int
        Running number of that scan.
    provenance : mapping of str
        By stage: how it was made, and what was discarded.
    uncertainty : (z, y, x) float32 tensor or None
        Standard deviation of the index; None if no stage estimates it.
    data_residual : float
        Relative misfit of its spectrum to the measured one; 0 for a raw tomogram.
    window : VolumeWindow or None
        The requested part; None: all of it.
    """

    index: torch.Tensor
    voxel_size_um: VoxelSize
    optics: Optics
    timestamp: float = 0.0
    sequence: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)
    uncertainty: torch.Tensor | None = None
    data_residual: float = 0.0
    window: VolumeWindow | None = None

    def __post_init__(self) -> None:
        if self.index.ndim != 3 or self.index.dtype != torch.float32:
            raise DataError(
                f"a tomogram must be a (z, y, x) float32 volume, got shape "
                f"{tuple(self.index.shape)} {self.index.dtype}"
            )
        if not all(math.isfinite(size) and size > 0 for size in self.voxel_size_um):
            raise DataError(f"voxel_size_um must be positive, got {self.voxel_size_um}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user, from ``warning`` in the provenance."""
        warning = self.provenance.get("warning")
        return () if warning is None else (warning,)

    @property
    def contrast(self) -> torch.Tensor:
        """The scattering potential over K^2, (n/n_m)^2 - 1, (z, y, x) float32."""
        return contrast_from_index(self.index, self.optics.medium_index)

    def with_warning(self, sentence: str) -> "Tomogram":
        """Return the tomogram with a warning added to its provenance."""
        warning = "; ".join((*self.warnings, sentence))
        return replace(self, provenance={**self.provenance, "warning": warning})

    def windowed(self) -> "Tomogram":
        """Return the requested part of the volume, in the requested voxels."""
        window = self.window
        if window is None:
            return self
        smooth = "regularizer" not in self.provenance  # a raw tomogram is band-limited
        index = window(self.index, self.voxel_size_um, self.optics.medium_index, smooth=smooth)
        spread = self.uncertainty
        if spread is not None:
            spread = window(spread, self.voxel_size_um, 0.0, smooth=False)
        return replace(
            self,
            index=index,
            voxel_size_um=window.voxel_size_um,
            uncertainty=spread,
            window=None,
        )
