"""All keys of the window; shortcuts, tooltips and help are made from this table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QDialog,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ui.widgets.labels import Card, heading

__all__ = ["KEYS", "HelpDialog", "Key", "bind_keys", "tooltip"]

STRIDE = 10


@dataclass(frozen=True, slots=True)
class Key:
    """Key sequences of one action; ``display`` is their text in the help."""

    action: str
    sequences: tuple[str, ...]
    text: str
    group: str
    display: str = ""

    @property
    def label(self) -> str:
        """The text of the keys in the help."""
        return self.display or self.sequences[0]


KEYS = (
    Key("live", ("Space",), "Start or stop live imaging", "Instrument"),
    Key("background", ("B",), "Retake the background", "Instrument"),
    Key("record", ("Ctrl+R",), "Record a time-lapse, or stop the current one", "Instrument"),
    Key("volume", ("R",), "Switch between raw and regularized volume", "Volume"),
    Key("tv", ("T",), "Switch between total variation and the regularizer before it", "Volume"),
    Key("projection", ("P",), "Switch between sections and maximum projections", "Volume"),
    Key("smooth", ("I",), "Interpolate between voxels, or not", "Volume"),
    Key("auto", ("A",), "Automatic contrast for the displayed volume", "Volume"),
    Key("colormap", ("G",), "Next colour map: gray, viridis, inferno", "Volume"),
    Key("earlier", (",",), "Previous or next scan", "File", ", ."),
    Key("later", (".",), "", "File"),
    Key("left", ("Left",), "Move along x", "Cursor", "← →"),
    Key("right", ("Right",), "", "Cursor"),
    Key("up", ("Up",), "Move along y", "Cursor", "↑ ↓"),
    Key("down", ("Down",), "", "Cursor"),
    Key("shallower", ("PgUp",), "Move along z", "Cursor", "PgUp PgDown"),
    Key("deeper", ("PgDown",), "", "Cursor"),
    Key("stride", (), f"With a cursor key: {STRIDE} voxels at once", "Cursor", "Shift"),
    Key("crosshair", ("X",), "Show or hide the crosshair", "Cursor"),
    Key("centre", ("Home",), "Move the cursor to the centre, show everything", "Cursor"),
    Key("nearer", ("+", "="), "Zoom in and out around the cursor", "View", "+ -"),
    Key("farther", ("-",), "", "View"),
    Key("fit", ("F",), "Show everything", "View"),
    Key("save", ("Ctrl+S",), "Save an image of the views (PNG)", "Window"),
    Key("fullscreen", ("F11",), "Full screen", "Window"),
    Key("help", ("?", "F1"), "This help", "Window", "? F1"),
    Key("quit", ("Ctrl+Q",), "Close", "Window"),
)
MOUSE = (
    ("Click or drag", "Move the cursor"),
    ("Wheel", "Zoom around the pointer"),
    ("Ctrl + wheel", "Step through the sections"),
    ("Right drag, Shift + drag", "Move the view"),
    ("Double click", "Show everything"),
    ("Drag the colour bar", "Top: highest index; bottom: lowest; middle: both"),
)
STRIDING = ("left", "right", "up", "down", "shallower", "deeper")


def bind_keys(window: QWidget, actions: Mapping[str, Callable[[int], object]]) -> None:
    """Connect every key to its action; an action takes the number of steps, 1 or STRIDE."""
    for key in KEYS:
        for sequence in key.sequences:
            _bind(window, sequence, actions[key.action], 1)
            if key.action in STRIDING:
                _bind(window, f"Shift+{sequence}", actions[key.action], STRIDE)


def _bind(window: QWidget, sequence: str, action: Callable[[int], object], steps: int) -> None:
    shortcut = QShortcut(QKeySequence(sequence), window)
    shortcut.activated.connect(lambda: action(steps))


def tooltip(action: str) -> str:
    """Return the tooltip of an action: what it does, and its key."""
    key = next(key for key in KEYS if key.action == action)
    return f"{key.text} ({key.label})"


class HelpDialog(QDialog):
    """A list of all keys and mouse actions."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and mouse")
        columns = QGridLayout()
        columns.setSpacing(10)
        for place, names in (
            ((0, 0), ("Instrument", "File", "Volume")),
            ((0, 1), ("Cursor", "View")),
            ((1, 1), ("Window",)),
        ):
            columns.addWidget(_card({name: _rows(name) for name in names}), *place)
        columns.addWidget(_card({"Mouse": MOUSE}), 1, 0)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        column = QVBoxLayout(self)
        column.addLayout(columns)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)


def _rows(group: str) -> tuple[tuple[str, str], ...]:
    return tuple((key.label, key.text) for key in KEYS if key.group == group and key.text)


def _card(groups: Mapping[str, tuple[tuple[str, str], ...]]) -> Card:
    card = Card()
    grid = QGridLayout(card)
    grid.setContentsMargins(12, 8, 12, 8)
    grid.setHorizontalSpacing(14)
    for title, rows in groups.items():
        grid.addWidget(heading(title), grid.rowCount(), 0, 1, 2)
        for keys, text in rows:
            row = grid.rowCount()
            name = QLabel(keys)
            name.setStyleSheet("font-weight: 600")
            grid.addWidget(name, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(QLabel(text), row, 1)
    grid.setRowStretch(grid.rowCount(), 1)
    grid.setColumnStretch(1, 1)
    return card
