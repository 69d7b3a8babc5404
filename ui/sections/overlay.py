"""The overlay of a section: crosshair, captions, axes, scale bar, and the mouse.

A transparent widget over the image: marks are painted in screen pixels, sharp at any zoom, and
mouse positions are converted to micrometres in one place.
"""

from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QWheelEvent,
)
from PySide6.QtWidgets import QWidget

from ui.sections.view_scale import Plane
from ui.sections.voxel_grid import AXES
from ui.style import AXIS_COLOURS, IMAGE, digits_font

__all__ = ["Badge", "Marks", "Overlay"]

ZOOM_PER_NOTCH = 1.2
EDGE_PX = 10
# the gap keeps the voxel under the cursor visible
CROSSHAIR_HOLE_PX = 7
SHADOW = QColor(0, 0, 0, 190)


@dataclass(frozen=True, slots=True)
class Badge:
    """The label of the displayed volume; ``note`` holds its warnings."""

    text: str = ""
    colour: str = IMAGE.text
    note: str = ""


@dataclass(frozen=True, slots=True)
class Marks:
    """All that an overlay paints, and the scale from pixels to micrometres."""

    plane: Plane
    low_um: tuple[float, float]
    um_per_pixel: float
    cursor_um: tuple[float, float]
    caption: str
    scale_bar_um: float
    crosshair: bool
    badge: Badge

    def pixel(self) -> QPointF:
        """Return the pixel of the cursor."""
        right, down = (
            (c - low) / self.um_per_pixel
            for c, low in zip(self.cursor_um, self.low_um, strict=True)
        )
        return QPointF(right, down)

    def along(self, point: QPointF) -> dict[int, float]:
        """Return the position of a pixel in um, by axis."""
        return {
            self.plane.right: self.low_um[0] + point.x() * self.um_per_pixel,
            self.plane.down: self.low_um[1] + point.y() * self.um_per_pixel,
        }


