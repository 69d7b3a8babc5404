"""One camera for three panels: XY top left, XZ below it, YZ at its right, all at one scale.

Every panel shows the same number of micrometres per pixel on both of its axes, so a voxel with
dz != dx keeps its proportions and a structure lines up across panels. The layout depends on the
widget's size and the volume alone; zoom and centre are the user's.
"""

from dataclasses import dataclass, replace

from files.figures.panels import round_length_um
from ui.sections.voxel_grid import Position, VoxelGrid, X, Y, Z

__all__ = ["PLANES", "Camera", "PanelLayout", "Plane", "arrange", "round_length_um"]

MAX_ZOOM = 40.0
# of the panels along z: captions do not fit below this
MIN_PANEL_PX = 176
GAP_PX = 6
MARGIN = 1.04
SCALE_BAR_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Plane:
    """A section through the volume: the axes to the right and down, and the axis it cuts."""

    name: str
    right: int
    down: int
    cut: int


PLANES = (
    Plane("XY", right=X, down=Y, cut=Z),
    Plane("XZ", right=X, down=Z, cut=Y),
    Plane("YZ", right=Z, down=Y, cut=X),
)


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Widths of the columns, heights of the rows, and the scale that fits the volume."""

    columns: tuple[int, int]
    rows: tuple[int, int]
    fit_um_per_pixel: float
    enlarged: str = ""  # name of the plane that fills the widget

    def size_px(self, plane: Plane) -> tuple[int, int]:
        """Return (width, height) of a plane's panel."""
        if self.enlarged:
            return self.columns[0], self.rows[0]
        return self.columns[plane.right == Z], self.rows[plane.down == Z]

    @property
    def scale_bar_um(self) -> float:
        """Length of a scale bar that fits into every panel at zoom 1 (not rounded)."""
        width = self.columns[0] if self.enlarged else min(self.columns)
        return width * SCALE_BAR_SHARE * self.fit_um_per_pixel

    def span_px(self, axis: int) -> int:
        """Return the pixels along one axis of the volume (the smaller of the two for z)."""
        if self.enlarged:
            plane = next(plane for plane in PLANES if plane.name == self.enlarged)
            return self.columns[0] if axis == plane.right else self.rows[0]
        return (min(self.columns[1], self.rows[1]), self.rows[0], self.columns[0])[axis]


def arrange(width: int, height: int, grid: VoxelGrid, enlarged: str = "") -> PanelLayout:
    """Return the layout of the three panels, or of one that fills ``width`` x ``height`` pixels."""
    if enlarged:
        plane = next(plane for plane in PLANES if plane.name == enlarged)
        across, down = grid.extent_um[plane.right], grid.extent_um[plane.down]
        scale = max(across / max(width, 1), down / max(height, 1))
        return PanelLayout((width, 1), (height, 1), scale * MARGIN, enlarged)
    depth, *lateral = grid.extent_um
    columns = _split(width - GAP_PX, lateral[1], depth)
    rows = _split(height - GAP_PX, lateral[0], depth)
    scale = max(
        lateral[1] / columns[0],
        lateral[0] / rows[0],
        depth / min(columns[1], rows[1]),
    )
    return PanelLayout(columns, rows, scale * MARGIN)


def _split(pixels: int, lateral_um: float, depth_um: float) -> tuple[int, int]:
    deep = round(pixels * depth_um / (lateral_um + depth_um))
    deep = max(1, min(max(deep, MIN_PANEL_PX), pixels // 2))
    return max(1, pixels - deep), deep


@dataclass(frozen=True, slots=True)
class Camera:
    """The view of the panels: ``zoom`` 1 shows the whole volume; ``centre_um`` (z, y, x)."""

    zoom: float = 1.0
    centre_um: Position = (0.0, 0.0, 0.0)

    def zoomed(self, factor: float, anchor_um: Position, grid: VoxelGrid) -> "Camera":
        """Zoom by ``factor``; ``anchor_um`` keeps its place on the screen."""
        zoom = min(max(self.zoom * factor, 1.0), MAX_ZOOM)
        if zoom == 1.0:
            return Camera(1.0, grid.middle_um)
        shrink = self.zoom / zoom
        z, y, x = (a + (c - a) * shrink for a, c in zip(anchor_um, self.centre_um, strict=True))
        return Camera(zoom, (z, y, x)).inside(grid)

    def panned(self, shift_um: Position, grid: VoxelGrid) -> "Camera":
        """Move the centre by ``shift_um``, at most to the edge of the volume."""
        z, y, x = (c + s for c, s in zip(self.centre_um, shift_um, strict=True))
        return replace(self, centre_um=(z, y, x)).inside(grid)

    def inside(self, grid: VoxelGrid) -> "Camera":
        """Return the camera with its centre inside the volume."""
        edges = (grid.edges_um(axis) for axis in (Z, Y, X))
        z, y, x = (min(max(c, e[0]), e[1]) for c, e in zip(self.centre_um, edges, strict=True))
        return replace(self, centre_um=(z, y, x))

    def range_um(self, axis: int, pixels: int, layout: PanelLayout) -> tuple[float, float]:
        """Return the range in um that ``pixels`` along ``axis`` show."""
        half = pixels * layout.fit_um_per_pixel / self.zoom / 2
        return self.centre_um[axis] - half, self.centre_um[axis] + half

    def following(self, position_um: Position, layout: PanelLayout) -> "Camera":
        """Centre on ``position_um`` along the axes where it is outside the panels."""
        centre = list(self.centre_um)
        for axis in (Z, Y, X):
            low, high = self.range_um(axis, layout.span_px(axis), layout)
            if not low <= position_um[axis] <= high:
                centre[axis] = position_um[axis]
        return replace(self, centre_um=(centre[0], centre[1], centre[2]))
