"""microscope.toml in the window: checked as it is typed, errors at their line, saved safely."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QTextCursor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox

from acquisition.configuration.microscope_file import load_configuration
from acquisition.configuration.microscope_text import check_text, line_of
from acquisition.configuration.text_files import read_text, replace_text
from acquisition.errors import ConfigurationError
from tests.microscopes import LIVE_SMALL
from tests.recorded_session import RecordedSession
from tests.windows import wait_until
from ui.bench import Bench
from ui.microscope_dialog import MicroscopeDialog
from ui.window import Window

CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(LIVE_SMALL)
    return path


@pytest.fixture
def restarts() -> list[str]:
    return []


@pytest.fixture
def window(qapp: QApplication, file: Path, restarts: list[str]) -> Iterator[Window]:
    def nothing() -> None:
        raise AssertionError("the microscope need not be released")

    bench = Bench(file, nothing, nothing, lambda: restarts.append("restart"))
    session = RecordedSession([])
    window = Window(session, title="LiveTomo", bench=bench)
    window.stop_polling()
    window.show()
    window.show_instrument(session.state)
    qapp.processEvents()
    yield window
    window.close_without_asking()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def opened(window: Window) -> MicroscopeDialog:
    QTest.keyClick(window, Qt.Key.Key_M, CONTROL | SHIFT)
    dialog = window.set_up.editor
    assert dialog is not None
    wait_until(lambda: dialog.verdict.full_text() == "no problem found")
    return dialog


def type_over(dialog: MicroscopeDialog, old: str, new: str) -> None:
    """Select a text in the editor and type another one."""
    cursor = dialog.edit.document().find(old)
    assert not cursor.isNull()
    dialog.edit.setTextCursor(cursor)
    QTest.keyClicks(dialog.edit, new)


def line(file: Path, part: str) -> int:
    """Return the number of the first line that holds a text."""
    lines = file.read_text().splitlines()
    return next(number for number, text in enumerate(lines, start=1) if part in text)


def test_an_error_is_marked_at_its_line_as_it_is_typed(window: Window, file: Path) -> None:
    dialog = opened(window)
    assert dialog.edit.toPlainText() == LIVE_SMALL and not dialog.save.isEnabled()
    type_over(dialog, "width = 64", "width = -3")
    wait_until(lambda: bool(dialog.problems))
    (problem,) = dialog.problems
    assert problem.line == line(file, "width") and "width" in problem.text
    assert set(dialog.edit.marks) == {problem.line}
    assert len(dialog.edit.extraSelections()) == 1
    assert dialog.save.text() == "Save anyway" and not dialog.restart.isEnabled()
    item = dialog.list.item(0)
    dialog.edit.moveCursor(QTextCursor.MoveOperation.End)
    dialog.list.itemClicked.emit(item)
    assert dialog.edit.textCursor().blockNumber() == problem.line - 1
    type_over(dialog, "width = -3", "width = 64")
    wait_until(lambda: not dialog.problems)
    assert dialog.edit.marks == {} and dialog.restart.isEnabled()


def test_it_is_saved_with_what_was_before(window: Window, file: Path, restarts: list[str]) -> None:
    dialog = opened(window)
    type_over(dialog, "Small", "Kleines µ")
    QTest.keyClick(dialog, Qt.Key.Key_S, CONTROL)
    wait_until(lambda: dialog.told.full_text().startswith("saved"))
    assert load_configuration(file).microscope.name == "Kleines µ"
    assert file.with_name("small.toml.bak").read_text() == LIVE_SMALL
    assert not dialog.save.isEnabled() and not dialog.changed
    assert "after a restart" in dialog.told.full_text() and restarts == []
    type_over(dialog, "Kleines", "Anderes")
    dialog.restart.click()
    wait_until(lambda: restarts == ["restart"])
    assert load_configuration(file).microscope.name == "Anderes µ"
    wait_until(lambda: not window.experiment.busy)


def test_changes_are_not_lost(window: Window, file: Path) -> None:
    dialog = opened(window)
    type_over(dialog, "Small", "Other")
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    (box,) = dialog.findChildren(QMessageBox)
    (keep, drop) = sorted(box.buttons(), key=lambda button: button.text(), reverse=True)
    assert (keep.text(), drop.text()) == ("Keep editing", "Close without saving")
    keep.click()
    assert dialog.isVisible()
    file.write_text(LIVE_SMALL + "# of another program\n")
    dialog.save.click()
    wait_until(lambda: "changed by another program" in dialog.told.full_text())
    assert "# of another program" in file.read_text() and dialog.changed
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    dialog.shut.click()
    (box,) = dialog.findChildren(QMessageBox)
    next(button for button in box.buttons() if button.text().startswith("Close")).click()
    assert not dialog.isVisible()


def test_a_file_that_cannot_be_read_is_said(window: Window, file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    QTest.keyClick(window, Qt.Key.Key_M, CONTROL | SHIFT)
    dialog = window.set_up.editor
    assert dialog is not None
    wait_until(lambda: "must be a text in UTF-8" in dialog.told.full_text())
    assert dialog.edit.isReadOnly() and not dialog.save.isEnabled()


def test_without_a_file_one_is_asked_for(qapp: QApplication, file: Path) -> None:
    window = Window(RecordedSession([]), title="LiveTomo")
    window.show()
    qapp.processEvents()
    QTest.keyClick(window, Qt.Key.Key_M, CONTROL | SHIFT)
    (ask,) = window.findChildren(QFileDialog)
    ask.fileSelected.emit(str(file))
    ask.close()
    dialog = window.set_up.editor
    assert dialog is not None
    wait_until(lambda: dialog.edit.toPlainText() == LIVE_SMALL)
    assert not dialog.restart.isVisible()
    dialog.reject()
    window.close()
    window.finish_commands()
    window.deleteLater()


TEXT = """# a comment
[camera]
width = 64
"height" = 64

