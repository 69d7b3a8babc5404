"""The 3D view: picture, marks and controls, beside the sections and with their cursor.

Import it when it is first shown: nothing else of the window needs OpenGL. It draws in a thread of
its own, and only while it is visible.
"""

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QCoreApplication, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QColor, QHideEvent, QShowEvent
from PySide6.QtWidgets import QLabel, QPushButton, QStackedWidget, QVBoxLayout, QWidget

from pipeline.wire.state import TomogramView
from ui.sections.colours import lookup_table
from ui.sections.displayed import DisplayedVolume, Volume, warning_line
from ui.sections.overlay import Badge
from ui.style import IMAGE
from ui.viewmodel import ViewState
from ui.volume.picking import picked
from ui.volume.ray_caster import Scene
from ui.volume.render_thread import Drawn, RenderThread
from ui.volume.surface_export import SurfaceExport
from ui.volume.volume_canvas import VolumeCanvas
from ui.volume.volume_controls import VolumeControls
from ui.volume.volume_state import Mode, VolumeState, start_surfaces
from ui.widgets.labels import dim_label, set_text

__all__ = ["VolumeView"]

SPIN_MS = 33
DEGREES_PER_S = 20.0
CAPTIONS = {
    Mode.MAXIMUM: "maximum along the rays",
    Mode.ATTENUATED: "attenuated",
    Mode.SURFACES: "surfaces",
}
REMEDY = (
    "The 3D view needs OpenGL 3.3. Over a remote desktop, use one that passes OpenGL on, or on "
    "Windows set QT_OPENGL=software before the start; on Linux install Mesa (libgl1-mesa-dri). "
    "The sections and everything else work without it."
)


