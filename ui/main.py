"""Opens the window on a client and stays until it is closed."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from ui.bench import Bench
from ui.settings import Settings
from ui.viewed_client import Timeline, ViewedClient
from ui.window import Window

__all__ = ["run_window"]

SIZE = (1280, 800)


def run_window(
    client: ViewedClient,
    *,
    title: str,
    on_close: Callable[[], None],
    timeline: Timeline | None = None,
    settings: Settings | None = None,
    file: Path | None = None,
    bench: Bench | None = None,
) -> int:
    """Show ``client`` in a window and return when it is closed.

    Parameters
    ----------
    client : ViewedClient
        What is shown. It is polled about 30 times a second and not closed here.
    title : str
        Title of the window.
    on_close : callable
        Called once when the window has closed and its last command has ended, also after an error.
    timeline : Timeline or None
        The client, if it plays a file.
    settings : Settings or None
        What the window remembers; None: that of the user.
    file : Path or None
        The file that is shown, noted among those opened lately.
    bench : Bench or None
        The instrument, if this program has started it on this machine.

    Returns
    -------
    int
        Qt's exit status, 0 for success.
    """
    try:
        application = QApplication.instance() or QApplication([title])
        assert isinstance(application, QApplication)
        settings = settings or Settings()
        if file is not None:
            settings.note_opened(file.absolute())
        window = Window(client, title=title, timeline=timeline, settings=settings, bench=bench)
        if settings.geometry.isEmpty():
            window.resize(*SIZE)
        window.show()
        try:
            with _closed_by_signals(window):
                return application.exec()
        finally:
            window.finish_commands()
    finally:
        on_close()


@contextmanager
def _closed_by_signals(window: Window) -> Iterator[None]:
    """Let Ctrl+C and a request to terminate close the window instead of killing the process.

    The user is then not asked whether to end a recording.

    Python may run the handler in the middle of painting, so the window closes later, from the event
    loop.
    """

    def close(number: int, frame: FrameType | None) -> None:
        QTimer.singleShot(0, window.close_without_asking)

    before = {number: signal.signal(number, close) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
