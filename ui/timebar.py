"""The bar below the views of a file: which of its scans is on display, and when that was."""

from datetime import datetime

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSlider

from pipeline.state import InstrumentState, TomogramView
from ui.labels import digits, dim

__all__ = ["TimeBar"]


class TimeBar(QFrame):
    """A slider over the scans; hidden unless a file is played."""

    sought = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider.setRange(0, 0)
        self.slider.setPageStep(1)
        self.place = digits(QLabel())
        self.taken = digits(dim())
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 5, 10, 5)
        row.setSpacing(10)
        row.addWidget(self.slider, 1)
        row.addWidget(self.place)
        row.addWidget(self.taken)
        self.slider.valueChanged.connect(self.sought)
        self.hide()

    def step(self, scans: int) -> None:
        """Ask for the scan so many after the one that was asked for last."""
        self.slider.setValue(self.slider.value() + scans)

    def draw_state(self, state: InstrumentState) -> None:
        """Show how many scans there are by now."""
        with QSignalBlocker(self.slider):
            self.slider.setMaximum(max(state.scans - 1, 0))
        self.slider.setEnabled(state.scans > 1)
        self._tell()

    def draw_tomogram(self, tomogram: TomogramView) -> None:
        """Show which scan is on display; a slider that is being dragged stays in the hand."""
        if not self.slider.isSliderDown():
            with QSignalBlocker(self.slider):
                self.slider.setValue(tomogram.sequence)
        self._tell()
        known = tomogram.timestamp > 0
        when = datetime.fromtimestamp(tomogram.timestamp).astimezone() if known else None
        self.taken.setText(f"{when:%Y-%m-%d %H:%M:%S}" if when else "")

    def _tell(self) -> None:
        self.place.setText(f"{self.slider.value() + 1} of {self.slider.maximum() + 1}")
