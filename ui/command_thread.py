"""Commands leave the window's thread: an instrument may take seconds to answer.

One worker thread runs them one after the other, so that the client's command socket is never used
by two threads; the outcome comes back as a Qt signal on the window's thread.
"""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from PySide6.QtCore import QObject, Signal

from acquisition.errors import LiveTomoError

__all__ = ["CommandRunner"]


class CommandRunner(QObject):
    """Runs commands in the background and says how they ended."""

    started = Signal(str)
    succeeded = Signal(str)
    failed = Signal(str, str)
    _ended = Signal()  # after the others, so that who sees it free has seen the answer

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="window-commands")
        self._waiting = 0
        self._ended.connect(self._finished)

    @property
    def busy(self) -> bool:
        """Whether a command has not been answered yet."""
        return self._waiting > 0

    def submit(self, name: str, command: Callable[[], None]) -> None:
        """Run ``command`` after those before it; ``name`` is what the user is told."""
        self._waiting += 1
        self.started.emit(name)
        self._worker.submit(self._run, name, command)

    def _run(self, name: str, command: Callable[[], None]) -> None:
        try:
            command()
        except LiveTomoError as error:
            self.failed.emit(name, str(error))
        except Exception as error:  # the end of the thread: a bug must reach the user, too
            traceback.print_exc()
            self.failed.emit(name, f"{type(error).__name__}: {error}")
        else:
            self.succeeded.emit(name)
        self._ended.emit()

    def _finished(self) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Drop the commands that have not begun and wait for the one that has."""
        self._worker.shutdown(wait=True, cancel_futures=True)
