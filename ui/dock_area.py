"""The place of the views, with panels that dock around them, float, or are closed."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabWidget, QWidget

__all__ = ["DockArea"]


class DockArea(QMainWindow):
    """A widget in the middle and panels at its right, as tabs of one another.

    ``changed`` is emitted when a panel was opened or closed.
    """

    changed = Signal()

    def __init__(self, middle: QWidget) -> None:
        super().__init__()
        self.setWindowFlags(Qt.WindowType.Widget)  # a part of the window, no window of its own
        self.setDockOptions(
            QMainWindow.DockOption.AllowTabbedDocks | QMainWindow.DockOption.AllowNestedDocks
        )
        self.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        self.setCentralWidget(middle)
        self._docks: dict[str, QDockWidget] = {}

    def add(self, name: str, title: str, panel: QWidget, *, shown: bool) -> None:
        """Add a panel; ``name`` is kept with the layout."""
        dock = QDockWidget(title)
        dock.setObjectName(name)
        dock.setWidget(panel)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
        for other in self._docks.values():
            self.tabifyDockWidget(other, dock)
            break
        dock.setVisible(shown)
        dock.toggleViewAction().toggled.connect(lambda _: self.changed.emit())
        self._docks[name] = dock

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all panels."""
        return tuple(self._docks)

    def is_open(self, name: str) -> bool:
        """Return whether a panel is open, in front or behind another tab."""
        return not self._docks[name].isHidden()

    def open(self, name: str) -> None:
        """Show a panel in front of the others."""
        self._docks[name].show()
        self._docks[name].raise_()

    def toggle(self, name: str) -> None:
        """Show a panel, or close it."""
        if self.is_open(name):
            self._docks[name].hide()
        else:
            self.open(name)
