"""Time-lapses of the running instrument: asked for in the window, recorded by the acquirer."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtTest import QTest  # after the platform
from PySide6.QtWidgets import QApplication

from pipeline.archive.recording import read_recording
from pipeline.archive.tomograms import read_tomograms
from pipeline.sockets import PipelineError
from pipeline.state import Phase, RecordingState, RecordRequest
from pipeline.supervisor import Instrument
from tests.recorded_session import RecordedSession, volumes
from tests.test_pipeline import SMALL, watch
from ui.recording import RecordDialog, RecordingBar
from ui.style import apply_style
from ui.window import Window


@pytest.fixture(scope="module")
def application() -> QApplication:
    application = QApplication.instance() or QApplication(["test"])
    assert isinstance(application, QApplication)
    apply_style(application)
    return application


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
    window.close()
    window.end()
    window.deleteLater()
    QApplication.processEvents()


def settle(window: Window) -> None:
    """Let the command that is under way end, and its news arrive."""
    while window.commands.busy:  # the test's own time limit ends a wait in vain
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
    window.toolbar.record.click()
    dialog = dialog_of(window)
    dialog.output.setText(str(tmp_path / "cells.h5"))
    dialog.stacks.setValue(7)
    dialog.accept()
    settle(window)
    assert session.commands[-1][0] == "record 7 True"
    assert window.recording.isVisible()
    assert window.recording.sentence.full_text() == "cells.h5: 1 of 20 scans, 95 s left"
    assert (window.recording.progress.value(), window.recording.progress.maximum()) == (1, 20)
    window.recording.pause.click()
    settle(window)
    assert window.recording.pause.text() == "Continue"
    window.recording.pause.click()
    settle(window)
    assert [command for command, _ in session.commands[-2:]] == ["pause", "continue"]
    assert window.toolbar.record.text() == "Stop recording"
    window.toolbar.record.click()
    settle(window)
    assert session.commands[-1][0] == "finish"
    assert window.toolbar.record.text() == "Record"
    window.recording.dismiss.click()
    assert not window.recording.isVisible()
    window.show_instrument(session.state)
    assert not window.recording.isVisible()


def test_what_the_dialog_asks_for(window: Window, tmp_path: Path) -> None:
    dialog = RecordDialog(window, "tv-fast", tmp_path)
    assert Path(dialog.output.text()).parent == tmp_path
    dialog.output.setText(str(tmp_path / "a.h5"))
    dialog.stacks.setValue(3)
    dialog.interval.setValue(2.5)
    dialog.background.setValue(10)
    tomograms = str(tmp_path / "a_tomograms.h5")
    assert dialog.request() == RecordRequest(
        str(tmp_path / "a.h5"), 3, 2.5, None, 10, None, tomograms, "tv-fast"
    )
    dialog.by_sequence.setChecked(True)
    dialog.sequence.setText("plan.yaml")
    dialog.tomograms.setChecked(False)
    dialog.background.setValue(0)
    assert not dialog.stacks.isEnabled()
    assert dialog.request() == RecordRequest(
        str(tmp_path / "a.h5"), None, 0.0, "plan.yaml", None, None, None, "tv-fast"
    )


def test_how_it_ended_is_said(application: QApplication) -> None:
    bar = RecordingBar()
    failed = RecordingState("b.h5", "3 of 9 scans", running=False, done=3, total=9, error="disk")
    bar.draw(failed, busy=False)
    assert bar.trouble.full_text() == "disk"
    assert bar.trouble.property("tone") == "error"
    assert bar.stop.isHidden() and not bar.dismiss.isHidden()
    bar.deleteLater()


@pytest.fixture
def microscope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    path = tmp_path / "microscope.toml"
    path.write_text(SMALL)
    return path


def test_the_running_instrument_records_what_it_is_asked_for(
    microscope: Path, tmp_path: Path
) -> None:
    output, tomograms = tmp_path / "live.h5", tmp_path / "live_tomograms.h5"
    request = RecordRequest(str(output), 6, 0.0, tomograms=str(tomograms), regularizer="none")
    with Instrument(microscope, quality=False) as instrument, instrument.client() as client:
        watch(client, lambda s: bool(s.views))
        with pytest.raises(PipelineError, match="no time-lapse is running"):
            client.pause_recording()
        client.record(request)
        with pytest.raises(PipelineError, match="a time-lapse is running"):
            client.record(request)
        seen = watch(client, lambda s: _ended(s.state.recording, 6))
        recording = seen.state.recording
        assert recording is not None
        assert (recording.done, recording.total, recording.error) == (6, 6, "")
        assert seen.state.phase is Phase.LIVE  # live imaging goes on meanwhile and after
        watch(client, lambda s: bool(s.views))
        with pytest.raises(PipelineError, match="exists and is not overwritten"):
            client.record(request)
    stacks = list(read_recording(output).stacks())
    assert len(stacks) == 6
    assert all(stack.complete for stack in stacks)
    assert len({stack.frames.tobytes() for stack in stacks}) == 6
    kept = read_tomograms(tomograms)
    assert len(kept) == 6
    times = [kept.raw(number).timestamp for number in range(6)]
    np.testing.assert_allclose(times, [stack.timestamp for stack in stacks])


def test_a_paused_recording_takes_no_scans_and_goes_on(microscope: Path, tmp_path: Path) -> None:
    output = tmp_path / "live.h5"
    with Instrument(microscope, quality=False) as instrument, instrument.client() as client:
        watch(client, lambda s: bool(s.views))
        client.record(RecordRequest(str(output), 1000, 0.0))
        watch(client, lambda s: s.state.recording is not None and s.state.recording.done >= 2)
        client.pause_recording()
        seen = watch(client, lambda s: s.state.recording is not None and s.state.recording.paused)
        assert seen.state.recording is not None
        done = seen.state.recording.done
        scans = seen.state.scans
        seen = watch(client, lambda s: s.state.scans > scans + 2)  # live ones go on
        assert seen.state.recording is not None
        assert seen.state.recording.done <= done + 1
        client.continue_recording()
        watch(client, lambda s: s.state.recording is not None and s.state.recording.done > done + 2)
        client.finish_recording()
        seen = watch(client, lambda s: _ended(s.state.recording))
        assert seen.state.recording is not None
        assert len(read_recording(output)) == seen.state.recording.done


def _ended(state: RecordingState | None, tomograms: int | None = None) -> bool:
    return state is not None and not state.running and state.tomograms == tomograms
