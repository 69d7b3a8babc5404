"""Draws a volume with OpenGL 3.3 into a picture, off the screen, in the thread that made it.

Qt brings the functions of OpenGL, so that nothing else need be installed. The picture is read back
instead of being composed into the window: a QOpenGLWidget would have the whole window, the sections
too, composed by OpenGL, and would draw in the thread of the window.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QSize
from PySide6.QtGui import QImage, QOffscreenSurface, QOpenGLContext, QSurfaceFormat
from PySide6.QtOpenGL import (
    QOpenGLFramebufferObject,
    QOpenGLShader,
    QOpenGLShaderProgram,
    QOpenGLTexture,
    QOpenGLTimerQuery,
    QOpenGLVertexArrayObject,
)
from shiboken6 import VoidPtr

from acquisition.errors import LiveTomoError
from ui.sections.contrast import Contrast
from ui.volume.pace import Quality
from ui.volume.prepared_volume import BRICK, PreparedVolume
from ui.volume.ray_shader import MOST_SURFACES, VERTEX, fragment
from ui.volume.volume_state import Kept, VolumeState

__all__ = ["GraphicsError", "RayCaster", "Scene", "surface_format"]

# OpenGL's own numbers
TRIANGLES, COLOUR_BUFFER, SCISSOR_TEST = 0x0004, 0x4000, 0x0C11
TEXTURE_2D, TEXTURE_3D, TEXTURE0 = 0x0DE1, 0x806F, 0x84C0
MAG_FILTER, MIN_FILTER, NEAREST, LINEAR = 0x2800, 0x2801, 0x2600, 0x2601
WRAPS, CLAMP_TO_EDGE = (0x2802, 0x2803, 0x8072), 0x812F
RED, RG, RGB, RGBA = 0x1903, 0x8227, 0x1907, 0x1908
R16, RG16, RGB8 = 0x822A, 0x822C, 0x8051
UNSIGNED_BYTE, UNSIGNED_SHORT = 0x1401, 0x1403
UNPACK_ALIGNMENT, MAX_3D_TEXTURE_SIZE, RENDERER = 0x0CF5, 0x8073, 0x1F01

VOXELS, BRICKS, COLOURS = 0, 1, 2  # texture units
OBLIQUE: Final = 1e-6  # rays are never quite parallel to a face
POLL_S = 0.001
BAND_S = 0.03
COARSE_STEP = 2.0  # from here on samples are taken in the coarser volume
LOW_PRIORITY = 15  # nice
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "microsoft basic render", "gdi generic")

Colours = NDArray[np.uint8]


class GraphicsError(LiveTomoError):
    """OpenGL does not do what the 3D view needs."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a picture shows, beside the volume.

    Parameters
    ----------
    state : VolumeState
    cursor_um : (z, y, x)
        Where the cuts are.
    medium_index : float
        RI of the medium.
    contrast : Contrast
    colormap : str
    width, height : int
        Of the view, in pixels of the screen.
    colours : (256, 3) uint8
        Those of the colour map.
    """

    state: VolumeState
    cursor_um: tuple[float, float, float]
    medium_index: float
    contrast: Contrast
    colormap: str
    width: int
    height: int
    colours: Colours = field(compare=False)


def surface_format() -> QSurfaceFormat:
    """Return the kind of OpenGL that the shaders are written for."""
    wanted = QSurfaceFormat()
    wanted.setRenderableType(QSurfaceFormat.RenderableType.OpenGL)
    wanted.setVersion(3, 3)
    wanted.setProfile(QSurfaceFormat.OpenGLContextProfile.CoreProfile)
    return wanted


@dataclass(slots=True)
class _Uploaded:
    """A volume and the textures that hold it."""

    volume: PreparedVolume
    voxels: QOpenGLTexture
    bricks: QOpenGLTexture


class _Program:
    """A linked program of shaders and the places of its uniforms."""

    def __init__(self, gl: Any, source: str) -> None:
        self._gl = gl
        self._linked = QOpenGLShaderProgram()
        self._places: dict[str, int] = {}
        kind = QOpenGLShader.ShaderTypeBit
        added = self._linked.addShaderFromSourceCode(kind.Vertex, VERTEX)
        added = added and self._linked.addShaderFromSourceCode(kind.Fragment, source)
        if not (added and self._linked.link()):
            raise GraphicsError(f"the shaders do not compile here: {self._linked.log().strip()}")

    def bind(self) -> None:
        """Draw with it from now on."""
        self._linked.bind()

    def set(self, name: str, value: Any) -> None:
        """Set a uniform; one that this program does not use is left out."""
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = self._linked.uniformLocation(name)
        if place < 0:
            return
        if isinstance(value, int):
            self._gl.glUniform1i(place, value)
            return
        numbers = [float(v) for v in np.atleast_1d(value)]
        getattr(self._gl, f"glUniform{len(numbers)}f")(place, *numbers)


class RayCaster:
    """A context of OpenGL with the volume and the shaders; used in one thread only.

    Parameters
    ----------
    surface : QOffscreenSurface
        Made in the thread of the window, which must also delete it.

    Raises
    ------
    GraphicsError
        Where there is no OpenGL 3.3.
    """

    def __init__(self, surface: QOffscreenSurface) -> None:
        self._surface = surface
        self._context: QOpenGLContext | None = QOpenGLContext()
        self._context.setFormat(surface_format())
        if not (surface.isValid() and self._context.create()):
            raise GraphicsError("no OpenGL context can be made here")
        self.check()
        version = self._context.format().version()
        if version < (3, 3):
            raise GraphicsError(f"OpenGL must be 3.3 or later, this is {version[0]}.{version[1]}")
        self._gl: Any = self._context.extraFunctions()
        self.renderer = str(self._gl.glGetString(RENDERER))
        if self.software:
            _lower_priority_of_llvmpipe()
        self._programs: dict[tuple[str, int], _Program] = {}
        self._corners = QOpenGLVertexArrayObject()
        self._corners.create()
        self._paints = _texture(2)
        self._volumes: list[_Uploaded] = []
        self._frame: QOpenGLFramebufferObject | None = None
        self._query = QOpenGLTimerQuery()
        self._timed = self._query.create()
        self._colours: Colours | None = None

    @property
    def software(self) -> bool:
        """Whether the processor does the work of a graphics card."""
        return any(name in self.renderer.lower() for name in SOFTWARE)

    def check(self) -> None:
        """Make the context current; raise GraphicsError if it is lost."""
        context = self._context
        if context is None or not (context.isValid() and context.makeCurrent(self._surface)):
            raise GraphicsError("the OpenGL context is lost")

    def _program(self, mode: str, surfaces: int) -> "_Program":
        """Return the program of a mode, compiled when it is first used."""
        key = (mode, surfaces)
        if key not in self._programs:
            self._programs[key] = _Program(self._gl, fragment(mode, surfaces))
        return self._programs[key]

    # --- volume and colours ---

    def upload(self, volumes: Sequence[PreparedVolume]) -> None:
        """Give the graphics card a volume: in full, and coarser for pictures with long steps."""
        self.check()
        largest = max(max(volume.voxels.shape) for volume in volumes)
        most = _limit(self._gl)
        if largest > most:
            raise GraphicsError(
                f"an edge of the volume must have at most {most} voxels here, it has {largest}"
            )
        shapes = [volume.voxels.shape for volume in volumes]
        again = shapes == [uploaded.volume.voxels.shape for uploaded in self._volumes]
        if not again:
            self._forget_volumes()
            self._volumes = [_Uploaded(v, _texture(3), _texture(3)) for v in volumes]
        for uploaded, volume in zip(self._volumes, volumes, strict=True):
            uploaded.volume = volume
            self._fill(uploaded.voxels, volume.voxels, (R16, RED), LINEAR, again=again)
            self._fill(uploaded.bricks, volume.bricks, (RG16, RG), NEAREST, again=again)

    def _forget_volumes(self) -> None:
        for uploaded in self._volumes:
            uploaded.voxels.destroy()
            uploaded.bricks.destroy()
        self._volumes = []

    def _fill(
        self,
        texture: QOpenGLTexture,
        data: Any,
        kind: tuple[int, int],
        filtered: int,
        *,
        again: bool,
    ) -> None:
        gl = self._gl
        internal, order = kind
        self._bind(VOXELS, TEXTURE_3D, texture)
        gl.glPixelStorei(UNPACK_ALIGNMENT, 1)
        depth, height, width = data.shape[:3]
        array: Any = np.ascontiguousarray(data)
        pixels = VoidPtr(array)
        if again:
            gl.glTexSubImage3D(
                TEXTURE_3D, 0, 0, 0, 0, width, height, depth, order, UNSIGNED_SHORT, pixels
            )
            return
        _filtered(gl, TEXTURE_3D, filtered)
        size = (width, height, depth, 0)
        gl.glTexImage3D(TEXTURE_3D, 0, internal, *size, order, UNSIGNED_SHORT, pixels)

    def _bind(self, unit: int, target: int, texture: QOpenGLTexture) -> None:
        self._gl.glActiveTexture(TEXTURE0 + unit)
        self._gl.glBindTexture(target, texture.textureId())

    def _paint_with(self, colours: Colours) -> None:
        if self._colours is not None and np.array_equal(colours, self._colours):
            return
        gl = self._gl
        self._bind(COLOURS, TEXTURE_2D, self._paints)
        _filtered(gl, TEXTURE_2D, LINEAR)
        gl.glPixelStorei(UNPACK_ALIGNMENT, 1)
        array: Any = np.ascontiguousarray(colours)
        pixels = VoidPtr(array)
        gl.glTexImage2D(TEXTURE_2D, 0, RGB8, len(colours), 1, 0, RGB, UNSIGNED_BYTE, pixels)
        self._colours = colours.copy()

    # --- pictures ---

    def draw(
        self, scene: Scene, quality: Quality, given_up: Callable[[], bool] | None = None
    ) -> tuple[QImage, float] | None:
        """Draw the volume; call ``upload`` first.

        With ``given_up`` it is drawn in bands, and that is asked between them. Python's other
        threads run while the graphics card, or the processor in its place, works.

        Returns
        -------
        picture : QImage
            Premultiplied RGBA, ``width`` x ``height`` times the scale of the quality, or smaller
            by the averaging of a scale above 1.
        seconds : float
            What it took.
        None if it was given up.
        """
        start = time.perf_counter()
        self.check()
        width = max(round(scene.width * quality.scale), 1)
        height = max(round(scene.height * quality.scale), 1)
        self._begin(scene, quality, width, height)
        if not self._drawn_in_bands(width, height, given_up):
            return None
        picture = self._read(width, height)
        if quality.scale > 1:
            picture = _averaged(picture, scene.width, scene.height)
        return picture, time.perf_counter() - start

    def _begin(self, scene: Scene, quality: Quality, width: int, height: int) -> None:
        gl = self._gl
        if self._frame is None or self._frame.size() != QSize(width, height):
            self._frame = QOpenGLFramebufferObject(width, height)
        if not self._frame.bind():
            raise GraphicsError(f"a picture of {width} x {height} pixels cannot be drawn here")
        gl.glViewport(0, 0, width, height)
        self._paint_with(scene.colours)
        surfaces = min(len(scene.state.drawn_surfaces), MOST_SURFACES)
        program = self._program(scene.state.mode, surfaces)
        program.bind()
        self._corners.bind()
        # rays far apart miss the cache on each sample of the full volume
        shown = self._volumes[-1 if quality.step >= COARSE_STEP else 0]
        self._bind(VOXELS, TEXTURE_3D, shown.voxels)
        self._bind(BRICKS, TEXTURE_3D, shown.bricks)
        self._bind(COLOURS, TEXTURE_2D, self._paints)
        for name, value in uniforms(scene, quality, shown.volume).items():
            program.set(name, value)

    def _drawn_in_bands(self, width: int, height: int, given_up: Callable[[], bool] | None) -> bool:
        """Draw bands of rows, each as high as fits into ``BAND_S``; False if given up."""
        gl = self._gl
        gl.glEnable(SCISSOR_TEST)
        try:
            top, rows = 0, height if given_up is None else max(height // 16, 8)
            while top < height:
                if given_up is not None and given_up():
                    return False
                begun = time.perf_counter()
                gl.glScissor(0, top, width, min(rows, height - top))
                self._draw_and_wait()
                top += rows
                taken = max(time.perf_counter() - begun, 1e-4)
                rows = max(8, min(int(rows * min(BAND_S / taken, 4.0)), height))
        finally:
            gl.glDisable(SCISSOR_TEST)
        return True

    def _draw_and_wait(self) -> None:
        """Draw, and sleep until it is done: PySide6 holds Python's lock in every call of OpenGL."""
        gl = self._gl
        if not self._timed:
            gl.glDrawArrays(TRIANGLES, 0, 3)
            gl.glFinish()
            return
        self._query.begin()
        gl.glDrawArrays(TRIANGLES, 0, 3)
        self._query.end()
        gl.glFlush()
        while not self._query.isResultAvailable():
            time.sleep(POLL_S)

    def _read(self, width: int, height: int) -> QImage:
        pixels: Any = np.empty((height, width, 4), np.uint8)
        self._gl.glReadPixels(0, 0, width, height, RGBA, UNSIGNED_BYTE, VoidPtr(pixels))
        kind = QImage.Format.Format_RGBA8888_Premultiplied
        return QImage(pixels.data, width, height, kind).copy()

    def close(self) -> None:
        """Free what the graphics card holds; call it in the thread of the caster, which ends so."""
        if self._context is None:
            return
        current = self._context.makeCurrent(self._surface)
        self._frame = None
        self._programs.clear()
        if current:
            self._forget_volumes()
            self._paints.destroy()
            self._query.destroy()
            self._corners.destroy()
            self._context.doneCurrent()
        # before the surface, and before Python ends: Qt's objects must not outlive their context
        del self._query, self._corners, self._paints, self._gl
        self._context = None


