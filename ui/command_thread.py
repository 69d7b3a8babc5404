"""Runs commands outside the thread of the window: an instrument may take seconds to answer.

One worker thread runs them one at a time, so that no two threads use the command socket of the
client. The outcome is a Qt signal on the thread of the window.
"""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PySide6.QtCore import QObject, Signal

from acquisition.errors import LiveTomoError

__all__ = ["CommandRunner"]

T = TypeVar("T")


class CommandRunner(QObject):
    """Runs commands in a worker thread and signals how they ended."""

    started = Signal(str)
    succeeded = Signal(str)
    failed = Signal(str, str)
    answered = Signal()  # after one of the two, when ``busy`` has ended
    _told = Signal(object, object)  # who receives an answer, and the answer
    _ended = Signal()  # after the others: the answer is shown before ``busy`` ends

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="window-commands")
        self._waiting = 0
        self._ended.connect(self._finished)
        self._told.connect(self._tell)

    @property
    def busy(self) -> bool:
        """Whether a command has not been answered yet."""
        return self._waiting > 0

    def submit(self, name: str, command: Callable[[], None]) -> None:
        """Queue ``command``; ``name`` is shown to the user."""
        self._waiting += 1
        self.started.emit(name)
        self._worker.submit(self._run, name, command)

    def ask(
        self,
        question: Callable[[], T],
        receive: Callable[[T], None],
        refused: Callable[[str], None] = lambda why: None,
    ) -> None:
        """Queue a question. Its answer goes to ``receive`` on the thread of the window.

        The runner is not ``busy`` with it, so that buttons stay as they are while a form is filled
        in. ``refused`` gets the reason if there is no answer.
        """
        self._worker.submit(self._answer, question, receive, refused)

    def _answer(
        self,
        question: Callable[[], T],
        receive: Callable[[T], None],
        refused: Callable[[str], None],
    ) -> None:
        try:
            answer = question()
        except LiveTomoError as error:
            self._told.emit(refused, str(error))
        except Exception as error:  # the end of the thread: bugs are shown to the user, too
            traceback.print_exc()
            self._told.emit(refused, f"{type(error).__name__}: {error}")
        else:
            self._told.emit(receive, answer)

    def _tell(self, receive: Callable[[object], None], answer: object) -> None:
        receive(answer)

    def _run(self, name: str, command: Callable[[], None]) -> None:
        try:
            command()
        except LiveTomoError as error:
            self.failed.emit(name, str(error))
        except Exception as error:  # the end of the thread: bugs are shown to the user, too
            traceback.print_exc()
            self.failed.emit(name, f"{type(error).__name__}: {error}")
        else:
            self.succeeded.emit(name)
        self._ended.emit()

    def _finished(self) -> None:
        self._waiting -= 1
        self.answered.emit()

    def close(self) -> None:
        """Drop queued commands and wait for the running one."""
        self._worker.shutdown(wait=True, cancel_futures=True)
