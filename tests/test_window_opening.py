"""Opening and closing the window, and what it leaves behind."""

import os
import threading

import pytest

# Keys reach only an active window; offscreen every window is, and none covers the screen.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import Qt, QTimer  # after the platform
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from acquisition.errors import LiveTomoError
from tests.recorded_session import RecordedSession
from tests.test_window import press, session, tomograms  # noqa: F401  # fixtures
from ui.main import run_window
from ui.window import Window


def test_run_window_closes_once_and_leaves_nothing(
    application: QApplication, session: RecordedSession
) -> None:
    before = set(threading.enumerate())
    closed: list[bool] = []

    def close_when_live() -> None:
        shown = [w for w in QApplication.topLevelWidgets() if isinstance(w, Window)]
        live = [w for w in shown if w.isVisible() and w.instrument is not None and w.tomogram]
        if not live:
            return
        closer.stop()
        (window,) = live
        press(window, Qt.Key.Key_Space)
        window.close()

    closer = QTimer()
    closer.timeout.connect(close_when_live)
    session.announce()
    closer.start(10)
    assert run_window(session, title="LiveTomo", on_close=lambda: closed.append(True)) == 0
    assert closed == [True]
    assert [command for command, _ in session.commands] == ["stop"]
    assert set(threading.enumerate()) == before
    polls = session.polls
    QTest.qWait(100)  # three periods of the poll timer
    assert session.polls == polls > 0
    windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, Window)]
    assert not any(timer.isActive() for w in windows for timer in w.findChildren(QTimer))


def test_run_window_calls_on_close_after_an_error(
    application: QApplication, monkeypatch: pytest.MonkeyPatch, session: RecordedSession
) -> None:
    closed: list[bool] = []

    def fails(*_: object, **__: object) -> None:
        raise LiveTomoError("no screen")

    monkeypatch.setattr("ui.main.Window", fails)
    with pytest.raises(LiveTomoError):
        run_window(session, title="LiveTomo", on_close=lambda: closed.append(True))
    assert closed == [True]
