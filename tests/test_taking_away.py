"""What is taken home from the window: pictures, figures, movies, exports, through its widgets."""

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PIL import Image, ImageSequence
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog

from acquisition.errors import ConfigurationError, DataError, Stopped
from commands.export import run_export
from files.exporting.export_tomograms import export_tomograms
from files.figures.movies import clock, missing_encoder, write_movie
from files.tomograms import read_tomograms
from tests.recorded_session import RecordedSession, volumes
from tests.test_objects_panel import measured
from tests.tomogram_files import SHAPE, VOXEL, noise, write
from tests.windows import shown, shown_file, wait_until
from ui.sections.tools import Drawn
from ui.taking_away.export_dialog import ExportDialog
from ui.taking_away.figure_dialog import FigureDialog
from ui.taking_away.job_dialog import JobDialog
from ui.taking_away.movie_dialog import MovieDialog
from ui.window import Window

D = TypeVar("D", bound=JobDialog)


@pytest.fixture
def window(qapp: QApplication, tmp_path: Path) -> Iterator[Window]:
    """Open a window on a file of three time points."""
    deep = {"deep": {0: 10, 1: 11, 2: 12}}
    with shown_file(qapp, write(tmp_path / "cells.h5", range(3), deep)) as window:
        window.experiment.folder = tmp_path
        wait_until(lambda: window.instrument is not None)
        yield window


@pytest.fixture
def live(qapp: QApplication) -> Iterator[Window]:
    """Open a window on an instrument."""
    session = RecordedSession(volumes(1, (12, 40, 36), (0.36, 0.22, 0.24)))
    with shown(qapp, session) as window:
        yield window


def press(window: Window, key: Qt.Key, *, shift: bool = False) -> None:
    modifiers = Qt.KeyboardModifier.ControlModifier
    if shift:
        modifiers |= Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(window, key, modifiers)


def opened(window: Window, kind: type[D]) -> D:
    """Return the dialog that has just been opened."""
    (dialog,) = [found for found in window.findChildren(kind) if found.isVisible()]
    return dialog


def saved(dialog: JobDialog, path: Path) -> Path:
    """Type a file name, click, and wait until it is written."""
    dialog.file.setText(str(path))
    QTest.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
    wait_until(lambda: not dialog.worker.busy)
    assert "saved" in dialog.note.text()
    assert not list(path.parent.glob("*.partial"))
    return path


def choose(box: object, value: object) -> None:
    box.setCurrentIndex(box.findData(value))  # type: ignore[attr-defined]  # a combo box


# --- screenshots ---


def test_views_and_window_are_copied_to_the_clipboard(live: Window) -> None:
    size = live.picture.size()
    press(live, Qt.Key.Key_C)
    views = QGuiApplication.clipboard().image()
    assert views.size() == size
    assert "copied the views" in live.status.answer.text()
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    QTest.keyClick(live, Qt.Key.Key_C, both)
    assert QGuiApplication.clipboard().image().size() == live.grab().size() != views.size()


