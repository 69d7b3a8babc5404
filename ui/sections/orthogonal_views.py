"""The orthogonal views: XY, XZ below it, YZ at its right, a crosshair through all of them.

Each panel is a pyqtgraph image under an overlay. The panels share only the ViewState that they
draw; a mouse action emits the ViewState that it requests.
"""

from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QPainter, QResizeEvent
from PySide6.QtWidgets import QWidget

from pipeline.wire.state import TomogramView
from ui.sections.overlay import Badge, Marks, Overlay
from ui.sections.readout import CursorReadout
from ui.sections.view_scale import GAP_PX, PLANES, PanelLayout, Plane, arrange, round_length_um
from ui.sections.voxel_grid import AXES, VoxelGrid
from ui.style import IMAGE, signed
from ui.viewmodel import Sections, ViewState, Volume, displayed_volume, sections, warning_line

__all__ = ["OrthogonalView", "SlicePanel", "lookup_table"]


def lookup_table(colormap: str) -> NDArray[np.uint8]:
    """Return the 256 colours of one of the colour maps, (256, 3) uint8."""
    if colormap == "gray":
        return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    table: NDArray[np.uint8] = pg.colormap.get(colormap).getLookupTable(nPts=256)
    return table[:, :3]


class SlicePanel(QWidget):
    """One section as an image, with its overlay."""

    def __init__(self, plane: Plane, parent: QWidget) -> None:
        super().__init__(parent)
        self.plane = plane
        self._view: Any = pg.GraphicsView(self, background="#000000")
        self._box: Any = pg.ViewBox(
            enableMouse=False, enableMenu=False, invertY=True, defaultPadding=0
        )
        self.image: Any = pg.ImageItem(axisOrder="row-major")
        self._view.setCentralItem(self._box)
        self._box.addItem(self.image)
        self.overlay = Overlay(self)
        self._smooth: bool | None = None

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fill the panel with image and overlay."""
        self._view.setGeometry(self.rect())
        self.overlay.setGeometry(self.rect())

    def view_range_um(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the displayed range along the right and the down axis."""
        right, down = self._box.viewRange()
        return tuple(right), tuple(down)

    def draw_image(self, image: Volume, state: ViewState, lookup: NDArray[np.uint8]) -> None:
        """Show a section with the contrast and colours of the state."""
        assert state.grid is not None and state.contrast is not None
        levels = (state.contrast.low, state.contrast.high)
        self.image.setImage(image, autoLevels=False, levels=levels, lut=lookup)
        left, right = state.grid.edges_um(self.plane.right)
        top, bottom = state.grid.edges_um(self.plane.down)
        self.image.setRect(QRectF(left, top, right - left, bottom - top))
        if state.smooth != self._smooth:
            self._smooth = state.smooth
            self._view.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, state.smooth)

    def draw_marks(self, state: ViewState, layout: PanelLayout, badge: Badge) -> None:
        """Set the displayed range from the camera, and mark the cursor."""
        right, down = self.plane.right, self.plane.down
        ranges = (
            state.camera.range_um(right, self.width(), layout),
            state.camera.range_um(down, self.height(), layout),
        )
        self._box.setRange(xRange=ranges[0], yRange=ranges[1], padding=0, disableAutoRange=True)
        self.overlay.draw(
            Marks(
                plane=self.plane,
                low_um=(ranges[0][0], ranges[1][0]),
                um_per_pixel=layout.fit_um_per_pixel / state.camera.zoom,
                cursor_um=(state.position_um[right], state.position_um[down]),
                caption=self._caption(state),
                scale_bar_um=round_length_um(layout.scale_bar_um / state.camera.zoom),
                crosshair=state.crosshair,
                badge=badge,
            )
        )

    def _caption(self, state: ViewState) -> str:
        axis = AXES[self.plane.cut]
        if state.projection:
            return f"maximum along {axis}"
        return f"{axis} {signed(state.position_um[self.plane.cut], 2)} µm"


class OrthogonalView(QWidget):
    """The three sections and the readout at the cursor."""

    requested = Signal(ViewState)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = ViewState()
        self._tomogram: TomogramView | None = None
        self._projections: tuple[Volume, Sections] | None = None
        self.panels = tuple(SlicePanel(plane, self) for plane in PLANES)
        self.readout = CursorReadout(self)
        for panel in self.panels:
            self._connect(panel.overlay)

    def _connect(self, overlay: Overlay) -> None:
        overlay.pointed.connect(lambda along: self.requested.emit(self._state.cursor_at(along)))
        overlay.panned.connect(lambda along: self.requested.emit(self._state.panned(along)))
        overlay.zoomed.connect(lambda by, at: self.requested.emit(self._state.zoomed(by, at)))
        overlay.stepped.connect(lambda axis, by: self.requested.emit(self._state.moved(axis, by)))
        overlay.fitted.connect(lambda: self.requested.emit(self._state.fitted()))

    def draw(self, state: ViewState, tomogram: TomogramView) -> None:
        """Show a tomogram as the state says."""
        on_display = displayed_volume(tomogram, state)
        images = self._sections(on_display.volume, state)
        lookup = lookup_table(state.colormap)
        for panel, image in zip(self.panels, images, strict=True):
            panel.draw_image(image, state, lookup)
        self._state, self._tomogram = state, tomogram
        self.readout.draw(tomogram, state)
        self._draw_marks()

    def _sections(self, volume: Volume, state: ViewState) -> Sections:
        """Return the images; projections are cached, since the cursor does not change them."""
        if not state.projection:
            return sections(volume, state.cursor, False)
        if self._projections is None or self._projections[0] is not volume:
            self._projections = (volume, sections(volume, state.cursor, True))
        return self._projections[1]

    def _draw_marks(self) -> None:
        if self._state.grid is None or self._tomogram is None:
            return
        layout = self._arranged(self._state.grid)
        badges = (_badge(self._tomogram, self._state), Badge(), Badge())
        for panel, badge in zip(self.panels, badges, strict=True):
            panel.draw_marks(self._state, layout, badge)

    def _arranged(self, grid: VoxelGrid) -> PanelLayout:
        layout = arrange(self.width(), self.height(), grid)
        far = (layout.columns[0] + GAP_PX, layout.rows[0] + GAP_PX)
        for panel in self.panels:
            left = far[0] if panel.plane.right == 0 else 0
            top = far[1] if panel.plane.down == 0 else 0
            panel.setGeometry(left, top, *layout.size_px(panel.plane))
        self.readout.setGeometry(*far, layout.columns[1], layout.rows[1])
        return layout

    def layout_for(self, grid: VoxelGrid) -> PanelLayout:
        """Return the layout of the panels at the current size."""
        return arrange(self.width(), self.height(), grid)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Arrange the panels for the new size."""
        self._draw_marks()


def _badge(tomogram: TomogramView, state: ViewState) -> Badge:
    on_display = displayed_volume(tomogram, state)
    colour = IMAGE.accent if on_display.regularized else IMAGE.text
    return Badge(on_display.label.upper(), colour, warning_line(tomogram, on_display))
