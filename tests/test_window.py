"""The window, tested on a recorded session."""

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# Keys reach only an active window; offscreen every window is, and none covers the screen.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QPoint, QPointF, Qt, QTimer  # after the platform
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QWidget

from acquisition.errors import DeviceError, LiveTomoError
from pipeline.wire.state import InterferogramView, Phase, QualityView, TomogramView
from regularizer.quality_report import QualityReport
from tests.hands import press, turn_wheel
from tests.recorded_session import RecordedSession, fringes, volumes
from tests.windows import shown, wait_until
from ui.actions.help_dialog import HelpDialog
from ui.main import run_window
from ui.sections.colours import COLORMAPS
from ui.sections.contrast import Contrast
from ui.sections.displayed import displayed_volume
from ui.sections.voxel_grid import X, Y, Z
from ui.settings import Settings
from ui.style import signed
from ui.window import Window

VOXEL_UM = (0.36, 0.22, 0.24)
SHAPE = (28, 50, 46)


@pytest.fixture(scope="module")
def tomograms() -> list[TomogramView]:
    return volumes(3, SHAPE, VOXEL_UM)


@pytest.fixture
def session(tomograms: list[TomogramView]) -> RecordedSession:
    return RecordedSession(list(tomograms))


@pytest.fixture
def window(qapp: QApplication, session: RecordedSession) -> Iterator[Window]:
    """Yield a window that has the state and shows the first tomogram of the session."""
    with shown(qapp, session) as window:
        yield window


def test_r_switches_between_raw_and_regularized(
    window: Window, tomograms: list[TomogramView]
) -> None:
    xy = window.views.panels[0]
    z = window.state.cursor[Z]
    regularized = tomograms[0].regularized
    assert regularized is not None
    assert np.array_equal(xy.image.image, regularized[z]) and window.toolbar.regularized.isChecked()
    assert xy.overlay.marks.badge.text == "REGULARIZED · DEEP"
    press(window, Qt.Key.Key_R)
    assert np.array_equal(xy.image.image, tomograms[0].raw[z]) and window.toolbar.raw.isChecked()
    assert xy.overlay.marks.badge.text == "RAW"
    QTest.mouseClick(window.toolbar.regularized, Qt.MouseButton.LeftButton)
    assert np.array_equal(xy.image.image, regularized[z])


def test_without_a_regularized_volume_the_raw_one_is_shown_and_said_so(
    window: Window, tomograms: list[TomogramView]
) -> None:
    window.show_tomogram(replace(tomograms[1], regularized=None, method="none"))
    badge = window.views.panels[0].overlay.marks.badge
    assert np.array_equal(window.views.panels[0].image.image, tomograms[1].raw[14])
    assert badge.text == "RAW" and "no regularized volume" in badge.note
    assert window.toolbar.raw.isChecked()
    assert window.views.readout.other.text() == "no regularized volume"


def test_the_readout_says_how_sure_the_network_is(
    window: Window, tomograms: list[TomogramView]
) -> None:
    volume = tomograms[1].regularized
    assert volume is not None
    uncertainty = np.full_like(volume, 0.0021)
    window.show_tomogram(replace(tomograms[1], uncertainty=uncertainty))
    at = volume[window.state.cursor]
    assert window.views.readout.index.text() == f"{at:.4f} ± 0.0021"
    press(window, Qt.Key.Key_R)
    assert "±" not in window.views.readout.index.text()  # it is not the raw tomogram's


def test_every_tomogram_is_drawn_and_the_readout_is_its_voxel(
    window: Window, session: RecordedSession, tomograms: list[TomogramView]
) -> None:
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_PageDown):
        press(window, key)
    press(window, Qt.Key.Key_Left, shift=True)
    assert window.state.cursor == (15, 24, 14)
    for played in (1, 2):
        window.poll()
        volume = tomograms[played].regularized
        assert volume is not None
        assert window.views.readout.index.text() == f"{volume[15, 24, 14]:.4f}"
        assert window.views.readout.other.text() == f"{tomograms[played].raw[15, 24, 14]:.4f} raw"
    assert window.views.readout.positions[Z].text() == "+0.36 µm"
    assert window.views.readout.positions[X].text() == f"{signed(-9 * 0.24, 2)} µm"


