"""A time-lapse in the window: the dialog that requests it, and its progress."""

import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from pipeline.wire.state import RecordingState, RecordRequest
from ui.widgets.labels import ElidedLabel, dim_label, set_text

__all__ = ["RecordDialog", "TimelapseBar", "confirm_end"]

_MOST_SCANS = 1_000_000
_LONGEST_S = 7 * 86400.0
_PROGRESS_WIDTH = 220


class RecordDialog(QDialog):
    """Dialog to request a time-lapse; ``request`` returns the choice.

    Parameters
    ----------
    parent : QWidget
    regularizer : str
        Regularizer of the live view, used for the tomograms.
    constraint : str
        Constraint on the sign of the contrast, as in the live view.
    folder : Path
        Default folder of the files.
    """

    def __init__(self, parent: QWidget, regularizer: str, constraint: str, folder: Path) -> None:
        super().__init__(parent)
        self.setWindowTitle("Record a time-lapse")
        self._regularizer, self._constraint = regularizer, constraint
        name = time.strftime("livetomo_%Y-%m-%d_%H%M%S.h5")
        self.output = QLineEdit(str(folder / name))
        self.at_interval, self.by_sequence = (
            QRadioButton("At an interval"),
            QRadioButton("By a sequence"),
        )
        self.at_interval.setChecked(True)
        self.stacks = _count(1, _MOST_SCANS, 20, " scans")
        self.interval = QDoubleSpinBox()
        self.interval.setRange(0.0, _LONGEST_S)
        self.interval.setValue(5.0)
        self.interval.setSuffix(" s from start to start")
        self.interval.setSpecialValueText("as fast as possible")
        self.sequence = QLineEdit()
        self.sequence.setPlaceholderText("useq sequence, YAML or JSON: times, positions, autofocus")
        self.background = _count(0, _MOST_SCANS, 0, " scans")
        self.background.setSpecialValueText("never")
        self.tomograms = QCheckBox(f"Make tomograms while recording ({regularizer})")
        self.tomograms.setChecked(True)
        self._arrange()
        self.at_interval.toggled.connect(self._draw)
        self._draw()

    def _arrange(self) -> None:
        form = QFormLayout()
        form.addRow("File", _with_button(self.output, "Choose", self._choose_output))
        form.addRow(self.at_interval)
        form.addRow("Number", self.stacks)
        form.addRow("Interval", self.interval)
        form.addRow(self.by_sequence)
        form.addRow("Sequence", _with_button(self.sequence, "Choose", self._choose_sequence))
        form.addRow("Retake background after", self.background)
        form.addRow(self.tomograms)
        form.addRow(dim_label("Tomograms are saved beside the recording, in NAME_tomograms.h5."))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        start = buttons.addButton("Record", QDialogButtonBox.ButtonRole.AcceptRole)
        start.setObjectName("primary")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addWidget(buttons)

    def _draw(self) -> None:
        even = self.at_interval.isChecked()
        self.stacks.setEnabled(even)
        self.interval.setEnabled(even)
        self.sequence.setEnabled(not even)

    def _choose_output(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save recording as", self.output.text(), "Recordings (*.h5)"
        )
        if path:
            self.output.setText(path)

    def _choose_sequence(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Open sequence", str(Path.home()), "useq sequences (*.yaml *.yml *.json)"
        )
        if path:
            self.sequence.setText(path)
            self.by_sequence.setChecked(True)

    def request(self) -> RecordRequest:
        """Return the chosen time-lapse."""
        even = self.at_interval.isChecked()
        output = Path(self.output.text()).expanduser()
        tomograms = output.with_name(f"{output.stem}_tomograms.h5")
        return RecordRequest(
            str(output),
            stacks=self.stacks.value() if even else None,
            interval_s=self.interval.value() if even else 0.0,
            sequence=None if even else self.sequence.text(),
            background_every_scans=self.background.value() or None,
            tomograms=str(tomograms) if self.tomograms.isChecked() else None,
            regularizer=self._regularizer,
            constraint=self._constraint,
        )


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
        self.pause.setVisible(state.running)
        self.stop.setVisible(state.running)
        self.dismiss.setVisible(not state.running)
        self.pause.setEnabled(not busy)
        self.stop.setEnabled(not busy)
        self.show()


def confirm_end(window: QWidget, state: RecordingState, end: Callable[[], None]) -> None:
    """Ask whether to end the recording and close the window; call ``end`` if so."""
    name = Path(state.output).name
    box = QMessageBox(window)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setWindowTitle("End the recording?")
    box.setText(f"{name} is being recorded: {state.done} of {state.total} scans.")
    box.setInformativeText(
        f"Closing the window ends the recording. The scans so far are kept, and "
        f"`launcher.py record --resume -o {name}` continues it."
    )
    ending = box.addButton("End it and close", QMessageBox.ButtonRole.DestructiveRole)
    keep = box.addButton("Keep recording", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    ending.clicked.connect(end)
    box.open()


def _count(low: int, high: int, value: int, suffix: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(suffix)
    return box


def _with_button(field: QLineEdit, text: str, action: Callable[[], None]) -> QWidget:
    """Return the field with a button beside it."""
    both = QWidget()
    row = QHBoxLayout(both)
    row.setContentsMargins(0, 0, 0, 0)
    button = QPushButton(text)
    button.clicked.connect(action)
    field.setMinimumWidth(320)
    row.addWidget(field, 1)
    row.addWidget(button)
    return both
