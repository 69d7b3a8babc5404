"""The orthogonal views: XY, XZ below it, YZ at its right, a crosshair through all of them.

Each panel is a picture under an overlay. The panels share only the ViewState that they
draw; a mouse action emits the ViewState that it requests.
"""

from dataclasses import replace

from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QWidget

from acquisition.scan_name import scan_name
from pipeline.wire.state import MeasuredView, QualityView, TomogramView
from ui.sections.channel_look import painted
from ui.sections.colours import DIFFERENCE, Colours, lookup_table, map_colours, outlines
from ui.sections.displayed import (
    DisplayedVolume,
    Sections,
    Volume,
    here,
    map_of,
    sections,
    warning_line,
)
from ui.sections.overlay import Badge, Marks, Overlay
from ui.sections.readout import CursorReadout
from ui.sections.view_scale import GAP_PX, PLANES, PanelLayout, Plane, arrange, round_length_um
from ui.sections.voxel_grid import AXES, VoxelGrid, Z
from ui.style import IMAGE, signed
from ui.viewmodel import ViewState
from ui.widgets.picture import Layer, Picture

__all__ = ["OrthogonalView", "SlicePanel", "colours_of"]


class SlicePanel(Picture):
    """One section as a picture, with its overlay."""

    def __init__(self, plane: Plane, parent: QWidget) -> None:
        super().__init__(parent)
        self.plane = plane
        self.image, self.glow = self.add(), self.add(added=True)
        self.map, self.outlines = self.add(map_colours()), self.add()
        self.overlay = Overlay(self)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fill the panel with the overlay."""
        self.overlay.setGeometry(self.rect())

    def view_range_um(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the displayed range along the right and the down axis."""
        return self.range

    def draw_image(
        self, image: Volume, state: ViewState, levels: tuple[float, float], lookup: Colours
    ) -> None:
        """Show a section; ``levels`` are the darkest and the brightest value of ``lookup``."""
        assert state.grid is not None
        self.image.draw(image, self._place(state.grid), levels, lookup)
        self.interpolate(state.smooth)

    def draw_glow(self, picture: Colours | None, grid: VoxelGrid) -> None:
        """Add the light of fluorescence, (rows, columns, 3), to the section; None: none."""
        self._draw(self.glow, picture, grid)

    def draw_map(self, image: Volume | None, grid: VoxelGrid, highest: float) -> None:
        """Paint a map over the section, strongest at ``highest``; None: no map."""
        self._draw(self.map, image, grid, highest)

    def draw_outlines(self, picture: Colours | None, grid: VoxelGrid) -> None:
        """Paint the outlines of objects over the section; None: none."""
        self._draw(self.outlines, picture, grid)

    def _draw(
        self, layer: Layer, image: Volume | Colours | None, grid: VoxelGrid, highest: float = 255.0
    ) -> None:
        if image is None:
            layer.hide()
        else:
            layer.draw(image, self._place(grid), (0.0, highest))

    def _place(self, grid: VoxelGrid) -> QRectF:
        left, right = grid.edges_um(self.plane.right)
        top, bottom = grid.edges_um(self.plane.down)
        return QRectF(left, top, right - left, bottom - top)

    def draw_marks(self, state: ViewState, layout: PanelLayout, badge: Badge) -> None:
        """Set the displayed range from the camera, and mark the cursor."""
        right, down = self.plane.right, self.plane.down
        ranges = self.range = (
            state.camera.range_um(right, self.width(), layout),
            state.camera.range_um(down, self.height(), layout),
        )
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
                tool=state.tool,
                drawn=state.drawn if state.drawn and state.drawn.plane == self.plane.name else None,
            )
        )

    def _caption(self, state: ViewState) -> str:
        axis = AXES[self.plane.cut]
        if state.projection:
            return f"maximum along {axis}"
        return f"{axis} {signed(state.position_um[self.plane.cut], 2)} µm"


