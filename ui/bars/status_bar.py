"""The bar at the bottom: the state of the instrument, and the last answer to a command."""

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from pipeline.wire.state import InstrumentState, ProcessState
from ui.style import BUSY_PHASES, phase_colour, theme
from ui.widgets.labels import ElidedLabel, set_text

__all__ = ["PhaseDot", "StatusBar"]

TURN_PER_TICK = 12


class PhaseDot(QWidget):
    """A dot in the colour of the phase; an arc turns around it while the instrument is busy."""

    def __init__(self, size: int = 18) -> None:
        super().__init__()
        self.setFixedSize(size, size)
        self._colour = QColor(theme().dim)
        self._busy = False
        self._turn = 0

    def draw(self, colour: str, busy: bool) -> None:
        """Show a colour, with a turning arc if busy."""
        if (QColor(colour), busy) != (self._colour, self._busy):
            self._colour, self._busy = QColor(colour), busy
            self.update()

    @property
    def busy(self) -> bool:
        """Whether the arc turns."""
        return self._busy

    def advance(self) -> None:
        """Turn the arc a little; called by the timer of the window."""
        if self._busy:
            self._turn = (self._turn + TURN_PER_TICK) % 360
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the dot and the arc."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(2, 2, -2, -2)
        quarter = box.width() / 4
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour)
        painter.drawEllipse(box.adjusted(quarter, quarter, -quarter, -quarter))
        if self._busy:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            width = max(1.5, box.width() / 12)
            faint = QColor(self._colour)
            faint.setAlpha(60)
            painter.setPen(QPen(faint, width))
            painter.drawEllipse(box)
            painter.setPen(QPen(self._colour, width))
            painter.drawArc(box, -self._turn * 16, 110 * 16)
        painter.end()


class StatusBar(QFrame):
    """Phase, message, the last answer to a command and the processes."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("bar")
        self.dot = PhaseDot()
        self.message = ElidedLabel("Connecting to the instrument")
        self.answer = ElidedLabel()
        self.dismiss = QPushButton("Dismiss")
        self.dismiss.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.dismiss.setObjectName("small")
        self.dismiss.clicked.connect(lambda: self.show_answer(""))
        self.processes = QLabel()
        self._arrange()
        self.show_answer("")

    def _arrange(self) -> None:
        self.told = QWidget()
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 5, 10, 5)
        column.addWidget(self.told)
        row, told = QHBoxLayout(), QHBoxLayout(self.told)
        told.setContentsMargins(26, 0, 0, 0)
        row.setSpacing(8)
        row.addWidget(self.dot)
        row.addWidget(self.message, 1)
        row.addWidget(self.processes)
        told.addWidget(self.answer, 1)
        told.addWidget(self.dismiss)
        column.addLayout(row)

    def draw(self, state: InstrumentState) -> None:
        """Show a new state."""
        self.dot.draw(phase_colour(state.phase), state.phase in BUSY_PHASES)
        self.message.setText(state.message)
        self.processes.setText("  ".join(_process(process) for process in state.processes))
        self.processes.setToolTip("\n".join(_process_tip(process) for process in state.processes))

    def show_answer(self, text: str, tone: str = "") -> None:
        """Show the answer to a command until the next one; hide it if ``text`` is empty."""
        set_text(self.answer, text, tone)
        self.told.setVisible(bool(text))


def _process(process: ProcessState) -> str:
    colour = theme().green if process.alive else theme().red
    return f'<span style="color:{colour}">●</span> {process.name}'


def _process_tip(process: ProcessState) -> str:
    restarts = f", restarted {process.restarts} x" if process.restarts else ""
    state = "running" if process.alive else "not running"
    detail = f": {process.detail}" if process.detail else ""
    return f"{process.name}: {state}{restarts}{detail}"
