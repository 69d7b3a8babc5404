"""Finds objects: voxels above a threshold, holes filled, touching ones split."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from measuring.splitting import split_touching

__all__ = ["fill_holes", "find_objects"]

_PART = 0.25  # of the smallest volume: what is smaller above the threshold is not looked at

Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]


def find_objects(
    contrast: NDArray[np.float32],
    threshold: float,
    voxel_size_um: tuple[float, float, float],
    resolution_um: float,
    minimum_um3: float,
) -> Labels:
    """Return the objects of a volume, (z, y, x) int32: 0 outside, then 1, 2, ...

    Parameters
    ----------
    contrast : (z, y, x) float32
        Higher in the objects than around them.
    threshold : float
        Contrast above which voxels belong to objects.
    voxel_size_um : (dz, dy, dx)
    resolution_um : float
    minimum_um3 : float
        Smaller objects are left out where the outline cannot bring them above it.
    """
    joined, count = ndimage.label(fill_holes(contrast > threshold))
    found: Labels = np.zeros(contrast.shape, np.int32)
    least = _PART * minimum_um3 / float(np.prod(voxel_size_um))
    sizes = np.bincount(joined.ravel(), minlength=count + 1)
    number = 0
    for one, box in enumerate(ndimage.find_objects(joined), start=1):
        if sizes[one] < max(least, 1):
            continue
        mask = joined[box] == one
        padded = split_touching(np.pad(mask, 1), voxel_size_um, resolution_um, minimum_um3)
        parts = padded[1:-1, 1:-1, 1:-1]
        found[box][mask] = parts[mask] + number
        number += int(parts.max())
    return found


def fill_holes(mask: Mask) -> Mask:
    """Return the mask with what it encloses: everything that is not connected to the outside."""
    outside, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled: Mask = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return filled
