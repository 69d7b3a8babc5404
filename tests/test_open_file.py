"""Opening files from the window: the dialog, the files opened lately, and the new process."""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog

import ui.open_file
from acquisition.errors import LiveTomoError
from files.kinds import kind_of
from tests.recorded_session import RecordedSession, volumes
from tests.tomogram_files import write
from tests.windows import wait_until
from ui.open_file import open_file
from ui.settings import Settings
from ui.window import Window

CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "window.ini")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return write(tmp_path / "the cells.h5", range(1), {"deep": {0: 10}})


@pytest.fixture
def started(tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a program that notes its arguments stand for the launcher; return where it does."""
    notes, program = tmp_path / "started.txt", tmp_path / "launcher.py"
    program.write_text(
        "import sys, os\n"
        f"notes = {str(notes)!r}\n"
        "with open(notes + '.new', 'w') as file: print(*sys.argv[1:], sep='|', file=file)\n"
        "os.replace(notes + '.new', notes)\n"
    )
    monkeypatch.setattr(ui.open_file, "LAUNCHER", program)
    return notes


@pytest.fixture
def window(qapp: QApplication, settings: Settings) -> Iterator[Window]:
    session = RecordedSession(volumes(1, (16, 24, 24), (0.3, 0.2, 0.2)))
    window = Window(session, title="LiveTomo", settings=settings)
    window.stop_polling()
    window.show()
    window.show_instrument(session.state)
    qapp.processEvents()
    yield window
    window.close()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_a_file_is_opened_by_a_process_of_its_own(cells: Path, started: Path) -> None:
    open_file(cells)
    wait_until(started.exists)
    assert started.read_text() == f"view|{cells}\n"


def test_what_a_file_is(cells: Path, tmp_path: Path) -> None:
    assert kind_of(cells) == "tomograms"
    empty = tmp_path / "empty.h5"
    with h5py.File(empty, "w") as file:
        file.attrs["format"] = "livetomo.recording"
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["data"] = [1, 2]
    (tmp_path / "note.txt").write_text("no file of ours")
    for path, rule in (
        (empty, "at least one finished scan"),
        (other, "must be a recording or a tomogram file"),
        (tmp_path / "note.txt", "cannot be read as HDF5"),
        (tmp_path / "gone.h5", "cannot be read as HDF5"),
    ):
        with pytest.raises(LiveTomoError, match=rule):
            open_file(path)


def test_a_file_is_chosen_in_a_dialog(window: Window, cells: Path, started: Path) -> None:
    QTest.keyClick(window, Qt.Key.Key_O, CONTROL)
    (dialog,) = window.findChildren(QFileDialog)
    dialog.selectFile(str(cells))
    dialog.fileSelected.emit(str(cells))  # what a click on "Open" does, in every kind of dialog
    dialog.close()
    wait_until(started.exists)
    assert started.read_text() == f"view|{cells}\n"
    wait_until(lambda: not window.experiment.busy)
    assert window.experiment.folder == cells.parent
    assert not window.status.told.isVisible()


def test_what_is_wrong_with_a_file_is_said(window: Window, tmp_path: Path) -> None:
    path = tmp_path / "photo.h5"
    path.write_text("a picture")
    window.files.open(path)
    wait_until(lambda: not window.experiment.busy)
    assert "Open photo.h5 failed" in window.status.answer.full_text()


def test_a_file_is_opened_again_from_the_menu(
    window: Window, settings: Settings, cells: Path, started: Path
) -> None:
    settings.note_opened(cells)
    QTest.keyClick(window, Qt.Key.Key_O, CONTROL | Qt.KeyboardModifier.ShiftModifier)
    menu = window.files.menu
    assert menu.isVisible()
    (entry,) = menu.actions()
    assert entry.text().startswith("the cells.h5") and entry.toolTip() == str(cells)
    QTest.keyClick(menu, Qt.Key.Key_Down)
    QTest.keyClick(menu, Qt.Key.Key_Return)
    wait_until(started.exists)
    assert started.read_text() == f"view|{cells}\n"
    wait_until(lambda: not window.experiment.busy)


def test_the_menu_says_that_nothing_was_opened(window: Window) -> None:
    window.files.show_menu()
    (entry,) = window.files.menu.actions()
    assert not entry.isEnabled() and entry.text() == "no file was opened yet"
    window.files.menu.close()
    assert not window.waiting.recent.isVisible()


def test_a_file_is_opened_from_the_waiting_page(
    qapp: QApplication, settings: Settings, cells: Path, started: Path
) -> None:
    settings.note_opened(cells)
    window = Window(RecordedSession([]), title="LiveTomo", settings=settings)
    window.show()
    label = window.waiting.recent
    assert label.isVisible() and "the cells.h5" in label.text()
    label.linkActivated.emit(str(cells))
    wait_until(started.exists)
    assert started.read_text() == f"view|{cells}\n"
    wait_until(lambda: not window.experiment.busy)
    window.close()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
