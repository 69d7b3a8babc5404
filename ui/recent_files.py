"""Files that the user opens from the window: a dialog, and those opened lately."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, QPoint
from PySide6.QtWidgets import QFileDialog, QMenu, QWidget

from ui.experiment import Experiment
from ui.open_file import PATTERNS, open_file
from ui.settings import Settings

__all__ = ["RecentFiles"]


class RecentFiles(QObject):
    """Opens files, each in a window of its own, and lists those opened lately.

    Parameters
    ----------
    window : QWidget
        Parent of the dialog and of the menu.
    experiment : Experiment
        Runs what may take a moment, and says what went wrong.
    settings : Settings or None
        Knows the files opened lately; None: there are none.

    Attributes
    ----------
    menu : QMenu
        The files opened lately; it looks them up each time that it is shown.
    """

    def __init__(self, window: QWidget, experiment: Experiment, settings: Settings | None) -> None:
        super().__init__(window)
        self._window, self._experiment, self._settings = window, experiment, settings
        self.menu = QMenu(window)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self._fill)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files opened lately that still exist, the last one first."""
        return () if self._settings is None else self._settings.opened

    def open(self, path: Path) -> None:
        """Open a file in a window of its own; the status bar says why it cannot be."""
        self._experiment.folder = path.parent
        self._experiment.submit(f"Open {path.name}", lambda: open_file(path))

    def ask(self) -> None:
        """Ask for a file and open it."""
        dialog = QFileDialog(self._window, "Open a recording or tomograms")
        dialog.setDirectory(str(self._experiment.folder))
        dialog.setNameFilters([PATTERNS, "All files (*)"])
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self.open(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def show_menu(self) -> None:
        """Show the files opened lately in the middle of the window."""
        size = self.menu.sizeHint()
        middle = self._window.rect().center() - QPoint(size.width() // 2, size.height() // 2)
        self.menu.popup(self._window.mapToGlobal(middle))

    def _fill(self) -> None:
        self.menu.clear()
        for path in self.paths:
            entry = self.menu.addAction(f"{path.name}    {_shortened(path.parent)}")
            entry.setToolTip(str(path))
            entry.triggered.connect(self._opens(path))
        if self.menu.isEmpty():
            self.menu.addAction("no file was opened yet").setEnabled(False)

    def _opens(self, path: Path) -> Callable[[], None]:
        return lambda: self.open(path)


def _shortened(folder: Path) -> str:
    """Return a folder as people write it, from the home folder on."""
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)