class OrthogonalView(QWidget):
    """The three sections of one volume, and the readout at the cursor.

    Parameters
    ----------
    beside : bool
        Show the volume that the state asks for beside the displayed one, instead of that.
    """

    requested = Signal(ViewState)

    def __init__(self, parent: QWidget | None = None, *, beside: bool = False) -> None:
        super().__init__(parent)
        self._beside = beside
        self._state = ViewState()
        self._shown: tuple[TomogramView, DisplayedVolume] | None = None
        self._projections: tuple[Volume, Sections] | None = None
        self._made: tuple[TomogramView, QualityView | None, object, DisplayedVolume] | None = None
        self.panels = tuple(SlicePanel(plane, self) for plane in PLANES)
        self.readout = CursorReadout(self)
        for panel in self.panels:
            self._connect(panel.overlay)

    def _connect(self, overlay: Overlay) -> None:
        overlay.pointed.connect(lambda along: self.requested.emit(self._state.cursor_at(along)))
        overlay.panned.connect(lambda along: self.requested.emit(self._state.panned(along)))
        overlay.zoomed.connect(lambda by, at: self.requested.emit(self._state.zoomed(by, at)))
        overlay.stepped.connect(lambda axis, by: self.requested.emit(self._state.moved(axis, by)))
        overlay.enlarged.connect(lambda name: self.requested.emit(self._state.with_enlarged(name)))
        overlay.drew.connect(lambda drawn: self.requested.emit(replace(self._state, drawn=drawn)))

    def draw(
        self,
        state: ViewState,
        tomogram: TomogramView,
        check: QualityView | None = None,
        measured: MeasuredView | None = None,
    ) -> None:
        """Show a tomogram, its check against total variation and its objects, as the state says."""
        volume = self._volume(state, tomogram, check)
        images = self._sections(volume.volume, state)
        levels, lookup = colours_of(state, volume, tomogram.medium_index)
        for panel, image in zip(self.panels, images, strict=True):
            panel.draw_image(image, state, levels, lookup)
        notes = (
            volume.note,
            self._draw_map(state, tomogram, check),
            self._draw_objects(state, tomogram, measured),
            self._draw_fluorescence(state, tomogram),
        )
        volume = replace(volume, note="; ".join(filter(None, notes)))
        self._state, self._shown = state, (tomogram, volume)
        self.readout.draw(tomogram, state, volume)
        self._draw_marks()

    def _draw_objects(
        self, state: ViewState, tomogram: TomogramView, measured: MeasuredView | None
    ) -> str:
        """Paint the outlines of the measured objects, if the state wants them; return a note."""
        shown = here(tomogram, measured) if state.outlines else None
        numbers = [found.number for found in shown.objects] if shown is not None else []
        images = sections(shown.labels, state.cursor, state.projection) if shown is not None else ()
        for number, panel in enumerate(self.panels):
            assert state.grid is not None
            picture = outlines(images[number], numbers) if images else None
            panel.draw_outlines(picture, state.grid)
        old = shown is not None and shown.sequence != tomogram.sequence
        return f"outlines of {scan_name(shown.sequence)}" if old and shown is not None else ""

    def _draw_fluorescence(self, state: ViewState, tomogram: TomogramView) -> str:
        """Paint the channels that the state shows; return what there is to say about them."""
        assert state.grid is not None
        looks = [look for look in state.channels if look.shown and state.fluorescence]
        held = {
            look: sections(tomogram.fluorescence[look.name], state.cursor, state.projection)
            for look in looks
            if look.name in tomogram.fluorescence
        }
        for number, panel in enumerate(self.panels):
            images = {look: found[number] for look, found in held.items()}
            panel.draw_glow(painted(images) if images else None, state.grid)
        missing = [look.name for look in looks if look not in held]
        return f"{', '.join(missing)}: not measured at this scan" if missing else ""

    def _draw_map(self, state: ViewState, tomogram: TomogramView, check: QualityView | None) -> str:
        """Paint the map that the state asks for; return what there is to say about it."""
        assert state.grid is not None and state.contrast is not None
        found, note = map_of(tomogram, state.overlay, check, compared=state.compared)
        highest = (state.contrast.high - state.contrast.low) / 4
        images = [None] * 3 if found is None else sections(found, state.cursor, state.projection)
        for panel, image in zip(self.panels, images, strict=True):
            panel.draw_map(image, state.grid, highest)
        return note

    def _volume(
        self, state: ViewState, tomogram: TomogramView, check: QualityView | None
    ) -> DisplayedVolume:
        """Return the volume to show; it is kept, since a difference takes time to compute."""
        kinds = (state.volume, state.beside)
        last = self._made
        if last is not None and last[0] is tomogram and last[1] is check and last[2] == kinds:
            return last[3]
        volume = state.beside_it(tomogram, check) if self._beside else None
        volume = volume or state.on_display(tomogram, check)
        self._made = (tomogram, check, kinds, volume)
        return volume

    @property
    def volume(self) -> DisplayedVolume | None:
        """The volume that is shown; None before the first one."""
        return self._shown[1] if self._shown is not None else None

    def section(self, plane: str) -> Volume | None:
        """Return the displayed image of a plane, by its name."""
        panels = (panel for panel in self.panels if panel.plane.name == plane)
        image: Volume | None = next(panels).image.image
        return image

    def _sections(self, volume: Volume, state: ViewState) -> Sections:
        """Return the images; projections are cached, since the cursor does not change them."""
        if not state.projection:
            return sections(volume, state.cursor, False)
        if self._projections is None or self._projections[0] is not volume:
            self._projections = (volume, sections(volume, state.cursor, True))
        return self._projections[1]

    def _draw_marks(self) -> None:
        if self._state.grid is None or self._shown is None:
            return
        layout = self._arranged(self._state.grid)
        warned = self._state.enlarged or PLANES[0].name
        for panel in self.panels:
            badge = _badge(*self._shown) if panel.plane.name == warned else Badge()
            panel.draw_marks(self._state, layout, badge)

    def _arranged(self, grid: VoxelGrid) -> PanelLayout:
        layout = self.layout_for(grid)
        far = (layout.columns[0] + GAP_PX, layout.rows[0] + GAP_PX)
        for panel in self.panels:
            left = far[0] if panel.plane.right == Z and not layout.enlarged else 0
            top = far[1] if panel.plane.down == Z and not layout.enlarged else 0
            panel.setGeometry(left, top, *layout.size_px(panel.plane))
            panel.setVisible(layout.enlarged in ("", panel.plane.name))
        self.readout.setGeometry(*far, layout.columns[1], layout.rows[1])
        self.readout.setVisible(not layout.enlarged)
        return layout

    def layout_for(self, grid: VoxelGrid) -> PanelLayout:
        """Return the layout of the panels at the current size."""
        enlarged = self._state.enlarged
        known = enlarged in {plane.name for plane in PLANES}  # the 3D view hides the sections
        return arrange(self.width(), self.height(), grid, enlarged if known else "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Arrange the panels for the new size."""
        self._draw_marks()


def colours_of(
    state: ViewState, volume: DisplayedVolume, medium_index: float
) -> tuple[tuple[float, float], Colours]:
    """Return the levels and the colours of a volume; differences are drawn about zero."""
    assert state.contrast is not None
    low, high = state.contrast.low, state.contrast.high
    if volume.difference:
        half = (high - low) / 2
        return (-half, half), lookup_table(DIFFERENCE)
    return (low, high), lookup_table(state.colormap, state.contrast, medium_index)


def _badge(tomogram: TomogramView, volume: DisplayedVolume) -> Badge:
    colour = IMAGE.accent if volume.regularized else IMAGE.text
    return Badge(volume.label.upper(), colour, warning_line(tomogram, volume))