@pytest.mark.parametrize("panel", [0, 1, 2])
def test_a_click_puts_the_cursor_under_the_pointer_and_leaves_the_third_axis(
    window: Window, panel: int
) -> None:
    press(window, Qt.Key.Key_PageUp)
    before = window.state.cursor
    target = window.views.panels[panel]
    point = QPoint(target.width() // 2 + 17, target.height() // 2 - 23)
    QTest.mouseClick(target.overlay, Qt.MouseButton.LeftButton, pos=point)
    assert window.state.cursor[target.plane.cut] == before[target.plane.cut]
    # The crosshair is within half a voxel of the pointer
    marks = target.overlay.marks
    at = marks.pixel()
    for axis, distance in (
        (target.plane.right, at.x() - point.x()),
        (target.plane.down, at.y() - point.y()),
    ):
        assert abs(distance) * marks.um_per_pixel <= VOXEL_UM[axis] / 2 + 1e-9


def test_clicks_beside_the_volume_stay_on_its_edge(window: Window) -> None:
    xy = window.views.panels[0].overlay
    QTest.mouseClick(xy, Qt.MouseButton.LeftButton, pos=QPoint(1, 1))
    assert window.state.cursor == (14, 0, 0)


def test_anisotropic_voxels_keep_their_physical_aspect(window: Window) -> None:
    scales = []
    for size in ((1280, 800), (1000, 900)):
        window.resize(*size)
        QApplication.processEvents()
        for panel in window.views.panels:
            right, down = panel.view_range_um()
            across = (right[1] - right[0]) / panel.width()
            assert across == pytest.approx((down[1] - down[0]) / panel.height(), rel=1e-6)
            assert across == pytest.approx(panel.overlay.marks.um_per_pixel, rel=1e-6)
            box = panel.image.mapRectToView(panel.image.boundingRect())
            assert box.width() == pytest.approx(
                SHAPE[panel.plane.right] * VOXEL_UM[panel.plane.right]
            )
            assert box.height() == pytest.approx(
                SHAPE[panel.plane.down] * VOXEL_UM[panel.plane.down]
            )
            scales.append(across)
    assert scales[:3] == pytest.approx([scales[0]] * 3)
    assert scales[3:] == pytest.approx([scales[3]] * 3)


def test_panels_share_their_extents(window: Window) -> None:
    press(window, Qt.Key.Key_Plus)
    xy, xz, yz = window.views.panels
    assert xy.view_range_um()[0] == pytest.approx(xz.view_range_um()[0])
    assert xy.view_range_um()[1] == pytest.approx(yz.view_range_um()[1])
    assert xy.width() == xz.width() and xy.height() == yz.height()


def test_the_cursor_is_kept_in_view(window: Window) -> None:
    for _ in range(8):
        press(window, Qt.Key.Key_Plus)
    for _ in range(4):
        press(window, Qt.Key.Key_Right, shift=True)
    (low, high), _ = window.views.panels[0].view_range_um()
    assert low <= window.state.position_um[X] <= high
    press(window, Qt.Key.Key_F)
    assert window.state.camera.zoom == 1


def test_spin_boxes_set_the_levels(window: Window) -> None:
    for box, value in ((window.contrast.low, 1.3402), (window.contrast.high, 1.3718)):
        box.lineEdit().setText(f"{value}")
        QTest.keyClick(box, Qt.Key.Key_Return)
    assert window.state.contrast == Contrast(1.3402, 1.3718)
    for panel in window.views.panels:
        assert tuple(panel.image.levels) == (1.3402, 1.3718)
    window.poll()
    assert tuple(window.views.panels[0].image.levels) == (1.3402, 1.3718)


def test_auto_and_the_colour_bar_set_the_levels(window: Window) -> None:
    first = window.state.contrast
    assert first is not None
    bar = window.contrast.bar
    limit = round(bar.height_of(first.high))
    QTest.mousePress(bar, Qt.MouseButton.LeftButton, pos=QPoint(8, limit))
    QTest.mouseMove(bar, QPoint(8, limit + 30))
    QTest.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=QPoint(8, limit + 30))
    dragged = window.state.contrast
    assert dragged is not None and dragged.low == first.low and dragged.high < first.high
    assert window.contrast.high.value() == pytest.approx(dragged.high, abs=1e-4)
    press(window, Qt.Key.Key_A)
    assert window.state.contrast == first
    assert tuple(window.views.panels[1].image.levels) == (first.low, first.high)


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_colours_reach_image_and_bar(window: Window, colormap: str) -> None:
    window.contrast.colormap_chosen.emit(colormap)
    lookup = window.views.panels[0].image.lut
    assert lookup.shape == (256, 3)
    assert window.contrast.colormap.currentText() == colormap
    assert (np.ptp(lookup.astype(int), axis=1).max() == 0) == (colormap == "gray")


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


