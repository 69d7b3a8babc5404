"""The box around the volume with its scale in um, and the crosshair in it: lines, without Qt.

Lines are in the view: right and down in um from its middle. Of the twelve edges the three that
meet at the farthest corner lie behind all of the volume.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ui.sections.voxel_grid import Position, VoxelGrid
from ui.volume.volume_camera import VolumeCamera

__all__ = ["AxisScale", "Edge", "Tick", "axis_scales", "box_edges", "crosshair_lines"]

Point = tuple[float, float]
Vectors = NDArray[np.float64]

CROSSHAIR_PIECES = 48


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge of the box in the view; ``axis`` is the one along it."""

    start: Point
    end: Point
    axis: int
    behind: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of a scale: where it is in the view, and its position along the axis in um."""

    at: Point
    value_um: float


@dataclass(frozen=True, slots=True)
class AxisScale:
    """The scale along one edge; ``outwards`` is the unit vector away from the box."""

    axis: int
    edge: Edge
    outwards: Point
    ticks: tuple[Tick, ...]


def _corners(grid: VoxelGrid) -> Vectors:
    edges = [grid.edges_um(axis) for axis in range(3)]
    return np.array(list(itertools.product(*edges)))  # (8, 3) z, y, x; bit 2 is z


def box_edges(camera: VolumeCamera, grid: VoxelGrid) -> tuple[Edge, ...]:
    """Return the twelve edges of the volume as the camera sees them."""
    seen = camera.projected(_corners(grid))
    farthest = int(np.argmax(seen[:, 2]))
    edges = []
    for axis in range(3):
        bit = 4 >> axis
        for corner in range(8):
            if corner & bit:
                continue
            start, end = seen[corner].tolist(), seen[corner | bit].tolist()
            behind = farthest in (corner, corner | bit)
            edges.append(Edge((start[0], start[1]), (end[0], end[1]), axis, behind))
    return tuple(edges)


def _length(edge: Edge) -> float:
    return math.dist(edge.start, edge.end)


def _outwards(edge: Edge, middle: Point) -> Point:
    """Return the unit vector across an edge, away from the middle of the box."""
    right, down = edge.end[0] - edge.start[0], edge.end[1] - edge.start[1]
    norm = math.hypot(right, down) or 1.0
    across = (down / norm, -right / norm)
    away = ((edge.start[i] + edge.end[i]) / 2 - middle[i] for i in (0, 1))
    sign = 1 if sum(a * b for a, b in zip(across, away, strict=True)) >= 0 else -1
    return across[0] * sign, across[1] * sign


def axis_scales(
    camera: VolumeCamera, grid: VoxelGrid, step_um: float, shortest_um: float
) -> tuple[AxisScale, ...]:
    """Return the scale of each axis, along the lowest edge on the outline of the box.

    Parameters
    ----------
    camera : VolumeCamera
    grid : VoxelGrid
    step_um : float
        Between ticks.
    shortest_um : float
        Edges that are shorter than this in the view have no scale.
    """
    edges = box_edges(camera, grid)
    middle_of = camera.projected(np.array(grid.middle_um))[:2].tolist()
    middle = (middle_of[0], middle_of[1])
    scales = []
    for axis in range(3):
        along = [edge for edge in edges if edge.axis == axis]
        if _length(along[0]) < shortest_um:
            continue
        edge = max(along, key=lambda e: _outline(e, middle))
        scales.append(AxisScale(axis, edge, _outwards(edge, middle), _ticks(edge, grid, step_um)))
    return tuple(scales)


def _outline(edge: Edge, middle: Point) -> tuple[float, float]:
    """Order edges: those on the outline first, of these the lower, or the left one."""
    out = _outwards(edge, middle)
    away = sum(((edge.start[i] + edge.end[i]) / 2 - middle[i]) * out[i] for i in (0, 1))
    lower = (edge.start[1] + edge.end[1]) / 2 - 0.3 * (edge.start[0] + edge.end[0]) / 2
    return round(away, 6), lower


def _ticks(edge: Edge, grid: VoxelGrid, step_um: float) -> tuple[Tick, ...]:
    low, high = grid.edges_um(edge.axis)
    first, last = math.ceil(low / step_um - 1e-9), math.floor(high / step_um + 1e-9)
    ticks = []
    for number in range(first, last + 1):
        value = number * step_um
        share = (value - low) / (high - low)
        right, down = (edge.start[i] + (edge.end[i] - edge.start[i]) * share for i in (0, 1))
        ticks.append(Tick((right, down), value))
    return tuple(ticks)


def crosshair_lines(cursor_um: Position, grid: VoxelGrid) -> Vectors:
    """Return the three lines through the cursor in pieces: (axes, pieces + 1, 3) positions zyx."""
    lines = np.empty((3, CROSSHAIR_PIECES + 1, 3))
    lines[:] = np.array(cursor_um)
    for axis in range(3):
        lines[axis, :, axis] = np.linspace(*grid.edges_um(axis), CROSSHAIR_PIECES + 1)
    return lines
