"""The 3D view on a real display, in a process of its own: pictures and what the widget did.

``python -m tests.volume_scenes FOLDER`` writes pictures.npz and answers.json there. Other tests
draw off the screen, where there is no OpenGL, and a process has one platform only.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.state import TomogramView
from ui.display import virtual_display
from ui.sections.contrast import Contrast
from ui.sections.voxel_grid import VoxelGrid
from ui.viewmodel import ViewState
from ui.volume.volume_camera import PRESETS, VolumeCamera
from ui.volume.volume_state import Kept, Mode, Surface, VolumeState

__all__ = ["BALL_UM", "COLOUR", "MEDIUM", "PIXELS", "RADIUS_UM", "ball", "display", "view_of_ball"]

SHAPE = (32, 48, 40)
VOXEL_UM = (0.3, 0.2, 0.2)
BALL_UM = (0.9, -1.4, 1.2)  # z, y, x
RADIUS_UM = 1.0
MEDIUM = 1.337
INDEX = 1.377
COLOUR = "#ff4020"
PIXELS = 240
NO_CUTS = (Kept.BOTH, Kept.BOTH, Kept.BOTH)


def ball(
    shape: tuple[int, int, int] = SHAPE,
    voxel_um: tuple[float, float, float] = VOXEL_UM,
    centre_um: tuple[float, float, float] = BALL_UM,
    radius_um: float = RADIUS_UM,
) -> NDArray[np.float32]:
    """Return RI of a ball with an edge that is one voxel wide."""
    axes = [(np.arange(n) - n // 2) * d for n, d in zip(shape, voxel_um, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    dz, dy, dx = (a - c for a, c in zip((z, y, x), centre_um, strict=True))
    distance = np.sqrt(dz**2 + dy**2 + dx**2)
    share = np.clip((radius_um - distance) / max(voxel_um) + 0.5, 0, 1)
    return np.asarray(MEDIUM + (INDEX - MEDIUM) * share, np.float32)


def view_of_ball() -> tuple[ViewState, TomogramView]:
    """Return a tomogram of the ball, and what the sections show of it."""
    tomogram = TomogramView(
        raw=ball(),
        regularized=ball(),
        method="deep",
        voxel_size_um=VOXEL_UM,
        medium_index=MEDIUM,
        sequence=0,
        timestamp=0.0,
        latency_s=0.0,
    )
    state = replace(ViewState(), contrast=Contrast(MEDIUM, INDEX)).for_tomogram(tomogram)
    return state, tomogram


@contextmanager
def display() -> Iterator[dict[str, str] | None]:
    """Yield an environment with a display, or None if there is neither one nor Xvfb."""
    bare = {name: value for name, value in os.environ.items() if name != "QT_QPA_PLATFORM"}
    with mock.patch.dict(os.environ, bare, clear=True), virtual_display() as shown:
        yield None if shown.get("QT_QPA_PLATFORM") == "offscreen" else shown


def states() -> dict[str, VolumeState]:
    """Return what is drawn, by name."""
    grid = VoxelGrid(SHAPE, VOXEL_UM)
    surface = Surface("ball", (MEDIUM + INDEX) / 2, COLOUR, 1.0)
    plain = VolumeState(grid=grid, surfaces=(surface,), opacity=8.0)
    found = {}
    for preset, orientation in PRESETS.items():
        camera = VolumeCamera(orientation=orientation, centre_um=grid.middle_um)
        for mode in Mode:
            found[f"{mode} {preset}"] = replace(plain, camera=camera, mode=mode)
    solid = found["surfaces XY"]
    glass = (replace(surface, opacity=0.3),)
    found["glass"] = replace(solid, surfaces=glass)
    found["hidden"] = solid.with_surface(0, shown=False)
    for name, kept in (("kept", Kept.HIGH), ("cut away", Kept.LOW)):
        for mode in Mode:
            state = found[f"{mode} XY"]
            found[f"{mode} {name}"] = replace(state, kept=(Kept.BOTH, Kept.BOTH, kept))
    half = (Kept.HIGH, Kept.BOTH, Kept.BOTH)
    found["filled half"] = replace(solid, kept=half)
    found["hollow half"] = replace(solid, kept=half, filled=False)
    return found


def main(folder: Path) -> None:
    """Draw everything and say what came of it."""
    from PySide6.QtGui import QOffscreenSurface
    from PySide6.QtWidgets import QApplication

    from ui.volume.ray_caster import GraphicsError, RayCaster, surface_format

    qapp = QApplication([])
    screen = QOffscreenSurface()
    screen.setFormat(surface_format())
    screen.create()
    try:
        caster = RayCaster(screen)
    except GraphicsError as error:
        (folder / "answers.json").write_text(json.dumps({"problem": str(error)}))
        return
    pictures = draw_all(caster)
    caster.close()
    screen.destroy()
    np.savez(folder / "pictures.npz", **pictures)  # type: ignore[arg-type]  # no keyword but names
    answers = use_widget(qapp)
    (folder / "answers.json").write_text(json.dumps(answers))


def draw_all(caster: Any) -> dict[str, NDArray[np.uint8]]:
    """Return every picture, (y, x, rgba)."""
    from ui.volume.pace import Quality
    from ui.volume.prepared_volume import prepare
    from ui.volume.ray_caster import Scene

    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    caster.upload(prepare(ball(), 10**8))
    pictures = {}
    for name, state in states().items():
        # cuts are at the ball's centre along z, and beside it along x
        scene = Scene(
            state=state,
            cursor_um=(BALL_UM[0], 0.0, 0.0),
            medium_index=MEDIUM,
            contrast=Contrast(MEDIUM, INDEX),
            colormap="gray",
            width=PIXELS,
            height=PIXELS,
            colours=grey,
        )
        pictures[name] = pixels(caster.draw(scene, Quality(1.0, 0.5))[0])
    plain = replace(scene, state=states()["surfaces XY"])
    pictures["coarse"] = pixels(caster.draw(plain, Quality(0.25, 2.0))[0])
    pictures["fine"] = pixels(caster.draw(plain, Quality(2.0, 0.5))[0])
    return pictures


def pixels(picture: Any) -> NDArray[np.uint8]:
    """Return the pixels of a QImage, (y, x, rgba)."""
    from PySide6.QtGui import QImage

    plain = picture.convertToFormat(QImage.Format.Format_RGBA8888_Premultiplied)
    lines = np.frombuffer(plain.constBits(), np.uint8).reshape(plain.height(), -1)
    return lines[:, : 4 * plain.width()].reshape(plain.height(), plain.width(), 4).copy()


def use_widget(qapp: Any) -> dict[str, Any]:
    """Use the widget as a user does; return what it showed."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    from tests.windows import wait_until
    from ui.volume.pace import FULL
    from ui.volume.ray_caster import GraphicsError, RayCaster
    from ui.volume.volume_view import VolumeView

    view, tomogram = view_of_ball()
    widget = VolumeView()
    widget.resize(420, 560)
    asked: list[ViewState] = []
    widget.requested.connect(asked.append)
    widget.show()
    widget.draw(view, tomogram)
    canvas = widget.canvas

    def shown() -> bool:
        drawn = canvas.drawn
        return drawn is not None and drawn.scene == widget._scene()  # noqa: SLF001

    wait_until(shown)
    answers: dict[str, Any] = {"first": True}
    wait_until(lambda: canvas.drawn is not None and canvas.drawn.quality.cost >= FULL.cost)
    answers["sharpened"] = canvas.drawn.quality.scale if canvas.drawn else 0.0
    widget.controls.presets["XY"].click()
    wait_until(shown)
    grid = view.grid
    assert grid is not None
    right, down, _ = widget.state.camera.projected(np.array(BALL_UM)).tolist()
    scale = canvas.um_per_pixel()
    at = QPoint(
        round(canvas.width() / 2 + right / scale), round(canvas.height() / 2 + down / scale)
    )
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=at)
    answers["picked_um"] = asked[-1].position_um
    before = widget.state.camera.orientation
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=at)
    QTest.mouseMove(canvas, at + QPoint(60, 10))
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=at + QPoint(60, 10))
    wait_until(shown)
    answers["turned"] = before != widget.state.camera.orientation
    answers["clicks"] = len(asked)
    answers["background"] = canvas.grab().toImage().pixelColor(2, canvas.height() // 2).name()

    sound = RayCaster.check

    def lost(self: RayCaster) -> None:
        raise GraphicsError("the OpenGL context is lost")

    RayCaster.check = lost  # type: ignore[method-assign]  # as a driver that is restarted
    widget.controls.presets["XZ"].click()
    wait_until(lambda: bool(widget.problem))
    answers["lost"] = [widget.sorry.text(), widget.stack.currentWidget() is widget.fallback]
    RayCaster.check = sound  # type: ignore[method-assign]
    widget.again.click()
    wait_until(lambda: shown() and not widget.problem)
    answers["again"] = widget.stack.currentWidget() is canvas
    widget.close()
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
