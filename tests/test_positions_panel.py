"""The positions list and single scans, through the widgets of the window."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from pipeline.wire.places import StagePlace, StageState
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import Phase, RecordingState
from tests.hands import press
from tests.recorded_session import RecordedSession, volumes
from tests.windows import wait_until
from ui.panels.positions_panel import PositionsPanel
from ui.settings import Settings
from ui.window import Window

NAME = "Setup 1/left"


@pytest.fixture
def session() -> RecordedSession:
    session = RecordedSession(volumes(1, (16, 24, 24), (0.3, 0.2, 0.2)))
    session.state = replace(
        session.state, microscope=NAME, stage=StageState(StagePlace(1.5, -2.0, 0.25))
    )
    return session


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "window.ini")


@pytest.fixture
def window(qapp: QApplication, session: RecordedSession, settings: Settings) -> Iterator[Window]:
    window = Window(session, title="LiveTomo", settings=settings)
    window.stop_polling()
    window.show()
    window.show_instrument(session.state)
    qapp.processEvents()
    press(window, Qt.Key.Key_F7)
    yield window
    window.close_without_asking()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def settle(window: Window) -> None:
    wait_until(lambda: not window.experiment.busy)
    window.poll()
    QApplication.processEvents()


def panel_of(window: Window) -> PositionsPanel:
    return window.docks.positions


def add(window: Window) -> PositionsPanel:
    panel = panel_of(window)
    count = len(panel.places)
    press(window, Qt.Key.Key_P, shift=True)
    wait_until(lambda: len(panel.places) == count + 1)
    return panel


def cells(panel: PositionsPanel, row: int) -> list[str]:
    items = [panel.table.item(row, column) for column in range(4)]
    return [item.text() for item in items if item is not None]


def test_the_present_place_is_added_and_gone_back_to(
    window: Window, session: RecordedSession
) -> None:
    panel = add(window)
    assert panel.isVisible() and panel.here.full_text() == "x 1.5, y -2.0, z 0.2 µm"
    assert cells(panel, 0) == ["position 1", "1.50", "-2.00", "0.25"]
    press(window, Qt.Key.Key_G, shift=True)  # the one just added is selected
    settle(window)
    assert [command for command, _ in session.commands] == ["where", "move position 1"]
    panel.buttons["remove position"].click()
    assert panel.places == () and panel.table.rowCount() == 0


def test_a_double_click_on_a_place_goes_there(window: Window, session: RecordedSession) -> None:
    panel = add(window)
    assert session.state.stage is not None
    session.announce(stage=StageState(StagePlace(20.0, 0.0, 0.0)))
    window.poll()
    add(window)
    panel.table.cellDoubleClicked.emit(0, 2)
    settle(window)
    assert session.commands[-1][0] == "move position 1"
    assert panel.here.full_text() == "x 1.5, y -2.0, z 0.2 µm"


def test_a_position_is_renamed_in_its_cell(window: Window, settings: Settings) -> None:
    panel = add(window)
    add(window)
    item = panel.table.item(0, 0)
    assert item is not None
    item.setText("nucleus")
    assert [place.name for place in panel.places] == ["nucleus", "position 2"]
    assert settings.positions(NAME) == panel.places
    for wrong in ("position 2", "  "):
        item = panel.table.item(0, 0)
        assert item is not None
        item.setText(wrong)
        assert panel.places[0].name == "nucleus"
        assert "choose one that is free" in window.status.answer.full_text()


def test_the_list_comes_back_with_its_microscope(
    window: Window, session: RecordedSession, settings: Settings
) -> None:
    places = add(window).places
    session.announce(microscope="Setup 2")
    window.poll()
    assert panel_of(window).places == ()
    session.announce(microscope=NAME)
    window.poll()
    assert panel_of(window).places == places == settings.positions(NAME)


@pytest.mark.parametrize("text", ["no list", "[1]", '[{"name": "a"}]', '[{"x_um": "b"}]', "3"])
def test_positions_that_make_no_sense_are_left_out(settings: Settings, text: str) -> None:
    settings._kept.setValue("positions/A", text)  # noqa: SLF001  # as another version wrote it
    assert settings.positions("A") == ()


def test_without_a_stage_nothing_is_offered(window: Window, session: RecordedSession) -> None:
    names = ("add position", "go to position")
    assert all(window.action_set[name].isEnabled() for name in names)
    session.announce(recording=RecordingState("a.h5", "1 of 2"))
    window.poll()
    assert not any(window.action_set[name].isEnabled() for name in names)
    session.announce(recording=None, stage=None)
    window.poll()
    assert not any(window.action_set[name].isEnabled() for name in names)
    assert panel_of(window).here.full_text() == "no stage"


def test_what_goes_wrong_with_the_stage_is_said(window: Window, session: RecordedSession) -> None:
    session.refusal = PipelineError("where: the background is being taken")
    press(window, Qt.Key.Key_P, shift=True)
    wait_until(lambda: window.status.told.isVisible())
    assert "Add position failed: where: the background" in window.status.answer.full_text()
    assert panel_of(window).places == ()
    stuck = StageState(StagePlace(0.0, 0.0), problem="the stage did not move")
    session.announce(stage=stuck)
    window.poll()
    assert panel_of(window).trouble.full_text() == "the stage did not move"
    press(window, Qt.Key.Key_G, shift=True)
    assert "select the position" in window.status.answer.full_text()


def test_the_list_is_offered_to_a_time_lapse(window: Window, session: RecordedSession) -> None:
    places = add(window).places
    QTest.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    dialog = window.experiment.dialog
    assert dialog is not None and dialog.places.count() == 1
    dialog.places.item(0).setCheckState(Qt.CheckState.Checked)
    dialog.start.click()
    settle(window)
    assert session.recorded is not None and session.recorded.positions == places


def test_a_snap_is_taken_while_nothing_is_live(window: Window, session: RecordedSession) -> None:
    assert not window.action_set["snap"].isEnabled()
    session.announce(phase=Phase.IDLE)
    window.poll()
    press(window, Qt.Key.Key_N)
    settle(window)
    assert session.commands == [("snap", session.commands[0][1])]
    (button,) = window.toolbar.snap
    button.click()
    settle(window)
    assert len(session.commands) == 2