def test_the_whole_window_is_saved(
    live: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "window.png"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    press(live, Qt.Key.Key_S, shift=True)
    with Image.open(path) as read:
        assert read.size == (live.width(), live.height())


# --- figures ---


def test_a_figure_is_as_wide_as_the_page_wants(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_F)
    dialog = opened(window, FigureDialog)
    wait_until(lambda: not dialog.preview.pixmap().isNull())
    shown, room = dialog.preview.pixmap().deviceIndependentSize(), dialog.preview.size()
    assert shown.width() <= room.width() and shown.height() <= room.height()  # all of it
    choose(dialog.preset, 85.0)
    dialog.preset.activated.emit(dialog.preset.currentIndex())  # as a click does
    assert dialog.width_mm.value() == 85
    choose(dialog.dpi, 150.0)
    with Image.open(saved(dialog, tmp_path / "figure.png")) as read:
        assert read.width == pytest.approx(85 / 25.4 * 150, abs=1)
        assert read.info["dpi"][0] == pytest.approx(150, abs=0.1)
    assert window.status.answer.text().endswith("figure.png")
    dialog.close()


def texts(path: Path) -> list[str]:
    root = ET.parse(path).getroot()
    return ["".join(found.itertext()) for found in root.iter("{http://www.w3.org/2000/svg}text")]


def test_text_in_an_svg_is_text_and_says_what_is_shown(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_F)
    dialog = opened(window, FigureDialog)
    choose(dialog.dpi, 150.0)  # of the images within: fewer pixels to write
    choose(dialog.kind, ".svg")
    assert dialog.file.text().endswith(".svg")
    found = texts(saved(dialog, tmp_path / "figure.svg"))
    assert {"XY", "XZ", "YZ", "2 µm", "Refractive index"} <= set(found)
    assert "Regularized · deep" not in found
    for name in ("scale_bars", "colour_bars", "names"):
        dialog.boxes[name].setChecked(False)
    dialog.boxes["titles"].setChecked(True)
    assert texts(saved(dialog, tmp_path / "bare.svg")) == ["Regularized · deep"]
    dialog.close()


def test_a_pdf_has_its_letters_as_a_font(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_F)
    dialog = opened(window, FigureDialog)
    choose(dialog.dpi, 150.0)
    data = saved(dialog, tmp_path / "figure.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/FontFile2" in data  # TrueType, which other programs can edit
    assert b"DejaVuSans" in data
    width = 178 / 25.4 * 72
    box = data[data.index(b"/MediaBox") :].split(b"[")[1].split(b"]")[0].split()
    assert float(box[2]) == pytest.approx(width, abs=1)
    dialog.close()


def test_second_volume_curve_and_outlines_are_in_the_figure(live: Window, tmp_path: Path) -> None:
    assert live.state.grid is not None
    live.show_objects(measured(0, 40.0))
    live.open_panel("profile")
    line = Drawn("line", "XY", (-3.0, 0.0), (3.0, 0.0))
    live.show_state(replace(live.state, beside="raw", drawn=line, tool="line"))
    press(live, Qt.Key.Key_F)
    dialog = opened(live, FigureDialog)
    choose(dialog.dpi, 150.0)
    dialog.boxes["titles"].setChecked(True)
    path = saved(dialog, tmp_path / "figure.svg")
    found = texts(path)
    assert {"Regularized · deep", "Raw", "Distance (µm)"} <= set(found)
    assert found.count("XY") == 2
    drawn = path.read_text("utf-8")
    assert "#cc79a7" in drawn.lower() or "#56b4e9" in drawn.lower()  # an object's colour
    dialog.boxes["outlines"].setChecked(False)
    without = saved(dialog, tmp_path / "without.svg").read_text("utf-8")
    assert len(without) < len(drawn)
    dialog.close()


def test_a_section_that_fills_the_views_is_alone_in_the_figure(
    window: Window, tmp_path: Path
) -> None:
    window.show_state(replace(window.state, enlarged="XZ"))
    press(window, Qt.Key.Key_F)
    dialog = opened(window, FigureDialog)
    choose(dialog.dpi, 150.0)
    found = texts(saved(dialog, tmp_path / "figure.svg"))
    assert "XZ" in found
    assert not {"XY", "YZ"} & set(found)
    dialog.close()


def test_what_cannot_be_written_is_said(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_F)
    dialog = opened(window, FigureDialog)
    for path, says in (
        (tmp_path / "cells.h5", "exists"),
        (tmp_path / "no" / "figure.png", "folder"),
        (tmp_path / "figure.bmp", ".png, .svg, .pdf"),
    ):
        dialog.file.setText(str(path))
        QTest.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
        wait_until(lambda: not dialog.worker.busy)
        assert says in dialog.note.text()
        assert dialog.note.property("tone") == "error"
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5"}
    dialog.close()


# --- movies ---


def pictures(path: Path) -> list[NDArray[np.int64]]:
    """Return the frames of a GIF, each (y, x, 3)."""
    with Image.open(path) as read:
        return [
            np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(read)
        ]


def test_a_movie_of_time_shows_every_scan_with_its_time(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_M)
    dialog = opened(window, MovieDialog)
    assert dialog.kind.currentData() == "time"
    choose(dialog.width_px, 480)
    path = saved(dialog, tmp_path / "time.gif")
    assert dialog.note.text().endswith("3 frames")
    with Image.open(path) as read:
        assert read.info["duration"] == 100
    frames = pictures(path)
    assert len(frames) == 3
    assert frames[0].shape[1] == 480
    for one, other in ((0, 1), (1, 2)):
        assert abs(frames[one] - frames[other]).mean() > 5  # noise of another seed
    dialog.last.setValue(2)
    assert len(pictures(saved(dialog, tmp_path / "two.gif"))) == 2
    assert window.time.place.text() == "1 of 3"  # the window stays where it was
    dialog.close()


def test_a_movie_of_time_can_be_mp4(window: Window, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    press(window, Qt.Key.Key_M)
    dialog = opened(window, MovieDialog)
    choose(dialog.width_px, 480)
    choose(dialog.format, ".mp4")
    dialog.rate.setValue(4.0)
    assert dialog.file.text().endswith(".mp4")
    with av.open(str(saved(dialog, tmp_path / "time.mp4"))) as read:
        stream = read.streams.video[0]
        assert (stream.codec.name, stream.average_rate) == ("h264", 4)
        assert len(list(read.decode(stream))) == 3
    dialog.close()


def test_a_sweep_has_a_frame_for_each_section(live: Window, tmp_path: Path) -> None:
    press(live, Qt.Key.Key_M)
    dialog = opened(live, MovieDialog)
    kinds = [dialog.kind.itemData(row) for row in range(dialog.kind.count())]
    assert kinds == ["sweep"]  # no file, and no 3D view
    choose(dialog.width_px, 480)
    cursor = live.state.cursor
    assert len(pictures(saved(dialog, tmp_path / "sweep.gif"))) == 12
    assert live.state.cursor == cursor
    dialog.close()


def test_a_cancelled_movie_leaves_nothing(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_M)
    dialog = opened(window, MovieDialog)
    dialog.file.setText(str(tmp_path / "time.gif"))
    QTest.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
    assert dialog.leave.text() == "Cancel"
    QTest.mouseClick(dialog.leave, Qt.MouseButton.LeftButton)
    wait_until(lambda: not dialog.worker.busy)
    assert "cancelled" in dialog.note.text()
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5"}
    assert dialog.isVisible() and dialog.begin.isEnabled()
    # closing the dialog cancels, too
    QTest.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
    dialog.close()
    wait_until(lambda: not window.findChildren(MovieDialog))
    assert {file.name for file in tmp_path.iterdir()} == {"cells.h5"}


def test_a_movie_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((16, 16, 3), np.uint8)
        yield np.full((16, 16, 3), 9, np.uint8)
        raise Stopped("cancelled")

    for name in ("movie.gif", "movie.mp4"):
        if not missing_encoder(name[-4:]):
            with pytest.raises(Stopped):
                write_movie(tmp_path / name, frames(), 10.0)
    with pytest.raises(DataError, match="one size"):
        sizes = (np.zeros((n, 16, 3), np.uint8) for n in (16, 18))
        write_movie(tmp_path / "movie.gif", sizes, 10.0)
    with pytest.raises(DataError, match="at least one frame"):
        write_movie(tmp_path / "movie.gif", iter(()), 10.0)
    with pytest.raises(ConfigurationError, match=r"\.gif or \.mp4"):
        write_movie(tmp_path / "movie.avi", frames(), 10.0)
    assert not list(tmp_path.iterdir())


def test_mp4_without_an_encoder_says_how_to_get_one(
    window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("files.figures.movies.find_spec", lambda name: None)
    press(window, Qt.Key.Key_M)
    dialog = opened(window, MovieDialog)
    choose(dialog.format, ".mp4")
    assert "pip install av" in dialog.note.text()
    assert not dialog.begin.isEnabled()
    choose(dialog.format, ".gif")
    assert dialog.begin.isEnabled()
    dialog.close()


def test_the_export_command_makes_a_movie_of_each_scan(tmp_path: Path) -> None:
    file = write(tmp_path / "cells.h5", range(3), {"deep": {0: 10, 1: 11, 2: 12}})
    assert run_export(file, "gif", tmp_path / "cells.gif", ["raw", "deep"]) == 0
    frames = pictures(tmp_path / "cells.gif")
    assert len(frames) == 3
    assert frames[0].shape[1] == 1280
    assert abs(frames[0] - frames[1]).mean() > 5
    if not missing_encoder(".mp4"):
        assert run_export(file, "mp4", tmp_path / "cells.mp4") == 0
        assert (tmp_path / "cells.mp4").read_bytes()[4:8] == b"ftyp"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (12.54, "12.5 s"), (185.0, "3:05 min"), (3723.0, "1:02:03 h")],
)
def test_times_are_stamped_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# --- volumes ---


def test_the_scan_on_display_is_exported(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_E)
    dialog = opened(window, ExportDialog)
    choose(dialog.scans, "scan")
    choose(dialog.kind, "ome-tiff")
    assert dialog.file.text().endswith(".ome.tiff")
    for box in dialog.volumes.values():
        box.setChecked(True)
    with tifffile.TiffFile(saved(dialog, tmp_path / "scan.ome.tiff")) as read:
        values = read.asarray()
    expected = np.stack([noise(seed).index.numpy() for seed in (0, 10)])
    np.testing.assert_array_equal(values.reshape(expected.shape), expected)
    choose(dialog.kind, "h5")
    series = read_tomograms(saved(dialog, tmp_path / "scan.h5"))
    assert series.shape == (1, *SHAPE)
    np.testing.assert_allclose(series.voxel_size_um, VOXEL)
    np.testing.assert_array_equal(series.raw(0).index.numpy(), noise(0).index.numpy())
    assert series.timestamps[0] == pytest.approx(1.7e9)
    dialog.close()


def test_all_scans_of_the_file_are_exported(window: Window, tmp_path: Path) -> None:
    press(window, Qt.Key.Key_E)
    dialog = opened(window, ExportDialog)
    assert dialog.scans.currentData() == "file"
    choose(dialog.kind, "tcf")
    path = saved(dialog, tmp_path / "all.TCF")
    with h5py.File(path) as window_made:
        assert len(window_made["Data/3D"]) == 3
    export_tomograms(tmp_path / "cells.h5", "tcf", tmp_path / "command.TCF", ["deep"])
    with h5py.File(path) as window_made, h5py.File(tmp_path / "command.TCF") as command_made:
        for name, held in window_made["Data/3D"].items():
            np.testing.assert_array_equal(held[()], command_made["Data/3D"][name][()])
    choose(dialog.kind, "h5")
    assert not dialog.begin.isEnabled()  # it is one already
    dialog.close()


# --- napari ---

FAKE = """
import json, numpy as np
layers = []
class Viewer:
    def __init__(self, title):
        self.dims = self.scale_bar = self
    def add_image(self, data, **how):
        layers.append(["image", float(data.mean()), list(data.shape), how])
    def add_labels(self, data, **how):
        layers.append(["labels", sorted(np.unique(data).tolist()), list(data.shape), how])
def run():
    with open({out!r}, "w") as file:
        json.dump(layers, file)
    {after}
"""


def put_napari(folder: Path, monkeypatch: pytest.MonkeyPatch, after: str = "") -> Path:
    """Put a napari into the path that writes down what it is given."""
    out = folder / "layers.txt"
    (folder / "napari.py").write_text(FAKE.format(out=str(out), after=after), "utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return out


def test_napari_gets_the_volumes_and_the_objects(
    live: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = put_napari(tmp_path, monkeypatch)
    live.show_objects(measured(0, 40.0))
    assert live.tomogram is not None and live.tomogram.regularized is not None
    press(live, Qt.Key.Key_N, shift=True)
    wait_until(lambda: out.exists() and out.read_text().endswith("]"))
    process = live.taking_away.napari_process
    assert process is not None
    wait_until(lambda: not process.running)
    raw, regularized, objects = json.loads(out.read_text())
    assert raw[1] == pytest.approx(float(live.tomogram.raw.mean()))
    assert regularized[1] == pytest.approx(float(live.tomogram.regularized.mean()))
    assert [layer[3]["name"] for layer in (raw, regularized, objects)] == [
        "raw", "regularized (deep)", "objects",
    ]  # fmt: skip
    assert objects[1] == [0, 3, 7]  # the numbers that the objects keep
    for layer in (raw, regularized, objects):
        assert layer[2] == [12, 40, 36]
        assert layer[3]["scale"] == [0.36, 0.22, 0.24]
        assert layer[3]["units"] == ["um"] * 3
    assert (raw[3]["visible"], regularized[3]["visible"]) == (False, True)


def test_a_napari_that_fails_is_said(
    live: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_napari(tmp_path, monkeypatch, "raise SystemExit('no OpenGL here')")
    press(live, Qt.Key.Key_N, shift=True)
    wait_until(lambda: "no OpenGL here" in live.status.answer.text())


def test_without_napari_the_action_says_how_to_get_it(
    live: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.taking_away.napari_process.find_spec", lambda name: None)
    press(live, Qt.Key.Key_N, shift=True)
    assert "pip install" in live.status.answer.text()


# --- the table ---


def test_the_table_is_saved_once_there_are_objects(live: Window, tmp_path: Path) -> None:
    press(live, Qt.Key.Key_T)
    assert "no objects were measured" in live.status.answer.text()
    live.show_objects(measured(0, 40.0))
    press(live, Qt.Key.Key_T)
    (dialog,) = live.findChildren(QFileDialog)
    dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
    dialog.selectFile(str(tmp_path / "objects.csv"))
    dialog.accept()
    rows = (tmp_path / "objects.csv").read_text("utf-8").splitlines()
    assert rows[0].startswith("time_s,object,volume_um3,")
    assert [row.split(",")[1:3] for row in rows[1:]] == [["7", "40"], ["3", "20"]]