class VolumeView(QWidget):
    """The tomogram in 3D, with a strip of controls.

    ``draw`` takes what the sections take; ``requested`` is the ViewState that a click asks for.
    ``state`` is everything that was chosen in this view.
    """

    requested = Signal(ViewState)
    exported = Signal(str)  # what was saved, for the status bar
    export_failed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = VolumeState()
        self._view: ViewState | None = None
        self._tomogram: TomogramView | None = None
        self._on_display: DisplayedVolume | None = None
        self._asked: tuple[Volume, Scene] | None = None
        self.problem = ""
        self.canvas = VolumeCanvas()
        self.controls = VolumeControls()
        self.renderer: RenderThread | None = None
        self.export = SurfaceExport(self)
        self._spin = QTimer(self)
        self._spin.setInterval(SPIN_MS)
        self._build()
        self._connect()

    def _build(self) -> None:
        self.sorry = QLabel()
        self.sorry.setWordWrap(True)
        self.sorry.setAlignment(Qt.AlignmentFlag.AlignCenter)
        remedy = dim_label(REMEDY)
        remedy.setWordWrap(True)
        remedy.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.again = QPushButton("Try again")
        self.again.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.fallback = QWidget()
        column = QVBoxLayout(self.fallback)
        column.setContentsMargins(24, 12, 24, 12)
        column.setSpacing(10)
        column.addStretch()
        column.addWidget(self.sorry)
        column.addWidget(remedy)
        column.addWidget(self.again, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch()
        self.stack = QStackedWidget()
        self.stack.addWidget(self.canvas)
        self.stack.addWidget(self.fallback)
        body = QVBoxLayout(self)
        body.setContentsMargins(0, 0, 0, 0)
        body.setSpacing(2)
        body.addWidget(self.stack, 1)
        body.addWidget(self.controls)

    def _connect(self) -> None:
        self.controls.requested.connect(self.show_state)
        self.controls.start_levels_wanted.connect(self.find_levels)
        self.controls.export_wanted.connect(self.choose_export)
        self.canvas.moved.connect(
            lambda move: self.show_state(self.state.seen(move(self.state.camera)))
        )
        self.canvas.fitted.connect(self.fit)
        self.canvas.pointed.connect(self.point)
        self.canvas.resized.connect(self._ask)
        self.again.clicked.connect(self.try_again)
        self._spin.timeout.connect(self._spin_on)
        self.export.succeeded.connect(self.exported)
        self.export.failed.connect(self.export_failed)
        application = QCoreApplication.instance()
        assert application is not None
        application.aboutToQuit.connect(self.close_renderer)

    # --- what is shown ---

    def draw(
        self, state: ViewState, tomogram: TomogramView, shown: DisplayedVolume | None = None
    ) -> None:
        """Show a tomogram with cursor, contrast and colours of the sections; returns at once.

        ``shown`` is the volume that the sections show; None: that which the state asks for.
        """
        self._on_display = shown or state.on_display(tomogram, None)
        self._view, self._tomogram = state, tomogram
        if state.grid is not None and self.isVisible():
            self._take_up()

    def _take_up(self) -> None:
        """Draw what ``draw`` has brought."""
        assert self._view is not None and self._tomogram is not None
        assert self._view.grid is not None
        volume = self._displayed().volume
        medium = self._tomogram.medium_index
        self.show_state(self.state.for_volume(self._view.grid, volume, medium))

    def _displayed(self) -> DisplayedVolume:
        assert self._on_display is not None
        return self._on_display

    def show_state(self, state: VolumeState) -> None:
        """Draw another state of this view."""
        self.state = state
        self.controls.draw(state)
        if state.spinning != self._spin.isActive() and self.isVisible():
            self._spin.start() if state.spinning else self._spin.stop()
        self._describe()
        self._ask()

    def _describe(self) -> None:
        if self._view is None or self._tomogram is None or self._view.contrast is None:
            return
        shown = self._displayed()
        colour = IMAGE.accent if shown.regularized else IMAGE.text
        badge = Badge(shown.label.upper(), colour, warning_line(self._tomogram, shown))
        self.canvas.describe(
            self._medium_colour(), CAPTIONS[self.state.mode], badge, self._view.crosshair
        )

    def _medium_colour(self) -> QColor:
        """Return the colour that the sections give the medium."""
        assert self._view is not None and self._tomogram is not None
        contrast = self._view.contrast
        assert contrast is not None
        share = (self._tomogram.medium_index - contrast.low) / (contrast.high - contrast.low)
        table = lookup_table(self._view.colormap, contrast, self._tomogram.medium_index)
        red, green, blue = table[round(255 * min(max(share, 0.0), 1.0))].tolist()
        return QColor(red, green, blue)

    def _ask(self) -> None:
        """Ask the thread for a picture, if there is something new to show."""
        if self.renderer is None or self.problem or not self.isVisible():
            return
        scene = self._scene()
        if scene is None:
            return
        volume = self._displayed().volume
        if self._asked is None or self._asked[0] is not volume or self._asked[1] != scene:
            self._asked = (volume, scene)
            self.renderer.ask(volume, scene)

    def _scene(self) -> Scene | None:
        view = self._view
        if view is None or view.contrast is None or self._tomogram is None:
            return None
        if self.state.grid is None or self.state.grid != view.grid:
            return None
        ratio = self.canvas.devicePixelRatioF()
        return Scene(
            state=self.state,
            cursor_um=view.position_um,
            medium_index=self._tomogram.medium_index,
            contrast=view.contrast,
            colormap=view.colormap,
            width=max(round(self.canvas.width() * ratio), 1),
            height=max(round(self.canvas.height() * ratio), 1),
            colours=lookup_table(view.colormap, view.contrast, self._tomogram.medium_index),
        )

    # --- what the user does ---

    def fit(self) -> None:
        """Show the whole volume."""
        if self.state.grid is not None:
            self.show_state(self.state.seen(self.state.camera.fitted(self.state.grid)))

    def find_levels(self) -> None:
        """Set the surfaces to levels found in the volume on display."""
        if self._view is None or self._tomogram is None:
            return
        found = start_surfaces(self._displayed().volume, self._tomogram.medium_index)
        self.show_state(
            replace(
                self.state,
                surfaces=tuple(
                    replace(old, level=new.level)
                    for old, new in zip(self.state.surfaces, found, strict=True)
                ),
            )
        )

    def point(self, right_um: float, down_um: float) -> None:
        """Ask for the cursor at what lies under a point of the view."""
        view, drawn = self._view, self.canvas.drawn
        if view is None or drawn is None or view.contrast is None:
            return
        found = picked(
            drawn.volume,
            drawn.scene.state,
            (right_um, down_um),
            cursor_um=drawn.scene.cursor_um,
            medium=drawn.scene.medium_index,
            contrast=drawn.scene.contrast,
        )
        if found is not None:
            self.requested.emit(view.cursor_at(dict(enumerate(found))))

    def _spin_on(self) -> None:
        degrees = DEGREES_PER_S * SPIN_MS / 1000
        self.show_state(self.state.seen(self.state.camera.turned(degrees, 0.0)))

    def choose_export(self) -> None:
        """Ask for a file name and save the surfaces."""
        if self._view is None or self._tomogram is None or self.state.grid is None:
            return
        self.export.choose(self._displayed().volume, self.state, self._tomogram.medium_index)

    def save_surfaces(self, path: Path) -> None:
        """Save the surfaces to a .stl or .ply file; ``exported`` or ``export_failed`` says how."""
        assert self._tomogram is not None
        self.export.save(path, self._displayed().volume, self.state, self._tomogram.medium_index)

    # --- the thread ---

    def showEvent(self, event: QShowEvent) -> None:
        """Begin to draw."""
        super().showEvent(event)
        if self.renderer is None and not self.problem:
            self._begin()
        if self._view is not None and self._view.grid is not None:
            self._take_up()

    def hideEvent(self, event: QHideEvent) -> None:
        """Stop spinning while hidden."""
        super().hideEvent(event)
        self._spin.stop()
        self._asked = None

    def _begin(self) -> None:
        self.problem = ""
        self.stack.setCurrentWidget(self.canvas)
        self.controls.setEnabled(True)
        self.renderer = RenderThread(self)
        self.renderer.drawn.connect(self._show_picture)
        self.renderer.failed.connect(self._apologise)
        self._asked = None
        self.renderer.begin()

    def _show_picture(self, drawn: Drawn) -> None:
        self.canvas.draw(drawn)

    def _apologise(self, problem: str) -> None:
        """Say in the place of the picture why there is none."""
        self.problem = problem
        set_text(self.sorry, f"No 3D view: {problem}.", "warning")
        self.stack.setCurrentWidget(self.fallback)
        self.controls.setEnabled(False)
        self._spin.stop()

    def try_again(self) -> None:
        """Begin again after a failure."""
        self.close_renderer()
        self._begin()
        self._ask()

    def close_renderer(self) -> None:
        """End the thread; call it before the window is gone."""
        if self.renderer is not None:
            self.renderer.close()
            self.renderer.deleteLater()
            self.renderer = None
        self.export.finish()

    def closeEvent(self, event: QCloseEvent) -> None:
        """End the thread."""
        self.close_renderer()
        super().closeEvent(event)
