"""The window: polls a client, holds the ViewState, and lets its parts draw it.

Nothing here blocks: a timer polls for news, and commands run in a worker thread.
"""

import time
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QApplication,
    QMainWindow,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from acquisition.errors import LiveTomoError
from acquisition.scan_name import scan_name
from pipeline.wire.state import (
    InstrumentState,
    MeasuredView,
    QualityView,
    TomogramView,
)
from ui.actions.action import Situation
from ui.actions.action_set import ActionSet
from ui.actions.help_dialog import HelpDialog
from ui.actions.search_dialog import SearchDialog
from ui.bars.status_bar import StatusBar
from ui.bars.time_bar import TimeBar
from ui.bars.timelapse_bar import TimelapseBar, confirm_end
from ui.bars.toolbar import Toolbar
from ui.bars.waiting import WaitingView
from ui.bench import Bench
from ui.dropped_files import DroppedFiles
from ui.experiment import Experiment
from ui.looking_back import LookingBack
from ui.panels.panel_docks import PanelDocks
from ui.picture_area import PictureArea
from ui.recent_files import RecentFiles
from ui.set_up import SetUp
from ui.settings import Settings
from ui.style import apply_style
from ui.taking_away.taking_away import TakingAway
from ui.view_history import ViewHistory
from ui.viewed_client import Timeline, ViewedClient
from ui.viewmodel import ViewState

__all__ = ["Window"]

POLL_MS = 33


