"""The camera of the 3D view, without Qt: a parallel projection, so that lengths stay true.

The view has three directions: right and down on the screen, and ahead into it. With x to the
right and y down, z points ahead, as the light travels: (right, down, ahead) is right-handed, and
nothing is mirrored. Positions are (z, y, x) in um from the centre of the volume.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ui.sections.voxel_grid import Position, VoxelGrid

__all__ = ["PRESETS", "Quaternion", "VolumeCamera", "turn"]

Quaternion = tuple[float, float, float, float]
Vectors = NDArray[np.float64]

NEAREST, FARTHEST = 40.0, 0.5  # zoom
MARGIN = 1.2  # for the labels of the scale box


def turn(axis: int, degrees: float) -> Quaternion:
    """Return a turn about right (0), down (1) or ahead (2), as a quaternion (w, x, y, z)."""
    half = math.radians(degrees) / 2
    parts = [math.cos(half), 0.0, 0.0, 0.0]
    parts[axis + 1] = math.sin(half)
    return parts[0], parts[1], parts[2], parts[3]


def _after(second: Quaternion, first: Quaternion) -> Quaternion:
    """Return ``first``, followed by ``second``; normalised."""
    a, b, c, d = second
    e, f, g, h = first
    w = a * e - b * f - c * g - d * h
    x = a * f + b * e + c * h - d * g
    y = a * g - b * h + c * e + d * f
    z = a * h + b * g - c * f + d * e
    norm = math.hypot(w, x, y, z)
    return w / norm, x / norm, y / norm, z / norm


# As the sections of the same names: x right and y down; x right and z down; z right and y down.
PRESETS: Final[dict[str, Quaternion]] = {
    "XY": turn(0, 0),
    "XZ": turn(0, -90),
    "YZ": turn(1, 90),
    "oblique": _after(turn(0, -62), turn(2, -32)),
}


@dataclass(frozen=True, slots=True)
class VolumeCamera:
    """What the 3D view looks at.

    Parameters
    ----------
    orientation : (w, x, y, z)
        Unit quaternion: turns (x, y, z) of the volume into (right, down, ahead).
    zoom : float
        1 shows the whole volume from every side.
    centre_um : (z, y, x)
        The position in the middle of the view.
    """

    orientation: Quaternion = PRESETS["oblique"]
    zoom: float = 1.0
    centre_um: Position = (0.0, 0.0, 0.0)

    @property
    def directions(self) -> Vectors:
        """Right, down and ahead as unit vectors (z, y, x): (3, 3) float64."""
        w, x, y, z = self.orientation
        rows = (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
        return np.array(rows)[:, ::-1]  # from (x, y, z) to (z, y, x)

    def projected(self, positions_um: Vectors) -> Vectors:
        """Return right, down and ahead, in um from the middle of the view, of (..., 3) zyx."""
        return np.asarray((positions_um - np.array(self.centre_um)) @ self.directions.T)

    def position_um(self, right_um: float, down_um: float, ahead_um: float = 0.0) -> Vectors:
        """Return the position (z, y, x) of a point in the view."""
        away = np.array((right_um, down_um, ahead_um)) @ self.directions
        return np.asarray(away + np.array(self.centre_um))

    def um_per_pixel(self, width: int, height: int, grid: VoxelGrid) -> float:
        """Return the scale of a view of this size."""
        diagonal = math.hypot(*grid.extent_um)
        return diagonal * MARGIN / max(min(width, height), 1) / self.zoom

    def turned(self, right_degrees: float, down_degrees: float) -> "VolumeCamera":
        """Turn the volume as if its front were pulled to the right and down, by so many degrees."""
        pulled = _after(turn(1, -right_degrees), turn(0, down_degrees))
        return replace(self, orientation=_after(pulled, self.orientation))

    def panned(self, right_um: float, down_um: float) -> "VolumeCamera":
        """Move the volume to the right and down."""
        z, y, x = self.position_um(-right_um, -down_um).tolist()
        return replace(self, centre_um=(z, y, x))

    def zoomed(self, factor: float, right_um: float = 0.0, down_um: float = 0.0) -> "VolumeCamera":
        """Zoom; the point at ``right_um``, ``down_um`` keeps its place on the screen."""
        zoom = min(max(self.zoom * factor, FARTHEST), NEAREST)
        kept = 1 - self.zoom / zoom
        return replace(self.panned(-right_um * kept, -down_um * kept), zoom=zoom)

    def seen_from(self, preset: str, grid: VoxelGrid) -> "VolumeCamera":
        """Show the whole volume from one of the ``PRESETS``."""
        return replace(self, orientation=PRESETS[preset]).fitted(grid)

    def fitted(self, grid: VoxelGrid) -> "VolumeCamera":
        """Show the whole volume from the same side, as large as a square view allows."""
        spans = np.abs(self.directions[:2]) @ np.array(grid.extent_um)
        zoom = math.hypot(*grid.extent_um) / float(spans.max())
        return replace(self, zoom=zoom, centre_um=grid.middle_um)
