"""What blur takes from the volume of a curved object, and gives back.

Blur keeps the half maximum of a flat edge in place. That of a curved one moves inwards, to first
order by sigma^2 times the curvature: a sphere of radius r loses the part (sigma_z^2 + 2 sigma_xy^2)
/ r^2 of its volume, which is a tenth for a radius of 1 um where a network has smoothed z. How wide
an object's edges are is seen in their slope; what is wider than the optics' resolution is no blur
but the object's own, or the missing cone's. Blurred by as much again, it loses as much again, of
whatever shape it is; so its volume without blur is twice its volume minus that of the copy
(Richardson's extrapolation, of the variance of the blur to zero).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from measuring.surface import area_and_volume

__all__ = ["edge_widths_um", "volume_without_blur"]

_STEEPEST = 0.9  # cosine between an edge's normal and an axis, for the slope along that axis
_FULL_WIDTH = 2.3548  # at half maximum, of a Gaussian, over its standard deviation
_LEAST = 4  # edges, for a median
_MOST = 1.4  # times the volume; objects as small as the resolution cannot be extrapolated further

Field = NDArray[np.float32]
VoxelSize = tuple[float, float, float]


def volume_without_blur(
    field: Field,
    level: float,
    height: float,
    voxel_size_um: VoxelSize,
    resolution_um: tuple[float, float],
    volume_um3: float,
) -> float:
    """Return the volume (um^3) of an object without what blur took from it.

    Parameters
    ----------
    field : (z, y, x) float32
        As for ``area_and_volume``.
    level : float
        Of the surface.
    height : float
        Contrast between object and surroundings.
    voxel_size_um : (dz, dy, dx)
    resolution_um : (axial, lateral)
        Full width at half maximum of the widest blur.
    volume_um3 : float
        Of the iso-surface.
    """
    seen = edge_widths_um(field, level, height, voxel_size_um)
    along_z, across = (
        min(sigma, full_width / _FULL_WIDTH)
        for sigma, full_width in zip(seen, resolution_um, strict=True)
    )
    sigmas = np.array([along_z, across, across]) / voxel_size_um
    if not sigmas.any():
        return volume_um3
    again = ndimage.gaussian_filter(field, sigmas, mode="nearest")
    if not again.max() > level:
        return _MOST * volume_um3
    _, smaller_um3 = area_and_volume(again, level, voxel_size_um)
    return min(max(2 * volume_um3 - smaller_um3, volume_um3), _MOST * volume_um3)


def edge_widths_um(
    field: Field, level: float, height: float, voxel_size_um: VoxelSize
) -> tuple[float, float]:
    """Return the standard deviations (um) of the blur of the edges that face along z and across.

    The slope of an edge of that height, blurred by a Gaussian, is height / (sqrt(2 pi) sigma) at
    its half maximum. 0 where no edge faces that way.
    """
    gradient = [g.astype(np.float32) for g in np.gradient(field, *voxel_size_um)]
    length = np.sqrt(sum(g * g for g in gradient)) + np.float32(1e-12)
    slopes = [
        _slopes(field, level, g / length, axis, voxel_size_um[axis])
        for axis, g in enumerate(gradient)
    ]
    widths = []
    for seen in (slopes[0], np.concatenate(slopes[1:])):
        enough = len(seen) >= _LEAST
        widths.append(height / (np.sqrt(2 * np.pi) * float(np.median(seen))) if enough else 0.0)
    return widths[0], widths[1]


def _slopes(
    field: Field, level: float, cosine: Field, axis: int, size_um: float
) -> NDArray[np.float64]:
    """Return the slopes (1/um) where the level is crossed along an axis by edges that face it."""
    low, high = (
        np.take(field, range(first, field.shape[axis] - 1 + first), axis) for first in (0, 1)
    )
    faces = np.abs(
        np.take(cosine, range(field.shape[axis] - 1), axis)
        + np.take(cosine, range(1, field.shape[axis]), axis)
    )
    crossed = ((low > level) != (high > level)) & (faces > 2 * _STEEPEST)
    return np.asarray(np.abs(high - low)[crossed] / size_um, np.float64)
