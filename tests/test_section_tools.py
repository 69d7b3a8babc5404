"""Contrast, colours, a second volume, profiles, statistics and following on the sections."""

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from pipeline.wire.state import QualityView, TomogramView
from regularizer.quality_report import QualityReport
from tests.hands import press
from tests.recorded_session import MEDIUM, RecordedSession, volumes
from ui.sections.colours import ABOUT_MEDIUM, COLORMAPS, lookup_table
from ui.sections.contrast import Contrast, auto_contrast, histogram, percentile_contrast
from ui.sections.displayed import displayed_volume, volume_of
from ui.sections.object_following import follow, start_following
from ui.sections.tools import Drawn, line_profile, region_statistics
from ui.sections.view_scale import PLANES
from ui.sections.voxel_grid import VoxelGrid, X, Y, Z
from ui.viewmodel import ViewState
from ui.window import Window

VOXEL_UM = (0.36, 0.22, 0.24)
SHAPE = (28, 50, 46)
GRID = VoxelGrid(SHAPE, VOXEL_UM)


@pytest.fixture(scope="module")
def tomograms() -> list[TomogramView]:
    return volumes(4, SHAPE, VOXEL_UM)


def drag(window: Window, panel: int, begin: tuple[int, int], end: tuple[int, int]) -> None:
    overlay = window.views.panels[panel].overlay
    QTest.mousePress(overlay, Qt.MouseButton.LeftButton, pos=QPoint(*begin))
    QTest.mouseMove(overlay, QPoint(*end))
    QTest.mouseRelease(overlay, Qt.MouseButton.LeftButton, pos=QPoint(*end))


def check_of(tomogram: TomogramView, sequence: int) -> QualityView:
    """Return a check in which total variation is 0.001 above the regularized volume."""
    assert tomogram.regularized is not None
    reference = tomogram.regularized + np.float32(0.001)
    report = QualityReport("deep", 0.9, (0.9,), 1e-4, 0.99, 0.05, 0.0, 0.11, 0.12)
    return QualityView(
        report,
        reference,
        tomogram.regularized - reference,
        tomogram.voxel_size_um,
        sequence,
        time.time(),
        seconds=1.0,
    )


# ---- Contrast and colours ------------------------------------------------------------------------


def test_percentiles_are_those_of_the_volume() -> None:
    volume = np.linspace(1.3, 1.4, 20 * 40 * 40, dtype=np.float32).reshape(20, 40, 40)
    contrast = percentile_contrast(volume, (10, 90), MEDIUM)
    assert (contrast.low, contrast.high) == pytest.approx((1.31, 1.39), abs=2e-4)
    flat = percentile_contrast(np.full((2, 4, 4), 1.35, np.float32), (1, 99), MEDIUM)
    assert flat.low < flat.high
    broken = np.full((2, 4, 4), np.nan, np.float32)
    assert percentile_contrast(broken, (1, 99), MEDIUM) == auto_contrast(broken, MEDIUM)


def test_the_contrast_follows_each_scan_if_the_user_wants_it(
    window: Window, tomograms: list[TomogramView]
) -> None:
    assert tomograms[1].regularized is not None
    brighter = replace(tomograms[1], regularized=tomograms[1].regularized + np.float32(0.01))
    before = window.state.contrast
    assert before is not None
    window.show_tomogram(brighter)
    assert window.state.contrast == before
    box = window.contrast.autoscale
    box.activated.emit(box.findData("always"))
    raised = window.state.contrast
    assert raised is not None and raised.high == pytest.approx(before.high + 0.01, abs=2e-3)
    window.show_tomogram(tomograms[2])
    assert window.state.contrast == before
    window.contrast.high.lineEdit().setText("1.39")  # by hand: from now on it stays
    QTest.keyClick(window.contrast.high, Qt.Key.Key_Return)
    window.show_tomogram(brighter)
    assert window.state.autoscale == "once" and box.currentData() == "once"
    assert window.state.contrast is not None and window.state.contrast.high == 1.39


