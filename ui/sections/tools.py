"""What a user draws on a section: a line for a profile, a rectangle for statistics; without Qt."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ui.sections.view_scale import PLANES, Plane
from ui.sections.voxel_grid import VoxelGrid

__all__ = ["TOOLS", "Drawn", "Profile", "Region", "line_profile", "region_statistics"]

TOOLS: Final = ("cursor", "line", "region")

Image = NDArray[np.float32]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line, or the rectangle between two corners, in micrometres along right and down.

    Parameters
    ----------
    tool : str
        "line" or "region".
    plane : str
        Name of the plane that it was drawn on.
    begin_um, end_um : (right, down)
    """

    tool: str
    plane: str
    begin_um: Point
    end_um: Point

    def on(self) -> Plane:
        """Return the plane."""
        return next(plane for plane in PLANES if plane.name == self.plane)

    @property
    def length_um(self) -> float:
        """Length of the line, or of the rectangle's diagonal."""
        (r0, d0), (r1, d1) = self.begin_um, self.end_um
        return float(np.hypot(r1 - r0, d1 - d0))


@dataclass(frozen=True, slots=True)
class Profile:
    """RI along a line: ``distance_um`` from its start and ``index``, both (points,)."""

    distance_um: NDArray[np.float64]
    index: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Region:
    """RI in a rectangle of a section, and its area."""

    voxels: int
    area_um2: float
    mean: float
    deviation: float
    lowest: float
    highest: float


def line_profile(image: Image, grid: VoxelGrid, line: Drawn) -> Profile:
    """Return the RI along a line, interpolated bilinearly at steps of half a voxel.

    Parameters
    ----------
    image : (rows, columns) float32
        The section of the line's plane, rows along its down axis.
    grid : VoxelGrid
    line : Drawn
        Points outside the image are left out.
    """
    plane = line.on()
    step = min(grid.voxel_size_um[plane.right], grid.voxel_size_um[plane.down]) / 2
    count = max(int(np.ceil(line.length_um / step)), 1) + 1
    along = np.linspace(0.0, 1.0, count)
    columns = _voxels(line.begin_um[0], line.end_um[0], along, grid, plane.right)
    rows = _voxels(line.begin_um[1], line.end_um[1], along, grid, plane.down)
    height, width = image.shape
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    values = _interpolated(image, rows[inside], columns[inside])
    return Profile(along[inside] * line.length_um, values)


def _voxels(
    begin_um: float, end_um: float, along: NDArray[np.float64], grid: VoxelGrid, axis: int
) -> NDArray[np.float64]:
    positions = begin_um + (end_um - begin_um) * along
    return positions / grid.voxel_size_um[axis] + grid.centre[axis]


def _interpolated(
    image: Image, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    height, width = image.shape
    r0 = np.clip(np.floor(rows).astype(int), 0, max(height - 2, 0))
    c0 = np.clip(np.floor(columns).astype(int), 0, max(width - 2, 0))
    r1, c1 = np.minimum(r0 + 1, height - 1), np.minimum(c0 + 1, width - 1)
    down, right = rows - r0, columns - c0
    upper = image[r0, c0] * (1 - right) + image[r0, c1] * right
    lower = image[r1, c0] * (1 - right) + image[r1, c1] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float64)


def region_statistics(image: Image, grid: VoxelGrid, region: Drawn) -> Region | None:
    """Return the statistics of the voxels whose centres lie in a rectangle; None: there are none.

    Parameters
    ----------
    image : (rows, columns) float32
        The section of the region's plane, rows along its down axis.
    grid : VoxelGrid
    region : Drawn
    """
    plane = region.on()
    columns = _between(region.begin_um[0], region.end_um[0], grid, plane.right)
    rows = _between(region.begin_um[1], region.end_um[1], grid, plane.down)
    values = image[rows, columns].astype(np.float64)
    if values.size == 0:
        return None
    voxel = grid.voxel_size_um[plane.right] * grid.voxel_size_um[plane.down]
    return Region(
        values.size,
        values.size * voxel,
        float(values.mean()),
        float(values.std()),
        float(values.min()),
        float(values.max()),
    )


def _between(one_um: float, other_um: float, grid: VoxelGrid, axis: int) -> slice:
    low, high = sorted((one_um, other_um))
    size, centre = grid.voxel_size_um[axis], grid.centre[axis]
    first = int(np.ceil(low / size + centre - 1e-9))
    last = int(np.floor(high / size + centre + 1e-9))
    return slice(max(first, 0), max(min(last + 1, grid.shape[axis]), 0))
