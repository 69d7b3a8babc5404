"""Work in a thread beside the window, with progress, that can be cancelled."""

import threading
import traceback
from collections.abc import Callable

from PySide6.QtCore import QObject, Signal

from acquisition.errors import LiveTomoError, Stopped

__all__ = ["Progress", "Work", "Worker"]


class Progress:
    """What a piece of work is given: it tells how far it is, and learns that it is cancelled.

    Parameters
    ----------
    tell : callable
        Called with the number of steps done and of all.
    """

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self._tell = tell
        self.stop = threading.Event()

    def __call__(self, done: int, total: int) -> None:
        """Tell how far it is; raise Stopped if it was cancelled."""
        self._tell(done, total)
        self.check()

    def check(self) -> None:
        """Raise Stopped if it was cancelled."""
        if self.stop.is_set():
            raise Stopped("cancelled")


Work = Callable[[Progress], object]


class Worker(QObject):
    """Does one piece of work at a time in a thread; its signals come to the thread of the window.

    ``finished`` brings what the work returned, ``failed`` why it failed. ``ended`` follows each of
    them, and follows alone where the work was cancelled.
    """

    progressed = Signal(int, int)
    finished = Signal(object)
    failed = Signal(str)
    ended = Signal()
    _done = Signal(object)

    def __init__(self, parent: QObject, name: str) -> None:
        super().__init__(parent)
        self._name = name
        self._thread: threading.Thread | None = None
        self._progress: Progress | None = None
        self._done.connect(self._end)

    @property
    def busy(self) -> bool:
        """Whether there is work that has not ended."""
        return self._thread is not None

    def start(self, work: Work) -> None:
        """Begin; there must be no work that has not ended."""
        assert self._thread is None
        self._progress = Progress(self.progressed.emit)
        self._thread = threading.Thread(
            target=self._run, args=(work, self._progress), name=self._name, daemon=True
        )
        self._thread.start()

    def _run(self, work: Work, progress: Progress) -> None:
        found: Callable[[], None] = _nothing
        try:
            result = work(progress)
            found = _sending(self.finished, result)
        except Stopped:
            pass
        except (LiveTomoError, OSError) as error:
            found = _sending(self.failed, str(error))
        except Exception as error:  # the end of the thread: bugs are shown to the user, too
            traceback.print_exc()
            found = _sending(self.failed, f"{type(error).__name__}: {error}")
        self._done.emit(found)

    def _end(self, found: Callable[[], None]) -> None:
        if self._thread is not None:
            self._thread.join()
        self._thread = self._progress = None
        found()
        self.ended.emit()

    def cancel(self) -> None:
        """Ask the work to end soon."""
        if self._progress is not None:
            self._progress.stop.set()

    def close(self) -> None:
        """Cancel, and wait for the end of the thread."""
        self.cancel()
        if self._thread is not None:
            self._thread.join()


def _nothing() -> None:
    """Send nothing: the work was cancelled."""


def _sending(signal: object, value: object) -> Callable[[], None]:
    return lambda: signal.emit(value)  # type: ignore[attr-defined]  # a bound signal of Qt
