"""The grid on which a tomogram is computed, and the window of it that was asked for.

What a voxel holds must not depend on how much of the volume somebody wants to see. A volume that is
thinner or narrower than the object folds it onto itself, a deep one has a k-space so fine that caps
leave holes in it. So a scan is computed, and regularized, on a grid that its field and its optics
decide; what was asked for is cut out of the result, or interpolated (``VolumeWindow``).

Laterally that grid is a whole number of the fields' pixels, so that the frequencies of a field, cut
or padded to that size, are frequencies of the volume. Along axes on which samples lie between
voxels of k-space (Kz; all that a rotation moves), ``oversampling`` makes the grid finer: the
volume is computed larger, and its middle is kept.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import VolumeWindow

__all__ = ["VolumeGrid", "plan_volume", "steepest_tangent"]

Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]
_SLICES = 64
# 2 leaves 0.01 of the correlation, 4 gains 0.002: docs/explanation/accuracy.md
_ROTATED_OVERSAMPLING = 3


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Where a tomogram is, and how its k-space is sampled.

    Parameters
    ----------
    shape : (z, y, x)
        Of the volume that is reconstructed and regularized.
    voxel_size_um : (dz, dy, dx)
    fine_shape : (z, y, x)
        Of the volume as computed, of which the middle ``shape`` is kept.
    crop : (y, x)
        To how many pixels a field is cut or padded: the lateral size of the computed volume.
    between : (z, y, x) of bool
        Along which axes samples lie between voxels of k-space.
    spread : float
        Over how many voxels of Kz a sample is shared: 1, and more where the volume is deeper than
        the caps sample it, so that no holes are left between them.
    window : VolumeWindow or None
        What was asked for; None where that is the volume itself.
    """

    shape: Shape
    voxel_size_um: VoxelSize
    fine_shape: Shape
    crop: tuple[int, int]
    between: tuple[bool, bool, bool]
    spread: float = 1.0
    window: VolumeWindow | None = None

    @property
    def extent_um(self) -> tuple[float, float, float]:
        """Size of the computed volume; its inverse is the step in k-space."""
        z, y, x = (n * d for n, d in zip(self.fine_shape, self.voxel_size_um, strict=True))
        return z, y, x

    @property
    def oversampled(self) -> bool:
        """Whether the computed volume is larger than the tomogram."""
        return self.fine_shape != self.shape

    @property
    def shown_shape(self) -> Shape:
        """Shape (z, y, x) of what was asked for."""
        return self.shape if self.window is None else self.window.shape


def plan_volume(settings: ReconstructionSettings, views: Views) -> VolumeGrid:
    """Choose the grid of the volume, and the window of it that ``settings`` ask for.

    Raises
    ------
    ConfigurationError
        If the z step does not sample the caps.
    """
    optics, rotations = views.optics, views.rotations
    between = _between(rotations)
    factor = settings.oversampling or (1 if rotations is None else _ROTATED_OVERSAMPLING)
    fz, fy, fx = (factor if off_grid else 1 for off_grid in between)
    dy, dx = views.pixel_size_um
    dz = optics.axial_resolution_um / 2 if rotations is None else dx
    slices = _SLICES if rotations is None else max(views.field_shape)
    window = _asked(settings, views, dz, slices)
    z = max(slices, _fast(window.shape[0] * window.voxel_size_um[0] / dz))
    margin_um = z * dz / 2 * steepest_tangent(views) if rotations is None else math.inf
    y, x = (_lateral(settings, views, axis, margin_um) for axis in range(2))
    grid = VolumeGrid(
        (z, y, x), (dz, dy, dx), (fz * z, fy * y, fx * x), (fy * y, fx * x), between, z / slices
    )
    same = (window.shape, window.voxel_size_um) == (grid.shape, grid.voxel_size_um)
    return grid if same else replace(grid, window=window)


def steepest_tangent(views: Views) -> float:
    """Return how far the steepest light walks sideways per length along z."""
    steepest = float(np.nanmax(np.hypot(*views.vectors.usable_k().T)))
    return steepest / views.optics.axial_frequency(steepest, 0.0)


def _between(rotations: NDArray[np.float64] | None) -> tuple[bool, bool, bool]:
    """Return along which of z, y, x the samples leave the grid; a rotation's own axis is kept."""
    if rotations is None:
        return True, False, False
    kept = [bool(np.allclose(rotations[:, i], np.eye(3)[i], atol=1e-9)) for i in (1, 0)]
    return True, not kept[0], not kept[1]


def _asked(
    settings: ReconstructionSettings, views: Views, dz_um: float, slices: int
) -> VolumeWindow:
    """Return what the settings ask for, where they say nothing with these slices."""
    dz, limit = settings.dz_um or dz_um, views.optics.axial_resolution_um
    if dz > limit * 1.001:
        raise ConfigurationError(
            f"the z step must be at most Lauer's axial resolution {limit:.3f} um, got {dz:.3f} um"
        )
    (y, dy), (x, dx) = (_sampled(settings, views, axis) for axis in range(2))
    return VolumeWindow((settings.slices or slices, y, x), (dz, dy, dx))


def _sampled(settings: ReconstructionSettings, views: Views, axis: int) -> tuple[int, float]:
    """Return number and size of the voxels that are asked for along y (axis 0) or x."""
    pixels, pixel_um = _asked_pixels(settings, views, axis), views.pixel_size_um[axis]
    if settings.voxel_um is None:
        return pixels, pixel_um
    size = pixels * pixel_um
    count = 2 * scipy.fft.next_fast_len(max(1, math.ceil(size / settings.voxel_um / 2)))
    return count, size / count


def _asked_pixels(settings: ReconstructionSettings, views: Views, axis: int) -> int:
    """Return the size asked for along y (axis 0) or x, in pixels of the fields."""
    if settings.size_um is None:
        return views.field_shape[axis]
    return max(2, 2 * round(settings.size_um[axis] / views.pixel_size_um[axis] / 2))


def _lateral(settings: ReconstructionSettings, views: Views, axis: int, margin_um: float) -> int:
    """Return the pixels to compute along y (axis 0) or x.

    The whole field: what a field holds beyond a small window is light of objects within it, too,
    as far sideways as light walks from the volume's end to its middle. Only of a much larger field
    the rest is left out.
    """
    field, asked = views.field_shape[axis], _asked_pixels(settings, views, axis)
    if asked > field:
        return asked
    needed = asked + 2 * margin_um / views.pixel_size_um[axis]
    return field if needed >= field else min(field, _fast(needed))


def _fast(size: float) -> int:
    """Return an even size of at least this whose transform is fast."""
    return 2 * int(scipy.fft.next_fast_len(math.ceil(size / 2 - 1e-6), real=False))
