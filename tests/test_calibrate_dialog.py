"""Calibrating from the window: release the microscope, run ``calibrate``, take it back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

import ui.calibration_run
from acquisition.configuration.calibration_file import calibration_beside, read_calibration
from acquisition.errors import LiveTomoError
from tests.microscopes import QUICK_SMALL
from tests.recorded_session import RecordedSession, volumes
from tests.windows import wait_until
from ui.bench import Bench
from ui.calibrate_dialog import CalibrateDialog
from ui.window import Window

CHECKS = """
[{"name": "Angles", "met": true, "value": "9 of 9", "remedy": ""},
 {"name": "Rate", "met": false, "value": "frames are lost", "remedy": "free the bus"}]
"""


class TakenBench:
    """Notes what is done to the instrument."""

    def __init__(self, microscope: Path | None) -> None:
        self.calls: list[str] = []
        self.refusal: LiveTomoError | None = None
        self.bench = Bench(microscope, self._release, self._take_back, self._take_back)

    def _release(self) -> None:
        self.calls.append("release")
        if self.refusal is not None:
            raise self.refusal

    def _take_back(self) -> None:
        self.calls.append("take back")


@pytest.fixture
def taken(tmp_path: Path) -> TakenBench:
    file = tmp_path / "small.toml"
    file.write_text(QUICK_SMALL)
    return TakenBench(file)


@pytest.fixture
def window(qapp: QApplication, taken: TakenBench) -> Iterator[Window]:
    session = RecordedSession(volumes(1, (16, 24, 24), (0.3, 0.2, 0.2)))
    window = Window(session, title="LiveTomo", bench=taken.bench)
    window.stop_polling()
    window.show()
    window.show_instrument(session.state)
    qapp.processEvents()
    yield window
    window.close_without_asking()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let a small program stand for the launcher, to end as the real one seldom does."""
    path = tmp_path / "stand_in.py"
    path.write_text("import signal, sys, time\n" + program)
    monkeypatch.setattr(ui.calibration_run, "LAUNCHER", path)


def opened(window: Window) -> CalibrateDialog:
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(window, Qt.Key.Key_C, control | shift)
    dialog = window.set_up.calibration
    assert dialog is not None and dialog.isVisible()
    return dialog


def rows(dialog: CalibrateDialog) -> list[tuple[str, ...]]:
    items = [dialog.checks.topLevelItem(row) for row in range(dialog.checks.topLevelItemCount())]
    return [tuple(item.text(column) for column in range(3)) for item in items if item is not None]


def test_a_microscope_is_calibrated(window: Window, taken: TakenBench) -> None:
    dialog = opened(window)
    file = taken.bench.microscope
    assert file is not None and file.name in dialog.where.text()
    steps: list[str] = []
    dialog.start.click()
    assert dialog.run is not None
    dialog.run.stepped.connect(lambda number, total, what: steps.append(f"{number}/{total} {what}"))
    assert dialog.cancel.isVisible() and not dialog.shut.isEnabled()
    wait_until(lambda: not dialog.running and len(taken.calls) == 2)
    assert taken.calls == ["release", "take back"]
    assert "1/5 exposure" in steps and steps[-1] == "5/5 timing"
    assert dialog.report is not None and (dialog.report.folder / "report.html").is_file()
    found = rows(dialog)
    assert len(found) == len(dialog.report.checks) > 5
    assert "Angles" in [name for _, name, _ in found]
    calibration = read_calibration(calibration_beside(file))
    marks = {name: mark for mark, name, _ in found}
    wrong = {problem.partition(":")[0] for problem in calibration.problems}
    assert {name for name, mark in marks.items() if mark == "✗"} == wrong
    assert dialog.open_report.isVisible() and dialog.start.text() == "Calibrate again"


def test_what_is_not_met_is_shown_with_its_remedy(
    window: Window, taken: TakenBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = f'{{"output": {str(tmp_path)!r}, "checks": {CHECKS}}}'.replace("'", '"')
    stand_in(tmp_path, monkeypatch, f"print({printed!r})\nsys.exit(1)\n")
    dialog = opened(window)
    dialog.start.click()
    wait_until(lambda: not dialog.running)
    assert rows(dialog) == [
        ("✓", "Angles", "9 of 9"),
        ("✗", "Rate", "frames are lost\nfree the bus"),
    ]
    assert dialog.doing.text() == "1 of 2 checks are not met"
    wait_until(lambda: taken.calls == ["release", "take back"])


WAITS = (
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
    "print('[2/5] background', file=sys.stderr, flush=True)\n"
    "time.sleep(600)\n"
)


def test_it_can_be_cancelled(
    window: Window, taken: TakenBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, WAITS)
    dialog = opened(window)
    dialog.start.click()
    wait_until(lambda: dialog.doing.text() == "step 2 of 5: background")
    assert dialog.progress.value() == 1 and dialog.progress.maximum() == 5
    dialog.cancel.click()
    wait_until(lambda: not dialog.running)
    assert dialog.doing.text() == "cancelled: nothing was saved" and dialog.report is None
    wait_until(lambda: taken.calls == ["release", "take back"])
    dialog.start.click()  # and again, now closed by Esc
    wait_until(lambda: dialog.doing.text() == "step 2 of 5: background")
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    wait_until(lambda: not dialog.isVisible())
    wait_until(lambda: taken.calls == ["release", "take back"] * 2)


def test_a_window_that_closes_ends_it(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, WAITS)
    dialog = opened(window)
    dialog.start.click()
    wait_until(lambda: dialog.doing.text() == "step 2 of 5: background")
    window.close_without_asking()
    window.finish_commands()  # no process is left, or the test fails


def test_why_it_failed_is_said(
    window: Window, taken: TakenBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "sys.exit('launcher.py: the camera did not answer')\n")
    dialog = opened(window)
    dialog.start.click()
    wait_until(lambda: not dialog.running)
    assert dialog.doing.text() == "the camera did not answer"
    assert dialog.doing.property("tone") == "error" and not dialog.open_report.isVisible()
    taken.refusal = LiveTomoError("it is busy")
    dialog.start.click()
    wait_until(lambda: not dialog.running)
    assert dialog.doing.text() == "the microscope was not released: it is busy"


def test_without_the_instrument_here_it_is_not_offered(qapp: QApplication) -> None:
    session = RecordedSession([])
    window = Window(session, title="LiveTomo")
    window.show_instrument(session.state)
    assert not window.action_set["calibrate"].isEnabled()
    window.close()
    window.finish_commands()
    window.deleteLater()