def _lower_priority_of_llvmpipe() -> None:
    """Let the threads that draw in a graphics card's place run after all others (Linux)."""
    for task in Path("/proc/self/task").glob("*"):
        try:
            if (task / "comm").read_text().startswith("llvmpipe"):
                os.setpriority(os.PRIO_PROCESS, int(task.name), LOW_PRIORITY)
        except OSError:  # it has just ended
            continue


def _limit(gl: Any) -> int:
    """Return the most voxels along an edge of a texture; OpenGL 3.3 has at least 256."""
    found = gl.glGetIntegerv(MAX_3D_TEXTURE_SIZE)
    return int(np.atleast_1d(found)[0]) or 256


def _texture(dimensions: int) -> QOpenGLTexture:
    target = QOpenGLTexture.Target
    texture = QOpenGLTexture(target.Target3D if dimensions == 3 else target.Target2D)
    texture.create()
    return texture


def _filtered(gl: Any, target: int, filtered: int) -> None:
    gl.glTexParameteri(target, MIN_FILTER, filtered)
    gl.glTexParameteri(target, MAG_FILTER, filtered)
    for wrap in WRAPS:
        gl.glTexParameteri(target, wrap, CLAMP_TO_EDGE)


def _averaged(picture: QImage, width: int, height: int) -> QImage:
    """Return the means of 2 x 2 pixels."""
    from PySide6.QtCore import Qt

    return picture.scaled(
        width,
        height,
        Qt.AspectRatioMode.IgnoreAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )


