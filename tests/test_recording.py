"""Time-lapses in the window: the dialog, the bar, and the commands that they send."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import Qt  # after the platform
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMessageBox

from pipeline.wire.state import DriftState, RecordingState, RecordRequest
from tests.recorded_session import RecordedSession, volumes
from ui.bars.timelapse_bar import RecordDialog, TimelapseBar
from ui.window import Window


@pytest.fixture
def session() -> RecordedSession:
    return RecordedSession(volumes(1, (16, 24, 24), (0.3, 0.2, 0.2)))


@pytest.fixture
def window(application: QApplication, session: RecordedSession) -> Iterator[Window]:
    window = Window(session, title="LiveTomo")
    window.stop_polling()
    window.show()
    window.show_instrument(session.state)
    yield window
    window.close_without_asking()
    window.finish_commands()
    window.deleteLater()
    QApplication.processEvents()


def settle(window: Window) -> None:
    """Wait until the running command has ended and its result is displayed."""
    while window.experiment.busy:  # the test's own time limit ends a wait in vain
        QTest.qWait(5)
    window.poll()
    QApplication.processEvents()


def dialog_of(window: Window) -> RecordDialog:
    (dialog,) = window.findChildren(RecordDialog)
    return dialog


def test_a_time_lapse_from_the_window(
    window: Window, session: RecordedSession, tmp_path: Path
) -> None:
    assert not window.recording.isVisible()
    _, record = window.toolbar.commands
    record.click()
    dialog = dialog_of(window)
    dialog.output.setText(str(tmp_path / "cells.h5"))
    dialog.stacks.setValue(7)
    dialog.accept()
    settle(window)
    assert session.commands[-1][0] == "record 7 True"
    assert window.recording.isVisible()
    assert window.recording.summary.full_text() == "cells.h5: 1 of 20 scans, 95 s left"
    assert (window.recording.progress.value(), window.recording.progress.maximum()) == (1, 20)
    window.recording.pause.click()
    settle(window)
    assert window.recording.pause.text() == "Continue"
    window.recording.pause.click()
    settle(window)
    assert [command for command, _ in session.commands[-2:]] == ["pause", "continue"]
    assert record.text() == "Stop recording"
    record.click()
    settle(window)
    assert session.commands[-1][0] == "finish"
    assert record.text() == "Record"
    window.recording.dismiss.click()
    assert not window.recording.isVisible()
    window.show_instrument(session.state)
    assert not window.recording.isVisible()


def test_what_the_dialog_asks_for(window: Window, tmp_path: Path) -> None:
    dialog = RecordDialog(window, "tv-fast", "none", tmp_path)
    assert Path(dialog.output.text()).parent == tmp_path
    dialog.output.setText(str(tmp_path / "a.h5"))
    dialog.stacks.setValue(3)
    dialog.interval.setValue(2.5)
    dialog.background.setValue(10)
    tomograms = str(tmp_path / "a_tomograms.h5")
    assert dialog.request() == RecordRequest(
        str(tmp_path / "a.h5"), 3, 2.5, None, 10, None, tomograms, "tv-fast", "none"
    )
    dialog.by_sequence.setChecked(True)
    dialog.sequence.setText("plan.yaml")
    dialog.tomograms.setChecked(False)
    dialog.background.setValue(0)
    assert not dialog.stacks.isEnabled()
    assert dialog.request() == RecordRequest(
        str(tmp_path / "a.h5"), None, 0.0, "plan.yaml", None, None, None, "tv-fast", "none"
    )


def test_the_object_is_kept_in_the_middle_by_a_key(
    window: Window, session: RecordedSession
) -> None:
    """Only where there are stages; the bar of the time-lapse says what was corrected."""
    QTest.keyClick(window, Qt.Key.Key_K)
    settle(window)
    assert not session.commands
    session.announce(drift=DriftState(possible=True))
    window.poll()
    for on in (True, False):
        QTest.keyClick(window, Qt.Key.Key_K)
        settle(window)
        assert session.commands[-1][0] == f"keep {on}"
        assert window.experiment.keeps == on
    said = "object 0.4 um from the middle, corrected by 0.3 um"
    state = RecordingState("a/b.h5", "2 of 9 scans", done=2, total=9, drift=said)
    window.show_instrument(replace(session.state, recording=state))
    assert window.recording.summary.full_text() == f"b.h5: 2 of 9 scans, {said}"


def test_how_it_ended_is_said(application: QApplication) -> None:
    bar = TimelapseBar()
    failed = RecordingState("b.h5", "3 of 9 scans", running=False, done=3, total=9, error="disk")
    bar.draw(failed, busy=False)
    assert bar.trouble.full_text() == "disk"
    assert bar.trouble.property("tone") == "error"
    assert bar.stop.isHidden() and not bar.dismiss.isHidden()
    bar.deleteLater()


@pytest.mark.parametrize("button", ["Keep recording", "End it and close"])
def test_a_window_that_is_closed_during_a_recording_asks(
    window: Window, session: RecordedSession, tmp_path: Path, button: str
) -> None:
    window.show_instrument(replace(session.state, recording=RecordingState("a/b.h5", "", done=3)))
    window.close()
    assert window.isVisible()
    (box,) = window.findChildren(QMessageBox)
    assert "b.h5 is being recorded: 3 of 0 scans" in box.text()
    (chosen,) = (one for one in box.buttons() if one.text() == button)
    chosen.click()
    assert window.isVisible() == (button == "Keep recording")


def test_a_window_without_a_recording_closes_at_once(
    window: Window, session: RecordedSession
) -> None:
    over = RecordingState("b.h5", "", running=False)
    window.show_instrument(replace(session.state, recording=over))
    window.close()
    assert not window.isVisible()
