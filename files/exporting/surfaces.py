"""Closed surfaces of constant refractive index as triangles, in um.

Marching cubes (Lorensen and Cline, Computer Graphics 21, 1987; scikit-image's, whose variant by
Lewiner left edges with four triangles on noise) on the volume with a layer of voxels around it, so
that an object that leaves the volume is closed by the volume's outer face. Vertices are
(x, y, z) in um from the centre voxel n//2, as positions are elsewhere; triangles turn
counter-clockwise seen from outside.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError

__all__ = ["Mesh", "surface_mesh"]

_APART = 1e-6  # RI: how far voxels are kept from the level itself, where triangles degenerate


@dataclass(frozen=True, slots=True)
class Mesh:
    """A closed surface.

    Parameters
    ----------
    vertices_um : (n, 3) float32
        x, y, z.
    faces : (m, 3) int32
        Numbers of vertices, counter-clockwise seen from outside.
    """

    vertices_um: NDArray[np.float32]
    faces: NDArray[np.int32]

    @property
    def corners_um(self) -> NDArray[np.float32]:
        """Corners of every triangle, (m, 3, 3): triangle, corner, (x, y, z)."""
        return self.vertices_um[self.faces]

    @property
    def normals(self) -> NDArray[np.float32]:
        """Unit vector outwards of every triangle, (m, 3): (x, y, z); zero where it has no area."""
        crossed = self._crossed()
        lengths = np.linalg.norm(crossed, axis=1, keepdims=True)
        return np.asarray(crossed / np.where(lengths > 0, lengths, 1), np.float32)

    @property
    def volume_um3(self) -> float:
        """Enclosed volume, by the divergence theorem."""
        a, b, c = np.moveaxis(self.corners_um.astype(np.float64), 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    @property
    def area_um2(self) -> float:
        """Area of all triangles."""
        return float(np.linalg.norm(self._crossed(), axis=1).sum() / 2)

    @property
    def closed(self) -> bool:
        """Whether every edge belongs to two triangles, once in each direction."""
        starts, ends = self.faces.ravel(), np.roll(self.faces, -1, axis=1).ravel()
        count = np.int64(len(self.vertices_um))
        there, back = starts * count + ends, ends * count + starts
        ways, uses = np.unique(there, return_counts=True)
        return bool((uses == 1).all() and np.array_equal(ways, np.unique(back)))

    def _crossed(self) -> NDArray[np.float64]:
        a, b, c = np.moveaxis(self.corners_um.astype(np.float64), 1, 0)
        return np.cross(b - a, c - a)


def surface_mesh(
    volume: NDArray[np.float32],
    voxel_size_um: tuple[float, float, float],
    level: float,
    medium_index: float,
) -> Mesh:
    """Return the surface at an RI.

    Parameters
    ----------
    volume : (z, y, x) float32
        RI.
    voxel_size_um : (dz, dy, dx)
    level : float
        RI of the surface. Above ``medium_index`` it encloses what is denser, below it what is
        lighter.
    medium_index : float
        RI of the medium.

    Returns
    -------
    Mesh

    Raises
    ------
    DataError
        If no voxel lies beyond the level, or a voxel has no index.
    """
    from skimage import measure  # half a second, and for surfaces only

    marching_cubes: Any = measure.marching_cubes  # untyped

    if not np.isfinite(volume).all():
        raise DataError("a surface needs an index in every voxel, some have none (NaN or infinite)")
    sign = 1 if level >= medium_index else -1
    inside = sign * (volume - np.float32(level))  # above 0 in what is enclosed
    if not (inside > 0).any():
        raise DataError(
            f"the RI of a surface must be passed by some voxel, {level:.4f} is not: "
            f"the volume has {volume.min():.4f} to {volume.max():.4f}"
        )
    inside[np.abs(inside) < _APART] = -_APART
    vertices, faces, _, _ = marching_cubes(
        _enclosed(inside), 0.0, spacing=voxel_size_um, method="lorensen"
    )
    centre = [(n // 2 + 1) * size for n, size in zip(volume.shape, voxel_size_um, strict=True)]
    return _outwards(
        Mesh((vertices - centre)[:, ::-1].astype(np.float32), np.asarray(faces, np.int32))
    )


def _enclosed(inside: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values with a layer around them that puts the surface on the volume's face."""
    padded = np.pad(inside, 1, mode="edge")
    shell = np.ones(padded.shape, bool)
    shell[1:-1, 1:-1, 1:-1] = False
    padded[shell] = -np.abs(padded[shell])
    return padded


def _outwards(mesh: Mesh) -> Mesh:
    """Return the mesh with its triangles the other way round if they face inwards."""
    if mesh.volume_um3 >= 0:
        return mesh
    return Mesh(mesh.vertices_um, np.ascontiguousarray(mesh.faces[:, ::-1]))