def test_percentiles_are_typed_and_kept(window: Window, tomograms: list[TomogramView]) -> None:
    assert not window.contrast.percentiles[0].isVisible()
    box = window.contrast.autoscale
    box.activated.emit(box.findData("percentiles"))
    low, high = window.contrast.percentiles
    assert low.isVisible()
    low.lineEdit().setText("20")
    QTest.keyClick(low, Qt.Key.Key_Return)
    assert window.state.percentiles == (20.0, high.value())
    volume = tomograms[0].regularized
    assert volume is not None
    assert window.state.contrast == percentile_contrast(volume, (20.0, high.value()), MEDIUM)


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_colours_grow_evenly_or_are_white_at_the_medium(colormap: str) -> None:
    contrast = Contrast(MEDIUM - 0.01, MEDIUM + 0.05)
    table = lookup_table(colormap, contrast, MEDIUM).astype(int)
    assert table.shape == (256, 3)
    light = table @ np.array([0.2126, 0.7152, 0.0722])
    if colormap == ABOUT_MEDIUM:
        at = round(255 * 0.01 / 0.06)
        assert abs(int(light.argmax()) - at) <= 3 and np.ptp(table[light.argmax()]) < 25
        assert table[0, 2] > table[0, 0] and table[-1, 0] > table[-1, 2]  # blue below, red above
    else:
        assert (np.diff(light) > -1.5).all() and light[-1] - light[0] > 120


def test_the_histogram_counts_the_volume(window: Window, tomograms: list[TomogramView]) -> None:
    volume = tomograms[0].regularized
    assert volume is not None
    heights, edges = histogram(volume)
    assert heights.max() == 1 and edges[0] <= MEDIUM <= edges[1] + 1e-6
    assert heights[0] == 1  # the medium is the most frequent
    drawn = window.contrast.bar
    low, high = drawn.range
    contrast = window.state.contrast
    assert contrast is not None
    assert low < contrast.low < contrast.high < high
    # both limits can be grabbed where they are painted, and what lies between moves both
    for grabbed, expected in (
        (contrast.low, (True, False)),
        ((contrast.low + contrast.high) / 2, (True, True)),
    ):
        before = window.state.contrast
        assert before is not None
        y = round(drawn.height_of(grabbed))
        QTest.mousePress(drawn, Qt.MouseButton.LeftButton, pos=QPoint(8, y))
        QTest.mouseMove(drawn, QPoint(8, y - 12))
        QTest.mouseRelease(drawn, Qt.MouseButton.LeftButton, pos=QPoint(8, y - 12))
        after = window.state.contrast
        assert after is not None
        assert (after.low > before.low, after.high > before.high) == expected
        window.show_state(replace(window.state, contrast=contrast))


def test_a_volume_without_a_finite_index_has_a_histogram() -> None:
    heights, edges = histogram(np.full((4, 8, 8), np.nan, np.float32))
    assert len(edges) == len(heights) + 1 and not heights.any()


# ---- Two volumes ---------------------------------------------------------------------------------


