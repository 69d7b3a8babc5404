"""The window on a file: the slider, the keys, and playing."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# Keys reach only an active window; offscreen every window is.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from files.series import ScanLocation
from files.tomograms import TomogramWriter
from launcher import main
from pipeline.wire.state import Phase
from tests.tomogram_files import BEGUN, SHAPE, noise, write
from tests.windows import shown_file, wait_until
from ui.window import Window


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write three time points by a network and by total variation."""
    volumes = {"deep": {0: 10, 1: 11, 2: 12}, "tv": {0: 20, 1: 21, 2: 22}}
    return write(tmp_path / "cells.h5", range(3), volumes)


@pytest.fixture
def visits(tmp_path: Path) -> Path:
    """Write two scans at each of two positions in turn, with times in milliseconds."""
    path = tmp_path / "visits.h5"
    with TomogramWriter(path, noise(0), positions=("control", "treated")) as writer:
        for scan in range(4):
            made = replace(noise(scan, scan), timestamp=1000 * BEGUN + scan)
            writer.append(made, location=ScanLocation(scan % 2, (850.0 * (scan % 2), 0.0, 0.0)))
    return path


@pytest.fixture
def window(qapp: QApplication, file: Path) -> Iterator[Window]:
    with shown_file(qapp, file) as window:
        yield window


def shows(window: Window, seed: int) -> bool:
    """Return whether the XY panel has the section of a volume."""
    section = noise(seed).index.numpy()[SHAPE[0] // 2]
    return np.array_equal(window.views.panels[0].image.image, section)


def test_what_belongs_to_an_instrument_is_not_there(window: Window) -> None:
    assert shows(window, 10)
    for part in (
        window.sidebar.interferogram,
        window.sidebar.figures,
        window.sidebar.quality,
    ):
        assert not part.isVisible()
    assert not {"live", "background", "record"} & {action.name for action in window.action_set}
    assert window.sidebar.file.title.text() == "cells.h5"
    values = {name: label.text() for name, label in window.sidebar.file.values.items()}
    assert values["Voxels"] == "67 x 70 x 9"
    assert values["Voxel size"] == "0.110, y 0.100, z 0.200 µm"
    assert (values["Regularizer"], values["Data residual"]) == ("deep", "not kept")
    QTest.keyClick(window, Qt.Key.Key_B)
    QTest.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert not window.experiment.busy
    assert QApplication.activeModalWidget() is None


def test_slider_and_keys_choose_the_scan(window: Window) -> None:
    assert window.time.place.text() == "1 of 3"
    window.time.slider.setValue(2)
    wait_until(lambda: shows(window, 12))
    assert window.time.place.text() == "3 of 3"
    QTest.keyClick(window, Qt.Key.Key_Comma)
    wait_until(lambda: shows(window, 11))
    QTest.keyClick(window, Qt.Key.Key_Period)
    wait_until(lambda: shows(window, 12))
    QTest.keyClick(window, Qt.Key.Key_Period)  # there is none after it
    assert window.time.slider.value() == 2
    assert window.time.taken.text().startswith("2023-11-1")


def test_one_position_can_be_looked_at_alone(qapp: QApplication, visits: Path) -> None:
    with shown_file(qapp, visits) as window:
        bar = window.time
        wait_until(lambda: bar.slider.maximum() == 3)
        names = [bar.positions.itemText(row) for row in range(bar.positions.count())]
        assert names == ["All positions", "control", "treated"]
        assert bar.positions.isVisible()
        assert bar.taken.text() == "control"  # milliseconds since the epoch are no date
        bar.positions.setCurrentIndex(2)
        bar.positions.activated.emit(2)  # as a click does
        wait_until(lambda: shows(window, 1))
        assert (bar.place.text(), bar.taken.text()) == ("1 of 2", "treated")
        QTest.keyClick(window, Qt.Key.Key_Period)
        wait_until(lambda: shows(window, 3))
        assert bar.place.text() == "2 of 2"
        bar.positions.activated.emit(0)
        wait_until(lambda: bar.place.text() == "4 of 4")
        assert shows(window, 3)


def test_a_file_of_one_position_has_none_to_choose(window: Window) -> None:
    assert not window.time.positions.isVisible()


def test_space_plays_to_the_end(window: Window) -> None:
    assert window.toolbar.live.text() == "Play"
    QTest.keyClick(window, Qt.Key.Key_Space)
    wait_until(lambda: window.toolbar.live.text() == "Pause")
    wait_until(lambda: window.instrument is not None and window.instrument.phase == Phase.STOPPED)
    assert shows(window, 12)
    assert window.time.slider.value() == 2
    assert window.toolbar.live.text() == "Play"


def test_the_volumes_of_the_file_can_be_chosen(window: Window) -> None:
    method = window.toolbar.method
    wait_until(lambda: method.count() > 0)
    assert [method.itemData(i) for i in range(method.count())] == ["deep", "tv"]
    QTest.keyClick(window, Qt.Key.Key_T)
    wait_until(lambda: shows(window, 20))
    wait_until(lambda: not window.experiment.busy)
    QTest.keyClick(window, Qt.Key.Key_T)
    wait_until(lambda: shows(window, 10))
    QTest.keyClick(window, Qt.Key.Key_R)
    assert shows(window, 0)


def test_view_says_what_it_cannot_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "absent.h5")]) == 1
    assert "absent.h5" in capsys.readouterr().err
