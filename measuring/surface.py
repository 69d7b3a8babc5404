"""Area and volume of an iso-surface, by marching cubes (Lewiner et al., J. Graph. Tools 8, 2003).

Marching cubes place the surface between voxels by linear interpolation, so that volume and area
do not come in steps of voxels.
"""

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

__all__ = ["area_and_volume"]


def area_and_volume(
    field: NDArray[np.float32], level: float, voxel_size_um: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the area (um^2) and the enclosed volume (um^3) where ``field`` is above ``level``.

    Parameters
    ----------
    field : (z, y, x) float32
        Below the level on all faces of the array, so that the surface is closed.
    level : float
    voxel_size_um : (dz, dy, dx)
    """
    vertices, faces, _, _ = marching_cubes(field, level, spacing=voxel_size_um)
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    volume = abs(np.einsum("ij,ij->", a, np.cross(b, c))) / 6  # of the tetrahedra to the origin
    return float(area), float(volume)
