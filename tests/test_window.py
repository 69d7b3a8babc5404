"""The views of the window: volumes, cursor, levels, colours; on a recorded session."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# Keys reach only an active window; offscreen every window is, and none covers the screen.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QPoint, QPointF, Qt  # after the platform
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QWidget

from acquisition.choices import REGULARIZERS
from pipeline.wire.state import RecordingState, TomogramView
from tests.hands import press, turn_wheel
from tests.recorded_session import RecordedSession, volumes
from ui.actions.help_dialog import HelpDialog
from ui.sections.colours import COLORMAPS
from ui.sections.contrast import Contrast
from ui.sections.voxel_grid import X, Y, Z
from ui.style import signed
from ui.window import Window

VOXEL_UM = (0.36, 0.22, 0.24)
SHAPE = (28, 50, 46)


@pytest.fixture(scope="module")
def tomograms() -> list[TomogramView]:
    return volumes(3, SHAPE, VOXEL_UM)


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
    assert window.views.readout.index.text() == f"{at:.4f}"
    assert window.views.readout.medium.text().startswith("± 0.0021, ")
    press(window, Qt.Key.Key_R)
    assert "±" not in window.views.readout.medium.text()  # it is not the raw tomogram's


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
            box = panel.image.place
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
    assert lookup is not None and lookup.shape == (256, 3)
    assert window.contrast.colormap.currentText() == colormap
    assert (np.ptp(lookup.astype(int), axis=1).max() == 0) == (colormap == "gray")


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


def test_the_lists_of_the_toolbar_are_read_in_full_at_1280(
    window: Window, session: RecordedSession
) -> None:
    bar = window.toolbar
    layout = bar.layout()
    assert layout is not None
    running = RecordingState("cells.h5", "1 of 20 scans", running=True, done=1, total=20)
    for recording in (None, running):  # "Stop recording" is longer than "Record"
        session.announce(recording=recording, regularizers=tuple(REGULARIZERS))
        window.poll()
        for box in (bar.method, bar.constraint):  # as wide as their longest entries
            assert box.width() >= box.sizeHint().width()
        assert layout.sizeHint().width() <= bar.width()
    words, none = Qt.ToolButtonStyle.ToolButtonTextBesideIcon, Qt.ToolButtonStyle.ToolButtonIconOnly
    assert bar.live.toolButtonStyle() == words
    window.resize(1920, 1000)
    QApplication.processEvents()
    assert {button.toolButtonStyle() for button in bar.commands} == {words}
    window.resize(window.minimumSizeHint().width(), 800)
    QApplication.processEvents()
    assert {button.toolButtonStyle() for button in (*bar.commands, bar.live)} == {none}


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
