"""The grid on which a tomogram is computed, and the requested window of it.

The value of a voxel must not depend on the size of the requested volume. A volume thinner or
narrower than the object would fold it onto itself, and a deep one has a k-space so fine that caps
leave holes in it. So a scan is computed, and regularized, on a grid chosen from its field and its
optics; the requested window is cut or interpolated from the result (``VolumeWindow``).

Laterally the grid is a whole number of the fields' pixels, so that the frequencies of a field, cut
or padded to that size, are frequencies of the volume. Along axes on which samples lie between
voxels of k-space (Kz, and all axes that a rotation moves), ``oversampling`` makes k-space finer:
the volume is computed larger, and its middle is kept.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import VolumeWindow
from reconstruction.transform_sizes import fast_size

__all__ = ["VolumeGrid", "plan_volume", "steepest_tangent"]

Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]
_SLICES = 64
_WIDEST, _FARTHEST = 100.0, 4.0  # fields of view: size and refocus beyond are in a wrong unit
# 2 leaves 0.01 of the correlation, 4 gains 0.002: docs/explanation/accuracy.md
_ROTATED_OVERSAMPLING = 3


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Size of a tomogram in voxels and micrometres, and the sampling of its k-space.

    Parameters
    ----------
    shape : (z, y, x)
        Shape of the volume that is reconstructed and regularized.
    voxel_size_um : (dz, dy, dx)
    fine_shape : (z, y, x)
        Shape of the computed volume, of which the middle ``shape`` is kept.
    crop : (y, x)
        Pixels that a field is cut or padded to: the lateral size of the computed volume.
    between : (z, y, x) of bool
        Whether samples lie between voxels of k-space, by axis.
    spread : float
        Number of voxels of Kz that a sample is spread over: 1, or more if the volume is deeper than
        the caps sample it, so that no holes are left between them.
    window : VolumeWindow or None
        The requested part; None if that is the volume itself.
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
        """Size (z, y, x) of the computed volume in um; its inverse is the step in k-space."""
        z, y, x = (n * d for n, d in zip(self.fine_shape, self.voxel_size_um, strict=True))
        return z, y, x

    @property
    def oversampled(self) -> bool:
        """Whether the computed volume is larger than the tomogram."""
        return self.fine_shape != self.shape

    @property
    def window_shape(self) -> Shape:
        """Shape (z, y, x) of the requested window."""
        return self.shape if self.window is None else self.window.shape


def plan_volume(settings: ReconstructionSettings, views: Views) -> VolumeGrid:
    """Return the grid of the volume, with the window that ``settings`` request.

    Raises
    ------
    ConfigurationError
        If the z step does not sample the caps, or size and voxel cannot be of this field.
    """
    optics, rotations = views.optics, views.rotations
    between = _between(rotations)
    factor = settings.oversampling or (1 if rotations is None else _ROTATED_OVERSAMPLING)
    fz, fy, fx = (factor if off_grid else 1 for off_grid in between)
    dy, dx = views.pixel_size_um
    dz = optics.axial_resolution_um / 2 if rotations is None else dx
    slices = _SLICES if rotations is None else max(views.field_shape)
    widest_um = max(n * d for n, d in zip(views.field_shape, (dy, dx), strict=True))
    if abs(settings.refocus_um) > _FARTHEST * widest_um:
        raise ConfigurationError(
            f"a field of {widest_um:.3g} um can be refocused by at most {_FARTHEST:g} times that, "
            f"further away its light has left it, got {settings.refocus_um:g} um"
        )
    window = _requested_window(settings, views, dz, slices)
    z = max(slices, _fast(window.shape[0] * window.voxel_size_um[0] / dz))
    margin_um = z * dz / 2 * steepest_tangent(views) if rotations is None else math.inf
    y, x = (_computed_pixels(settings, views, axis, margin_um) for axis in range(2))
    grid = VolumeGrid(
        (z, y, x), (dz, dy, dx), (fz * z, fy * y, fx * x), (fy * y, fx * x), between, z / slices
    )
    same = (window.shape, window.voxel_size_um) == (grid.shape, grid.voxel_size_um)
    return grid if same else replace(grid, window=window)


def steepest_tangent(views: Views) -> float:
    """Return the tangent of the steepest light's angle to the z axis."""
    steepest = float(np.nanmax(np.hypot(*views.vectors.usable_k().T)))
    return steepest / views.optics.axial_frequency(steepest, 0.0)


def _between(rotations: NDArray[np.float64] | None) -> tuple[bool, bool, bool]:
    """Return the axes (z, y, x) along which samples leave the grid; not a rotation's own axis."""
    if rotations is None:
        return True, False, False
    kept = [bool(np.allclose(rotations[:, i], np.eye(3)[i], atol=1e-9)) for i in (1, 0)]
    return True, not kept[0], not kept[1]


def _requested_window(
    settings: ReconstructionSettings, views: Views, dz_um: float, slices: int
) -> VolumeWindow:
    """Return the requested window, with the given z step and slices as defaults."""
    dz, limit = settings.dz_um or dz_um, views.optics.axial_resolution_um
    if dz > limit * 1.001:
        raise ConfigurationError(
            f"the z step must be at most Lauer's axial resolution {limit:.3f} um, got {dz:.3f} um"
        )
    (y, dy), (x, dx) = (_requested_voxels(settings, views, axis) for axis in range(2))
    return VolumeWindow((settings.slices or slices, y, x), (dz, dy, dx))


def _requested_voxels(
    settings: ReconstructionSettings, views: Views, axis: int
) -> tuple[int, float]:
    """Return number and size of the requested voxels along y (axis 0) or x."""
    pixels, pixel_um = _requested_pixels(settings, views, axis), views.pixel_size_um[axis]
    if settings.voxel_um is None:
        return pixels, pixel_um
    size = pixels * pixel_um
    if settings.voxel_um > size:
        raise ConfigurationError(
            f"a voxel must be smaller than the volume, which is {size:.3g} um wide, got "
            f"{settings.voxel_um:g} um"
        )
    count = 2 * fast_size(max(1, math.ceil(size / settings.voxel_um / 2)))
    return count, size / count


def _requested_pixels(settings: ReconstructionSettings, views: Views, axis: int) -> int:
    """Return the requested size along y (axis 0) or x, in pixels of the fields."""
    field_um = views.field_shape[axis] * views.pixel_size_um[axis]
    if settings.size_um is None:
        return views.field_shape[axis]
    if settings.size_um[axis] > _WIDEST * field_um:
        raise ConfigurationError(
            f"the volume's size must be at most {_WIDEST:g} times the field of view of "
            f"{field_um:.3g} um, beyond which there is nothing, got {settings.size_um[axis]:g} um"
        )
    return max(2, 2 * round(settings.size_um[axis] / views.pixel_size_um[axis] / 2))


def _computed_pixels(
    settings: ReconstructionSettings, views: Views, axis: int, margin_um: float
) -> int:
    """Return the number of pixels to compute along y (axis 0) or x.

    Usually the whole field: outside a small window it still holds light of objects within, as far
    as the steepest light shifts sideways over half of the volume's height. Only a much larger field
    is cropped.
    """
    field, asked = views.field_shape[axis], _requested_pixels(settings, views, axis)
    if asked > field:
        return asked
    needed = asked + 2 * margin_um / views.pixel_size_um[axis]
    return field if needed >= field else min(field, _fast(needed))


def _fast(size: float) -> int:
    """Return the smallest even size from ``size`` on with a fast transform."""
    return 2 * fast_size(max(1, math.ceil(size / 2 - 1e-6)))
