"""Fluorescence over the sections: what is painted where, and how it is switched and set."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from files.tomogram_fluorescence import fluorescence_at, write_fluorescence
from files.volumes.volume_source import Fluorescence
from tests.tomogram_files import SHAPE, write
from tests.windows import shown_file, wait_until
from ui.sections.channel_look import ChannelLook, fitted_limits, looks_of, painted
from ui.window import Window

Z, Y, X = (n // 2 for n in SHAPE)
CONTROL = Qt.KeyboardModifier.ControlModifier


def spot(time: int) -> NDArray[np.float32]:
    """Return a spot of intensity 200 about the middle, in a background of 20."""
    light = np.full(SHAPE, 20, np.float32)
    light[Z - 1 : Z + 2, Y - 5 : Y + 6, X - 5 : X + 6] = 200 + time
    return light


def bar(time: int) -> NDArray[np.float32]:
    """Return a bar along x at the middle plane, in a background of 1."""
    light = np.ones(SHAPE, np.float32)
    light[Z, Y - 1 : Y + 1] = 9
    return light


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three time points, of which the first two have fluorescence."""
    path = write(tmp_path_factory.mktemp("light") / "cells.h5", range(3))
    write_fluorescence(path, [Fluorescence("CH0", 2, spot), Fluorescence("CH1", 2, bar)])
    return path


@pytest.fixture
def window(qapp: QApplication, file: Path) -> Iterator[Window]:
    with shown_file(qapp, file) as window:
        yield window


def glow(window: Window, panel: int = 0) -> NDArray[np.uint8] | None:
    """Return the light that a section has been given; None: it shows none."""
    item = window.views.panels[panel].glow
    return np.asarray(item.image) if item.isVisible() else None


def test_all_channels_of_a_time_point_are_read(file: Path) -> None:
    held = fluorescence_at(file, 1)
    assert list(held) == ["CH0", "CH1"]
    np.testing.assert_array_equal(held["CH0"], spot(1))
    assert fluorescence_at(file, 2) == {}


def test_limits_begin_at_the_background_and_end_at_the_brightest() -> None:
    light = np.zeros((4, 40, 40), np.float32)  # not measured at the edge
    light[:, 4:, 4:] = 20
    light[:, 20:24, 20:24] = 200
    assert fitted_limits(light) == (20.0, 200.0)
    assert fitted_limits(np.zeros((2, 4, 4), np.float32)) == (0.0, 1.0)
    low, high = fitted_limits(np.full((2, 4, 4), 7, np.float32))
    assert low == 7 < high


def test_colours_of_channels_add_up() -> None:
    values = np.array([[0, 10, 15, 30]], np.float32)
    green = ChannelLook("a", "#00ff00", 10, 20, opacity=1.0)
    half_red = ChannelLook("b", "#ff0000", 0, 30, opacity=0.5)
    assert painted({green: values})[0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 127, 0], [0, 255, 0]]
    both = painted({green: values, half_red: values})[0]
    assert both[:, 0].tolist() == [0, 42, 63, 127]
    assert both[:, 1].tolist() == [0, 0, 127, 255]


def test_a_channel_keeps_its_look_from_scan_to_scan() -> None:
    first = looks_of({"CH0": spot(0)})
    (known,) = first
    both = looks_of({"CH1": bar(0), "CH0": 3 * spot(0)}, first)
    assert both[0] is known
    assert both[1].name == "CH1" and both[1].colour != known.colour
    assert looks_of({}, both) == both


def test_the_light_is_where_the_cursor_is_and_added_to_the_section(window: Window) -> None:
    light = glow(window)
    assert light is not None and light.shape == (*SHAPE[1:], 3)
    # the first channel is green, the second magenta
    assert light[Y, X, 1] == light[Y - 4, X, 1] > 100 > light[Y - 12, X, 1] == 0
    assert light[Y, 0].tolist() == [light[Y, X, 0], 0, light[Y, X, 0]]
    side = glow(window, 1)  # XZ
    assert side is not None and side.shape == (SHAPE[0], SHAPE[2], 3)
    assert side[Z, X, 1] > 0 == side[0, X, 1]
    window.move_cursor(0, 3)  # out of the spot
    light = glow(window)
    assert light is not None and not light.any()
    window.switch("projection")
    light = glow(window)
    assert light is not None and light[Y, X, 1] > 0


def test_the_section_below_stays_visible(window: Window) -> None:
    window.show_state(window.state.with_channel_switched(1))
    panel = window.views.panels[0]
    lit = panel.grab().toImage()
    window.switch("fluorescence")
    dark = panel.grab().toImage()
    marks = panel.view_range_um()
    (left, right), (top, bottom) = marks
    at = round(panel.width() * (0.3 - left) / (right - left))  # um beside the crosshair
    down = round(panel.height() * (0.3 - top) / (bottom - top))
    before, after = dark.pixelColor(at, down), lit.pixelColor(at, down)
    assert after.green() > before.green() or before.green() == 255
    assert (after.red(), after.blue()) == (before.red(), before.blue())


def test_keys_switch_all_of_it_or_a_channel_and_undo_goes_back(window: Window) -> None:
    QTest.keyClick(window, Qt.Key.Key_C)
    assert glow(window) is None
    QTest.keyClick(window, Qt.Key.Key_C)
    QTest.keyClick(window, Qt.Key.Key_1, CONTROL)
    light = glow(window)
    assert light is not None and not light[..., 1].any() and light[Y, X, 0] > 0
    assert not window.action_set["channel 1"].isChecked()
    QTest.keyClick(window, Qt.Key.Key_2, CONTROL)
    assert glow(window) is None
    window.undo()
    window.undo()
    assert [look.shown for look in window.state.channels] == [True, True]
    assert not window.action_set["channel 3"].isEnabled()


def test_the_panel_sets_colour_limits_and_opacity(window: Window) -> None:
    window.open_panel("fluorescence")
    card = window.docks.fluorescence.cards["CH0"]
    assert (card.low.value(), card.high.value()) == (20, 200)
    window.docks.fluorescence.cards["CH1"].on.click()
    row = card.colour.findText("red")
    card.colour.setCurrentIndex(row)
    card.colour.activated.emit(row)  # as a click does
    card.opacity.setValue(50)
    card.high.setValue(380)
    light = glow(window)
    assert light is not None and light[Y, X].tolist() == [63, 0, 0]  # half of half of 255
    card.low.setValue(500)  # the upper limit gives way
    assert window.state.channels[0].high == 500
    card.fit.click()
    assert (window.state.channels[0].low, window.state.channels[0].high) == (20, 200)


def test_a_scan_without_fluorescence_says_so(window: Window) -> None:
    assert window.views.readout.light.text() == "CH0 200, CH1 9"
    window.time.slider.setValue(2)
    wait_until(lambda: window.tomogram is not None and window.tomogram.sequence == 2)
    assert glow(window) is None
    shown = window.views.volume
    assert shown is not None and "CH0, CH1: not measured at this scan" in shown.note
    assert window.views.readout.light.isHidden()
    assert not window.docks.fluorescence.cards["CH0"].fit.isEnabled()
