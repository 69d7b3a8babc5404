"""Opens the window on a client and stays until it is closed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from ui.style import apply_style
from ui.viewed_client import Client, Timeline
from ui.window import Window

__all__ = ["run_window"]

SIZE = (1280, 800)


def run_window(
    client: Client,
    *,
    title: str,
    on_close: Callable[[], None],
    timeline: Timeline | None = None,
) -> int:
    """Show ``client`` in a window and return when it is closed.

    Parameters
    ----------
    client : Client
        What is shown; it is polled about 30 times a second and not closed here.
    title : str
        Of the window.
    on_close : callable
        Called once, after the window is gone and its last command has ended, also after an error.
    timeline : Timeline or None
        Where the client plays a file.

    Returns
    -------
    int
        Qt's exit status, 0 where all went well.
    """
    try:
        application = QApplication.instance() or QApplication([title])
        assert isinstance(application, QApplication)
        apply_style(application)
        window = Window(client, title=title, timeline=timeline)
        window.resize(*SIZE)
        window.show()
        try:
            with _closed_by_signals(window):
                return application.exec()
        finally:
            window.end()
    finally:
        on_close()


@contextmanager
def _closed_by_signals(window: Window) -> Iterator[None]:
    """Let Ctrl+C and a request to terminate close the window instead of killing the process.

    Nobody is asked then whether a recording may end.

    Python runs the handler when the poll timer next gives it control, maybe in the middle of
    painting: the window closes from the event loop, afterwards.
    """

    def close(number: int, frame: FrameType | None) -> None:
        QTimer.singleShot(0, window.leave)

    before = {number: signal.signal(number, close) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
