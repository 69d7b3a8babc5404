"""The bar below the views of a file: which of its scans is on display, and when that was."""

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QSlider

from acquisition.scanning.timestamps import is_possible_time, utc_date
from pipeline.wire.state import Course, TomogramView
from ui.widgets.labels import digits, dim

__all__ = ["TimeBar"]


class TimeBar(QFrame):
    """A slider over the scans, of all positions or of one; hidden unless a file is played."""

    sought = Signal(int)
    position_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider.setRange(0, 0)
        self.slider.setPageStep(1)
        self.positions = QComboBox()
        self.positions.setToolTip("Whose scans are shown: of all stage positions, or of one")
        self.positions.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.positions.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.positions.hide()
        self.place = digits(QLabel())
        self.taken = digits(dim())
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 5, 10, 5)
        row.setSpacing(10)
        row.addWidget(self.positions)
        row.addWidget(self.slider, 1)
        row.addWidget(self.place)
        row.addWidget(self.taken)
        self._course = Course()
        self._shown: int | None = None
        self.slider.valueChanged.connect(self._seek)
        self.positions.activated.connect(
            lambda row: self.position_chosen.emit(self.positions.itemData(row))
        )
        self.hide()

    def step(self, scans: int) -> None:
        """Ask for the scan so many after the one that was asked for last."""
        self.slider.setValue(self.slider.value() + scans)

    def _seek(self, row: int) -> None:
        if row < len(self._course.scans):
            self.sought.emit(self._course.scans[row])

    def draw_course(self, course: Course) -> None:
        """Show which scans there are by now."""
        if course == self._course:
            return
        self._draw_positions(course)
        other, self._course = course.chosen != self._course.chosen, course
        with QSignalBlocker(self.slider):
            self.slider.setMaximum(max(len(course.scans) - 1, 0))
            if other and self._shown is not None:
                self.slider.setValue(course.row(self._shown))
        self.slider.setEnabled(len(course.scans) > 1)
        self._tell()

    def _draw_positions(self, course: Course) -> None:
        with QSignalBlocker(self.positions):
            if course.positions != self._course.positions:
                self.positions.clear()
                self.positions.addItem("All positions", "")
                for name in course.positions:
                    self.positions.addItem(name, name)
            self.positions.setCurrentIndex(self.positions.findData(course.chosen))
        self.positions.setVisible(bool(course.positions))

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show which scan is on display; a slider that is being dragged stays in the hand."""
        self._shown = tomogram.sequence
        if not self.slider.isSliderDown():
            with QSignalBlocker(self.slider):
                self.slider.setValue(self._course.row(tomogram.sequence))
        self._tell()
        where = self._course.place(tomogram.sequence)
        self.taken.setText(", ".join(filter(None, (_when(tomogram.timestamp), where))))

    def _tell(self) -> None:
        self.place.setText(f"{self.slider.value() + 1} of {self.slider.maximum() + 1}")


def _when(timestamp: float) -> str:
    """Return a scan's date on this computer's clock; seconds where it counts from another zero."""
    date = utc_date(timestamp)
    if date is not None:
        return f"{date.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"{timestamp:.2f} s" if timestamp > 0 and is_possible_time(timestamp) else ""
