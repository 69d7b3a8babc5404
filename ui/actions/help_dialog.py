"""The list of all keys, and of what the mouse does."""

from collections.abc import Iterable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ui.actions.action import STRIDE, Action
from ui.actions.action_set import keys_text
from ui.actions.table import GROUPS, MOUSE
from ui.widgets.labels import Card, dim_label, heading
from ui.widgets.sizes import resize_on_screen

__all__ = ["HelpDialog"]

_COLUMNS = (
    ("File", "Edit", "Tools"),
    ("Instrument", "Window"),
    ("Volume", "View"),
    ("Cursor", "Help"),
)
_WIDTH_PX, _HEIGHT_PX = 1400, 900


class HelpDialog(QDialog):
    """A list of the keys of all actions, and of what the mouse does; tooltips say more.

    Parameters
    ----------
    parent : QWidget
    actions : iterable of Action
        Those of the window.
    """

    def __init__(self, parent: QWidget, actions: Iterable[Action]) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and mouse")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        groups = {group: [a for a in actions if a.group == group] for group in GROUPS}
        page = QWidget()
        columns = QHBoxLayout(page)
        columns.setContentsMargins(0, 0, 0, 0)
        columns.setSpacing(10)
        for names in _COLUMNS:
            cards = QVBoxLayout()
            for name in names:
                if groups[name]:
                    rows = [(keys_text(a), a.title, a.help) for a in groups[name]]
                    cards.addWidget(_card(name, rows))
            if "Help" in names:
                cards.addWidget(_card("Mouse", [(what, does, "") for what, does in MOUSE]))
            cards.addStretch()
            columns.addLayout(cards, 1)
        area = QScrollArea()
        area.setWidget(page)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        column = QVBoxLayout(self)
        column.addWidget(area, 1)
        bottom = QHBoxLayout()
        bottom.addWidget(dim_label(f"Shift with a cursor key: {STRIDE} voxels or scans at once"), 1)
        bottom.addWidget(close)
        column.addLayout(bottom)
        resize_on_screen(self, _WIDTH_PX, _HEIGHT_PX)


def _card(title: str, rows: Iterable[tuple[str, str, str]]) -> Card:
    """Return a card of keys and titles, each with a sentence as its tooltip."""
    card = Card()
    grid = QGridLayout(card)
    grid.setContentsMargins(12, 8, 12, 8)
    grid.setHorizontalSpacing(14)
    grid.addWidget(heading(title), 0, 0, 1, 2)
    for row, (keys, text, sentence) in enumerate(rows, 1):
        name = QLabel(keys)
        name.setStyleSheet("font-weight: 600")
        grid.addWidget(name, row, 0, Qt.AlignmentFlag.AlignTop)
        said = QLabel(text)
        said.setToolTip(sentence)
        name.setToolTip(sentence)
        grid.addWidget(said, row, 1)
    grid.setColumnStretch(1, 1)
    return card