class Overlay(QWidget):
    """The overlay of one panel; its signals are in micrometres."""

    # Positions as dict[int, float], micrometres by axis: Signal(dict) takes string keys only.
    pointed = Signal(object)
    panned = Signal(object)
    zoomed = Signal(float, object)
    stepped = Signal(int, int)
    fitted = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setStyleSheet("background: transparent")
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._marks: Marks | None = None
        self._grabbed: QPointF | None = None

    @property
    def marks(self) -> Marks:
        """The current marks; call ``draw`` first."""
        assert self._marks is not None
        return self._marks

    def draw(self, marks: Marks) -> None:
        """Show marks."""
        if marks != self._marks:
            self._marks = marks
            self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Place the cursor, or grab the image."""
        self._grabbed = None if _places_cursor(event) else event.position()
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag the cursor or the image."""
        if self._marks is None:
            return
        if self._grabbed is None:
            self.pointed.emit(self._marks.along(event.position()))
            return
        shift = (self._grabbed - event.position()) * self._marks.um_per_pixel
        self._grabbed = event.position()
        self.panned.emit({self._marks.plane.right: shift.x(), self._marks.plane.down: shift.y()})

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stop dragging."""
        self._grabbed = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Show everything."""
        self.fitted.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom around the pointer; with Ctrl, step through the sections."""
        notches = event.angleDelta().y() / 120
        if self._marks is None or notches == 0:
            return
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.stepped.emit(self._marks.plane.cut, 1 if notches > 0 else -1)
        else:
            self.zoomed.emit(ZOOM_PER_NOTCH**notches, self._marks.along(event.position()))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the marks."""
        if self._marks is None:
            return
        painter = QPainter(self)
        painter.setFont(digits_font(self.font()))
        if self._marks.crosshair:
            self._paint_crosshair(painter, self._marks)
        self._paint_captions(painter, self._marks)
        self._paint_axes(painter, self._marks.plane)
        self._paint_scale_bar(painter, self._marks)
        painter.end()

    def _paint_crosshair(self, painter: QPainter, marks: Marks) -> None:
        at, hole = marks.pixel(), CROSSHAIR_HOLE_PX
        painter.setPen(_line(AXIS_COLOURS[marks.plane.down]))
        painter.drawLine(QPointF(0, at.y()), QPointF(at.x() - hole, at.y()))
        painter.drawLine(QPointF(at.x() + hole, at.y()), QPointF(self.width(), at.y()))
        painter.setPen(_line(AXIS_COLOURS[marks.plane.right]))
        painter.drawLine(QPointF(at.x(), 0), QPointF(at.x(), at.y() - hole))
        painter.drawLine(QPointF(at.x(), at.y() + hole), QPointF(at.x(), self.height()))

    def _paint_captions(self, painter: QPainter, marks: Marks) -> None:
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        line = painter.fontMetrics().height()
        bold = QFont(painter.font())
        bold.setBold(True)
        painter.setFont(bold)
        self._text(painter, 0, left, marks.plane.name, AXIS_COLOURS[marks.plane.cut])
        indent = painter.fontMetrics().horizontalAdvance(marks.plane.name + "  ")
        self._text(painter, 0, right, marks.badge.text, marks.badge.colour)
        painter.setFont(digits_font(self.font()))
        self._text(painter, 0, left, marks.caption, IMAGE.text, indent)
        note = painter.fontMetrics().elidedText(
            marks.badge.note, Qt.TextElideMode.ElideRight, self.width() - 2 * EDGE_PX
        )
        self._text(painter, line, right, note, IMAGE.amber)

    def _text(
        self,
        painter: QPainter,
        top: int,
        align: Qt.AlignmentFlag,
        text: str,
        colour: str,
        indent: int = 0,
    ) -> None:
        box = QRectF(self.rect()).adjusted(EDGE_PX + indent, EDGE_PX - 2 + top, -EDGE_PX, 0)
        painter.setPen(SHADOW)
        painter.drawText(box.translated(1, 1), align | Qt.AlignmentFlag.AlignTop, text)
        painter.setPen(QColor(colour))
        painter.drawText(box, align | Qt.AlignmentFlag.AlignTop, text)

    def _paint_axes(self, painter: QPainter, plane: Plane) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        length = 26.0
        origin = QPointF(EDGE_PX + 4, self.height() - EDGE_PX - length - 14)
        for axis, step in ((plane.right, QPointF(1, 0)), (plane.down, QPointF(0, 1))):
            _arrow(painter, origin, step, length, AXIS_COLOURS[axis], AXES[axis])
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _paint_scale_bar(self, painter: QPainter, marks: Marks) -> None:
        bar = QRectF(0, 0, marks.scale_bar_um / marks.um_per_pixel, 4)
        bar.moveBottomRight(QPointF(self.width() - EDGE_PX, self.height() - EDGE_PX))
        painter.fillRect(bar.adjusted(-1, -1, 1, 1), SHADOW)
        painter.fillRect(bar, QColor(IMAGE.text))
        label = QRectF(bar.right() - 200, bar.top() - 22, 200, 20)
        painter.setPen(QColor(IMAGE.text))
        painter.drawText(label, Qt.AlignmentFlag.AlignRight, f"{marks.scale_bar_um:g} µm")


def _places_cursor(event: QMouseEvent) -> bool:
    shift = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
    return event.button() == Qt.MouseButton.LeftButton and not shift


def _line(colour: str) -> QPen:
    line = QColor(colour)
    line.setAlpha(210)
    return QPen(line, 1)


def _arrow(
    painter: QPainter, origin: QPointF, step: QPointF, length: float, colour: str, name: str
) -> None:
    tip = origin + step * length
    side = QPointF(step.y(), step.x()) * 3.5
    painter.setPen(QPen(QColor(colour), 1.4))
    painter.drawLine(origin, tip)
    painter.setBrush(QColor(colour))
    painter.drawPolygon(QPolygonF([tip + step * 3, tip - step * 4 + side, tip - step * 4 - side]))
    painter.drawText(tip + step * 6 + QPointF(-3 * step.y(), 4 * step.x() + 8 * step.y()), name)
