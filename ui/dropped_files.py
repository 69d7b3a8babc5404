"""Files that are dropped on a window: shown in it if it shows a file, else in a new one."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QEvent, QMimeData, QObject, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QWidget

__all__ = ["DroppedFiles"]


class DroppedFiles(QObject):
    """Lets a window take recordings and tomogram files that are dropped on it.

    ``said`` is emitted with a text for the status bar and its tone.

    Parameters
    ----------
    window : QWidget
    here : callable or None
        Shows a file in this window; None: this window shows an instrument.
    elsewhere : callable
        Shows a file in a window of its own.
    """

    said = Signal(str, str)

    def __init__(
        self,
        window: QWidget,
        here: Callable[[Path], None] | None,
        elsewhere: Callable[[Path], None],
    ) -> None:
        super().__init__(window)
        self._here, self._elsewhere = here, elsewhere
        window.setAcceptDrops(True)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Accept files, and open them when they are dropped."""
        if isinstance(event, QDropEvent):
            if isinstance(event, QDragEnterEvent) or event.type() != QEvent.Type.Drop:
                if event.mimeData().hasUrls():
                    event.acceptProposedAction()
                    return True
            elif event.mimeData().hasUrls():
                event.acceptProposedAction()
                self._open(_paths(event.mimeData()))
                return True
        return super().eventFilter(watched, event)

    def _open(self, paths: list[Path]) -> None:
        if not paths:
            self.said.emit(
                "only files of this computer can be opened: save it, then drop the saved file",
                "error",
            )
        for number, path in enumerate(paths):
            if path.is_dir():
                self.said.emit(
                    f"{path.name} is a folder: drop a recording or a tomogram file (.h5)", "error"
                )
            elif number == 0 and self._here is not None:
                self._here(path)
            else:
                self._elsewhere(path)


def _paths(data: QMimeData) -> list[Path]:
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
