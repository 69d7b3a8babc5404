"""The box of a volume that holds its objects: what the forward model is computed for."""

import torch
from torch.nn import functional

from reconstruction.scattering.slice_model import Box

__all__ = ["object_box"]

_PART = 0.05  # of the highest smoothed contrast: less is background
_SMOOTHED = 3  # voxels over which contrast is averaged, so that noise in one voxel does not count


def object_box(
    contrast: torch.Tensor, voxel_size_um: tuple[float, float, float], margin_um: float
) -> Box | None:
    """Return the smallest box around the objects of a contrast (z, y, x), with a margin.

    Parameters
    ----------
    contrast : (z, y, x)
        Of either sign.
    voxel_size_um : (dz, dy, dx)
    margin_um : float

    Returns
    -------
    Box or None
        None if there is no object.
    """
    size = contrast.abs()[None, None]
    smooth = functional.avg_pool3d(size, _SMOOTHED, 1, _SMOOTHED // 2)[0, 0]
    highest = float(smooth.max())
    if not highest > 0:
        return None
    there = smooth > _PART * highest
    first, shape = [], []
    for axis, (n, step) in enumerate(zip(there.shape, voxel_size_um, strict=True)):
        rest = [a for a in range(3) if a != axis]
        found = there.any(dim=rest[1]).any(dim=rest[0]).nonzero()[:, 0]
        margin = round(margin_um / step)
        low, high = max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, n)
        first.append(low)
        shape.append(high - low)
    return Box((first[0], first[1], first[2]), (shape[0], shape[1], shape[2]))
