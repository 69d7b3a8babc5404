"""What the user makes the instrument do from the window; its answers come as signals."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from pipeline.wire.places import SnapRequest, StagePlace
from pipeline.wire.state import ForecastRequest, InstrumentState, RecordingForecast, RecordRequest
from ui.bars.timelapse_bar import TimelapseBar, confirm_end
from ui.bars.toolbar import RUNNING
from ui.command_thread import CommandRunner
from ui.panels.positions_panel import PositionsPanel
from ui.record_dialog import RecordDefaults, RecordDialog
from ui.viewed_client import ViewedClient

__all__ = ["Experiment"]

LIVE_TV = "tv-fast"


class Experiment(QObject):
    """Sends the user's commands to the instrument, one after the other, beside the window.

    Parameters
    ----------
    window : QWidget
        Parent of its dialogs.
    client : ViewedClient
    folder : Path
        Where a dialog for a file begins.
    """

    changed = Signal()  # a command was sent, or has been answered
    said = Signal(str, str)  # a text for the status bar, and its tone

    def __init__(self, window: QWidget, client: ViewedClient, folder: Path) -> None:
        super().__init__(window)
        self._window, self._client = window, client
        self.folder = folder
        self.instrument: InstrumentState | None = None
        self._before_tv = "deep"
        self._positions: PositionsPanel | None = None
        self.dialog: RecordDialog | None = None
        self.sample_name = ""  # of the last time-lapse or snap
        self.tomogram_shape: tuple[int, int, int] | None = None  # of the one on display
        self.commands = CommandRunner(self)
        self.commands.started.connect(lambda name: self.changed.emit())
        self.commands.succeeded.connect(lambda name: self.said.emit("", ""))
        self.commands.failed.connect(
            lambda name, why: self.said.emit(f"{name} failed: {why}", "error")
        )
        self.commands.answered.connect(self.changed)

    def submit(self, name: str, command: Callable[[], None]) -> None:
        """Send a command; ``name`` is shown to the user if it fails."""
        self.commands.submit(name, command)

    def connect_bar(self, bar: TimelapseBar) -> None:
        """Let the buttons of the bar of a time-lapse send their commands."""
        bar.paused.connect(lambda: self.submit("Pause", self._client.pause_recording))
        bar.continued.connect(lambda: self.submit("Continue", self._client.continue_recording))
        bar.finished.connect(self.ask_to_finish)

    def connect_positions(self, panel: PositionsPanel) -> None:
        """Let the positions list move the stage."""
        self._positions = panel
        panel.wanted.connect(self.move_stage)
        panel.said.connect(self.said)

    def snap(self) -> None:
        """Take one scan and show its tomogram."""
        self.submit("Snap", self._client.snap)

    def save_snap(self, request: SnapRequest) -> None:
        """Make the instrument write the last snap; called by a thread that may wait for it."""
        self._client.save_snap(request)
        self.sample_name = request.sample_name

    def add_position(self) -> None:
        """Add the present place of the stage to the positions list."""
        panel = self._positions
        if panel is not None:
            self.commands.ask(self._client.stage_place, panel.add, self._refused("Add position"))

    def move_stage(self, place: StagePlace) -> None:
        """Move the stage to a place."""
        self.submit(f"Go to {place.name}", lambda: self._client.move_stage(place))

    def _refused(self, name: str) -> Callable[[str], None]:
        return lambda why: self.said.emit(f"{name} failed: {why}", "error")

    @property
    def busy(self) -> bool:
        """Whether a command has not been answered yet."""
        return self.commands.busy

    @property
    def records(self) -> bool:
        """Whether a time-lapse is being recorded."""
        recording = self.instrument.recording if self.instrument is not None else None
        return recording is not None and recording.running

    def toggle_live(self) -> None:
        """Start live imaging or playing, or stop it."""
        if self.instrument is not None and self.instrument.phase in RUNNING:
            self.submit("Stop", self._client.stop)
        else:
            self.submit("Start", self._client.start)

    @property
    def keeps(self) -> bool:
        """Whether the object is kept in the middle."""
        return self.instrument is not None and self.instrument.drift.on

    def toggle_keeping(self) -> None:
        """Keep the object in the middle from now on, or do not."""
        wanted = not self.keeps
        self.submit("Keep in the middle", lambda: self._client.keep_in_middle(wanted))

    def retake_background(self) -> None:
        """Retake the background."""
        self.submit("Background", self._client.retake_background)

    def toggle_recording(self) -> None:
        """Open the time-lapse dialog, or end the current time-lapse."""
        if self.instrument is None:
            return
        if self.records:
            self.ask_to_finish()
            return
        dialog = RecordDialog(self._window, self._record_defaults(self.instrument))
        dialog.forecast_asked.connect(lambda asked: self._forecast(dialog, asked))
        dialog.accepted.connect(lambda: self._record(dialog.request()))
        dialog.finished.connect(lambda _: self._put_away(dialog))
        self.dialog = dialog
        dialog.open()

    def _record_defaults(self, state: InstrumentState) -> RecordDefaults:
        return RecordDefaults(
            state.regularizer,
            state.constraint,
            self.folder,
            () if self._positions is None or state.stage is None else self._positions.places,
            state.stage is not None and state.stage.focus,
            self.sample_name,
            self.tomogram_shape,
        )

    def _forecast(self, dialog: RecordDialog, asked: ForecastRequest) -> None:
        """Ask what it takes; an answer that comes after the dialog is closed is dropped."""

        def show(forecast: RecordingForecast) -> None:
            if self.dialog is dialog:
                dialog.show_forecast(forecast)

        def refuse(why: str) -> None:
            if self.dialog is dialog:
                dialog.refuse_forecast(why)

        self.commands.ask(lambda: self._client.forecast(asked), show, refuse)

    def _put_away(self, dialog: RecordDialog) -> None:
        self.dialog = None
        dialog.deleteLater()

    def _record(self, request: RecordRequest) -> None:
        self.folder, self.sample_name = Path(request.output).parent, request.sample_name
        self.submit("Record", lambda: self._client.record(request))

    def ask_to_finish(self) -> None:
        """End the time-lapse if the user means it: no slip of a finger ends a night's run."""
        recording = self.instrument.recording if self.instrument is not None else None
        if recording is not None and recording.running:
            confirm_end(self._window, recording, self.finish_recording)

    def finish_recording(self) -> None:
        """End the time-lapse after the current scan."""
        self.submit("Stop recording", self._client.finish_recording)

    def choose_regularizer(self, name: str) -> None:
        """Use another regularizer for the next scans."""
        self.submit(f"Regularizer {name}", lambda: self._client.set_regularizer(name))

    def choose_constraint(self, name: str) -> None:
        """Use this constraint on the sign of the contrast for the next scans."""
        self.submit(f"Constraint {name}", lambda: self._client.set_constraint(name))

    def toggle_tv(self) -> None:
        """Switch between live total variation and the regularizer before it."""
        if self.instrument is None:
            return
        wanted = LIVE_TV if LIVE_TV in self.instrument.regularizers else "tv"  # in a file
        if self.instrument.regularizer == wanted:
            self.choose_regularizer(self._before_tv)
        else:
            self._before_tv = self.instrument.regularizer
            self.choose_regularizer(wanted)
