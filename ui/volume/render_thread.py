"""Draws the 3D view in a thread of its own, at its own pace; the newest request wins.

The window asks for a picture and goes on. First comes one as fine as fits into a moment; when
nothing changes any more, finer ones follow. A request that comes meanwhile ends a fine picture
between two bands of it.
"""

import threading
import traceback
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QGuiApplication, QImage, QOffscreenSurface, QOpenGLContext

from ui.sections.displayed import Volume
from ui.volume.pace import Pace, Quality
from ui.volume.picking import visible
from ui.volume.prepared_volume import prepare
from ui.volume.ray_caster import GraphicsError, RayCaster, Scene, surface_format
from ui.volume.scale_box import crosshair_lines

__all__ = ["Drawn", "RenderThread"]

REST_S = 0.25  # without a change, before a finer picture is begun
HARDWARE_S, SOFTWARE_S = 0.025, 0.1  # for a picture while something moves
HARDWARE_VOXELS, SOFTWARE_VOXELS = 128_000_000, 8_000_000


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, what it shows, and the light that reaches each piece of the crosshair."""

    picture: QImage
    scene: Scene
    volume: Volume
    quality: Quality
    seconds: float
    crosshair_light: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Request:
    volume: Volume
    scene: Scene


class RenderThread(QObject):
    """Draws what was asked for last; ``drawn`` brings pictures, ``failed`` why there is none."""

    drawn = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._changed = threading.Condition()
        self._newest: _Request | None = None
        self._served: _Request | None = None
        self._closing = False
        self._uploaded: Volume | None = None
        self._pace = Pace()
        self._caster: RayCaster | None = None
        self._thread: threading.Thread | None = None
        self._surface = QOffscreenSurface()

    def begin(self) -> None:
        """Start to draw; ``failed`` says so if that is impossible here."""
        if QGuiApplication.platformName() == "offscreen":
            self.failed.emit("this session draws off the screen")
            return
        if not QOpenGLContext.supportsThreadedOpenGL():
            self.failed.emit("Qt has no OpenGL here that works in a thread of its own")
            return
        self._surface.setFormat(surface_format())
        self._surface.create()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="volume-renderer", daemon=True)
        self._thread.start()

    def ask(self, volume: Volume, scene: Scene) -> None:
        """Ask for a picture; it replaces what was asked for before."""
        with self._changed:
            self._newest = _Request(volume, scene)
            self._changed.notify()

    def close(self) -> None:
        """Stop drawing and free the graphics card; call it in the thread of the window."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._surface.destroy()

    # --- in the thread ---

    def _run(self) -> None:
        try:
            self._caster = RayCaster(self._surface)
            while (request := self._next()) is not None:
                self._serve(request)
        except GraphicsError as error:
            self.failed.emit(str(error))
        except Exception as error:  # the end of the thread: bugs are shown to the user, too
            traceback.print_exc()
            self.failed.emit(f"{type(error).__name__}: {error}")
        finally:
            if self._caster is not None:
                self._caster.close()
            self._caster, self._uploaded = None, None

    def _next(self) -> _Request | None:
        with self._changed:
            self._changed.wait_for(self._overtaken)
            self._served = self._newest
            return None if self._closing else self._newest

    def _overtaken(self) -> bool:
        return self._closing or self._newest is not self._served

    def _rests(self, seconds: float) -> bool:
        """Wait; return whether nothing new came meanwhile."""
        with self._changed:
            return not self._changed.wait_for(self._overtaken, seconds)

    def _serve(self, request: _Request) -> None:
        """Draw at once, and ever finer until something new is asked for."""
        caster = self._working_caster()
        self._upload(caster, request.volume)
        pixels = request.scene.width * request.scene.height
        budget = SOFTWARE_S if caster.software else HARDWARE_S
        quality = self._pace.quality(pixels, budget)
        self._draw(caster, request, quality, patient=False)
        if request.scene.state.spinning:
            if caster.software:  # half of the processor is left to the instrument
                self._rests(self._pace.expected(quality, pixels))
            return
        for finer in self._pace.finer(quality, pixels):
            if not self._rests(REST_S if caster.software else 0.0):
                return
            self._draw(caster, request, finer, patient=True)

    def _working_caster(self) -> RayCaster:
        """Return the caster; make another one if its context was lost."""
        assert self._caster is not None
        try:
            self._caster.check()
        except GraphicsError:
            self._caster.close()
            self._uploaded, self._caster = None, None
            self._caster = RayCaster(self._surface)
        return self._caster

    def _upload(self, caster: RayCaster, volume: Volume) -> None:
        if volume is not self._uploaded:
            most = SOFTWARE_VOXELS if caster.software else HARDWARE_VOXELS
            caster.upload(prepare(volume, most))
            self._uploaded = volume

    def _draw(
        self, caster: RayCaster, request: _Request, quality: Quality, *, patient: bool
    ) -> None:
        done = caster.draw(request.scene, quality, self._overtaken if patient else None)
        if done is None:
            return
        picture, seconds = done
        scene = request.scene
        self._pace = self._pace.measured(quality, scene.width * scene.height, seconds)
        light = crosshair_light(request.volume, scene)
        self.drawn.emit(Drawn(picture, scene, request.volume, quality, seconds, light))


def crosshair_light(volume: Volume, scene: Scene) -> NDArray[np.float32]:
    """Return the share of light that reaches each piece of the crosshair, (axes, pieces)."""
    assert scene.state.grid is not None
    lines = crosshair_lines(scene.cursor_um, scene.state.grid)
    middles = (lines[:, 1:] + lines[:, :-1]) / 2
    light = visible(
        volume,
        scene.state,
        middles.reshape(-1, 3),
        cursor_um=scene.cursor_um,
        medium=scene.medium_index,
        contrast=scene.contrast,
    )
    return light.reshape(middles.shape[:2])