def uniforms(scene: Scene, quality: Quality, volume: PreparedVolume) -> dict[str, Any]:
    """Return the values of the shader's uniforms: lengths in texture coordinates (x, y, z)."""
    state = scene.state
    grid = state.grid
    assert grid is not None
    extent = np.array(grid.extent_um)
    corner = np.array([grid.edges_um(axis)[0] for axis in range(3)])
    right, down, ahead = state.camera.directions
    half_um = state.camera.um_per_pixel(scene.width, scene.height, grid) / 2
    ahead = np.where(np.abs(ahead) < OBLIQUE, OBLIQUE, ahead)
    away = float(np.linalg.norm(extent)) * 2
    start = (np.array(state.camera.centre_um) - corner - ahead * away) / extent
    low, high = ((np.array(c) - corner) / extent for c in state.bounds_um(scene.cursor_um))
    shape = np.array(volume.voxels.shape)
    voxel_um = extent / shape
    values: dict[str, Any] = {
        "origin": start[::-1],
        "right": (right * half_um * scene.width / extent)[::-1],
        "down": (down * half_um * scene.height / extent)[::-1],
        "ahead": (ahead / extent)[::-1],
        "lowest": low[::-1],
        "highest": high[::-1],
        "cut_low": [float(kept is Kept.HIGH) for kept in reversed(state.kept)],
        "cut_high": [float(kept is Kept.LOW) for kept in reversed(state.kept)],
        "per_voxel": shape[::-1].astype(float),
        "per_brick": shape[::-1] / BRICK,
        "voxel_um": voxel_um[::-1],
        "stride": quality.step * min(grid.voxel_size_um),
        "opacity": state.opacity,
        "filled": float(state.filled),
        "voxels": VOXELS,
        "bricks": BRICKS,
        "colours": COLOURS,
    }
    for name, axis in (("axis_x", 2), ("axis_y", 1), ("axis_z", 0)):
        values[name] = state.camera.directions[:, axis]
    return values | _indices(scene, volume)


def _indices(scene: Scene, volume: PreparedVolume) -> dict[str, Any]:
    """Return the uniforms that are RI, as the graphics card sees them."""
    contrast, medium = scene.contrast, scene.medium_index
    top = contrast.high if contrast.high > medium else min(contrast.low, medium - 1e-6)
    span = volume.high - volume.low
    surfaces = scene.state.drawn_surfaces[:MOST_SURFACES]
    outer, sign = scene.state.outermost(medium)
    values: dict[str, Any] = {
        "contrast": [volume.share(contrast.low), volume.share(contrast.high)],
        "over_medium": [volume.share(medium), (top - medium) / span],
        "outer": [volume.share(outer), float(sign)],
    }
    for number, surface in enumerate(surfaces):
        values[f"levels[{number}]"] = volume.share(surface.level)
        values[f"paints[{number}]"] = [*rgb(surface.colour), surface.opacity]
    return values


def rgb(colour: str) -> Sequence[float]:
    """Return "#rrggbb" as three numbers from 0 to 1."""
    return [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