def test_the_raw_volume_stands_beside_with_the_same_cursor(
    window: Window, tomograms: list[TomogramView]
) -> None:
    beside = window.picture.beside
    assert not beside.isVisible()
    press(window, Qt.Key.Key_R, shift=True)
    assert beside.isVisible()
    press(window, Qt.Key.Key_PageDown)
    z = window.state.cursor[Z]
    assert tomograms[0].regularized is not None
    assert np.array_equal(window.views.panels[0].image.image, tomograms[0].regularized[z])
    assert np.array_equal(beside.panels[0].image.image, tomograms[0].raw[z])
    assert beside.panels[0].overlay.marks.badge.text == "RAW"
    assert tuple(beside.panels[0].image.levels) == tuple(window.views.panels[0].image.levels)
    QApplication.processEvents()
    point = QPoint(beside.panels[0].width() // 3, beside.panels[0].height() // 2)
    QTest.mouseClick(beside.panels[0].overlay, Qt.MouseButton.LeftButton, pos=point)
    assert window.state.cursor[X] < SHAPE[X] // 2  # the other volume has the same cursor
    press(window, Qt.Key.Key_R, shift=True)
    assert not beside.isVisible()


def test_differences_are_drawn_about_zero(window: Window, tomograms: list[TomogramView]) -> None:
    press(window, Qt.Key.Key_D)
    panel = window.picture.beside.panels[0]
    assert tomograms[0].regularized is not None
    expected = (tomograms[0].regularized - tomograms[0].raw)[window.state.cursor[Z]]
    np.testing.assert_array_equal(panel.image.image, expected)
    low, high = panel.image.levels
    assert low == -high < 0
    assert panel.overlay.marks.badge.text == "DEEP - RAW"
    at = expected[window.state.cursor[Y], window.state.cursor[X]]
    sign = "+" if at > 0 else "\N{MINUS SIGN}"
    assert window.picture.beside.readout.index.text() == f"{sign}{abs(at):.4f}"


def test_total_variation_and_what_was_compared_with_it_are_of_one_scan(
    window: Window, session: RecordedSession, tomograms: list[TomogramView]
) -> None:
    press(window, Qt.Key.Key_T, shift=True)
    badge = window.picture.beside.panels[0].overlay.marks.badge
    assert "not computed yet" in badge.note
    session.quality = check_of(tomograms[0], 0)
    window.poll()  # the live view has gone on to the next scan
    session.quality = None
    assert window.tomogram is not None and window.tomogram.sequence == 1
    z = window.state.cursor[Z]
    assert tomograms[0].regularized is not None
    left, right = (views.panels[0] for views in (window.views, window.picture.beside))
    np.testing.assert_allclose(left.image.image, tomograms[0].regularized[z], atol=1e-6)
    np.testing.assert_allclose(right.image.image - left.image.image, 0.001, atol=1e-6)
    assert left.overlay.marks.badge.text == "REGULARIZED · DEEP OF SCAN 1"
    assert right.overlay.marks.badge.text == "TOTAL VARIATION OF SCAN 1"
    press(window, Qt.Key.Key_D, shift=True)
    np.testing.assert_allclose(right.image.image, -0.001, atol=1e-6)


def test_total_variation_of_a_file_is_that_of_the_scan(tomograms: list[TomogramView]) -> None:
    held = replace(tomograms[0], total_variation=tomograms[0].raw + np.float32(0.002))
    other = check_of(tomograms[1], 7)
    shown = displayed_volume(held, "tv", other)
    assert shown.volume is held.total_variation and shown.label == "total variation"
    assert volume_of(held, "regularized", "tv", other).volume is held.regularized
    difference = displayed_volume(held, "regularized - tv", None)
    assert held.regularized is not None and held.total_variation is not None
    np.testing.assert_array_equal(difference.volume, held.regularized - held.total_variation)


def test_a_section_fills_the_views_and_goes_back(window: Window) -> None:
    xy, xz, yz = window.views.panels
    QTest.mouseDClick(xz.overlay, Qt.MouseButton.LeftButton, pos=QPoint(30, 30))
    assert xz.isVisible() and not xy.isVisible() and not yz.isVisible()
    assert xz.size() == window.views.size()
    right, down = xz.view_range_um()
    assert right[1] - right[0] >= SHAPE[X] * VOXEL_UM[X]
    assert down[1] - down[0] >= SHAPE[Z] * VOXEL_UM[Z]
    assert xz.overlay.marks.badge.text  # the warnings go with the view that is left
    press(window, Qt.Key.Key_3)
    assert yz.isVisible() and not xz.isVisible()
    press(window, Qt.Key.Key_Escape)
    assert xy.isVisible() and xz.isVisible() and yz.isVisible()


# ---- Tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", [plane.name for plane in PLANES])
def test_a_profile_of_a_ramp_is_the_ramp(plane: str) -> None:
    drawn = Drawn("line", plane, (-2.0, 1.0), (2.5, -1.4))
    of = drawn.on()
    right = (np.arange(SHAPE[of.right]) - SHAPE[of.right] // 2) * VOXEL_UM[of.right]
    down = (np.arange(SHAPE[of.down]) - SHAPE[of.down] // 2) * VOXEL_UM[of.down]
    image = (1.35 + 0.01 * right[None, :] - 0.02 * down[:, None]).astype(np.float32)
    profile = line_profile(image, GRID, drawn)
    share = profile.distance_um / drawn.length_um
    expected = 1.35 + 0.01 * (-2.0 + 4.5 * share) - 0.02 * (1.0 - 2.4 * share)
    np.testing.assert_allclose(profile.index, expected, atol=1e-6)
    assert profile.distance_um[0] == 0 and profile.distance_um[-1] == pytest.approx(5.1)


def test_a_profile_leaves_out_what_is_outside() -> None:
    image = np.full((SHAPE[Y], SHAPE[X]), 1.35, np.float32)
    profile = line_profile(image, GRID, Drawn("line", "XY", (0.0, 0.0), (100.0, 0.0)))
    edge = (SHAPE[X] - 1 - SHAPE[X] // 2) * VOXEL_UM[X]
    assert edge - VOXEL_UM[X] < profile.distance_um[-1] <= edge + 1e-9
    nowhere = line_profile(image, GRID, Drawn("line", "XY", (90.0, 90.0), (100.0, 90.0)))
    assert len(nowhere.index) == 0


def test_a_region_holds_the_voxels_whose_centres_are_in_it() -> None:
    image = np.zeros((SHAPE[Y], SHAPE[X]), np.float32)
    image[24:27, 21:26] = np.arange(15).reshape(3, 5)
    half = (2.4 * VOXEL_UM[X], 1.4 * VOXEL_UM[Y])
    corners = ((half[0], -half[1]), (-half[0], half[1]))
    found = region_statistics(image, GRID, Drawn("region", "XY", *corners))
    assert found is not None
    assert (found.voxels, found.lowest, found.highest) == (15, 0.0, 14.0)
    assert (found.mean, found.deviation) == pytest.approx((7.0, np.std(np.arange(15))))
    assert found.area_um2 == pytest.approx(15 * VOXEL_UM[X] * VOXEL_UM[Y])
    outside = Drawn("region", "XY", (90.0, 90.0), (99.0, 99.0))
    assert region_statistics(image, GRID, outside) is None


def test_a_line_is_dragged_and_its_profile_is_plotted(
    window: Window, tomograms: list[TomogramView]
) -> None:
    press(window, Qt.Key.Key_L)
    assert window.action_set["line"].isChecked() and window.profile.isVisible()
    before = window.state.cursor
    xy = window.views.panels[0]
    y = xy.height() // 2
    drag(window, 0, (60, y), (xy.width() - 60, y))
    assert window.state.cursor == before
    drawn = window.state.drawn
    assert drawn is not None and (drawn.tool, drawn.plane) == ("line", "XY")
    marks = xy.overlay.marks
    assert drawn.begin_um == pytest.approx(marks.place(QPoint(60, y).toPointF()))
    distance, index = window.profile.curve(0)
    assert distance is not None and index is not None
    assert distance[-1] == pytest.approx(drawn.length_um, abs=VOXEL_UM[X])
    volume = tomograms[0].regularized
    assert volume is not None
    row = volume[window.state.cursor[Z], round(drawn.begin_um[1] / VOXEL_UM[Y]) + SHAPE[Y] // 2]
    assert index.max() == pytest.approx(row.max(), abs=2e-3)
    assert index[0] == pytest.approx(MEDIUM, abs=1e-6)
    press(window, Qt.Key.Key_R, shift=True)
    raw = window.profile.curve(1)[1]
    assert raw is not None and np.std(raw - index) > 1e-4
    press(window, Qt.Key.Key_D)  # differences are not on the scale of the indices
    gone = window.profile.curve(1)[1]
    assert gone is None or len(gone) == 0
    press(window, Qt.Key.Key_PageDown, shift=True)
    other = window.profile.curve(0)[1]  # of another section
    assert other is not None and not np.array_equal(other, index)
    press(window, Qt.Key.Key_Escape)
    assert window.state.drawn is None and window.state.tool == "cursor"
    assert window.profile.pages.currentWidget() is window.profile.hint


def test_a_rectangle_is_dragged_and_its_statistics_are_listed(
    window: Window, tomograms: list[TomogramView]
) -> None:
    press(window, Qt.Key.Key_S)
    xy = window.views.panels[0]
    middle = (xy.width() // 2, xy.height() // 2)
    drag(window, 0, (middle[0] - 30, middle[1] - 20), (middle[0] + 30, middle[1] + 20))
    drawn, volume = window.state.drawn, tomograms[0].regularized
    assert drawn is not None and volume is not None
    expected = region_statistics(volume[window.state.cursor[Z]], GRID, drawn)
    assert expected is not None and expected.voxels > 20
    values = {name: labels[0].text() for name, labels in window.profile.values.items()}
    assert values["Mean RI"] == f"{expected.mean:.4f}"
    assert values["Voxels"] == f"{expected.voxels}"
    QTest.mouseClick(xy.overlay, Qt.MouseButton.LeftButton, pos=QPoint(9, 9))
    assert window.state.drawn is None  # a click wipes it off; the tool stays
    assert window.state.tool == "region"


# ---- Following -----------------------------------------------------------------------------------


def ball(centre_um: tuple[float, float, float], sign: int = 1) -> NDArray[np.float32]:
    z, y, x = (
        (np.arange(n) - n // 2) * d - c for n, d, c in zip(SHAPE, VOXEL_UM, centre_um, strict=True)
    )
    r = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)
    noise = np.random.default_rng(3).normal(0, 5e-4, SHAPE)
    index = MEDIUM + sign * 0.03 / (1 + np.exp((r - 1.2) / 0.1)) + noise
    return np.asarray(index, np.float32)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_object_is_found_again_where_it_has_gone(sign: int) -> None:
    """Denser and lighter ones: what counts is the distance from the medium."""
    volume = ball((0.4, -0.5, 0.8), sign)
    known = start_following(volume, MEDIUM, GRID, (0.6, -0.3, 0.6))
    assert known is not None
    assert known.centre_um == pytest.approx((0.4, -0.5, 0.8), abs=0.06)
    assert known.cursor_um == pytest.approx((0.6, -0.3, 0.6))
    moved = ball((-0.8, 0.9, 0.1), sign)
    again = follow(moved, MEDIUM, GRID, known)
    assert again.centre_um == pytest.approx((-0.8, 0.9, 0.1), abs=0.06)
    shift = np.subtract(again.cursor_um, known.cursor_um)
    assert shift == pytest.approx((-1.2, 1.4, -0.7), abs=0.12)


def test_nothing_is_followed_where_nothing_is() -> None:
    empty = np.full(SHAPE, MEDIUM, np.float32)
    assert start_following(empty, MEDIUM, GRID, (0, 0, 0)) is None
    known = start_following(ball((0, 0, 0)), MEDIUM, GRID, (0, 0, 0))
    assert known is not None
    assert follow(empty, MEDIUM, GRID, known) == known
    assert follow(np.full(SHAPE, np.nan, np.float32), MEDIUM, GRID, known) == known


def test_the_cursor_stays_on_the_object_that_drifts(window: Window) -> None:
    press(window, Qt.Key.Key_O)
    assert window.action_set["follow"].isChecked()
    start = window.state.position_um
    for _ in range(2):
        window.poll()  # a quarter and a half turn on: 1.2 um sideways, and back on the other side
    moved = np.subtract(window.state.position_um, start)
    assert moved == pytest.approx((0.0, 0.0, -2.4), abs=0.5)
    press(window, Qt.Key.Key_Right)  # on the object, one voxel beside its former place
    assert window.state.followed_here is not None
    assert window.state.followed_here.cursor_um == pytest.approx(window.state.position_um)
    press(window, Qt.Key.Key_O)
    before = window.state.cursor
    window.poll()
    assert window.state.cursor == before


def test_each_stage_position_has_a_followed_object_of_its_own(
    window: Window, tomograms: list[TomogramView]
) -> None:
    left, right = (replace(one, position=at) for one, at in zip(tomograms, "AB", strict=False))
    window.show_tomogram(left)
    press(window, Qt.Key.Key_O)
    on_left = window.state.position_um
    window.show_tomogram(right)
    assert not window.action_set["follow"].isChecked()
    assert window.state.position_um == on_left  # nothing is followed here
    press(window, Qt.Key.Key_Right)
    press(window, Qt.Key.Key_O)
    on_right = window.state.position_um
    for one, expected in ((left, on_left), (right, on_right), (left, on_left)):
        window.show_tomogram(one)
        assert window.action_set["follow"].isChecked()
        assert window.state.position_um == expected
    press(window, Qt.Key.Key_O)
    assert [one.position for one in window.state.followed] == ["B"]


def test_following_nothing_is_said(window: Window, tomograms: list[TomogramView]) -> None:
    empty = np.full(SHAPE, MEDIUM, np.float32)
    window.show_tomogram(replace(tomograms[0], raw=empty, regularized=empty))
    press(window, Qt.Key.Key_O)
    assert "nothing to follow" in window.status.answer.full_text()
    assert not window.action_set["follow"].isChecked()


# ---- Panels --------------------------------------------------------------------------------------


def test_panels_are_opened_and_closed_by_keys_and_by_their_buttons(window: Window) -> None:
    assert window.sidebar.isVisible() and not window.profile.isVisible()
    press(window, Qt.Key.Key_F3)
    assert window.profile.isVisible() and window.action_set["profile panel"].isChecked()
    dock = window.profile.parentWidget()
    assert dock is not None
    dock.close()
    assert not window.action_set["profile panel"].isChecked()
    press(window, Qt.Key.Key_F2)
    assert not window.sidebar.isVisible()


def test_a_view_state_of_a_tool_is_put_away() -> None:
    state = ViewState().with_tool("line")
    assert state.with_tool("line").tool == "cursor"
    assert state.with_tool("region").tool == "region"
    assert ViewState().with_enlarged("XY").with_enlarged("XY").enlarged == ""
