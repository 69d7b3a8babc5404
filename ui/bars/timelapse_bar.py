"""The bar of a time-lapse in the window: its progress, and how it ended."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from pipeline.wire.state import RecordingState
from ui.widgets.labels import ElidedLabel, set_text

__all__ = ["TimelapseBar", "confirm_end"]

_PROGRESS_WIDTH = 220


class TimelapseBar(QFrame):
    """The current time-lapse, or how the last one ended; hidden if there is none."""

    paused = Signal()
    continued = Signal()
    finished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.summary, self.trouble = ElidedLabel(), ElidedLabel()
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedWidth(_PROGRESS_WIDTH)
        self.pause, self.stop, self.dismiss = (
            QPushButton(text) for text in ("Pause", "Stop", "Dismiss")
        )
        for button in (self.pause, self.stop, self.dismiss):
            button.setObjectName("small")
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.stop.setToolTip("End the time-lapse after the scan that runs (Ctrl+R)")
        self.dismiss.setToolTip("Hide this bar: the files stay as they are")
        self.pause.clicked.connect(self._toggle)
        self.stop.clicked.connect(self.finished)
        self.dismiss.clicked.connect(self._dismiss)
        self._state: RecordingState | None = None
        self._dismissed: str | None = None
        self._arrange()
        self.hide()

    def _arrange(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.progress)
        row.addWidget(self.summary, 1)
        for button in (self.pause, self.stop, self.dismiss):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 5, 10, 5)
        column.addLayout(row)
        column.addWidget(self.trouble)

    def _toggle(self) -> None:
        resumed = self._state is not None and self._state.paused
        (self.continued if resumed else self.paused).emit()

    def _dismiss(self) -> None:
        if self._state is not None:
            self._dismissed = self._state.output
        self.hide()

    def draw(self, state: RecordingState | None, *, busy: bool) -> None:
        """Show a new state; ``busy``: a command has not been answered yet."""
        self._state = state
        if state is None or (not state.running and state.output == self._dismissed):
            self.hide()
            return
        made = "" if state.tomograms is None else f", {state.tomograms} tomograms"
        drift = f", {state.drift}" if state.drift and state.running else ""
        set_text(self.summary, f"{Path(state.output).name}: {state.summary}{made}{drift}")
        set_text(self.trouble, state.error or state.warning, "error" if state.error else "warning")
        self.trouble.setVisible(bool(state.error or state.warning))
        self.progress.setRange(0, max(state.total, 1))
        self.progress.setValue(state.done)
        self.pause.setText("Continue" if state.paused else "Pause")
        self.pause.setToolTip(
            "Go on with the time-lapse, its plan moved by the pause"
            if state.paused
            else "Take no scan of the time-lapse until it goes on; live scans go on"
        )
        self.pause.setVisible(state.running)
        self.stop.setVisible(state.running)
        self.dismiss.setVisible(not state.running)
        self.pause.setEnabled(not busy)
        self.stop.setEnabled(not busy)
        self.show()


def confirm_end(
    window: QWidget, state: RecordingState, end: Callable[[], None], *, closing: bool = False
) -> None:
    """Ask whether to end the recording, and with ``closing`` the window; call ``end`` if so."""
    name = Path(state.output).name
    box = QMessageBox(window)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setWindowTitle("End the recording?")
    box.setText(f"{name} is being recorded: {state.done} of {state.total} scans.")
    box.setInformativeText(
        f"{'Closing the window ends the recording. ' if closing else ''}The scans so far are kept, "
        f"and `launcher.py record --resume -o {name}` continues it."
    )
    ending = box.addButton(
        "End it and close" if closing else "End it", QMessageBox.ButtonRole.DestructiveRole
    )
    keep = box.addButton("Keep recording", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    ending.clicked.connect(end)
    box.open()
