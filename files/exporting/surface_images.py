"""Surfaces of exported images: one scan of one stage position becomes one STL or PLY."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from acquisition.errors import DataError
from acquisition.scan_name import scan_name
from files.exporting.exported_image import ExportedImage, Volume
from files.exporting.surface_files import PaintedSurface, write_ply, write_stl
from files.exporting.surface_levels import surface_levels
from files.exporting.surfaces import Mesh, surface_mesh

__all__ = ["write_ply_image", "write_stl_image"]

Tell = Callable[[str], None]


def write_stl_image(
    images: Sequence[ExportedImage],
    volumes: Iterator[Volume],
    path: Path,
    levels: Sequence[float],
    tell: Tell,
) -> None:
    """Write the surface of one scan as STL; ``levels`` holds its RI, or nothing: it is found.

    Raises
    ------
    DataError
        If there are several volumes or levels, or no voxel passes the level.
    """
    if len(levels) > 1:
        raise DataError(
            f"an STL holds one surface, got {len(levels)} levels: export to ply, or one at a time"
        )
    ((surface, mesh),) = _meshes(images, volumes, levels, tell)
    write_stl(path, surface, mesh)


def write_ply_image(
    images: Sequence[ExportedImage],
    volumes: Iterator[Volume],
    path: Path,
    levels: Sequence[float],
    tell: Tell,
) -> None:
    """Write the surfaces of one scan as PLY, each in a colour of its own; else as for STL."""
    pairs = _meshes(images, volumes, levels, tell)
    write_ply(path, [surface for surface, _ in pairs], [mesh for _, mesh in pairs])


def _meshes(
    images: Sequence[ExportedImage],
    volumes: Iterator[Volume],
    levels: Sequence[float],
    tell: Tell,
) -> list[tuple[PaintedSurface, Mesh]]:
    (image,) = images
    if len(image.channels) != 1:
        raise DataError(
            f"a file of surfaces must have one kind of volume, got {', '.join(image.channels)}: "
            "choose one with --volume"
        )
    (volume,) = volumes
    medium = image.series.optics.medium_index
    if not levels:
        levels = surface_levels(volume, medium, 1)
        scan = scan_name(int(image.times[0])) + image.of_position
        tell(
            f"without --level, the surface of {scan} is at RI {levels[0]:.4f}, half way from the "
            "medium to the object"
        )
    sizes = image.series.voxel_size_um
    return [
        (surface, surface_mesh(volume, sizes, surface.level, medium))
        for surface in PaintedSurface.numbered(levels)
    ]
