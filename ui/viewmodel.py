"""The state of the view as one immutable value, without Qt.

The window holds one ViewState. Keys, clicks and new tomograms replace it as a whole, and the
widgets draw it. Volumes are (z, y, x) RI; positions are in micrometres from the centre
of the volume.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.state import TomogramView
from ui.sections.view_scale import Camera
from ui.sections.voxel_grid import Position, Voxel, VoxelGrid, X, Y, Z

__all__ = [
    "COLORMAPS",
    "Contrast",
    "DisplayedVolume",
    "ViewState",
    "auto_contrast",
    "displayed_volume",
    "grid_of",
    "sections",
    "warning_line",
]

COLORMAPS = ("gray", "viridis", "inferno")
NARROWEST = 0.0005
LOWEST_INDEX, HIGHEST_INDEX = 1.0, 3.0

Volume = NDArray[np.float32]
Sections = tuple[Volume, Volume, Volume]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The RI drawn darkest and brightest."""

    low: float
    high: float

    def with_low(self, low: float) -> "Contrast":
        """Move the lower end; the upper end moves too where they would cross."""
        low = min(max(low, LOWEST_INDEX), HIGHEST_INDEX - NARROWEST)
        return Contrast(low, max(self.high, low + NARROWEST))

    def with_high(self, high: float) -> "Contrast":
        """Move the upper end; the lower end moves too where they would cross."""
        high = max(min(high, HIGHEST_INDEX), LOWEST_INDEX + NARROWEST)
        return Contrast(min(self.low, high - NARROWEST), high)

    def shifted(self, by: float) -> "Contrast":
        """Move both ends by the same amount."""
        by = min(max(by, LOWEST_INDEX - self.low), HIGHEST_INDEX - self.high)
        return Contrast(self.low + by, self.high + by)

    def scaled(self, factor: float) -> "Contrast":
        """Narrow or widen the range around its middle."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        half = max(half * factor, NARROWEST / 2)
        return Contrast(max(middle - half, LOWEST_INDEX), min(middle + half, HIGHEST_INDEX))


@dataclass(frozen=True, slots=True)
class DisplayedVolume:
    """The displayed volume, its label, and a note if it is not the requested one."""

    volume: Volume
    regularized: bool
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ViewState:
    """Cursor, choice of volume, contrast, colours and camera."""

    grid: VoxelGrid | None = None
    cursor: Voxel = (0, 0, 0)
    regularized: bool = True
    projection: bool = False
    crosshair: bool = True
    smooth: bool = True
    colormap: str = COLORMAPS[0]
    contrast: Contrast | None = None
    camera: Camera = field(default_factory=Camera)

    def for_tomogram(self, tomogram: TomogramView) -> "ViewState":
        """Return the state for a new tomogram, changed only by the first one or another grid.

        The contrast is set once and then kept, so that a moving sample does not flicker.
        """
        state = self._on_grid(grid_of(tomogram))
        if state.contrast is None:
            volume = displayed_volume(tomogram, state).volume
            state = replace(state, contrast=auto_contrast(volume, tomogram.medium_index))
        return state

    def _on_grid(self, grid: VoxelGrid) -> "ViewState":
        if grid == self.grid:
            return self
        cursor = grid.centre if self.grid is None else grid.voxel(self.position_um)
        return replace(self, grid=grid, cursor=cursor, camera=Camera(centre_um=grid.middle_um))

    @property
    def position_um(self) -> Position:
        """Position of the cursor, (z, y, x) from the centre of the volume."""
        return self.grid.position_um(self.cursor) if self.grid else (0.0, 0.0, 0.0)

    def cursor_at(self, along: dict[int, float]) -> "ViewState":
        """Move the cursor to the positions ``along`` the given axes, in um."""
        if self.grid is None:
            return self
        z, y, x = (along.get(axis, self.position_um[axis]) for axis in (Z, Y, X))
        return replace(self, cursor=self.grid.voxel((z, y, x)))

    def moved(self, axis: int, voxels: int) -> "ViewState":
        """Move the cursor along one axis, at most to the edge of the volume."""
        if self.grid is None:
            return self
        z, y, x = (c + voxels * (axis == a) for a, c in enumerate(self.cursor))
        return replace(self, cursor=self.grid.clamped((z, y, x)))

    def centred(self) -> "ViewState":
        """Move the cursor to the centre voxel and show the whole volume."""
        return replace(self.fitted(), cursor=self.grid.centre if self.grid else self.cursor)

    def fitted(self) -> "ViewState":
        """Show the whole volume."""
        return replace(self, camera=Camera(centre_um=self.grid.middle_um)) if self.grid else self

    def zoomed(self, factor: float, along: dict[int, float] | None = None) -> "ViewState":
        """Zoom around the positions ``along`` the given axes, in um; else around the cursor."""
        if self.grid is None:
            return self
        z, y, x = ((along or {}).get(axis, self.position_um[axis]) for axis in (Z, Y, X))
        return replace(self, camera=self.camera.zoomed(factor, (z, y, x), self.grid))

    def panned(self, along: dict[int, float]) -> "ViewState":
        """Pan the view by the distances ``along`` the given axes, in um."""
        if self.grid is None:
            return self
        z, y, x = (along.get(axis, 0.0) for axis in (Z, Y, X))
        return replace(self, camera=self.camera.panned((z, y, x), self.grid))

    def toggled(self, flag: str) -> "ViewState":
        """Switch one of the flags: regularized, projection, crosshair or smooth."""
        switched: dict[str, Any] = {flag: not getattr(self, flag)}
        return replace(self, **switched)

    def next_colormap(self) -> "ViewState":
        """Use the next colour map."""
        following = (COLORMAPS.index(self.colormap) + 1) % len(COLORMAPS)
        return replace(self, colormap=COLORMAPS[following])


def grid_of(tomogram: TomogramView) -> VoxelGrid:
    """Return the voxel grid of a tomogram."""
    nz, ny, nx = tomogram.raw.shape
    return VoxelGrid((nz, ny, nx), tomogram.voxel_size_um)


def displayed_volume(tomogram: TomogramView, state: ViewState) -> DisplayedVolume:
    """Return the volume that ``state`` requests; if missing, the raw one and a note."""
    if not state.regularized:
        return DisplayedVolume(tomogram.raw, False, "raw")
    if tomogram.regularized is None:
        note = f"no regularized volume: the method is “{tomogram.method}”"
        return DisplayedVolume(tomogram.raw, False, "raw", note)
    return DisplayedVolume(tomogram.regularized, True, f"regularized · {tomogram.method}")


def warning_line(tomogram: TomogramView, on_display: DisplayedVolume) -> str:
    """Return the warnings about this tomogram in one line; empty if there are none."""
    lost = ", ".join(map(str, tomogram.lost_angles))
    # the warnings of a reconstruction name all angles that it left out
    parts = (*(tomogram.warnings or (lost and f"lost angles: {lost}",)), on_display.note)
    return "; ".join(filter(None, parts))


def sections(volume: Volume, cursor: Voxel, projection: bool) -> Sections:
    """Return the XY, XZ and YZ images, rows down: (y, x), (z, x) and (y, z).

    Through the cursor, or with ``projection`` the maximum along the viewing axis of each panel.
    """
    if projection:
        return volume.max(axis=Z), volume.max(axis=Y), volume.max(axis=X).T
    z, y, x = cursor
    return volume[z], volume[:, y], volume[:, :, x].T


def auto_contrast(volume: Volume, medium_index: float) -> Contrast:
    """Return a contrast in which the medium is dark and the densest structures are not clipped.

    Uses every second voxel in x and y. 0.005 % of the voxels may lie above the range (a nucleolus
    is 0.02 % of a field). Indices below the medium (shadows of the missing cone in a raw volume)
    get at most a fifth of the range.
    """
    low, high = np.percentile(volume[:, ::2, ::2], (0.5, 99.995)).tolist()
    if not math.isfinite(low + high):
        return _rounded(medium_index - 0.01, medium_index + 0.05)
    above = max(high - medium_index, 0.0)
    below = max(medium_index - low, 0.0)
    if below > above:
        return _rounded(medium_index - below, medium_index + max(above, 0.1 * below))
    return _rounded(medium_index - min(below, above / 4), medium_index + above)


def _rounded(low: float, high: float) -> Contrast:
    spread = max(0.002 - (high - low), 0.0) / 2
    return Contrast(round(low - spread, 3), round(high + spread, 3))
