"""The set-up of a time-lapse: what is recorded, when and where, and what that will take.

The instrument forecasts size and duration while the form is filled in, and says what is wrong; each
problem is shown below its field.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QIcon, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from acquisition.choices import CONSTRAINTS, REGULARIZERS
from pipeline.wire.places import StagePlace
from pipeline.wire.state import ForecastRequest, RecordingForecast, RecordRequest
from ui.style import FIELD_PX
from ui.widgets.labels import dim_label, heading, set_text
from ui.widgets.sizes import resize_on_screen

__all__ = ["RecordDefaults", "RecordDialog"]

_MOST_SCANS: Final = 1_000_000
_LONGEST_S: Final = 7 * 86400.0
_LONGEST_MIN: Final = 60 * 24 * 365.0
_TYPING_MS: Final = 250  # a pause in typing, after which the forecast is asked for
_WIDTH_PX: Final = 980
_HEIGHT_PX: Final = 400  # it grows to what it needs
_NOTES_PX: Final = 64
_LIST_PX: Final = 92
_SPACING_PX: Final = 6


@dataclass(frozen=True, slots=True)
class RecordDefaults:
    """What a time-lapse is offered with.

    Parameters
    ----------
    regularizer, constraint : str
        Those of the live view.
    folder : Path
        Where its files go.
    positions : sequence of StagePlace
        The positions list.
    focus : bool
        Whether the microscope has a focus drive.
    sample_name : str
        Of the last time-lapse.
    tomogram_shape : (z, y, x) or None
        Where a tomogram is on display.
    """

    regularizer: str = "deep"
    constraint: str = "auto"
    folder: Path = field(default_factory=Path.home)
    positions: Sequence[StagePlace] = ()
    focus: bool = False
    sample_name: str = ""
    tomogram_shape: tuple[int, int, int] | None = None


class RecordDialog(QDialog):
    """Dialog to request a time-lapse; ``request`` returns the choice.

    ``forecast_asked`` is emitted with a ForecastRequest after each change; ``show_forecast`` takes
    its answer.

    Parameters
    ----------
    parent : QWidget
    defaults : RecordDefaults
    """

    forecast_asked = Signal(object)

    def __init__(self, parent: QWidget, defaults: RecordDefaults) -> None:
        super().__init__(parent)
        self.setWindowTitle("Record a time-lapse")
        self._defaults = defaults
        self.problems: dict[str, QLabel] = {}
        self._make_sample()
        self._make_times()
        self._make_places()
        self._make_tomograms()
        self.outlook, self.disk = dim_label("asking what it takes"), QLabel()
        self.outlook.setWordWrap(True)
        self.disk.setWordWrap(True)
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(_TYPING_MS)
        self._typing.timeout.connect(self._ask)
        self.finished.connect(self._typing.stop)  # what it takes is of no more use
        self._laid_out = QTimer(self)
        self._laid_out.setSingleShot(True)
        self._laid_out.timeout.connect(self._make_room)
        self._arrange()
        self._connect()
        self._draw()
        self._typing.start()
        resize_on_screen(self, _WIDTH_PX, _HEIGHT_PX)

    # --- what is in it ---

    def _make_sample(self) -> None:
        name = time.strftime("livetomo_%Y-%m-%d_%H%M%S.h5")
        self.output = QLineEdit(str(self._defaults.folder / name))
        self.sample_name = QLineEdit(self._defaults.sample_name)
        self.sample_name.setPlaceholderText("written into the files")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("medium, treatment, what to look for")
        self.notes.setFixedHeight(_NOTES_PX)
        self.notes.setTabChangesFocus(True)

    def _make_times(self) -> None:
        self.at_interval, self.by_sequence = (
            QRadioButton("At an interval"),
            QRadioButton("By a sequence"),
        )
        self.at_interval.setChecked(True)
        self.stacks = _count(1, _MOST_SCANS, 20, " time points")
        self.interval, self.duration = QDoubleSpinBox(), QDoubleSpinBox()
        for box in (self.interval, self.duration):
            box.setMinimumHeight(FIELD_PX)
        self.interval.setRange(0.0, _LONGEST_S)
        self.interval.setValue(5.0)
        self.interval.setSuffix(" s from start to start")
        self.interval.setSpecialValueText("as fast as possible")
        self.duration.setRange(0.0, _LONGEST_MIN)
        self.duration.setDecimals(2)
        self.duration.setSuffix(" min")
        self.sequence = QLineEdit()
        self.sequence.setPlaceholderText("useq sequence, YAML or JSON: times, positions, autofocus")

    def _make_places(self) -> None:
        self.places = QListWidget()
        self.places.setFixedHeight(_LIST_PX)
        for place in self._defaults.positions:
            item = QListWidgetItem(f"{place.name}    {place.text}")
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Unchecked)
            self.places.addItem(item)
        self.autofocus = QCheckBox("Autofocus before each scan")
        self.autofocus.setEnabled(self._defaults.focus)
        self.background = _count(0, _MOST_SCANS, 0, "")
        self.background.setSpecialValueText("never")
        self.background_unit = QComboBox()
        self.background_unit.addItems(["scans", "minutes"])

    def _make_tomograms(self) -> None:
        self.tomograms = QCheckBox("Make tomograms while recording")
        self.tomograms.setChecked(True)
        self.regularizer, self.constraint = QComboBox(), QComboBox()
        for name, choice in REGULARIZERS.items():
            self.regularizer.addItem(choice.title, name)
        for name, title in CONSTRAINTS.items():
            self.constraint.addItem(title, name)
        for box, name in (
            (self.regularizer, self._defaults.regularizer),
            (self.constraint, self._defaults.constraint),
        ):
            box.setCurrentIndex(max(box.findData(name), 0))

    def _arrange(self) -> None:
        left, right = QFormLayout(), QFormLayout()
        left.addRow(heading("Sample"))
        left.addRow("Name", self.sample_name)
        self._row(left, "Notes", self.notes, "notes")
        self._row(left, "File", _with_button(self.output, "Choose", self._choose_output), "output")
        left.addRow(heading("Tomograms"))
        left.addRow(self.tomograms)
        self._row(left, "Regularizer", _beside(self.regularizer, self.constraint), "tomograms")
        left.addRow(dim_label("They go beside the recording, into NAME_tomograms.h5."))
        right.addRow(heading("Times"))
        right.addRow(self.at_interval)
        right.addRow("Number", _beside(self.stacks, self.duration))
        self._row(right, "Interval", self.interval, "times")
        right.addRow(self.by_sequence)
        chosen = _with_button(self.sequence, "Choose", self._choose_sequence)
        self._row(right, "Sequence", chosen, "sequence")
        right.addRow(heading("Places"))
        if self._defaults.positions:
            self._row(right, "Positions", self.places, "positions")
        else:
            text = "where the stage is: name positions in the panel (F7) to visit them"
            self._row(right, "Positions", dim_label(text), "positions")
        self._row(right, "", self.autofocus, "autofocus")
        every = _beside(self.background, self.background_unit)
        self._row(right, "Retake background after", every, "background")
        self._form = QWidget()
        columns = QHBoxLayout(self._form)
        columns.setContentsMargins(0, 0, 0, 0)
        columns.setSpacing(24)
        for form in (left, right):
            form.setVerticalSpacing(_SPACING_PX)
            pushed_up = QVBoxLayout()
            pushed_up.addLayout(form)
            pushed_up.addStretch(1)
            columns.addLayout(pushed_up, 1)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setIcon(QIcon())
        self.start = self.buttons.addButton("Record", QDialogButtonBox.ButtonRole.AcceptRole)
        self.start.setObjectName("primary")
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        self._area = QScrollArea()  # for small screens
        self._area.setWidget(self._form)
        self._area.setWidgetResizable(True)
        self._area.setFrameShape(QFrame.Shape.NoFrame)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        bar = self._area.verticalScrollBar().sizeHint().width()
        self._area.setMinimumWidth(self._form.minimumSizeHint().width() + bar)
        column.addWidget(self._area, 1)
        column.addWidget(heading("What it takes"))
        column.addWidget(self.outlook)
        column.addWidget(self.disk)
        column.addWidget(self.buttons)

    def _row(self, form: QFormLayout, title: str, widget: QWidget, name: str) -> None:
        """Add a field with the line that says what is wrong with it."""
        self.problems[name] = line = QLabel()
        line.setWordWrap(True)
        line.hide()
        both = QWidget()
        column = QVBoxLayout(both)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(widget)
        column.addWidget(line)
        form.addRow(title, both)

    def _connect(self) -> None:
        self.at_interval.toggled.connect(self._draw)
        self.tomograms.toggled.connect(self._draw)
        for text in (self.output, self.sample_name, self.sequence):
            text.textChanged.connect(self._changed)
        self.notes.textChanged.connect(self._changed)
        for box in (self.stacks, self.interval):
            box.valueChanged.connect(self._show_duration)
        self.duration.valueChanged.connect(self._count_by_duration)
        self.background.valueChanged.connect(self._changed)
        for choice in (self.background_unit, self.regularizer, self.constraint):
            choice.currentIndexChanged.connect(self._changed)
        for switch in (self.autofocus, self.tomograms):
            switch.toggled.connect(self._changed)
        self.places.itemChanged.connect(self._changed)

    # --- as it is filled in ---

    def _draw(self) -> None:
        even = self.at_interval.isChecked()
        for widget in (self.stacks, self.interval, self.places):
            widget.setEnabled(even)
        self.duration.setEnabled(even and self.interval.value() > 0)
        self.autofocus.setEnabled(even and self._defaults.focus)
        self.sequence.setEnabled(not even)
        for box in (self.regularizer, self.constraint):
            box.setEnabled(self.tomograms.isChecked())
        self._show_duration()

    def _show_duration(self) -> None:
        """Show how long so many time points take, without asking for so many again."""
        self.duration.setEnabled(self.at_interval.isChecked() and self.interval.value() > 0)
        self.duration.blockSignals(True)
        self.duration.setValue((self.stacks.value() - 1) * self.interval.value() / 60)
        self.duration.blockSignals(False)
        self._changed()

    def _count_by_duration(self) -> None:
        """Take as many time points as fit into the duration."""
        points = int(self.duration.value() * 60 / self.interval.value() + 1e-6) + 1
        self.stacks.blockSignals(True)
        self.stacks.setValue(points)
        self.stacks.blockSignals(False)
        self._changed()

    def _changed(self) -> None:
        self._typing.start()

    def _ask(self) -> None:
        self.forecast_asked.emit(ForecastRequest(self.request(), self._defaults.tomogram_shape))

    def show_forecast(self, forecast: RecordingForecast) -> None:
        """Show what it takes, and each problem below its field."""
        for name, line in self.problems.items():
            problem = forecast.problems.get(name, "")
            set_text(line, problem or forecast.remarks.get(name, ""), _tone(problem))
            line.setVisible(bool(line.text()))
        disk = forecast.problems.get("disk", "")
        set_text(self.disk, disk or _room(forecast), "error" if disk else "")
        self.outlook.setText(_outlook(forecast, self._tomograms_unknown()))
        self.start.setEnabled(not forecast.problems)
        self._laid_out.start()  # the lines have their places then

    def _make_room(self) -> None:
        """Grow where a problem needs lines, as far as the screen goes."""
        view = self._area.viewport()
        needed = self._form.heightForWidth(view.width())  # -1 where no line is broken
        missing = max(needed, self._form.sizeHint().height()) - view.height()
        if missing > 0:
            resize_on_screen(self, self.width(), self.height() + missing)

    def showEvent(self, event: QShowEvent) -> None:
        """Be as high as the form."""
        super().showEvent(event)
        self._make_room()

    def refuse_forecast(self, why: str) -> None:
        """Say why there is no forecast; the time-lapse can be tried all the same."""
        self.outlook.setText(f"no forecast: {why}")
        self.disk.setText("")

    def _tomograms_unknown(self) -> bool:
        return self.tomograms.isChecked() and self._defaults.tomogram_shape is None

    def _choose_output(self) -> None:
        dialog = QFileDialog(self, "Save recording as", self.output.text(), "Recordings (*.h5)")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("h5")
        dialog.fileSelected.connect(self.output.setText)
        dialog.open()

    def _choose_sequence(self) -> None:
        kinds = "useq sequences (*.yaml *.yml *.json)"
        dialog = QFileDialog(self, "Open sequence", str(self._defaults.folder), kinds)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(self._use_sequence)
        dialog.open()

    def _use_sequence(self, path: str) -> None:
        self.sequence.setText(path)
        self.by_sequence.setChecked(True)

    def request(self) -> RecordRequest:
        """Return the chosen time-lapse."""
        even = self.at_interval.isChecked()
        output = Path(self.output.text()).expanduser()
        tomograms = output.with_name(f"{output.stem}_tomograms.h5") if output.name else output
        every = self.background.value() or None
        by_number = self.background_unit.currentIndex() == 0
        return RecordRequest(
            str(output),
            stacks=self.stacks.value() if even else None,
            interval_s=self.interval.value() if even else 0.0,
            sequence=None if even else self.sequence.text(),
            background_every_scans=every if by_number else None,
            background_every_min=None if by_number or every is None else float(every),
            tomograms=str(tomograms) if self.tomograms.isChecked() else None,
            regularizer=self.regularizer.currentData(),
            constraint=self.constraint.currentData(),
            positions=self._chosen() if even else (),
            autofocus=even and self.autofocus.isChecked() and self.autofocus.isEnabled(),
            sample_name=self.sample_name.text().strip(),
            notes=self.notes.toPlainText().strip(),
        )

    def _chosen(self) -> tuple[StagePlace, ...]:
        checked = (
            self.places.item(row).checkState() is Qt.CheckState.Checked
            for row in range(self.places.count())
        )
        pairs = zip(self._defaults.positions, checked, strict=True)
        return tuple(place for place, wanted in pairs if wanted)


def _tone(problem: str) -> str:
    return "error" if problem else "warning"


def _outlook(forecast: RecordingForecast, unknown: bool) -> str:
    if not forecast.scans:
        return "mend what is marked to see what it takes"
    tomograms = f", tomograms {_size(forecast.tomogram_bytes)}" if forecast.tomogram_bytes else ""
    if unknown:
        tomograms = ", tomograms: their size is known once one is on display"
    return (
        f"{forecast.scans} scans in {_lasting(forecast.seconds)}, {forecast.scan_s:.2g} s each: "
        f"recording {_size(forecast.recording_bytes)}{tomograms}"
    )


def _room(forecast: RecordingForecast) -> str:
    if forecast.free_bytes is None:
        return ""
    needed = forecast.recording_bytes + forecast.tomogram_bytes
    share = f", of which it takes {needed / forecast.free_bytes:.1%}" if forecast.free_bytes else ""
    return f"{_size(forecast.free_bytes)} are free on the disk{share}"


def _size(number: float) -> str:
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 1000:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:.3g} TB"


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def _count(low: int, high: int, value: int, suffix: str) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(suffix)
    box.setMinimumHeight(FIELD_PX)
    return box


def _beside(*widgets: QWidget) -> QWidget:
    both = QWidget()
    row = QHBoxLayout(both)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget, 1)
    return both


def _with_button(edit: QLineEdit, text: str, action: Callable[[], None]) -> QWidget:
    """Return the field with a button beside it."""
    both = QWidget()
    row = QHBoxLayout(both)
    row.setContentsMargins(0, 0, 0, 0)
    button = QPushButton(text)
    button.setAutoDefault(False)
    button.clicked.connect(action)
    edit.setMinimumWidth(160)
    row.addWidget(edit, 1)
    row.addWidget(button)
    return both
