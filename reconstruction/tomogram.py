"""What reconstruction hands on: the sampled spectrum of the scattering potential and the RI volume.

Arrays (z, y, x), volume centre at index n//2. Helmholtz (lap + K^2) u = -V u with K = 2 pi k and
V = K^2 ((n/n_m)^2 - 1), so n = n_m sqrt(1 + V/K^2). Spectra are kept for the dimensionless
``contrast`` f = V/K^2, as the half spectrum of a real volume (numpy's rfftn layout over z, y, x).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from acquisition.errors import DataError
from acquisition.optics import Optics

__all__ = ["Spectrum", "Tomogram", "contrast_from_index", "index_from_contrast"]

VoxelSize = tuple[float, float, float]


def index_from_contrast(contrast: torch.Tensor, medium_index: float) -> torch.Tensor:
    """Return n = n_m sqrt(1 + f); f below -1 (no real index) is clamped to -1."""
    return medium_index * torch.sqrt((1 + contrast).clamp_min(0))


def contrast_from_index(index: torch.Tensor, medium_index: float) -> torch.Tensor:
    """Return f = (n/n_m)^2 - 1, the scattering potential over K^2."""
    return (index / medium_index) ** 2 - 1


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
        Of the real volume.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    noise : float or None
        Rms of the noise over that of the values, estimated from what K and -K say differently; None
        where it is not known.
    """

    values: torch.Tensor
    measured: torch.Tensor
    shape: tuple[int, int, int]
    voxel_size_um: VoxelSize
    optics: Optics
    noise: float | None = None

    def __post_init__(self) -> None:
        half = (*self.shape[:2], self.shape[2] // 2 + 1)
        if tuple(self.values.shape) != half or tuple(self.measured.shape) != half:
            raise DataError(
                f"a spectrum of a {self.shape} volume has shape {half}, got values "
                f"{tuple(self.values.shape)} and measured {tuple(self.measured.shape)}"
            )

    def to(self, device: str | torch.device) -> "Spectrum":
        """Return the spectrum on a device."""
        return replace(self, values=self.values.to(device), measured=self.measured.to(device))


@dataclass(frozen=True, slots=True)
class Tomogram:
    """A refractive-index volume.

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
        Stage by stage, what made it, and what was discarded on the way.
    uncertainty : (z, y, x) float32 tensor or None
        Standard deviation of the index, where a stage estimates it.
    data_residual : float
        How far its spectrum is from what was measured, over that; 0 for the raw one, which is made
        of it.
    """

    index: torch.Tensor
    voxel_size_um: VoxelSize
    optics: Optics
    timestamp: float = 0.0
    sequence: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)
    uncertainty: torch.Tensor | None = None
    data_residual: float = 0.0

    def __post_init__(self) -> None:
        if self.index.ndim != 3 or self.index.dtype != torch.float32:
            raise DataError(
                f"a tomogram is a (z, y, x) float32 volume, got shape {tuple(self.index.shape)} "
                f"{self.index.dtype}"
            )
        if not all(math.isfinite(size) and size > 0 for size in self.voxel_size_um):
            raise DataError(f"voxel_size_um must be positive, got {self.voxel_size_um}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a stage has to say to whoever looks at the tomogram: ``warning`` of provenance."""
        warning = self.provenance.get("warning")
        return () if warning is None else (warning,)

    @property
    def contrast(self) -> torch.Tensor:
        """The scattering potential over K^2, (n/n_m)^2 - 1, (z, y, x) float32."""
        return contrast_from_index(self.index, self.optics.medium_index)
