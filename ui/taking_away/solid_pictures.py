"""Pictures of the 3D view in any size, drawn beside the window in the thread that asks for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QImage, QOffscreenSurface, QPainter

from acquisition.errors import Stopped
from files.figures.panels import Panel
from ui.sections.colours import lookup_table
from ui.sections.displayed import Volume
from ui.taking_away.snapshot import Snapshot
from ui.volume.pace import FULL
from ui.volume.painted_marks import MarkPainter
from ui.volume.prepared_volume import prepare
from ui.volume.ray_caster import RayCaster, Scene, surface_format
from ui.volume.volume_camera import VolumeCamera

__all__ = ["SolidPainter", "SolidPictures"]

_MOST_VOXELS: Final = 64_000_000
_SCREEN_DPI: Final = 96.0
_LETTERS_PX: Final = 11


class SolidPainter:
    """Draws pictures with one context of OpenGL; it belongs to one thread.

    Parameters
    ----------
    caster : RayCaster
    stopped : callable
        Whether to give up.
    """

    def __init__(self, caster: RayCaster, stopped: Callable[[], bool]) -> None:
        self._caster, self._stopped = caster, stopped
        self._uploaded: Volume | None = None

    def panel(
        self, snapshot: Snapshot, height: int, dpi: float, camera: VolumeCamera | None = None
    ) -> Panel:
        """Return the 3D view of a snapshot as a panel of so many rows of pixels.

        Raises
        ------
        Stopped
            If it was given up.
        """
        scene, volume = _scene(snapshot, height, camera)
        if volume is not self._uploaded:
            self._caster.upload(prepare(volume, _MOST_VOXELS))
            self._uploaded = volume
        done = self._caster.draw(scene, FULL, self._stopped)
        if done is None:
            raise Stopped("cancelled")
        picture = _composed(done[0], scene, _medium_colour(snapshot), dpi / _SCREEN_DPI)
        scale = scene.state.camera.um_per_pixel(scene.width, scene.height, snapshot.grid)
        across, down = scene.width * scale / 2, scene.height * scale / 2
        return Panel(picture, None, (-across, across, -down, down), plane="3D")


class SolidPictures:
    """Makes painters; make it and close it in the thread of the window."""

    def __init__(self) -> None:
        self._surface = QOffscreenSurface()
        self._surface.setFormat(surface_format())
        self._surface.create()

    @contextmanager
    def painter(self, stopped: Callable[[], bool]) -> Iterator[SolidPainter]:
        """Give a painter for the thread that calls; ``stopped`` says whether to give up.

        Raises
        ------
        GraphicsError
            If there is no OpenGL that can do it.
        """
        caster = RayCaster(self._surface)
        try:
            yield SolidPainter(caster, stopped)
        finally:
            caster.close()

    def close(self) -> None:
        """Free the surface; no painter may be in use."""
        self._surface.destroy()


def _scene(snapshot: Snapshot, height: int, camera: VolumeCamera | None) -> tuple[Scene, Volume]:
    state, tomogram = snapshot.state, snapshot.tomogram
    assert snapshot.solid is not None and state.contrast is not None
    volume = state.on_display(tomogram, snapshot.check).volume
    solid = snapshot.solid.for_volume(snapshot.grid, volume, tomogram.medium_index)
    scene = Scene(
        state=solid if camera is None else solid.seen(camera),
        cursor_um=state.position_um,
        medium_index=tomogram.medium_index,
        contrast=state.contrast,
        colormap=state.colormap,
        width=max(round(height * snapshot.solid_aspect), 1),
        height=height,
        colours=lookup_table(state.colormap, state.contrast, tomogram.medium_index),
    )
    return scene, volume


def _medium_colour(snapshot: Snapshot) -> QColor:
    """Return the colour that the sections give the medium."""
    contrast, medium = snapshot.state.contrast, snapshot.tomogram.medium_index
    assert contrast is not None
    share = (medium - contrast.low) / (contrast.high - contrast.low)
    table = lookup_table(snapshot.state.colormap, contrast, medium)
    red, green, blue = table[round(255 * min(max(share, 0.0), 1.0))].tolist()
    return QColor(red, green, blue)


def _composed(drawn: QImage, scene: Scene, background: QColor, zoom: float) -> NDArray[np.uint8]:
    """Return the volume within its scale box, (y, x, 3) uint8; lines are ``zoom`` pixels thick."""
    whole = QImage(scene.width, scene.height, QImage.Format.Format_RGB888)
    whole.fill(background)
    painter = QPainter(whole)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    font = QFont(painter.font())
    font.setPixelSize(_LETTERS_PX)
    painter.setFont(font)
    painter.scale(zoom, zoom)
    width, height = scene.width / zoom, scene.height / zoom
    marks = MarkPainter(painter, scene, width, height, background)
    marks.paint_box(behind=True)
    painter.save()
    painter.resetTransform()
    painter.drawImage(
        0, 0, drawn.scaled(
            scene.width, scene.height, Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        ),
    )  # fmt: skip
    painter.restore()
    marks.paint_box(behind=False)
    marks.paint_scales()
    painter.end()
    rows = np.frombuffer(whole.constBits(), np.uint8).reshape(whole.height(), -1)
    return rows[:, : 3 * whole.width()].reshape(whole.height(), whole.width(), 3).copy()
