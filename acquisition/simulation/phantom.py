"""A phantom, and the grid that objects are drawn on.

A phantom is the index above the medium, sampled on voxels (dz, dy, dx) in micrometres with the
centre at index n//2 on every axis. Boundaries are anti-aliased over one voxel (partial volume), so
that a phantom's scattering hardly depends on its sampling.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

__all__ = ["Grid", "Phantom", "Volume", "VoxelSize"]

Volume = NDArray[np.float32]
VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Phantom:
    """One object: index minus the medium's, (z, y, x) float32, and its voxel size in um."""

    contrast: Volume
    voxel_size_um: VoxelSize

    @property
    def extent_um(self) -> tuple[float, float, float]:
        """Edge lengths (z, y, x) of the volume in um."""
        z, y, x = (n * d for n, d in zip(self.contrast.shape, self.voxel_size_um, strict=True))
        return z, y, x


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxel centres of a phantom's box, as three broadcastable axes in um."""

    z: Volume
    y: Volume
    x: Volume
    voxel_size_um: VoxelSize

    @classmethod
    def around(cls, half_um: tuple[float, float, float], voxel_size_um: VoxelSize) -> "Grid":
        """Return the smallest even grid that holds +-half_um and a margin of two voxels."""
        shape = [
            2 * (int(np.ceil(half / step)) + 2)
            for half, step in zip(half_um, voxel_size_um, strict=True)
        ]
        return cls.of_shape(shape, voxel_size_um)

    @classmethod
    def of_shape(cls, shape: Sequence[int], voxel_size_um: VoxelSize) -> "Grid":
        """Return the grid of a volume (z, y, x), with 0 at index n//2."""
        z, y, x = (
            ((np.arange(n) - n // 2) * step).astype(np.float32)
            for n, step in zip(shape, voxel_size_um, strict=True)
        )
        return cls(z[:, None, None], y[None, :, None], x[None, None, :], voxel_size_um)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        return self.z.size, self.y.size, self.x.size

    def inside(self, signed_distance: Volume) -> Volume:
        """Return the filled fraction of each voxel, from the distance to a surface (< 0 inside)."""
        width = np.float32(np.mean(self.voxel_size_um))
        return np.asarray(np.clip(0.5 - signed_distance / width, 0, 1), dtype=np.float32)

    def ball(self, centre: Iterable[float], radius: float) -> Volume:
        """Return the filled fraction of each voxel by a ball about a point (z, y, x)."""
        z, y, x = (np.float32(c) for c in centre)
        return self.inside(
            np.sqrt((self.z - z) ** 2 + (self.y - y) ** 2 + (self.x - x) ** 2) - np.float32(radius)
        )

    def distance_to_segment(self, first: NDArray[np.float64], last: NDArray[np.float64]) -> Volume:
        """Return the distance of every voxel to the line between two points (z, y, x)."""
        along = last - first
        z, y, x = (
            axis - np.float32(c) for axis, c in zip((self.z, self.y, self.x), first, strict=True)
        )
        fraction = (along[0] * z + along[1] * y + along[2] * x) / max(float(along @ along), 1e-12)
        t = np.clip(fraction, 0, 1)
        squared = (z - along[0] * t) ** 2 + (y - along[1] * t) ** 2 + (x - along[2] * t) ** 2
        return np.asarray(np.sqrt(squared), dtype=np.float32)

    def texture(self, rng: np.random.Generator, length_um: float) -> Volume:
        """Return a random field of unit variance and the given correlation length."""
        noise = rng.standard_normal(self.shape, dtype=np.float32)
        sigma = [length_um / step for step in self.voxel_size_um]
        smooth = scipy.ndimage.gaussian_filter(noise, sigma, mode="wrap")
        return np.asarray(smooth / (smooth.std() + 1e-12), dtype=np.float32)