class Window(QMainWindow):
    """The live view of one instrument, or a file with its ``timeline``.

    Parameters
    ----------
    client : ViewedClient
    title : str
    timeline : Timeline or None
        The client, if it plays a file.
    settings : Settings or None
        What is remembered from one start to the next; None: nothing.
    bench : Bench or None
        The instrument, if this program has started it on this machine.
    """

    def __init__(
        self,
        client: ViewedClient,
        *,
        title: str,
        timeline: Timeline | None = None,
        settings: Settings | None = None,
        bench: Bench | None = None,
    ) -> None:
        super().__init__()
        self._client, self._timeline, self._settings = client, timeline, settings
        self.state: ViewState = ViewState() if settings is None else settings.view(ViewState())
        self._history = ViewHistory()
        self._theme = "dark" if settings is None else settings.theme
        self.tomogram: TomogramView | None = None
        self.check: QualityView | None = None
        self.measured: MeasuredView | None = None
        self._looked_back = False  # at a former check, which stays until the user returns
        self.instrument: InstrumentState | None = None
        folder = Path.home() if settings is None else settings.folder
        self.experiment: Experiment = Experiment(self, client, folder)
        self.taking_away: TakingAway = TakingAway(self)
        self.files: RecentFiles = RecentFiles(self, self.experiment, settings)
        self.looking_back: LookingBack | None = None
        self.set_up: SetUp = SetUp(self, self.experiment, bench)
        self._leaving = False
        self.setWindowTitle(title)
        self._build()
        self._connect()
        if timeline is not None:
            self.looking_back = LookingBack(self, timeline)
        here = None if self.looking_back is None else self.looking_back.open
        self.dropped = DroppedFiles(self, here, self.files.open)
        self.dropped.said.connect(self.status.show_answer)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.poll)
        self._timer.start(POLL_MS)

    def _build(self) -> None:
        self._apply_style()  # before there are widgets, all of which it goes through
        file = self._timeline is not None
        self.action_set = ActionSet(self, file=file)
        self.action_set.fill(self.menuBar())
        self.action_set["recent"].setMenu(self.files.menu)
        self.toolbar = Toolbar(self.action_set, file=file)
        self.waiting = WaitingView(() if file else self.files.paths)
        self.stack = QStackedWidget()
        self.docks: PanelDocks = PanelDocks(self.stack, file=file)
        self.sidebar, self.profile = self.docks.sidebar, self.docks.profile
        self.light, self.trust = self.docks.light, self.docks.trust
        self.objects = self.docks.objects
        self.docks.positions.use(self.action_set, self._settings)
        self.picture = PictureArea(self.action_set, self.profile, lambda: self.experiment.folder)
        self.views, self.contrast = self.picture.views, self.picture.contrast
        self.time: TimeBar = TimeBar()
        self.recording = TimelapseBar()
        self.status = StatusBar()
        self._arrange()
        self._draw_theme()
        self.toolbar.draw_view(self.state, None)
        if self._settings is not None:
            self.restoreGeometry(self._settings.geometry)
            self.docks.restoreState(self._settings.layout)

    def _arrange(self) -> None:
        self.stack.addWidget(self.waiting)
        self.stack.addWidget(self.picture)
        body = QVBoxLayout()
        body.setContentsMargins(10, 8, 10, 8)
        body.setSpacing(8)
        body.addWidget(self.toolbar)
        body.addWidget(self.docks, 1)
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
        experiment = self.experiment
        self.toolbar.regularizer_chosen.connect(experiment.choose_regularizer)
        self.toolbar.constraint_chosen.connect(experiment.choose_constraint)
        experiment.changed.connect(self._draw_instrument)
        experiment.said.connect(self.status.show_answer)
        experiment.connect_bar(self.recording)
        experiment.connect_positions(self.docks.positions)
        self.waiting.chosen.connect(lambda name: self.files.open(Path(name)))
        self.picture.requested.connect(self.show_state)
        self.picture.said.connect(self.status.show_answer)
        self.docks.changed.connect(self._draw_actions)
        self.light.angle_chosen.connect(
            lambda angle: experiment.submit("Angle", lambda: self._client.show_angle(angle))
        )
        self.sidebar.place_asked.connect(self._show_place)
        self.trust.scan_asked.connect(self.look_back)
        self.objects.wanted.connect(
            lambda request: experiment.submit(
                "Measure", lambda: self._client.set_measuring(request)
            )
        )
        self.objects.chosen.connect(self._show_object)
        self.objects.said.connect(self.status.show_answer)
        self.objects.save_asked.connect(self.taking_away.table)
        self.objects.folder_chosen.connect(self.taking_away.keep_folder)
        self.docks.fluorescence.changed.connect(
            lambda look: self.show_state(self.state.with_channel(look))
        )

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
            self.docks.draw_frame(updates.interferogram)
        if updates.tomogram is not None:
            self.show_tomogram(updates.tomogram)
        if updates.quality is not None:
            self.show_check(updates.quality)
        if updates.scans is not None:
            self.objects.note(updates.scans)
        if updates.measured is not None:
            self.show_objects(updates.measured)
        if updates.light is not None:
            self.light.draw_light(updates.light)
        if self.looking_back is not None:
            self.looking_back.poll()

    def stop_polling(self) -> None:
        """Stop polling; the display stays."""
        self._timer.stop()

    def show_instrument(self, state: InstrumentState) -> None:
        """Draw the state of the instrument."""
        self.instrument = self.experiment.instrument = state
        self.status.draw(state)
        self.waiting.draw(state)
        self.sidebar.draw_state(state)
        self.objects.draw_state(state.measuring)
        self.docks.positions.draw(state)
        if self.looking_back is not None:
            self.looking_back.draw(state)
        self._draw_instrument()

    def begin_anew(self, path: Path) -> None:
        """Show another file from here on."""
        self.tomogram = self.check = self.measured = None
        self.state = replace(
            self.state, grid=None, contrast=None, followed=(), drawn=None, channels=()
        )
        self._history = ViewHistory()
        self.docks.begin_anew()
        self.picture.begin_anew()
        self.stack.setCurrentWidget(self.waiting)
        self.setWindowTitle(f"LiveTomo - {path.name}")
        if self._settings is not None:
            self._settings.note_opened(path.absolute())

    def show_tomogram(self, tomogram: TomogramView) -> None:
        """Draw a new tomogram."""
        first = self.tomogram is None
        self.tomogram = tomogram
        z, y, x = tomogram.raw.shape
        self.experiment.tomogram_shape = (z, y, x)
        self.docks.draw_tomogram(tomogram)
        if self._timeline is None:
            self.taking_away.recent.note(tomogram)
        self.time.draw_tomogram(tomogram)
        if first:
            self.stack.setCurrentWidget(self.picture)
        state, before = self.state.for_tomogram(tomogram, self.check), self.state
        if state == self.state:
            self._draw_views()
        else:
            self._show(state)
        if first or (state.channels, state.position) != (before.channels, before.position):
            self._draw_actions()

    def show_check(self, check: QualityView) -> None:
        """Draw a new check against total variation."""
        self.docks.draw_check(check)
        if self._looked_back:
            return  # the user looks at a former one
        self.check = check
        if self.state.compared or self.state.overlay == "error":
            self._draw_views()

    def show_objects(self, measured: MeasuredView) -> None:
        """Draw the measured objects of a scan."""
        self.measured = measured
        self.objects.draw(measured)
        self._draw_views()

    def look_back(self, sequence: int) -> None:
        """Show a checked scan of the past beside total variation; live scans go on unseen."""
        if self.looking_back is not None:
            self.looking_back.show_scan(sequence)
            return
        check = self.trust.history.view(sequence)
        if check is None:
            self.status.show_answer(
                f"{scan_name(sequence)} is no longer in memory: record a time-lapse to look back "
                "further",
                "warning",
            )
            return
        self._looked_back, self.check = True, check
        self.show_state(replace(self.state, volume="regularized", beside="tv"))
        self.status.show_answer(
            f"{scan_name(sequence)}, as it was checked; Esc returns to the newest"
        )

    def show_state(self, state: ViewState) -> None:
        """Draw the current tomogram with another ViewState; ``undo`` goes back."""
        self._history.note(self.state, state, time.monotonic())
        self._show(state)
        self._draw_actions()

    def undo(self) -> None:
        """Go back to the view before the last change."""
        self._show(self._on_this_grid(self._history.undo(self.state)))
        self._draw_actions()

    def redo(self) -> None:
        """Return to the view before the last undo."""
        self._show(self._on_this_grid(self._history.redo(self.state)))
        self._draw_actions()

    def _on_this_grid(self, state: ViewState) -> ViewState:
        return state if self.tomogram is None else state.for_tomogram(self.tomogram, self.check)

    def _show(self, state: ViewState) -> None:
        self.state = state
        self.picture.draw_contrast(state, self.tomogram.medium_index if self.tomogram else None)
        self._draw_views()

    def _draw_views(self) -> None:
        on_display = None
        if self.tomogram is not None:
            self.picture.draw(self.state, self.tomogram, self.check, self.measured)
            self.docks.fluorescence.draw(self.state, self.tomogram)
            on_display = self.views.volume
        self.toolbar.draw_view(self.state, on_display)

    def _draw_instrument(self) -> None:
        self.toolbar.draw_instrument(self.instrument, self.experiment.busy)
        recording = self.instrument.recording if self.instrument is not None else None
        self.recording.draw(recording, busy=self.experiment.busy)
        self._draw_actions()

    def _draw_actions(self) -> None:
        self.action_set.draw(
            Situation(
                self.instrument,
                busy=self.experiment.busy,
                file=self._timeline is not None,
                tomogram=self.tomogram is not None,
                channels=len(self.state.channels),
                bench=self.set_up.here,
                undoable=self._history.undoable,
                redoable=self._history.redoable,
            )
        )
        self.action_set.draw_switches()

    # --- actions of the user ---

    def switch(self, flag: str) -> None:
        """Switch one of the flags of the view, by its name."""
        self.show_state(self.state.toggled(flag))

    def move_cursor(self, axis: int, voxels: int) -> None:
        """Move the cursor along an axis and keep it in view."""
        state = self.state.moved(axis, voxels)
        if state.grid is not None:
            layout = self.views.layout_for(state.grid)
            state = replace(state, camera=state.camera.following(state.position_um, layout))
        self.show_state(state)

    def set_contrast(self) -> None:
        """Fit the contrast to the displayed volume, once."""
        self.picture.rescale(replace(self.state, autoscale="once"))

    def take_up(self, tool: str) -> None:
        """Take up a tool, or lay it down."""
        self.show_state(self.state.with_tool(tool))
        if self.state.tool != "cursor":
            self.open_panel("profile")

    def put_away(self) -> None:
        """Lay down the tool and what it drew, and show all sections."""
        if self._looked_back:
            self._looked_back = False
            self.status.show_answer("")
            self.show_state(replace(self.state, beside=""))
        self.show_state(replace(self.state, tool="cursor", drawn=None, enlarged=""))

    def toggle_following(self) -> None:
        """Follow the object under the cursor, or no longer follow one."""
        if self.tomogram is None:
            return
        state = self.state.following(self.tomogram, self.check)
        if state.followed_here is None and self.state.followed_here is None:
            self.status.show_answer(
                "there is nothing to follow at the cursor: move it onto an object", "warning"
            )
        self.show_state(state)

    def open_panel(self, name: str) -> None:
        """Show a panel in front of the others."""
        self.docks.open(name)
        self._draw_views()
        self._draw_actions()

    def _show_place(self, place: str) -> None:
        """Show where a warning comes from."""
        self.docks.open_place(place)
        self._draw_actions()

    def _show_object(self, row: int) -> None:
        """Move the cursor to an object of the table."""
        measured = self.measured
        if measured is None or self.tomogram is None or row >= len(measured.objects):
            return
        if measured.position != self.tomogram.position:
            where = measured.position or "another place"
            number = measured.objects[row].number
            self.status.show_answer(
                f"object {number} is at {where}, which is not on display now", "warning"
            )
            return
        self.show_state(self.state.cursor_at(dict(enumerate(measured.place_of(row)))))

    def toggle_panel(self, name: str) -> None:
        """Show a panel, or close it."""
        self.docks.toggle(name)
        self._draw_views()
        self._draw_actions()

    def toggle_fullscreen(self) -> None:
        """Switch between full screen and a window."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    @property
    def timeline(self) -> Timeline | None:
        """The client, if it plays a file."""
        return self._timeline

    @property
    def is_light(self) -> bool:
        """Whether the colours are light."""
        return self._theme == "light"

    def toggle_theme(self) -> None:
        """Switch between dark colours and light ones."""
        self.set_theme("dark" if self.is_light else "light")

    def set_theme(self, name: str) -> None:
        """Use the colours of a theme, by its name."""
        self._theme = name
        self._apply_style()
        self._draw_theme()

    def _apply_style(self) -> None:
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        apply_style(application, self._theme)

    def _draw_theme(self) -> None:
        self.action_set.draw_icons()
        self.docks.draw_theme()
        self.waiting.draw_recent()
        if self.instrument is not None:
            self.show_instrument(self.instrument)
        else:
            self._draw_instrument()

    def open_search(self) -> None:
        """Search the actions."""
        SearchDialog(self, self.action_set).open()

    def open_help(self) -> None:
        """List all keys."""
        HelpDialog(self, self.action_set).show()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close; ask first if that would end a recording."""
        recording = self.instrument.recording if self.instrument is not None else None
        if recording is not None and recording.running and not self._leaving:
            event.ignore()
            confirm_end(self, recording, self.close_without_asking, closing=True)
            return
        self.stop_polling()
        self.taking_away.close()
        self.picture.close_solid()
        if self._settings is not None:
            self._settings.keep(self._theme, self.experiment.folder, self, self.docks, self.state)
        super().closeEvent(event)

    def close_without_asking(self) -> None:
        """Close without asking."""
        self._leaving = True
        self.close()

    def finish_commands(self) -> None:
        """Stop polling and wait for the running command; call this after the window has closed."""
        self.stop_polling()
        self.set_up.stop()
        self.experiment.commands.close()
