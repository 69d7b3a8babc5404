"""A window on a long file: checks, objects, light, small pictures, speed, growth, dropped files."""

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from acquisition.optics import Optics
from files.measured_table import measure_tomograms
from files.recording import RecordingWriter
from files.tomograms import TomogramWriter
from pipeline.wire.file_state import PlaySpeed
from pipeline.wire.state import (
    Phase,
)
from reconstruction.tomogram import Tomogram
from regularizer.quality_report import QualityReport
from tests.hands import press
from tests.recorded_session import RecordedSession, volumes
from tests.scans import CELL, interferograms
from tests.tomogram_files import BEGUN, SHAPE, noise
from tests.windows import shown as shown_live
from tests.windows import shown_file, wait_until
from ui.bars.speed_box import stepped
from ui.bars.thumbnail_strip import chosen_rows
from ui.window import Window

_OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
_VOXEL = (0.2, 0.2, 0.2)


def bead(scan: int, *, tenths_um: int = 2) -> Tomogram:
    """Return a bead of 1.2 um radius that moves along x by tenths of a micrometre a scan."""
    z, y, x = (0.2 * (np.arange(n) - n // 2) for n in (20, 32, 32))
    away = x - 0.1 * tenths_um * scan
    inside = z[:, None, None] ** 2 + y[None, :, None] ** 2 + away**2 < 1.2**2
    index = torch.from_numpy((1.337 + 0.03 * inside).astype(np.float32))
    return Tomogram(index, _VOXEL, _OPTICS, BEGUN + 10 * scan, scan)


def report(scan: int) -> QualityReport:
    slices = tuple(np.linspace(0.5, 0.9, 14).tolist())
    return QualityReport("deep", 0.5 + scan / 20, slices, 1e-4, 0.99, 0.03, 0.0, 0.1, 0.12)


@pytest.fixture
def beads(tmp_path: Path) -> Path:
    """Write six time points of a moving bead; those with even numbers were compared with TV."""
    path = tmp_path / "beads.h5"
    with TomogramWriter(path, bead(0), ("deep", "tv")) as writer:
        for scan in range(6):
            writer.append(bead(scan), {"deep": bead(scan)})
            if scan % 2 == 0:
                writer.append_quality(scan, report(scan), bead(scan, tenths_um=1))
    return path


@pytest.fixture
def window(qapp: QApplication, beads: Path) -> Iterator[Window]:
    with shown_file(qapp, beads) as window:
        yield window


def at(window: Window) -> int:
    assert window.tomogram is not None
    return window.tomogram.sequence


def shows(window: Window, scan: int) -> bool:
    return at(window) == scan


def drop(window: Window, *paths: Path) -> bool:
    """Drop files on the window; return whether it took them."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    action = Qt.DropAction.CopyAction
    entering = QDragEnterEvent(QPoint(9, 9), action, data, button, none)
    QApplication.sendEvent(window, entering)
    dropping = QDropEvent(QPointF(9, 9), action, data, button, none)
    QApplication.sendEvent(window, dropping)
    return entering.isAccepted() and dropping.isAccepted()


def click(widget: QWidget, x: int) -> None:
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(x, widget.height() // 2))


def test_the_checks_of_the_whole_file_are_shown_and_lead_to_their_scans(window: Window) -> None:
    panel = window.trust
    press(window, Qt.Key.Key_F5)
    scans, ssim = panel.plots.ssim.getData()
    assert scans.tolist() == [1, 3, 5] and ssim.tolist() == pytest.approx([0.5, 0.6, 0.7])
    assert panel.plots.residual.getData()[1].tolist() == pytest.approx([0.1] * 3)
    assert "3 of 6 time points" in panel.words.text()
    dots = panel.plots.ssim
    dots.sigClicked.emit(dots, [dots.points()[2]], None)  # as a click does
    wait_until(lambda: at(window) == 4)
    assert [line.value() for line in panel.plots.places] == [5, 5]
    assert panel.plots.slices.getData()[1].tolist() == pytest.approx(list(report(4).ssim_z))
    press(window, Qt.Key.Key_Period)
    wait_until(lambda: at(window) == 5)
    assert panel.plots.slices.getData()[1] is None or not len(panel.plots.slices.getData()[1])
    assert "not compared" in panel.note.text()


def test_the_errors_of_a_compared_scan_are_painted(window: Window) -> None:
    window.time.slider.setValue(2)
    wait_until(lambda: window.check is not None and window.check.sequence == 2)
    assert window.check is not None
    expected = bead(2).index.numpy() - bead(2, tenths_um=1).index.numpy()
    np.testing.assert_array_equal(window.check.error, expected)
    assert window.sidebar.quality.values["SSIM"].text() == "0.600"
    press(window, Qt.Key.Key_E)
    assert window.views.panels[0].map.isVisible()
    window.time.slider.setValue(3)
    wait_until(lambda: at(window) == 3)
    assert window.sidebar.quality.isHidden()  # it was of another scan


def test_objects_are_measured_and_followed_in_the_order_of_the_file(window: Window) -> None:
    panel = window.objects
    window.time.slider.setValue(4)  # far from the scans that are measured by then
    wait_until(lambda: at(window) == 4)
    press(window, Qt.Key.Key_F6)
    QTest.mouseClick(panel.on, Qt.MouseButton.LeftButton, pos=QPoint(8, panel.on.height() // 2))
    wait_until(lambda: window.measured is not None)
    assert window.measured is not None and window.measured.sequence == 4
    outline = window.measured.labels > 0
    assert outline[bead(4).index.numpy() > 1.36].all()
    wait_until(lambda: "measured 6 of 6" in panel.doing.full_text())
    wait_until(lambda: len(panel.plot.listDataItems()) == 1)
    wait_until(lambda: len(panel.plot.listDataItems()[0].getData()[0]) == 6)
    panel.figure.setCurrentIndex(panel.figure.findData("speed_um_per_s"))
    speeds = panel.plot.listDataItems()[0].getData()[1]
    assert speeds.tolist() == pytest.approx([0.02] * 5, rel=0.05)  # of one object: it was followed
    press(window, Qt.Key.Key_Comma)
    wait_until(lambda: window.measured is not None and window.measured.sequence == 3)
    assert window.measured.objects[0].speed_um_per_s == pytest.approx(0.02, rel=0.05)
    panel.minimum.setValue(1e4)  # nothing is as large
    wait_until(lambda: window.measured is not None and not window.measured.objects)
    wait_until(lambda: not panel.plot.listDataItems())


def test_a_table_beside_the_file_is_shown(qapp: QApplication, beads: Path) -> None:
    table = beads.with_name("beads-objects.csv")
    measure_tomograms(beads, table)
    beads.with_name("beads.csv").write_text("something,else\n1,2\n")
    with table.open(newline="") as file:
        volumes_um3 = [float(row["volume_um3"]) for row in csv.DictReader(file)]
    with shown_file(qapp, beads) as window:
        press(window, Qt.Key.Key_F6)
        wait_until(lambda: window.objects.table.rowCount() == 1)
        wait_until(lambda: len(window.objects.plot.listDataItems()) == 1)
        found = window.objects.plot.listDataItems()[0].getData()[1]
        assert found.tolist() == pytest.approx(volumes_um3)
        assert "beads-objects.csv" in window.objects.doing.full_text()


def test_the_recording_beside_the_file_shows_the_light_path(
    qapp: QApplication, tmp_path: Path
) -> None:
    k = CELL.angles.k[::8]
    empty = interferograms(CELL.optics, k, frame=(96, 96))
    with RecordingWriter(tmp_path / "raw scans.h5", empty) as recording:
        recording.append(replace(empty, timestamp=BEGUN))
    made = replace(bead(0), optics=CELL.optics, provenance={"recording": "raw scans.h5"})
    with TomogramWriter(tmp_path / "cells.h5", made) as writer:
        writer.append(made)
    with shown_file(qapp, tmp_path / "cells.h5") as window:
        wait_until(lambda: window.light.seen.frame is not None)
        press(window, Qt.Key.Key_F4)
        wait_until(
            lambda: window.light.seen.frame is not None and window.light.seen.light is not None
        )
        assert window.light.seen.frame is not None and window.light.seen.light is not None
        np.testing.assert_array_equal(
            window.light.seen.frame.frame, empty.frames[window.light.seen.frame.angle]
        )
        found = np.array([place for place in window.light.seen.light.found if place is not None])
        np.testing.assert_allclose(found, k, atol=0.02)
        window.light.angle.setValue(3)
        wait_until(
            lambda: window.light.seen.frame is not None and window.light.seen.frame.angle == 3
        )


def test_few_rows_are_chosen_and_they_stay_while_a_file_grows() -> None:
    for most in (1, 7, 24):
        before: set[int] = set()
        for rows in range(1, 600):
            chosen = chosen_rows(rows, most)
            assert len(chosen) <= most and chosen[0] == 0
            assert before <= set(chosen) or len(before) == most
            before = set(chosen)
        assert 2 * len(chosen_rows(5000, most)) >= most


def test_small_pictures_fill_in_and_a_click_goes_there(window: Window) -> None:
    strip = window.time.strip
    wait_until(lambda: len(strip.pictures) == 6)
    for scan, picture in strip.pictures.items():
        np.testing.assert_array_equal(picture, bead(scan).index.numpy()[10])
    click(strip, round(strip.width() * 4.5 / 6))
    wait_until(lambda: at(window) == 4)
    press(window, Qt.Key.Key_V, shift=True)
    assert strip.isHidden()
    press(window, Qt.Key.Key_V, shift=True)
    assert strip.isVisible()
    window.toolbar.regularizer_chosen.emit("tv")
    expected = bead(2, tenths_um=1).index.numpy()[10]
    wait_until(lambda: 2 in strip.pictures and np.array_equal(strip.pictures[2], expected))


def test_speeds_step_as_on_a_dial() -> None:
    assert [stepped(PlaySpeed(5), n).value for n in (1, 2, -1, -2)] == [10, 20, 2, 1]
    assert stepped(PlaySpeed(0.1), -1).value == 0.1 and stepped(PlaySpeed(5000), 1).value == 5000
    assert stepped(PlaySpeed(3, real_time=True), 1) == PlaySpeed(5, real_time=True)


def test_the_speed_is_chosen_with_keys_and_by_the_real_time(window: Window) -> None:
    box = window.time.speed
    press(window, Qt.Key.Key_BracketRight)
    press(window, Qt.Key.Key_BracketRight)
    press(window, Qt.Key.Key_BracketLeft)
    wait_until(lambda: not window.experiment.busy)
    assert window.looking_back is not None
    assert box.speed == PlaySpeed(10.0)
    box.unit.setCurrentIndex(1)
    box.unit.activated.emit(1)  # as a click does
    box.value.setValue(5000.0)
    wait_until(lambda: not window.experiment.busy)
    assert box.speed == PlaySpeed(5000.0, real_time=True)
    press(window, Qt.Key.Key_Space)
    wait_until(lambda: at(window) == 5)  # ten seconds apart, five thousand times faster
    wait_until(lambda: window.instrument is not None and window.instrument.phase == Phase.STOPPED)


def test_a_file_without_times_cannot_be_played_by_them(qapp: QApplication, tmp_path: Path) -> None:
    with TomogramWriter(tmp_path / "timeless.h5", noise(0)) as writer:
        for scan in range(2):
            writer.append(replace(noise(scan, scan), timestamp=0.0))
    with shown_file(qapp, tmp_path / "timeless.h5") as window:
        window.time.speed.unit.setCurrentIndex(1)
        window.time.speed.unit.activated.emit(1)
        wait_until(lambda: "does not say when" in window.status.answer.full_text())
        wait_until(lambda: not window.time.speed.speed.real_time)


def test_the_newest_scan_is_shown_while_the_file_grows(
    qapp: QApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.playback._LOOK_S", 0.05)
    with TomogramWriter(tmp_path / "growing.h5", noise(0)) as writer:
        writer.append(noise(0))
        with shown_file(qapp, tmp_path / "growing.h5") as window:
            press(window, Qt.Key.Key_N, shift=True)
            assert window.action_set["newest"].isChecked()
            for scan in (1, 2):
                writer.append(noise(scan, scan))
                wait_until(partial(shows, window, scan))
            wait_until(lambda: set(window.time.strip.pictures) == {0, 1, 2})
            assert window.time.place.text() == "3 of 3"
            window.time.slider.setValue(0)  # who looks back stays there
            wait_until(lambda: at(window) == 0)
            writer.append(noise(3, 3))
            wait_until(lambda: window.time.slider.maximum() == 3)
            assert at(window) == 0
            assert window.looking_back is not None and not window.looking_back.following


def test_a_dropped_file_takes_the_place_of_the_one_that_is_shown(
    window: Window, beads: Path
) -> None:
    other = beads.with_name("noise.h5")
    with TomogramWriter(other, noise(3)) as writer:
        writer.append(noise(3))
    press(window, Qt.Key.Key_F5)
    assert drop(window, other)
    wait_until(lambda: window.tomogram is not None and window.tomogram.raw.shape == SHAPE)
    assert window.windowTitle() == "LiveTomo - noise.h5"
    assert window.time.place.text() == "1 of 1"
    assert not len(window.trust.plots.ssim.data)
    wait_until(lambda: 0 in window.time.strip.pictures)
    expected = noise(3).index.numpy()[SHAPE[0] // 2]
    assert window.time.strip.pictures[0].mean() == pytest.approx(float(expected.mean()), abs=1e-3)


def test_what_is_dropped_and_is_no_such_file_is_said(window: Window, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("cells look well")
    assert drop(window, tmp_path / "notes.txt")
    wait_until(lambda: "notes.txt cannot be read" in window.status.answer.full_text())
    assert drop(window, tmp_path)
    assert "is a folder" in window.status.answer.full_text()
    assert at(window) == 0 and window.windowTitle() == "LiveTomo"


def test_a_file_dropped_on_an_instrument_opens_in_its_own_window(
    qapp: QApplication, beads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr("ui.recent_files.open_file", opened.append)  # starts a process
    session = RecordedSession(volumes(1, (12, 40, 36), (0.36, 0.22, 0.24)))
    with shown_live(qapp, session) as window:
        assert drop(window, beads)
        wait_until(lambda: opened == [beads])
