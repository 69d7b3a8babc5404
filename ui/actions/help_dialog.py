"""The list of all keys, and of what the mouse does."""

from collections.abc import Iterable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ui.actions.action import STRIDE, Action
from ui.actions.action_set import keys_text
from ui.actions.table import GROUPS, MOUSE
from ui.widgets.labels import Card, dim_label, heading

__all__ = ["HelpDialog"]

_COLUMNS = (
    ("File", "Edit", "Instrument", "Window"),
    ("Volume", "View"),
    ("Cursor", "Tools"),
    ("Help",),
)


class HelpDialog(QDialog):
    """A list of the keys of all actions, and of what the mouse does.

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
        columns = QHBoxLayout()
        columns.setSpacing(10)
        for names in _COLUMNS:
            cards = QVBoxLayout()
            for name in names:
                if groups[name]:
                    cards.addWidget(_card(name, [(keys_text(a), a.help) for a in groups[name]]))
            if "Help" in names:
                cards.addWidget(_card("Mouse", MOUSE))
            cards.addStretch()
            columns.addLayout(cards)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        column = QVBoxLayout(self)
        column.addLayout(columns)
        bottom = QHBoxLayout()
        bottom.addWidget(dim_label(f"Shift with a cursor key: {STRIDE} voxels or scans at once"), 1)
        bottom.addWidget(close)
        column.addLayout(bottom)


def _card(title: str, rows: Iterable[tuple[str, str]]) -> Card:
    card = Card()
    grid = QGridLayout(card)
    grid.setContentsMargins(12, 8, 12, 8)
    grid.setHorizontalSpacing(14)
    grid.addWidget(heading(title), 0, 0, 1, 2)
    for row, (keys, text) in enumerate(rows, 1):
        name = QLabel(keys)
        name.setStyleSheet("font-weight: 600")
        grid.addWidget(name, row, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(QLabel(text), row, 1)
    grid.setColumnStretch(1, 1)
    return card
