"""The actions of one window as Qt's: their keys, menus, buttons and tooltips."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QMenuBar, QToolButton

from ui.actions.action import STRIDE, Action, Situation
from ui.actions.icons import icon
from ui.actions.table import ACTIONS, GROUPS
from ui.style import theme

if TYPE_CHECKING:
    from ui.window import Window

__all__ = ["ActionSet", "keys_text"]

_KEY_WORDS = {"Left": "←", "Right": "→", "Up": "↑", "Down": "↓", "PgDown": "PgDn"}


class ActionSet(QObject):
    """The actions that a window on a file, or on an instrument, has.

    Parameters
    ----------
    window : Window
    file : bool
        The window shows a file.
    """

    def __init__(self, window: "Window", *, file: bool) -> None:
        super().__init__(window)
        self._window = window
        self._made: dict[str, tuple[Action, QAction]] = {}
        for action in ACTIONS:
            if action.fits(file=file):
                self._made[action.name] = (action, self._qt(action))
        self.draw(Situation(file=file))

    def __getitem__(self, name: str) -> QAction:
        """Return Qt's action of that name."""
        return self._made[name][1]

    def __contains__(self, name: str) -> bool:
        return name in self._made

    def __iter__(self) -> Iterator[Action]:
        return (action for action, _ in self._made.values())

    def _qt(self, action: Action) -> QAction:
        made = QAction(action.title, self._window)
        made.setCheckable(action.checked is not None)
        made.setShortcuts([QKeySequence(keys) for keys in action.keys])
        made.setToolTip(_tip(action))
        made.triggered.connect(lambda: self._do(action, 1))
        self._window.addAction(made)
        if action.strides:
            for keys in action.keys:
                far = QShortcut(QKeySequence(f"Shift+{keys}"), self._window)
                far.activated.connect(lambda: self._do(action, STRIDE) if made.isEnabled() else 0)
        return made

    def _do(self, action: Action, steps: int) -> None:
        action.does(self._window, steps)
        self.draw_switches()

    def tip(self, name: str) -> str:
        """Return what an action does, and its key, for another widget that does the same."""
        return _tip(self._made[name][0])

    def draw(self, situation: Situation) -> None:
        """Enable what can be used now; the tooltips of the others say why not."""
        for action, made in self._made.values():
            why = action.hindrance(situation)
            made.setEnabled(not why)
            made.setToolTip(f"{_tip(action)}\nNot now: {why}" if why else _tip(action))

    def draw_switches(self) -> None:
        """Check the switches that are on."""
        for action, made in self._made.values():
            if action.checked is not None:
                made.setChecked(action.checked(self._window))

    def draw_icons(self) -> None:
        """Draw the icons in the colours of the theme."""
        for action, made in self._made.values():
            made.setIcon(icon(action.icon, theme().text))

    def fill(self, menus: QMenuBar) -> None:
        """Make a menu of each group."""
        for group in GROUPS:
            actions = [made for action, made in self._made.values() if action.group == group]
            if actions:
                menu = menus.addMenu(group)
                menu.addActions(actions)
                menu.setToolTipsVisible(True)

    def button(self, name: str, place: str = "") -> QToolButton:
        """Return a button of an action.

        ``place`` is its look in the style sheet: "", "primary", or "icon" for no text.
        """
        button = QToolButton()
        button.setObjectName("command")
        button.setProperty("place", place)
        button.setDefaultAction(self[name])
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        style = Qt.ToolButtonStyle
        button.setToolButtonStyle(
            style.ToolButtonIconOnly if place == "icon" else style.ToolButtonTextBesideIcon
        )
        return button


def _tip(action: Action) -> str:
    keys = keys_text(action)
    return f"{action.help} ({keys})" if keys else action.help


def keys_text(action: Action) -> str:
    """Return the first keys of an action as on the keyboard; "" if it has none."""
    if not action.keys:
        return ""
    *modifiers, key = action.keys[0].split("+") if action.keys[0] != "+" else ["+"]
    return "+".join([*modifiers, _KEY_WORDS.get(key, key)])