def test_nothing_is_clipped_at_1280_by_800(window: Window) -> None:
    long = "a warning that takes several lines of the column at the right of the window"
    assert window.tomogram is not None
    window.show_tomogram(replace(window.tomogram, warnings=(long,) * 9))
    window.status.show_answer(long * 9, "error")
    QApplication.processEvents()
    for theme in ("light", "dark"):  # which sets all sizes anew
        window.set_theme(theme)
        QApplication.processEvents()
        hint = window.minimumSizeHint()
        assert hint.width() <= 1280 and hint.height() <= 720
    assert window.size().width() == 1280 and window.size().height() == 800


def test_the_views_are_saved_as_a_picture(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "views.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    QTest.keyClick(window, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert QImage(str(path)).width() >= window.picture.width()
    assert window.status.answer.full_text() == f"saved {path}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "no/x.png"), ""))
    QTest.keyClick(window, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert "could not be written" in window.status.answer.full_text()


def test_the_help_names_every_key(window: Window) -> None:
    press(window, Qt.Key.Key_F1)
    dialog = window.findChild(HelpDialog)
    assert dialog is not None and dialog.isVisible()
    texts = {label.text() for label in dialog.findChildren(QWidget) if hasattr(label, "text")}
    assert {action.title for action in window.action_set} <= texts
    tips = {label.toolTip() for label in dialog.findChildren(QLabel)}
    assert {action.help for action in window.action_set} <= tips
    assert dialog.width() <= dialog.screen().availableGeometry().width()
    dialog.close()


def test_the_mouse_wheel_steps_and_zooms_and_drags_pan(window: Window) -> None:
    overlay = window.views.panels[0].overlay
    turn_wheel(overlay, 8, Qt.KeyboardModifier.ControlModifier)
    assert window.state.camera.zoom == pytest.approx(1.2**8)
    turn_wheel(overlay, -1)
    assert window.state.cursor[Z] == 13
    centre = window.state.camera.centre_um
    QTest.mousePress(overlay, Qt.MouseButton.RightButton, pos=QPoint(100, 100))
    QTest.mouseMove(overlay, QPoint(80, 130))
    QTest.mouseRelease(overlay, Qt.MouseButton.RightButton, pos=QPoint(80, 130))
    scale = overlay.marks.um_per_pixel
    moved = window.state.camera.centre_um
    assert moved[X] - centre[X] == pytest.approx(20 * scale)
    assert moved[Y] - centre[Y] == pytest.approx(-30 * scale)
    assert overlay.marks.along(QPointF(overlay.marks.pixel())) == pytest.approx(
        {X: window.state.position_um[X], Y: window.state.position_um[Y]}
    )


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
