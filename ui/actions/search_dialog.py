"""A search over all actions: type a few letters, press Return."""

from collections.abc import Iterable

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QDialog,
    QHeaderView,
    QLineEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ui.actions.action import Action
from ui.actions.action_set import ActionSet, keys_text
from ui.style import CONTROL_PX

__all__ = ["SearchDialog", "matching"]

_WIDTH, _HEIGHT = 520, 360


def matching(actions: Iterable[Action], words: str) -> list[Action]:
    """Return the actions that hold all words, those whose title begins with them first."""
    wanted = words.casefold().split()

    def holds(action: Action) -> bool:
        text = f"{action.title} {action.help} {action.group} {action.name}".casefold()
        return all(word in text for word in wanted)

    def rank(action: Action) -> tuple[bool, bool]:
        title = action.title.casefold()
        return (
            not title.startswith(" ".join(wanted)),
            not all(word in title for word in wanted),
        )

    return sorted(filter(holds, actions), key=rank)


class SearchDialog(QDialog):
    """A line to type in over the actions that fit, with their keys; Return does the chosen one."""

    def __init__(self, parent: QWidget, actions: ActionSet) -> None:
        super().__init__(parent)
        self.setWindowTitle("Search actions")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(_WIDTH, _HEIGHT)
        self._actions = actions
        self.line = QLineEdit()
        self.line.setPlaceholderText("What do you want to do?")
        self.line.setClearButtonEnabled(True)
        self.line.setMinimumHeight(CONTROL_PX)
        self.list = QTreeWidget()
        self.list.setColumnCount(2)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.header().setStretchLastSection(False)
        self.list.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.list.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        column = QVBoxLayout(self)
        column.addWidget(self.line)
        column.addWidget(self.list)
        self.line.textChanged.connect(self._fill)
        self.line.installEventFilter(self)
        self.list.itemClicked.connect(self._do)
        self._fill("")

    def _fill(self, words: str) -> None:
        self.list.clear()
        for action in matching(self._actions, words):
            made = self._actions[action.name]
            row = QTreeWidgetItem([made.text(), keys_text(action)])
            row.setToolTip(0, made.toolTip())
            row.setData(0, Qt.ItemDataRole.UserRole, action.name)
            row.setDisabled(not made.isEnabled())
            self.list.addTopLevelItem(row)
        self._choose(1, -1)

    def _choose(self, step: int, start: int) -> None:
        """Choose the next row from ``start`` that can be done."""
        row = start + step
        while 0 <= row < self.list.topLevelItemCount():
            item = self.list.topLevelItem(row)
            if item is not None and not item.isDisabled():
                self.list.setCurrentItem(item)
                return
            row += step

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Let the arrow keys choose a row, and Return do it, while the line has the focus."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Down, Qt.Key.Key_Up):
                step = 1 if event.key() == Qt.Key.Key_Down else -1
                self._choose(step, self.list.currentIndex().row())
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._do(self.list.currentItem())
                return True
        return super().eventFilter(watched, event)

    def _do(self, row: QTreeWidgetItem | None) -> None:
        if row is None or row.isDisabled():
            return
        name = row.data(0, Qt.ItemDataRole.UserRole)
        self.close()
        self._actions[name].trigger()
