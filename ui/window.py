"""The window: polls a client, holds the ViewState, and lets its parts draw it.

Nothing here blocks: a timer polls for news, and commands run in a worker thread.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from acquisition.errors import LiveTomoError
from pipeline.wire.state import InstrumentState, RecordRequest, TomogramView
from ui.bars.sidebar import Sidebar
from ui.bars.status_bar import StatusBar
from ui.bars.time_bar import TimeBar
from ui.bars.timelapse_bar import RecordDialog, TimelapseBar, confirm_end
from ui.bars.toolbar import RUNNING, Toolbar
from ui.bars.waiting import WaitingView
from ui.command_thread import CommandRunner
from ui.sections.colour_bar import ContrastColumn
from ui.sections.orthogonal_views import OrthogonalView
from ui.sections.voxel_grid import X, Y, Z
from ui.shortcuts import HelpDialog, bind_keys
from ui.viewed_client import Timeline, ViewedClient
from ui.viewmodel import ViewState, auto_contrast, displayed_volume

__all__ = ["Window"]

POLL_MS = 33
ZOOM_STEP = 1.25
LIVE_TV = "tv-fast"


class Window(QMainWindow):
    """The live view of one instrument, or a file with its ``timeline``."""

    def __init__(
        self, client: ViewedClient, *, title: str, timeline: Timeline | None = None
    ) -> None:
        super().__init__()
        self._client, self._timeline = client, timeline
        self.state = ViewState()
        self.tomogram: TomogramView | None = None
        self.instrument: InstrumentState | None = None
        self._before_tv = "deep"
        self._folder = Path.home()
        self._leaving = False
        self.commands = CommandRunner(self)
        self.setWindowTitle(title)
        self._build()
        self._connect()
        if timeline is not None:
            self._enter_file_mode(timeline)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.poll)
        self._timer.start(POLL_MS)

    def _build(self) -> None:
        self.toolbar = Toolbar()
        self.waiting = WaitingView()
        self.views = OrthogonalView()
        self.contrast = ContrastColumn()
        self.sidebar = Sidebar()
        self.time = TimeBar()
        self.recording = TimelapseBar()
        self.status = StatusBar()
        self.picture = QWidget()
        self.stack = QStackedWidget()
        self._arrange()
        self.toolbar.draw_instrument(None, False)
        self.toolbar.draw_view(self.state, None)

    def _arrange(self) -> None:
        picture = QHBoxLayout(self.picture)
        picture.setContentsMargins(0, 0, 0, 0)
        picture.addWidget(self.views, 1)
        picture.addWidget(self.contrast)
        self.stack.addWidget(self.waiting)
        self.stack.addWidget(self.picture)
        middle = QHBoxLayout()
        middle.setSpacing(10)
        middle.addWidget(self.stack, 1)
        middle.addWidget(self.sidebar)
        body = QVBoxLayout()
        body.setContentsMargins(10, 8, 10, 8)
        body.setSpacing(8)
        body.addWidget(self.toolbar)
        body.addLayout(middle, 1)
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(body, 1)
        column.addWidget(self.time)
        column.addWidget(self.recording)
        column.addWidget(self.status)
        self.setCentralWidget(centre)

    def _connect(self) -> None:
        actions = self._actions()
        bind_keys(self, actions)
        self.toolbar.triggered.connect(lambda name: actions[name](1))
        self.toolbar.regularizer_chosen.connect(self.choose_regularizer)
        self.toolbar.constraint_chosen.connect(self.choose_constraint)
        self.views.requested.connect(self.show_state)
        self.contrast.changed.connect(lambda c: self.show_state(replace(self.state, contrast=c)))
        self.contrast.automatic.connect(self.set_contrast)
        self.contrast.colormap_chosen.connect(
            lambda name: self.show_state(replace(self.state, colormap=name))
        )
        self.recording.paused.connect(
            lambda: self.commands.submit("Pause", self._client.pause_recording)
        )
        self.recording.continued.connect(
            lambda: self.commands.submit("Continue", self._client.continue_recording)
        )
        self.recording.finished.connect(self._finish_recording)
        self.commands.started.connect(lambda name: self._draw_instrument())
        self.commands.succeeded.connect(lambda name: self._answered(""))
        self.commands.failed.connect(lambda name, why: self._answered(f"{name} failed: {why}"))

    def _enter_file_mode(self, timeline: Timeline) -> None:
        """Replace the controls of an instrument with those of a file."""
        self.toolbar.enter_file_mode()
        self.waiting.enter_file_mode()
        self.sidebar.enter_file_mode()
        self.time.show()
        self.time.sought.connect(timeline.seek)
        self.time.position_chosen.connect(timeline.select_position)

    def _actions(self) -> dict[str, Callable[[int], object]]:
        return {
            "live": lambda _: self.toggle_live(),
            "background": lambda _: self.retake_background(),
            "record": lambda _: self.toggle_recording(),
            "volume": lambda _: self.show_state(self.state.toggled("regularized")),
            "tv": lambda _: self.toggle_tv(),
            "projection": lambda _: self.show_state(self.state.toggled("projection")),
            "smooth": lambda _: self.show_state(self.state.toggled("smooth")),
            "crosshair": lambda _: self.show_state(self.state.toggled("crosshair")),
            "auto": lambda _: self.set_contrast(),
            "colormap": lambda _: self.show_state(self.state.next_colormap()),
            "earlier": lambda _: self.time.step(-1),
            "later": lambda _: self.time.step(1),
            "left": lambda steps: self.move_cursor(X, -steps),
            "right": lambda steps: self.move_cursor(X, steps),
            "up": lambda steps: self.move_cursor(Y, -steps),
            "down": lambda steps: self.move_cursor(Y, steps),
            "shallower": lambda steps: self.move_cursor(Z, -steps),
            "deeper": lambda steps: self.move_cursor(Z, steps),
            "centre": lambda _: self.show_state(self.state.centred()),
            "nearer": lambda _: self.show_state(self.state.zoomed(ZOOM_STEP)),
            "farther": lambda _: self.show_state(self.state.zoomed(1 / ZOOM_STEP)),
            "fit": lambda _: self.show_state(self.state.fitted()),
            "save": lambda _: self.save(),
            "fullscreen": lambda _: (
                self.showNormal() if self.isFullScreen() else self.showFullScreen()
            ),
            "help": lambda _: HelpDialog(self).show(),
            "quit": lambda _: self.close(),
        }

    # --- updates from the client ---

    def poll(self) -> None:
        """Poll the client and draw what is new."""
        self.status.dot.advance()
        self.waiting.dot.advance()
        self.sidebar.quality.update_age()
        try:
            updates = self._client.poll(0)
        except LiveTomoError as error:
            self.status.show_answer(str(error), "error")
            return
        if updates.state is not None:
            self.show_instrument(updates.state)
        if updates.interferogram is not None:
            self.sidebar.interferogram.draw(updates.interferogram)
        if updates.tomogram is not None:
            self.show_tomogram(updates.tomogram)
        if updates.quality is not None:
            self.sidebar.quality.draw(updates.quality)

    def stop_polling(self) -> None:
        """Stop polling; the display stays."""
        self._timer.stop()

    def show_instrument(self, state: InstrumentState) -> None:
        """Draw the state of the instrument."""
        self.instrument = state
        self.status.draw(state)
        self.waiting.draw(state)
        self.sidebar.draw_state(state)
        if self._timeline is not None:
            self.time.draw_playlist(self._timeline.playlist)
        self._draw_instrument()

    def show_tomogram(self, tomogram: TomogramView) -> None:
        """Draw a new tomogram."""
        first = self.tomogram is None
        self.tomogram = tomogram
        self.sidebar.draw_tomogram(tomogram)
        self.time.draw_tomogram(tomogram)
        if first:
            self.stack.setCurrentWidget(self.picture)
        state = self.state.for_tomogram(tomogram)
        if state == self.state:
            self._draw_views()
        else:
            self.show_state(state)

    def show_state(self, state: ViewState) -> None:
        """Draw the current tomogram with another ViewState."""
        self.state = state
        self.contrast.draw(state, self.tomogram.medium_index if self.tomogram else None)
        self._draw_views()

    def _draw_views(self) -> None:
        on_display = None
        if self.tomogram is not None:
            on_display = displayed_volume(self.tomogram, self.state)
            self.views.draw(self.state, self.tomogram)
        self.toolbar.draw_view(self.state, on_display)

    def _draw_instrument(self) -> None:
        self.toolbar.draw_instrument(self.instrument, self.commands.busy)
        recording = self.instrument.recording if self.instrument is not None else None
        self.recording.draw(recording, busy=self.commands.busy)

    # --- actions of the user ---

    def move_cursor(self, axis: int, voxels: int) -> None:
        """Move the cursor along an axis and keep it in view."""
        state = self.state.moved(axis, voxels)
        if state.grid is not None:
            layout = self.views.layout_for(state.grid)
            state = replace(state, camera=state.camera.following(state.position_um, layout))
        self.show_state(state)

    def set_contrast(self) -> None:
        """Set automatic contrast for the displayed volume."""
        if self.tomogram is not None:
            volume = displayed_volume(self.tomogram, self.state).volume
            contrast = auto_contrast(volume, self.tomogram.medium_index)
            self.show_state(replace(self.state, contrast=contrast))

    def toggle_live(self) -> None:
        """Start live imaging or playing, or stop it."""
        if self.instrument is None or self.commands.busy:
            return
        if self.instrument.phase in RUNNING:
            self.commands.submit("Stop", self._client.stop)
        else:
            self.commands.submit("Start", self._client.start)

    def retake_background(self) -> None:
        """Retake the background."""
        if self.instrument is not None and self._timeline is None and not self.commands.busy:
            self.commands.submit("Background", self._client.retake_background)

    def toggle_recording(self) -> None:
        """Open the time-lapse dialog, or end the current time-lapse."""
        if self.instrument is None or self._timeline is not None or self.commands.busy:
            return
        if self.instrument.recording is not None and self.instrument.recording.running:
            self._finish_recording()
            return
        how = (self.instrument.regularizer, self.instrument.constraint)
        dialog = RecordDialog(self, *how, self._folder)
        dialog.accepted.connect(lambda: self._record(dialog.request()))
        dialog.open()

    def _record(self, request: RecordRequest) -> None:
        self._folder = Path(request.output).parent
        self.commands.submit("Record", lambda: self._client.record(request))

    def _finish_recording(self) -> None:
        self.commands.submit("Stop recording", self._client.finish_recording)

    def choose_regularizer(self, name: str) -> None:
        """Use another regularizer for the next scans."""
        self.commands.submit(f"Regularizer {name}", lambda: self._client.set_regularizer(name))

    def choose_constraint(self, name: str) -> None:
        """Use this constraint on the sign of the contrast for the next scans."""
        self.commands.submit(f"Constraint {name}", lambda: self._client.set_constraint(name))

    def toggle_tv(self) -> None:
        """Switch between live total variation and the regularizer before it."""
        if self.instrument is None or self.commands.busy:
            return
        wanted = LIVE_TV if LIVE_TV in self.instrument.regularizers else "tv"  # in a file
        if self.instrument.regularizer == wanted:
            self.choose_regularizer(self._before_tv)
        else:
            self._before_tv = self.instrument.regularizer
            self.choose_regularizer(wanted)

    def _answered(self, error: str) -> None:
        self.status.show_answer(error, "error")
        self._draw_instrument()

    def toggle_fullscreen(self) -> None:
        """Switch between full screen and a window."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def save(self) -> None:
        """Ask for a file name and save an image of the views."""
        picture = self.picture.grab()
        name = time.strftime("livetomo_%Y-%m-%d_%H%M%S.png")
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the views", str(Path.home() / name), "Images (*.png)"
        )
        if path and picture.save(path, "PNG"):
            self.status.show_answer(f"saved {path}")
        elif path:
            self.status.show_answer(
                f"the image could not be written to {path}: check the folder and its permissions",
                "error",
            )

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close; ask first if that would end a recording."""
        recording = self.instrument.recording if self.instrument is not None else None
        if recording is not None and recording.running and not self._leaving:
            event.ignore()
            confirm_end(self, recording, self.close_without_asking)
            return
        self.stop_polling()
        super().closeEvent(event)

    def close_without_asking(self) -> None:
        """Close without asking."""
        self._leaving = True
        self.close()

    def finish_commands(self) -> None:
        """Stop polling and wait for the running command; call this after the window has closed."""
        self.stop_polling()
        self.commands.close()
