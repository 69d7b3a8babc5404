"""Surfaces as STL (binary, one surface a file) or PLY (binary, several with colours), in um.

Neither format has a unit: readers take the numbers as they are, and the header says um. STL is what
slicers and CAD read, PLY what keeps colours (MeshLab, Blender, ParaView, CloudCompare).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from files.exporting.surfaces import Mesh, surface_mesh

__all__ = ["PaintedSurface", "save_surfaces", "write_ply", "write_stl"]

_COLOURS = ("#b4cdec", "#e2725b", "#f2c14e")
_TRIANGLE = np.dtype(
    [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")], align=False
)
_VERTEX = np.dtype([("place", "<f4", 3), ("colour", "u1", 4)], align=False)
_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)], align=False)


@dataclass(frozen=True, slots=True)
class PaintedSurface:
    """An RI at which a surface lies, and how it looks.

    Parameters
    ----------
    name : str
    level : float
        RI.
    colour : str
        "#rrggbb".
    opacity : float
        0 to 1.
    """

    name: str
    level: float
    colour: str = _COLOURS[0]
    opacity: float = 1.0

    @classmethod
    def numbered(cls, levels: Sequence[float]) -> "tuple[PaintedSurface, ...]":
        """Return surfaces at ``levels``, each in a colour of its own."""
        return tuple(
            cls(f"RI {level:.4f}", level, _COLOURS[number % len(_COLOURS)])
            for number, level in enumerate(levels)
        )

    @property
    def rgba(self) -> tuple[int, int, int, int]:
        """Colour and opacity from 0 to 255."""
        red, green, blue = (int(self.colour[n : n + 2], 16) for n in (1, 3, 5))
        return red, green, blue, round(255 * self.opacity)


def save_surfaces(
    path: str | Path,
    volume: NDArray[np.float32],
    voxel_size_um: tuple[float, float, float],
    surfaces: Sequence[PaintedSurface],
    medium_index: float,
) -> list[Path]:
    """Write surfaces of constant RI as closed triangle meshes in um; existing files are replaced.

    Parameters
    ----------
    path : str or Path
        Ends in .stl or .ply. An STL holds one surface: several become files with the name of each
        in theirs, such as ``cell_membrane.stl``.
    volume : (z, y, x) float32
        RI.
    voxel_size_um : (dz, dy, dx)
    surfaces : sequence of PaintedSurface
        At least one. A level below ``medium_index`` encloses what is lighter than the medium.
    medium_index : float
        RI of the medium.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ConfigurationError
        If there is no surface, or the name has another ending.
    DataError
        If no voxel passes a level. No file is written then.
    """
    path = Path(path)
    if not surfaces:
        raise ConfigurationError("at least one surface must be shown to be saved, none is")
    meshes = [surface_mesh(volume, voxel_size_um, s.level, medium_index) for s in surfaces]
    if path.suffix.lower() == ".ply":
        _replace(path, lambda partial: write_ply(partial, surfaces, meshes))
        return [path]
    if path.suffix.lower() != ".stl":
        raise ConfigurationError(f"a file of surfaces must end in .stl or .ply, got {path.name!r}")
    paths = _stl_paths(path, [surface.name for surface in surfaces])
    for target, surface, mesh in zip(paths, surfaces, meshes, strict=True):
        _replace(target, lambda partial, s=surface, m=mesh: write_stl(partial, s, m))  # type: ignore[misc]
    return paths


def _stl_paths(path: Path, names: Sequence[str]) -> list[Path]:
    if len(names) == 1:
        return [path]
    plain = ["".join(c if c.isalnum() or c in ".-" else "-" for c in name) for name in names]
    unique = [
        name if plain.count(name) == 1 else f"{name}-{number}"
        for number, name in enumerate(plain, 1)
    ]
    return [path.with_name(f"{path.stem}_{name}{path.suffix}") for name in unique]


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write under a temporary name, and rename when complete."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_stl(path: Path, surface: PaintedSurface, mesh: Mesh) -> None:
    """Write one surface as binary STL: normals outwards, corners (x, y, z) in um."""
    triangles = np.zeros(len(mesh.faces), _TRIANGLE)
    triangles["normal"], triangles["corners"] = mesh.normals, mesh.corners_um
    # not "solid" at the start: readers would take it for text
    header = f"LiveTomo, unit um, RI {surface.level:.4f}, {surface.name}".encode("ascii", "replace")
    with path.open("wb") as file:
        file.write(header[:80].ljust(80))
        file.write(np.uint32(len(triangles)).astype("<u4").tobytes())
        triangles.tofile(file)


def write_ply(path: Path, surfaces: Sequence[PaintedSurface], meshes: Sequence[Mesh]) -> None:
    """Write surfaces as one binary PLY: vertices (x, y, z) in um with colour and opacity."""
    vertices = np.zeros(sum(len(mesh.vertices_um) for mesh in meshes), _VERTEX)
    faces = np.zeros(sum(len(mesh.faces) for mesh in meshes), _FACE)
    faces["count"] = 3
    first = begun = 0
    for surface, mesh in zip(surfaces, meshes, strict=True):
        part = slice(first, first + len(mesh.vertices_um))
        vertices["place"][part], vertices["colour"][part] = mesh.vertices_um, surface.rgba
        faces["vertices"][begun : begun + len(mesh.faces)] = mesh.faces + first
        first, begun = part.stop, begun + len(mesh.faces)
    with path.open("wb") as file:
        file.write(_ply_header(surfaces, len(vertices), len(faces)))
        vertices.tofile(file)
        faces.tofile(file)


def _ply_header(surfaces: Sequence[PaintedSurface], vertices: int, faces: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", "comment LiveTomo, unit um"]
    lines += [f"comment surface at RI {s.level:.4f}: {' '.join(s.name.split())}" for s in surfaces]
    lines += [f"element vertex {vertices}", *(f"property float {axis}" for axis in "xyz")]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    lines += [f"element face {faces}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(lines).encode("ascii", "replace")
