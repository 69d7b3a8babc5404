"""What the window says of an instrument, and makes it do; on a recorded session."""

import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# Keys reach only an active window; offscreen every window is, and none covers the screen.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, Qt, QTimer  # after the platform
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from acquisition.errors import DeviceError, LiveTomoError
from pipeline.wire.state import InterferogramView, Phase, QualityView, TomogramView
from regularizer.quality_report import QualityReport
from tests.hands import press
from tests.recorded_session import RecordedSession, fringes, volumes
from tests.windows import wait_until
from ui.main import run_window
from ui.sections.displayed import displayed_volume
from ui.settings import Settings
from ui.style import signed
from ui.window import Window

VOXEL_UM = (0.36, 0.22, 0.24)
SHAPE = (28, 50, 46)


@pytest.fixture(scope="module")
def tomograms() -> list[TomogramView]:
    return volumes(3, SHAPE, VOXEL_UM)


def test_the_bar_says_every_message(window: Window, session: RecordedSession) -> None:
    for phase in Phase:
        message = f"the instrument is {phase}, in its own words"
        session.announce(phase=phase, message=message)
        window.poll()
        assert window.status.message.full_text() == message
        assert window.status.message.text() == message
        assert window.status.dot.busy == (phase in (Phase.STARTING, Phase.BACKGROUND))


def test_rates_and_losses_are_shown(
    window: Window, session: RecordedSession, tomograms: list[TomogramView]
) -> None:
    session.announce(
        microscope="Left bench",
        scans=40,
        skipped=7,
        incomplete=2,
        scan_rate_hz=3.14,
        latency_s=0.456,
    )
    session.tomograms = [replace(tomograms[0], lost_angles=(4,), warnings=("frame 5 lost",))]
    window.poll()
    values = {name: label.text() for name, label in window.sidebar.figures.values.items()}
    assert values["Scans"] == "3.1 /s" and values["Latency"] == "0.46 s"
    assert window.sidebar.figures.title.text() == "Left bench"
    assert values["Skipped"] == "7 of 40 scans" and values["Incomplete"] == "2"
    assert values["Lost angles"] == "4"
    assert "frame 5 lost" in window.sidebar.warning.text()
    assert "frame 5 lost" in window.views.panels[0].overlay.marks.badge.note


def check_of(tomogram: TomogramView, ssim: float) -> QualityView:
    """Return a report on one of the session's tomograms; the true cell stands for TV."""
    assert tomogram.regularized is not None
    reference = tomogram.regularized
    error = np.zeros_like(reference)
    error[3, 10, 20] = -0.5 * float(reference.max() - reference.min())
    report = QualityReport("deep", ssim, (0.9, 0.5, 0.9), 1.2e-4, 0.99, 0.05, 0.0, 0.11, 0.12)
    return QualityView(
        report, reference, error, tomogram.voxel_size_um, 41, time.time() - 7, seconds=3.0
    )


def test_the_quality_check_names_its_scan_its_age_and_where_the_errors_are(
    window: Window, session: RecordedSession, tomograms: list[TomogramView]
) -> None:
    card = window.sidebar.quality
    assert card.isHidden()  # an instrument without a quality check
    session.announce(quality="scan 41: 50%, 2 s left")
    window.poll()
    assert not card.isHidden()
    assert card.doing.full_text() == "scan 41: 50%, 2 s left"
    session.quality = check_of(tomograms[0], 0.912)
    window.poll()
    assert re.fullmatch(r"deep, scan 42, [78] s old", card.origin.text())
    assert card.values["SSIM"].text() == "0.912"
    assert card.values["SSIM"].property("tone") != "warning"
    first_centre = 3 + 1 - SHAPE[0] // 2
    assert card.values["Worst z"].text() == f"0.50, {signed(first_centre * 0.36, 1)} µm"
    assert (card.values["Residual"].text(), card.values["TV residual"].text()) == ("0.110", "0.120")
    assert np.unravel_index(card.map.image.image.argmax(), SHAPE[1:]) == (10, 20)
    session.quality = check_of(tomograms[0], 0.5)
    window.poll()
    assert card.values["SSIM"].property("tone") == "warning"
    assert card.title.text() == "Against TV"
    check = check_of(tomograms[0], 0.9)
    report = replace(check.report, reference="multislice", note="misfit of the light 0.05")
    session.quality = check = replace(check, report=report)
    window.poll()
    assert (card.title.text(), card.residual.text()) == ("Multi-slice", "Its residual")
    assert "misfit of the light 0.05" in card.toolTip()
    assert displayed_volume(tomograms[0], "tv", check).label == "multi-slice of scan 42"
    other = displayed_volume(tomograms[0], "regularized - tv", check)
    assert other.label == "deep - multi-slice of scan 42"


def test_the_interferogram_and_its_angle_are_shown(window: Window) -> None:
    panel = window.sidebar.interferogram
    frame = fringes((96, 80), 4).astype(np.uint16) * 16
    panel.draw(InterferogramView(frame, 4, 49, 1, 12))
    assert np.array_equal(panel.picture.image.image, frame)
    assert tuple(panel.picture.image.levels) == (0, 4095)
    assert panel.angle.text() == "angle 4, 49 in all"


def test_space_stops_and_starts_away_from_the_window_thread(
    window: Window, session: RecordedSession
) -> None:
    for command, label in (("stop", "Start"), ("start", "Stop")):
        press(window, Qt.Key.Key_Space)
        assert not window.toolbar.live.isEnabled()
        wait_until(lambda: not window.experiment.busy)
        window.poll()
        assert session.commands[-1][0] == command
        assert window.toolbar.live.text() == label and window.toolbar.live.isEnabled()
    assert threading.current_thread().name not in {thread for _, thread in session.commands}
    assert len({thread for _, thread in session.commands}) == 1


