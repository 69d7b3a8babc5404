"""Shown before the first tomogram: the steps that lead to it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from pipeline.wire.state import InstrumentState, Phase
from ui.bars.status_bar import PhaseDot
from ui.style import phase_colour, theme
from ui.widgets.labels import set_text

__all__ = ["WaitingView"]

STEPS = (
    (Phase.STARTING, "Start the instrument"),
    (Phase.BACKGROUND, "Record the empty field as the background"),
    (Phase.LIVE, "Scan, reconstruct and regularize the first tomogram"),
)
HEADLINES = {
    Phase.STARTING: "Starting the instrument",
    Phase.BACKGROUND: "Recording the background",
    Phase.LIVE: "Waiting for the first tomogram",
    Phase.IDLE: "Ready",
    Phase.STOPPED: "Stopped",
    Phase.FAILED: "The instrument has failed",
}


_MOST_RECENT = 5


class WaitingView(QWidget):
    """Headline, status of the instrument, and the steps to the first tomogram.

    ``chosen`` is emitted with the path of a file that was clicked.

    Parameters
    ----------
    recent : sequence of Path
        Files opened lately, offered below the steps.
    """

    chosen = Signal(str)

    def __init__(self, recent: Sequence[Path] = ()) -> None:
        super().__init__()
        self.dot = PhaseDot(40)
        self.headline = QLabel("Connecting to the instrument")
        self.headline.setObjectName("title")
        self.message = QLabel()
        self.steps = tuple(QLabel() for _ in STEPS)
        self._file = False
        column = QVBoxLayout(self)
        column.setSpacing(10)
        column.addStretch(2)
        column.addWidget(self.dot, 0, Qt.AlignmentFlag.AlignHCenter)
        for label in (self.headline, self.message):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            label.setWordWrap(True)
            column.addWidget(label)
        column.addSpacing(16)
        column.addWidget(self._steps(), 0, Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(16)
        self.recent = QLabel()
        self.recent.setVisible(bool(recent))
        self.recent.linkActivated.connect(self.chosen)
        self._recent = tuple(recent[:_MOST_RECENT])
        column.addWidget(self.recent, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)

    def draw_recent(self) -> None:
        """Write the files opened lately, in the colours of the theme."""
        links = (
            f'<a style="color:{theme().accent}" href="{escape(str(path))}">{escape(path.name)}</a>'
            for path in self._recent
        )
        self.recent.setText(
            f'<span style="color:{theme().dim}">Or open</span><br>' + "<br>".join(links)
        )

    def _steps(self) -> QWidget:
        box = QWidget()
        column = QVBoxLayout(box)
        for label in self.steps:
            column.addWidget(label)
        return box

    def enter_file_mode(self) -> None:
        """Show that a file is being opened."""
        self._file = True
        self.headline.setText("Opening the file")

    def draw(self, state: InstrumentState) -> None:
        """Show which step the instrument has reached."""
        if self._file:
            self.dot.draw(theme().accent, True)
            set_text(self.message, state.message)
            return
        phases = [phase for phase, _ in STEPS]
        reached = phases.index(state.phase) if state.phase in phases else -1
        self.dot.draw(phase_colour(state.phase), reached >= 0)
        self.headline.setText(HEADLINES[state.phase])
        set_text(self.message, _message(state), "error" if state.phase is Phase.FAILED else "")
        for step, label in enumerate(self.steps):
            label.setText(_step(STEPS[step][1], step, reached))
            label.setVisible(reached >= 0)


def _message(state: InstrumentState) -> str:
    can_start = state.phase in (Phase.IDLE, Phase.STOPPED, Phase.FAILED)
    # without a running process nothing would answer
    if can_start and any(process.alive for process in state.processes):
        return f"{state.message}\nPress Space to start live imaging."
    return state.message


def _step(text: str, step: int, reached: int) -> str:
    now = theme()
    mark, colour = ("✓", now.accent) if step < reached else ("●○"[step != reached], now.dim)
    return f'<span style="color:{colour}">{mark}</span>&nbsp;&nbsp;' + (
        f'<span style="color:{now.text if step <= reached else now.dim}">{text}</span>'
    )
