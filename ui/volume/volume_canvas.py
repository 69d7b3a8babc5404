"""The picture of the 3D view with its marks, and the mouse on it."""

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QPointF, Qt, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from ui.sections.overlay import ZOOM_PER_NOTCH, Badge
from ui.style import digits_font
from ui.volume.painted_marks import MarkPainter
from ui.volume.render_thread import Drawn
from ui.volume.volume_camera import VolumeCamera

__all__ = ["VolumeCanvas"]

DRAG_PX = 4  # a press that moves less is a click
DEGREES_PER_PX = 0.4

Move = Callable[[VolumeCamera], VolumeCamera]


class VolumeCanvas(QWidget):
    """Paints what was drawn last; its signals say what the mouse asks for."""

    moved = Signal(object)  # a Move
    pointed = Signal(float, float)  # right and down in um from the middle of the view
    fitted = Signal()
    resized = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(160, 120)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.drawn: Drawn | None = None
        self._background = QColor("#000000")
        self._caption, self._badge, self._crosshair = "", Badge(), True
        self._pressed: QPointF | None = None
        self._last = QPointF()
        self._dragged = False

    def draw(self, drawn: Drawn) -> None:
        """Show a picture."""
        self.drawn = drawn
        self.update()

    def describe(self, background: QColor, caption: str, badge: Badge, crosshair: bool) -> None:
        """Set what lies behind the volume, the captions, and whether the crosshair is shown."""
        self._background, self._caption = background, caption
        self._badge, self._crosshair = badge, crosshair
        self.update()

    # --- the mouse ---

    def um_per_pixel(self) -> float:
        """Return the scale of the picture on display."""
        return self._marks(None).um_per_pixel if self.drawn is not None else 1.0

    def _marks(self, painter: Any) -> MarkPainter:
        assert self.drawn is not None
        return MarkPainter(painter, self.drawn.scene, self.width(), self.height(), self._background)

    def _um(self, point: QPointF) -> tuple[float, float]:
        scale = self.um_per_pixel()
        return (point.x() - self.width() / 2) * scale, (point.y() - self.height() / 2) * scale

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin a click or a drag."""
        self._pressed = self._last = event.position()
        self._dragged = False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Turn the volume; with the right button or Shift, move it."""
        if self._pressed is None:
            return
        far = (event.position() - self._pressed).manhattanLength() >= DRAG_PX
        self._dragged = self._dragged or far
        if not self._dragged:
            return
        by = event.position() - self._last
        self._last = event.position()
        if _pans(event):
            scale = self.um_per_pixel()
            self._move(lambda camera: camera.panned(by.x() * scale, by.y() * scale))
        else:
            right, down = by.x() * DEGREES_PER_PX, by.y() * DEGREES_PER_PX
            self._move(lambda camera: camera.turned(right, down))

    def _move(self, move: Move) -> None:
        self.moved.emit(move)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End a drag, or take a click."""
        clicked = self._pressed is not None and not self._dragged
        self._pressed = None
        if clicked and event.button() == Qt.MouseButton.LeftButton:
            self.pointed.emit(*self._um(event.position()))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Show everything."""
        self._pressed = None
        self.fitted.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom around the pointer."""
        factor = ZOOM_PER_NOTCH ** (event.angleDelta().y() / 120)
        right, down = self._um(event.position())
        self._move(lambda camera: camera.zoomed(factor, right, down))

    # --- painting ---

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint background, picture and marks."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._background)
        if self.drawn is not None:
            painter.setFont(digits_font(self.font()))
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            self._paint(painter, self.drawn)
        painter.end()

    def _paint(self, painter: QPainter, drawn: Drawn) -> None:
        marks = self._marks(painter)
        marks.paint_box(behind=True)
        painter.drawImage(self.rect(), drawn.picture)
        marks.paint_box(behind=False)
        if self._crosshair:
            marks.paint_crosshair(drawn.crosshair_light)
        marks.paint_scales()
        marks.paint_directions()
        marks.paint_scale_bar()
        marks.paint_captions(self._caption, self._badge)

    def resizeEvent(self, event: object) -> None:
        """Ask for a picture of the new size."""
        self.resized.emit()


def _pans(event: QMouseEvent) -> bool:
    shift = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
    return bool(shift or event.buttons() & ~Qt.MouseButton.LeftButton)