def test_the_regularizer_is_chosen_from_what_the_instrument_offers(
    window: Window, session: RecordedSession
) -> None:
    method = window.toolbar.method
    assert [method.itemData(i) for i in range(method.count())] == list(session.state.regularizers)
    assert method.currentData() == "deep"
    method.activated.emit(method.findData("tv"))
    wait_until(lambda: not window.experiment.busy)
    assert session.commands[0][0] == "regularizer tv"
    window.poll()
    assert method.currentData() == "tv"


def test_t_switches_to_live_total_variation_and_back(
    window: Window, session: RecordedSession
) -> None:
    session.announce(regularizer="gp")
    for expected in ("tv-fast", "gp", "tv-fast"):
        window.poll()
        QTest.keyClick(window, Qt.Key.Key_T)
        wait_until(lambda: not window.experiment.busy)
        assert session.state.regularizer == expected


@pytest.mark.parametrize(
    "refusal",
    [DeviceError("the stage did not answer within 5 s; check its cable"), OSError("gone")],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_errors_of_commands_are_shown_until_one_succeeds(
    window: Window, session: RecordedSession, refusal: Exception
) -> None:
    session.refusal = refusal
    press(window, Qt.Key.Key_B)
    wait_until(lambda: not window.experiment.busy)
    assert str(refusal) in window.status.answer.full_text()
    assert window.status.told.isVisible()
    window.poll()
    assert window.status.told.isVisible()
    session.refusal = None
    press(window, Qt.Key.Key_B)
    wait_until(lambda: not window.experiment.busy)
    assert not window.status.told.isVisible()


def test_a_lost_connection_is_said_and_polling_goes_on(
    window: Window, session: RecordedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(timeout_ms: int = 0) -> None:
        raise LiveTomoError("the instrument speaks another version")

    with monkeypatch.context() as patch:
        patch.setattr(session, "poll", lost)
        window.poll()
    assert "another version" in window.status.answer.full_text()
    window.poll()
    assert session.played == 2


def test_before_the_first_tomogram_the_window_says_what_it_waits_for(
    qapp: QApplication, tomograms: list[TomogramView]
) -> None:
    session = RecordedSession([])
    window = Window(session, title="LiveTomo")
    window.stop_polling()
    assert window.stack.currentWidget() is window.waiting
    session.announce(phase=Phase.BACKGROUND, message="recording the background, scan 2 of 4")
    window.poll()
    assert window.waiting.headline.text() == "Recording the background"
    assert window.waiting.message.text() == "recording the background, scan 2 of 4"
    press(window, Qt.Key.Key_Right)
    press(window, Qt.Key.Key_P)
    session.tomograms = list(tomograms)
    window.poll()
    assert window.stack.currentWidget() is window.picture
    window.close()
    window.finish_commands()


def test_run_window_closes_once_and_leaves_nothing(
    qapp: QApplication, session: RecordedSession, tmp_path: Path
) -> None:
    settings = Settings(tmp_path / "window.ini")
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
    status = run_window(
        session, title="LiveTomo", on_close=lambda: closed.append(True), settings=settings
    )
    assert status == 0
    assert closed == [True]
    assert [command for command, _ in session.commands] == ["stop"]
    assert set(threading.enumerate()) == before
    polls = session.polls
    QTest.qWait(100)  # three periods of the poll timer
    assert session.polls == polls > 0
    windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, Window)]
    assert not any(timer.isActive() for w in windows for timer in w.findChildren(QTimer))
    for window in windows:
        window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_run_window_calls_on_close_after_an_error(
    qapp: QApplication,
    monkeypatch: pytest.MonkeyPatch,
    session: RecordedSession,
    tmp_path: Path,
) -> None:
    closed: list[bool] = []
    settings = Settings(tmp_path / "window.ini")

    def fails(*_: object, **__: object) -> None:
        raise LiveTomoError("no screen")

    monkeypatch.setattr("ui.main.Window", fails)
    with pytest.raises(LiveTomoError):
        run_window(
            session, title="LiveTomo", on_close=lambda: closed.append(True), settings=settings
        )
    assert closed == [True]


def test_the_age_of_the_oldest_angle_is_shown(
    window: Window, tomograms: list[TomogramView]
) -> None:
    assert "oldest" not in window.sidebar.stages.text()
    window.show_tomogram(replace(tomograms[0], oldest_s=0.35))
    assert "oldest angle</td><td align=right>350 ms" in window.sidebar.stages.text()


def test_scans_have_the_same_number_everywhere(
    window: Window, session: RecordedSession, tomograms: list[TomogramView]
) -> None:
    """The first scan of a session, number 0 in files and messages, is scan 1 for the user."""
    frame = InterferogramView(fringes((96, 80), 4), 4, 49, 0, 8)
    session.announce(quality="scan 1: starting")
    window.poll()
    for name in ("light path", "trust"):
        window.docks.open(name)
        QApplication.processEvents()
        window.light.draw_frame(frame)
    window.show_tomogram(replace(tomograms[0], warnings=("fringes are weak",)))
    window.show_check(replace(check_of(tomograms[0], 0.9), sequence=0))
    assert window.sidebar.warning.text().startswith("Scan 1: ")
    assert "scan 1," in window.sidebar.quality.origin.text()
    assert "of scan 1," in window.trust.note.text()
    window.docks.open("light path")
    QApplication.processEvents()
    assert "scan 1" in window.light.said.text()
