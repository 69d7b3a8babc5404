"""Helpers shared by the tests of the window."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PySide6.QtCore import QEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from pipeline.live.playback import open_playback
from tests.recorded_session import RecordedSession
from ui.window import Window

__all__ = ["shown", "shown_file", "wait_until"]


@contextmanager
def shown(qapp: QApplication, session: RecordedSession) -> Iterator[Window]:
    """Open a window that has the state of a session and shows its first tomogram."""
    window = Window(session, title="LiveTomo")
    window.stop_polling()
    window.resize(1280, 800)
    window.show()
    session.announce()
    window.poll()
    qapp.processEvents()
    yield window
    window.close()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@contextmanager
def shown_file(qapp: QApplication, file: Path) -> Iterator[Window]:
    """Open a window on a file, and wait for its first tomogram; the window closes the file."""
    with open_playback(file, "deep", "cpu") as playback:
        window = Window(playback, title="LiveTomo", timeline=playback)
        window.resize(1280, 800)
        window.show()
        wait_until(lambda: window.tomogram is not None)
        yield window
        window.close()
        window.finish_commands()
        window.deleteLater()
        qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def wait_until(condition: Callable[[], bool]) -> None:
    """Process Qt events until the condition holds; the time limit of the test ends a hang."""
    QApplication.processEvents()
    pause_ms = 2.0  # longer by and by: what it waits for wants the processor, too
    while not condition():
        QTest.qWait(round(pause_ms))
        pause_ms = min(1.03 * pause_ms, 20.0)
