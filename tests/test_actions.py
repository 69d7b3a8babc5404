"""What a user can do in the window, by keys, menus and the search; undo; what is remembered."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu, QToolButton

from pipeline.wire.state import DriftState, InstrumentState, Phase, RecordingState
from tests.hands import press, turn_wheel
from tests.recorded_session import RecordedSession, volumes
from tests.windows import wait_until
from ui.actions.action import Situation
from ui.actions.action_set import keys_text
from ui.actions.search_dialog import SearchDialog, matching
from ui.actions.table import ACTIONS, GROUPS
from ui.sections.contrast import Contrast
from ui.sections.voxel_grid import X, Z
from ui.settings import Settings
from ui.style import THEMES, theme
from ui.view_history import ViewHistory
from ui.viewmodel import ViewState
from ui.window import Window


@pytest.fixture
def session() -> RecordedSession:
    return RecordedSession(volumes(2, (20, 40, 36), (0.36, 0.22, 0.24)))


@pytest.fixture
def window(qapp: QApplication, session: RecordedSession) -> Iterator[Window]:
    window = opened(session)
    yield window
    closed(qapp, window)


def opened(session: RecordedSession, settings: Settings | None = None) -> Window:
    window = Window(session, title="LiveTomo", settings=settings)
    window.stop_polling()
    window.resize(1280, 800)
    window.show()
    session.announce()
    window.poll()
    QApplication.processEvents()
    return window


def closed(qapp: QApplication, window: Window) -> None:
    window.close()
    window.finish_commands()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.mark.parametrize("file", [False, True])
def test_names_and_keys_are_used_once(file: bool) -> None:
    here = [action for action in ACTIONS if action.fits(file=file)]
    keys = Counter(QKeySequence(key).toString() for action in here for key in action.keys)
    keys.update(
        QKeySequence(f"Shift+{key}").toString() for a in here if a.strides for key in a.keys
    )
    assert keys.most_common(1)[0][1] == 1
    assert "" not in keys  # a key that Qt does not know
    assert Counter(action.name for action in here).most_common(1)[0][1] == 1
    assert {action.group for action in here} <= set(GROUPS)
    assert all(action.keys for action in here)


def test_every_action_is_in_a_menu_with_its_key_and_help(window: Window) -> None:
    menus = [menu for menu in window.menuBar().findChildren(QMenu) if menu.title()]
    assert [menu.title() for menu in menus] == list(GROUPS)
    shown = {made.toolTip().split("\n")[0]: made for menu in menus for made in menu.actions()}
    for action in window.action_set:
        made = shown[f"{action.help} ({keys_text(action)})"]
        assert [key.toString() for key in made.shortcuts()] == [
            QKeySequence(key).toString() for key in action.keys
        ]
    assert all(button.toolTip() for button in window.findChildren(QToolButton, "command"))


NOTHING = Situation()
READY = Situation(InstrumentState(Phase.IDLE, "ready"), tomogram=True)
NEEDING_AN_ANSWER = {"live", "play", "background", "record", "snap", "tv"}
NEEDING_A_TOMOGRAM = {
    "measure all", "raw beside", "tv beside", "difference", "tv difference", "error map",
    "uncertainty map", "outlines", "xy",
    "xz", "yz", "3d", "enlarge 3d", "line", "region",
    "follow", "put away", "save", "copy", "figure", "movie", "export", "table", "napari",
    "earlier", "later", "auto", "nearer", "farther", "fit", "left",
    "right", "up", "down",
    "shallower", "deeper", "centre", "faster", "slower", "newest",
}  # fmt: skip


def test_actions_are_enabled_when_they_can_be_done() -> None:
    def enabled(situation: Situation) -> set[str]:
        return {action.name for action in ACTIONS if action.enabled(situation)}

    always = enabled(NOTHING)
    assert enabled(READY) - always == NEEDING_AN_ANSWER | NEEDING_A_TOMOGRAM
    assert enabled(replace(READY, busy=True)) - always == NEEDING_A_TOMOGRAM
    assert enabled(replace(READY, file=True)) - always == (
        NEEDING_AN_ANSWER - {"background", "record", "snap"} | NEEDING_A_TOMOGRAM
    )
    assert READY.instrument is not None
    stages = replace(READY.instrument, drift=DriftState(possible=True))
    assert enabled(replace(READY, instrument=stages)) - enabled(READY) == {"keep"}
    assert "keep" not in enabled(replace(READY, instrument=stages, file=True))
    snapped = replace(READY.instrument, snapped=3)
    assert enabled(replace(READY, instrument=snapped)) - enabled(READY) == {"save snap"}
    assert enabled(replace(READY, bench=True)) - enabled(READY) == {"calibrate"}
    replayed = replace(READY.instrument, replay=True)
    assert enabled(READY) - enabled(replace(READY, instrument=replayed)) == {"background", "record"}
    timelapse = replace(READY.instrument, recording=RecordingState("a.h5", "1 of 2"))
    hindered = enabled(READY) - enabled(replace(READY, instrument=timelapse))
    assert hindered == {"background", "snap"}
    assert enabled(replace(NOTHING, undoable=True)) - always == {"undo"}
    assert enabled(replace(NOTHING, redoable=True)) - always == {"redo"}


def test_the_tooltip_of_what_cannot_be_done_says_why(
    window: Window, session: RecordedSession
) -> None:
    def tip(name: str) -> str:
        return window.action_set[name].toolTip()

    assert tip("snap").endswith("\nNot now: live imaging shows each scan: stop it first (Space)")
    session.announce(phase=Phase.IDLE, replay=True)
    window.poll()
    assert tip("snap").endswith("(N)")
    assert "a recording is replayed" in tip("record") and "a recording is replayed" in tip(
        "background"
    )
    assert tip("go to position").endswith(
        "there is no stage: name it in [stage] of microscope.toml"
    )
    (snap,) = window.toolbar.snap
    assert snap.toolTip() == tip("snap")  # its button says the same


def test_a_recording_is_running_until_it_has_ended() -> None:
    state = InstrumentState(Phase.LIVE, "live", recording=RecordingState("a.h5", "1 of 2"))
    assert Situation(state).recording
    ended = replace(state, recording=RecordingState("a.h5", "2 of 2", running=False))
    assert not Situation(ended).recording


def test_the_search_finds_by_words_and_prefers_the_title() -> None:
    assert [action.name for action in matching(ACTIONS, "zoom IN")] == ["nearer"]
    assert [action.name for action in matching(ACTIONS, "cross")] == ["crosshair"]
    assert matching(ACTIONS, "background")[0].name == "background"
    assert matching(ACTIONS, "no such thing") == []
    assert len(matching(ACTIONS, "")) == len(ACTIONS)


def test_an_action_is_done_from_the_search(window: Window) -> None:
    press_with_control(window, Qt.Key.Key_K)
    dialog = window.findChild(SearchDialog)
    assert dialog is not None
    QTest.keyClicks(dialog.line, "cursor")
    first = dialog.list.topLevelItem(0)
    assert first is not None and first.text(0) == "Cursor left" and first.text(1) == "←"
    QTest.keyClick(dialog.line, Qt.Key.Key_Down)
    before = window.state.cursor
    QTest.keyClick(dialog.line, Qt.Key.Key_Return)
    assert window.state.cursor[X] == before[X] + 1  # the second one, "Cursor right"
    assert not dialog.isVisible()


def test_the_search_does_nothing_that_cannot_be_done(window: Window) -> None:
    press_with_control(window, Qt.Key.Key_K)
    dialog = window.findChild(SearchDialog)
    assert dialog is not None
    QTest.keyClicks(dialog.line, "undo")
    row = dialog.list.topLevelItem(0)
    assert row is not None and row.isDisabled()
    QTest.keyClick(dialog.line, Qt.Key.Key_Return)
    assert dialog.isVisible()
    dialog.close()


def press_with_control(window: Window, key: Qt.Key) -> None:
    QTest.keyClick(window, key, Qt.KeyboardModifier.ControlModifier)


def test_view_changes_are_undone_and_done_again(window: Window) -> None:
    undo, redo = window.action_set["undo"], window.action_set["redo"]
    assert not undo.isEnabled() and not redo.isEnabled()
    first = window.state
    press(window, Qt.Key.Key_P)
    press(window, Qt.Key.Key_G)
    changed = window.state
    assert undo.isEnabled()
    press_with_control(window, Qt.Key.Key_Z)
    assert window.state.projection and window.state.colormap == first.colormap
    press_with_control(window, Qt.Key.Key_Z)
    assert window.state == first and not undo.isEnabled()
    assert not window.action_set["projection"].isChecked()
    press_with_control(window, Qt.Key.Key_Y)
    press_with_control(window, Qt.Key.Key_Y)
    assert window.state == changed and not redo.isEnabled()
    press_with_control(window, Qt.Key.Key_Z)
    press(window, Qt.Key.Key_X)
    assert not redo.isEnabled()  # another change: what was undone is gone


def test_new_tomograms_are_no_changes_of_the_user(window: Window) -> None:
    window.poll()
    window.poll()
    assert not window.action_set["undo"].isEnabled()


def test_a_drag_is_one_change() -> None:
    history, state = ViewHistory(), ViewState(contrast=Contrast(1.33, 1.40))
    first = state
    for step in range(20):
        moved = replace(state, contrast=Contrast(1.33, 1.40 + step * 0.001))
        history.note(state, moved, now_s=10 + 0.05 * step)
        state = moved
    last = replace(state, projection=True)
    history.note(state, last, now_s=11.0)
    later = replace(last, contrast=Contrast(1.34, 1.4))
    history.note(last, later, now_s=20.0)
    assert history.undo(later) == last
    assert history.undo(last) == state
    assert history.undo(state) == first
    assert not history.undoable
    assert history.redo(first) == state


def test_colours_are_dark_or_light(window: Window) -> None:
    assert theme() == THEMES["dark"]
    press_with_control(window, Qt.Key.Key_L)
    assert theme() == THEMES["light"] and window.action_set["light"].isChecked()
    picture = window.grab().toImage()
    corner = picture.pixelColor(3, picture.height() // 2)  # beside the views
    assert corner.name() == THEMES["light"].window
    xy = window.views.panels[0]
    at = xy.mapTo(window, QPoint(3, xy.height() // 2))
    assert picture.pixelColor(at).lightness() < 40  # images stay on black
    press_with_control(window, Qt.Key.Key_L)
    assert theme() == THEMES["dark"]


def test_the_window_comes_back_as_it_was_left(
    qapp: QApplication, session: RecordedSession, tmp_path: Path
) -> None:
    file = tmp_path / "window.ini"
    window = opened(session, Settings(file))
    for key in (Qt.Key.Key_G, Qt.Key.Key_X):
        press(window, key)
    press_with_control(window, Qt.Key.Key_L)
    turn_wheel(window.views.panels[0].overlay, 3)
    window.resize(1000, 700)
    left = window.state
    closed(qapp, window)

    again = opened(session, Settings(file))
    assert again.state.colormap == left.colormap != ViewState().colormap
    assert not again.state.crosshair
    assert again.is_light and again.action_set["light"].isChecked()
    assert again.state.camera.zoom == 1.0 and again.state.cursor[Z] == 10  # of that sample
    press_with_control(again, Qt.Key.Key_L)
    closed(qapp, again)
    assert "light" not in file.read_text()


@pytest.mark.parametrize(
    "text",
    ["", "[General]\ntheme=neon\nfolder=relative\n[view]\ncolormap=jet\nsmooth=perhaps\n", "\0[["],
)
def test_settings_that_make_no_sense_are_left_out(tmp_path: Path, text: str) -> None:
    file = tmp_path / "window.ini"
    file.write_text(text)
    kept = Settings(file)
    assert (kept.theme, kept.folder, kept.opened) == ("dark", Path.home(), ())
    assert kept.view(ViewState()) == ViewState()
    assert kept.geometry.isEmpty() and kept.layout.isEmpty()


def test_files_opened_last_are_remembered_while_they_exist(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.h5" for number in range(12)]
    kept = Settings(tmp_path / "window.ini")
    for path in paths:
        path.write_text("")
        kept.note_opened(path)
    kept.note_opened(paths[5])
    kept.save()
    again = Settings(tmp_path / "window.ini")
    assert again.opened[:3] == (paths[5], paths[11], paths[10])
    assert len(again.opened) == 10
    paths[11].unlink()
    assert again.opened[1] == paths[10]


def test_a_command_gives_the_buttons_back_when_it_is_answered(
    window: Window, session: RecordedSession
) -> None:
    press(window, Qt.Key.Key_B)
    assert not window.action_set["background"].isEnabled()
    wait_until(lambda: not window.experiment.busy)
    assert window.action_set["background"].isEnabled()  # without news of the instrument
    assert [command for command, _ in session.commands] == ["background"]
