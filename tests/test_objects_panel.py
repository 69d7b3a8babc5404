"""Measured objects in the window: the panel, the table, the outlines over the sections."""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from pipeline.wire.state import MeasuredView, MeasuringState
from tests.hands import press
from tests.recorded_session import MEDIUM, RecordedSession, volumes
from tests.windows import shown, wait_until
from ui.panels.objects_panel import FIGURES
from ui.sections.colours import object_colour, outlines
from ui.sections.voxel_grid import X, Y, Z
from ui.window import Window

SHAPE = (12, 40, 36)
VOXEL_UM = (0.36, 0.22, 0.24)


@pytest.fixture
def session() -> RecordedSession:
    session = RecordedSession(volumes(2, SHAPE, VOXEL_UM))
    session.announce(measuring=MeasuringState("off"))
    return session


@pytest.fixture
def window(qapp: QApplication, session: RecordedSession) -> Iterator[Window]:
    with shown(qapp, session) as window:
        press(window, Qt.Key.Key_F6)
        yield window


def measured(sequence: int, volume_um3: float) -> MeasuredView:
    """Return two objects: a box of voxels with number 7, and one with number 3 beside it."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:9, 10:20, 8:16] = 1
    labels[4:9, 10:20, 22:30] = 2
    objects = (
        MeasuredObject(7, volume_um3, 60.0, 1.37, 1.39, 11.5, 0.36, -1.1, -1.44, cut=True),
        MeasuredObject(3, 20.0, 40.0, 1.36, 1.38, 5.25, 0.0, -1.1, 1.92, speed_um_per_s=0.5),
    )
    return MeasuredView(
        objects, labels, VOXEL_UM, MEDIUM, "deep", 1.35, MeasuringSettings(), sequence,
        1.7e9 + sequence, 0.2, (0.4, 0.0, 0.0),
    )  # fmt: skip


def test_outlines_are_the_edges_of_objects_in_their_colours() -> None:
    labels = np.zeros((8, 9), np.uint8)
    labels[2:6, 3:7] = 1
    picture = outlines(labels, [5])
    assert picture.shape == (8, 9, 4)
    drawn = picture[..., 3] > 0
    expected = labels.astype(bool)
    expected[3:5, 4:6] = False  # the inside is clear
    np.testing.assert_array_equal(drawn, expected)
    colour = "#" + bytes(picture[2, 3, :3]).hex()
    assert colour == object_colour(5) != object_colour(6)


def test_measuring_is_switched_on_with_its_settings(
    window: Window, session: RecordedSession
) -> None:
    panel = window.objects
    assert panel.isVisible() and not panel.on.isChecked()
    QTest.mouseClick(panel.on, Qt.MouseButton.LeftButton, pos=QPoint(8, panel.on.height() // 2))
    wait_until(lambda: not window.experiment.busy)
    assert session.commands[-1][0] == "measuring True"
    panel.threshold.lineEdit().setText("1.3521")
    QTest.keyClick(panel.threshold, Qt.Key.Key_Return)
    wait_until(lambda: not window.experiment.busy)
    asked = panel.request()
    assert asked.on and asked.settings.threshold == 1.3521
    assert asked.settings.lipid_threshold is None  # left at its special value
    window.poll()
    assert session.state.measuring is not None
    assert session.state.measuring.settings == asked.settings


def test_an_instrument_that_does_not_measure_says_so(
    window: Window, session: RecordedSession
) -> None:
    session.announce(measuring=None)
    window.poll()
    assert not window.objects.on.isEnabled()
    assert "no process that measures" in window.objects.doing.full_text()


def test_objects_are_listed_outlined_and_found(window: Window) -> None:
    panel, xy = window.objects, window.views.panels[0]
    assert not xy.outlines.isVisible()
    window.show_objects(measured(0, 30.0))
    assert panel.table.rowCount() == 2
    row = [panel.table.item(0, column) for column in range(len(FIGURES) + 1)]
    texts = [item.text() for item in row if item is not None]
    assert texts[:3] == ["7 (cut)", "30.0 µm³", "11.5 pg"]
    speed = 1 + list(FIGURES).index("speed_um_per_s")
    assert texts[speed] == ""  # it is not known yet
    assert texts[-3:] == ["-1.44 µm", "-1.10 µm", "0.36 µm"]
    item = panel.table.item(1, speed)
    assert item is not None and item.text() == "0.50 µm/s"
    assert xy.outlines.isVisible()
    expected = outlines(measured(0, 30.0).labels[window.state.cursor[Z]], [7, 3])
    np.testing.assert_array_equal(xy.outlines.image, expected)
    assert xy.overlay.marks.badge.note == ""
    window.poll()  # the instrument goes on: whose outlines they are is said
    assert xy.overlay.marks.badge.note == "outlines of scan 1"
    panel.table.cellClicked.emit(1, 0)  # as a click on its row does
    assert window.state.position_um[X] == pytest.approx(1.52, abs=0.1)  # in the tomogram
    assert window.state.position_um[Y] == pytest.approx(-1.1)
    press(window, Qt.Key.Key_M)
    assert not xy.outlines.isVisible()


def test_objects_of_another_position_are_neither_outlined_nor_gone_to(
    window: Window, session: RecordedSession
) -> None:
    window.show_objects(replace(measured(0, 30.0), position="left"))
    cursor = window.state.cursor
    assert not window.views.panels[0].outlines.isVisible()
    window.objects.table.cellClicked.emit(1, 0)
    assert window.state.cursor == cursor
    said = "object 3 is at left, which is not on display now"
    assert window.status.answer.full_text() == said
    window.show_tomogram(replace(session.tomograms[0], position="left"))
    assert window.views.panels[0].outlines.isVisible()
    assert window.views.readout.stage.text() == "at left"


def test_figures_are_plotted_over_time_and_saved(window: Window, tmp_path: Path) -> None:
    panel = window.objects
    for sequence, volume in enumerate((30.0, 33.0, 36.0)):
        window.show_objects(measured(sequence, volume))
    curves = [item.getData()[1].tolist() for item in panel.plot.listDataItems()]
    assert [30.0, 33.0, 36.0] in curves and [20.0] * 3 in curves
    panel.figure.setCurrentIndex(panel.figure.findData("speed_um_per_s"))
    curves = [item.getData() for item in panel.plot.listDataItems()]
    assert [None if y is None else list(y) for _, y in curves].count([0.5] * 3) == 1
    panel.save_table(tmp_path / "objects.csv")
    assert f"saved {tmp_path / 'objects.csv'}" in window.status.answer.full_text()
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert list(rows[0])[:3] == ["time_s", "object", "volume_um3"]
    assert [float(row["volume_um3"]) for row in rows if row["object"] == "7"] == [30, 33, 36]
    panel.save_table(tmp_path / "absent" / "objects.csv")
    assert "could not be written" in window.status.answer.full_text()


def test_a_long_day_does_not_slow_the_plot(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.panels.objects_panel._MOST_CURVES", 2)
    monkeypatch.setattr("ui.panels.objects_panel._MOST_DRAWN", 4)
    panel = window.objects
    for sequence in range(11):
        view = measured(sequence, 1.0 + sequence)
        passing = view.objects[1].renumbered(100 + sequence)  # dust: another one each time
        window.show_objects(replace(view, objects=(view.objects[0], passing)))
    curves = [item.getData()[1].tolist() for item in panel.plot.listDataItems()]
    assert sorted(curves) == [[2.0, 5.0, 8.0, 11.0], [20.0]]  # the newest scan is there


def test_the_3d_view_opens_beside_the_sections_and_alone(window: Window) -> None:
    before = window.picture.solid
    assert before is None  # not loaded before it is asked for
    press(window, Qt.Key.Key_4)
    solid = window.picture.solid
    assert solid is not None and solid.isVisible() and window.views.isVisible()
    solid.requested.emit(window.state.cursor_at({X: 1.2}))  # as a click in it does
    assert window.state.position_um[X] == pytest.approx(1.2)
    press(window, Qt.Key.Key_4, shift=True)
    assert solid.isVisible() and not window.views.isVisible()
    press(window, Qt.Key.Key_Escape)
    assert solid.isVisible() and window.views.isVisible()
    press(window, Qt.Key.Key_4)
    assert not solid.isVisible()
