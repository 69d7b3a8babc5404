"""Time-lapses in the window: the dialog, the bar, and the commands that they send."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, Qt  # after the platform
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMessageBox

from pipeline.wire.places import StagePlace
from pipeline.wire.state import DriftState, RecordingForecast, RecordingState, RecordRequest
from tests.recorded_session import RecordedSession, volumes
from tests.windows import wait_until
from ui.bars.timelapse_bar import TimelapseBar
from ui.record_dialog import RecordDefaults, RecordDialog
from ui.window import Window


@pytest.fixture
def session() -> RecordedSession:
    return RecordedSession(volumes(1, (16, 24, 24), (0.3, 0.2, 0.2)))


@pytest.fixture
def window(qapp: QApplication, session: RecordedSession) -> Iterator[Window]:
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
    for answer, command in (("Keep recording", "continue"), ("End it", "finish")):
        record.click()
        (box,) = (box for box in window.findChildren(QMessageBox) if box.isVisible())
        assert "1 of 20 scans" in box.text() and "--resume -o cells.h5" in box.informativeText()
        next(button for button in box.buttons() if button.text() == answer).click()
        settle(window)
        assert session.commands[-1][0] == command
    assert record.text() == "Record"
    window.recording.dismiss.click()
    assert not window.recording.isVisible()
    window.show_instrument(session.state)
    assert not window.recording.isVisible()


PLACES = (StagePlace(0.0, 0.0, 0.0, "control"), StagePlace(850.0, -12.5, name="treated"))


@contextmanager
def opened(window: Window, defaults: RecordDefaults) -> Iterator[RecordDialog]:
    dialog = RecordDialog(window, defaults)
    dialog.show()
    yield dialog
    dialog.close()
    dialog.deleteLater()


def test_what_the_dialog_asks_for(window: Window, tmp_path: Path) -> None:
    with opened(window, RecordDefaults("tv-fast", "none", tmp_path)) as dialog:
        assert Path(dialog.output.text()).parent == tmp_path
        dialog.output.setText(str(tmp_path / "a.h5"))
        dialog.stacks.setValue(3)
        dialog.interval.setValue(2.5)
        dialog.background.setValue(10)
        tomograms = str(tmp_path / "a_tomograms.h5")
        assert dialog.request() == RecordRequest(
            str(tmp_path / "a.h5"), 3, 2.5, None, 10, None, tomograms, "tv-fast", "none"
        )
        dialog.background_unit.setCurrentIndex(1)
        assert (dialog.request().background_every_scans, dialog.request().background_every_min) == (
            None, 10.0,
        )  # fmt: skip
        dialog.by_sequence.setChecked(True)
        dialog.sequence.setText("plan.yaml")
        dialog.tomograms.setChecked(False)
        dialog.background.setValue(0)
        assert not dialog.stacks.isEnabled() and not dialog.regularizer.isEnabled()
        assert dialog.request() == RecordRequest(
            str(tmp_path / "a.h5"), None, 0.0, "plan.yaml", None, None, None, "tv-fast", "none"
        )


def test_sample_positions_and_autofocus(window: Window, tmp_path: Path) -> None:
    defaults = RecordDefaults(folder=tmp_path, positions=PLACES, focus=True, sample_name="HL60")
    with opened(window, defaults) as dialog:
        QTest.keyClicks(dialog.sample_name, ", dish 3")
        QTest.keyClicks(dialog.notes, "37 C")
        item = dialog.places.item(1)
        item.setCheckState(Qt.CheckState.Checked)
        dialog.autofocus.click()
        request = dialog.request()
        assert (request.sample_name, request.notes) == ("HL60, dish 3", "37 C")
        assert request.positions == (PLACES[1],) and request.autofocus
        dialog.by_sequence.setChecked(True)  # which says it itself
        assert dialog.request().positions == () and not dialog.request().autofocus
    with opened(window, RecordDefaults(folder=tmp_path)) as dialog:
        assert not dialog.autofocus.isEnabled()


def test_number_and_duration_follow_each_other(window: Window) -> None:
    with opened(window, RecordDefaults()) as dialog:
        dialog.interval.setValue(30.0)
        dialog.stacks.setValue(21)
        assert dialog.duration.value() == 10.0
        dialog.duration.setValue(60.0)
        assert dialog.stacks.value() == 121 and dialog.duration.value() == 60.0
        dialog.duration.setValue(0.7)  # 42 s: two time points
        assert dialog.stacks.value() == 2
        dialog.interval.setValue(0.0)
        assert not dialog.duration.isEnabled()


def test_the_forecast_follows_what_is_typed(
    window: Window, session: RecordedSession, tmp_path: Path
) -> None:
    session.foreseen = RecordingForecast(
        20, 95.0, 0.5, 8_400_000_000, 2_000_000, 100_000_000_000,
        remarks={"times": "longer than the interval"},
    )  # fmt: skip
    window.show_tomogram(session.tomograms[0])
    window.toolbar.commands[1].click()
    dialog = dialog_of(window)
    wait_until(lambda: "20 scans" in dialog.outlook.text())
    assert dialog.outlook.text() == (
        "20 scans in 95 s, 0.5 s each: recording 8.4 GB, tomograms 2 MB"
    )
    assert dialog.disk.text() == "100 GB are free on the disk, of which it takes 8.4%"
    assert dialog.problems["times"].text() == "longer than the interval"
    assert dialog.problems["times"].property("tone") == "warning" and dialog.start.isEnabled()
    assert session.forecasts[-1].tomogram_shape == (16, 24, 24)
    session.foreseen = replace(session.foreseen, problems={"output": "a.h5 exists"}, remarks={})
    dialog.output.setText(str(tmp_path / "a.h5"))
    wait_until(lambda: dialog.problems["output"].isVisible())
    assert session.forecasts[-1].request.output == str(tmp_path / "a.h5")
    assert dialog.problems["output"].text() == "a.h5 exists"
    assert not dialog.start.isEnabled() and not dialog.problems["times"].isVisible()
    assert not window.experiment.busy  # questions leave the buttons of the window as they are
    dialog.reject()
    assert session.recorded is None


def test_a_full_disk_is_said(window: Window) -> None:
    with opened(window, RecordDefaults()) as dialog:
        dialog.show_forecast(RecordingForecast(20, problems={"disk": "needs 3 GB"}, free_bytes=5))
        assert dialog.disk.text() == "needs 3 GB" and not dialog.start.isEnabled()
        dialog.refuse_forecast("the microscope is still starting")
        assert "still starting" in dialog.outlook.text()


def test_the_sample_stays_for_the_next_time_lapse(
    window: Window, session: RecordedSession, tmp_path: Path
) -> None:
    window.toolbar.commands[1].click()
    dialog = dialog_of(window)
    dialog.output.setText(str(tmp_path / "a.h5"))
    dialog.sample_name.setText("HL60")
    dialog.accept()
    settle(window)
    assert session.recorded is not None and session.recorded.sample_name == "HL60"
    session.announce(recording=None)  # it has ended
    settle(window)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    window.toolbar.commands[1].click()
    assert dialog_of(window).sample_name.text() == "HL60"
    assert Path(dialog_of(window).output.text()).parent == tmp_path
    dialog_of(window).reject()


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


def test_how_it_ended_is_said(qapp: QApplication) -> None:
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
