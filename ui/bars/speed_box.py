"""How fast a file is played: a number of time points a second, or of times the real time."""

from typing import Final

from PySide6.QtCore import QLocale, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QWidget

from pipeline.wire.file_state import PlaySpeed

__all__ = ["SpeedBox", "stepped"]

_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def stepped(speed: PlaySpeed, steps: int) -> PlaySpeed:
    """Return the speed that many steps faster (below 0: slower): 1, 2, 5, 10, 20, ..."""
    above = [value for value in _STEPS if value > speed.value * 1.001]
    below = [value for value in _STEPS if value < speed.value * 0.999]
    if steps > 0:
        value = above[min(steps, len(above)) - 1] if above else _STEPS[-1]
    else:
        value = below[max(len(below) + steps, 0)] if below else _STEPS[0]
    return PlaySpeed(float(value), speed.real_time)


class SpeedBox(QWidget):
    """The speed of playing; ``chosen`` is emitted with a PlaySpeed."""

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.value = QDoubleSpinBox()
        self.value.setLocale(QLocale.c())
        self.value.setDecimals(1)
        self.value.setRange(_STEPS[0], _STEPS[-1])
        self.value.setKeyboardTracking(False)
        self.value.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.value.setToolTip("How fast to play ([ and ] play slower and faster)")
        self.unit = QComboBox()
        self.unit.addItem("time points/s", False)
        self.unit.addItem("x real time", True)
        self.unit.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.unit.setToolTip(
            "Play so many time points a second, or so many times faster than they were taken"
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.value)
        row.addWidget(self.unit)
        self.draw(PlaySpeed())
        self.value.valueChanged.connect(lambda _: self.chosen.emit(self.speed))
        self.unit.activated.connect(lambda _: self.chosen.emit(self.speed))

    @property
    def speed(self) -> PlaySpeed:
        """The speed that is chosen."""
        return PlaySpeed(self.value.value(), bool(self.unit.currentData()))

    def step(self, steps: int) -> None:
        """Play faster, or slower."""
        self.value.setValue(stepped(self.speed, steps).value)

    def draw(self, speed: PlaySpeed) -> None:
        """Show the speed that holds."""
        if self.value.hasFocus():
            return  # it is being typed
        with QSignalBlocker(self.value), QSignalBlocker(self.unit):
            self.value.setValue(speed.value)
            self.unit.setCurrentIndex(self.unit.findData(speed.real_time))