[illumination.circle]
angles = 9
[dmd]
picture_ms = 1.0
optics.preset = "cell"
"""


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("camera", "width"), 3), (("camera", "height"), 4), (("camera", "label"), 2),
        (("illumination", "circle", "angles"), 7), (("dmd", "optics", "preset"), 10),
        (("scan",), 1), ((), 1), (("dmd",), 8),
    ],
)  # fmt: skip
def test_the_line_of_a_key(keys: tuple[str, ...], expected: int) -> None:
    assert line_of(TEXT, keys) == expected


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("width = 64", "witdh = 64", "did you mean width?"),
        ("[camera]", "[camra]", "did you mean camera?"),
        ("slices = 16", "slices = 'many'", "[reconstruction] slices"),
        ("picture_ms = 25.0", "picture_ms = 0.01", "picture_ms"),
        ("name = ", "name : ", "not TOML"),
        ('preset = "cell"', 'preset = "cel"', "cel"),
        ("[simulation]", "[simulation", "not TOML"),
    ],
)
def test_what_is_wrong_is_found_where_it_is(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    assert old in LIVE_SMALL and check_text(LIVE_SMALL, path) == ()
    path.write_text(LIVE_SMALL.replace(old, new, 1))
    problems = check_text(path.read_text(), path)
    assert said in " ".join(problem.text for problem in problems)
    expected = {line(path, new)}
    if "picture_ms" in old:  # a rule between two keys: it names the camera's first
        expected = {1, line(path, "picture_ms"), line(path, "[camera]")}
    assert {problem.line for problem in problems} <= expected
    with pytest.raises(ConfigurationError):  # the instrument would say the same
        load_configuration(path)


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    text = "[camera]\nwidth = -1\n[optics]\nwavelength_um = 'green'\nmisspelt = 1\n"
    found = check_text(text, tmp_path / "a.toml")
    assert [problem.line for problem in found] == [2, 4, 5]


def test_a_text_is_replaced_at_once_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"a = 1\r\nb = 2\r\n")
    text = read_text(path).replace("\r\n", "\n")
    assert replace_text(path, text + "c = 'ä'\n", text).read_bytes() == b"a = 1\r\nb = 2\r\n"
    assert path.read_bytes() == "a = 1\r\nb = 2\r\nc = 'ä'\r\n".encode()
    with pytest.raises(ConfigurationError, match="was changed by another program"):
        replace_text(path, "a = 2\n", text)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.toml", "a.toml.bak"]
