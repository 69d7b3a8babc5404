"""The 3D view's widget off the screen: what it says without OpenGL, its controls and its export."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from tests.volume_scenes import INDEX, MEDIUM, view_of_ball
from tests.windows import wait_until
from ui.sections.voxel_grid import Y
from ui.viewmodel import ViewState
from ui.volume.volume_camera import PRESETS
from ui.volume.volume_state import Kept, Mode, VolumeState
from ui.volume.volume_view import VolumeView

ROOT = Path(__file__).resolve().parents[1]
LEVEL = (MEDIUM + INDEX) / 2


@pytest.fixture
def widget(qapp: QApplication) -> Iterator[VolumeView]:
    widget = VolumeView()
    widget.resize(420, 560)
    yield widget
    widget.close()
    widget.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_without_opengl_it_says_so_and_nothing_else_fails(
    qapp: QApplication, widget: VolumeView
) -> None:
    if qapp.platformName() != "offscreen":
        pytest.skip("this display may have OpenGL")
    view, tomogram = view_of_ball()
    widget.draw(view, tomogram)  # before it is shown: kept for then
    widget.show()
    wait_until(lambda: bool(widget.problem))
    assert widget.stack.currentWidget() is widget.fallback
    assert "No 3D view" in widget.sorry.text() and not widget.controls.isEnabled()
    widget.draw(view, tomogram)
    widget.again.click()
    assert widget.problem
    widget.point(0.0, 0.0)  # nothing is on display
    widget.hide()
    widget.show()


def test_controls_ask_for_states(qapp: QApplication, widget: VolumeView) -> None:
    view, tomogram = view_of_ball()
    widget.show()
    widget.draw(view, tomogram)
    controls = widget.controls
    controls.setEnabled(True)
    controls.modes[Mode.SURFACES].click()
    assert widget.state.mode is Mode.SURFACES and controls.rows[2].isVisible()
    controls.cuts[Y].click()
    controls.cuts[Y].click()
    assert widget.state.kept[Y] is Kept.HIGH and controls.cuts[Y].text() == "y ≥"
    controls.rows[0].level.setValue(1.3512)
    controls.rows[0].opacity.setValue(40)
    controls.rows[1].shown.click()
    first, second, _ = widget.state.surfaces
    assert (first.level, first.opacity, second.shown) == (1.3512, 0.4, False)
    controls.auto.click()
    assert widget.state.surfaces[0].level == pytest.approx(LEVEL, abs=0.003)
    assert not widget.state.surfaces[1].shown  # only the level is found anew
    controls.presets["YZ"].click()
    assert widget.state.camera.orientation == PRESETS["YZ"]
    controls.modes[Mode.ATTENUATED].click()
    controls.opacity.setValue(100)
    assert widget.state.opacity == pytest.approx(20.0) and controls.attenuated.isVisible()
    controls.spin.click()
    wait_until(lambda: widget.state.camera.orientation != PRESETS["YZ"])
    widget.hide()
    controls.box.click()
    assert not widget.state.box


def test_surfaces_are_saved_from_the_widget(
    qapp: QApplication, widget: VolumeView, tmp_path: Path
) -> None:
    view, tomogram = view_of_ball()
    widget.show()
    widget.draw(view, tomogram)
    widget.show_state(widget.state.with_surface(1, shown=False).with_surface(2, shown=False))
    said: list[str] = []
    widget.exported.connect(said.append)
    widget.export_failed.connect(said.append)
    widget.save_surfaces(tmp_path / "ball.ply")
    wait_until(lambda: len(said) == 1)
    assert said == [f"saved {tmp_path / 'ball.ply'}"]
    widget.show_state(widget.state.with_surface(0, shown=False))
    widget.save_surfaces(tmp_path / "none.stl")
    wait_until(lambda: len(said) == 2)
    assert "at least one surface" in said[1] and not (tmp_path / "none.stl").exists()


def test_the_window_starts_without_the_3d_view() -> None:
    code = "import sys, ui.main; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    own = [name for name in result.stdout.split() if name.startswith(("ui.volume", "skimage"))]
    assert own == []


def test_the_state_needs_no_qt() -> None:
    code = (
        "import sys, ui.volume.volume_state, ui.volume.picking, ui.volume.pace; print(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not any(name.startswith(("PySide6", "pyqtgraph")) for name in result.stdout.split())


def test_a_view_without_a_contrast_asks_for_nothing(qapp: QApplication, widget: VolumeView) -> None:
    _, tomogram = view_of_ball()
    widget.show()
    widget.draw(ViewState(), tomogram)
    assert widget.state == VolumeState()
