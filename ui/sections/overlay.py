"""The overlay of a section: crosshair, captions, axes, scale bar, and the mouse.

A transparent widget over the image: marks are painted in screen pixels, sharp at any zoom, and
mouse positions are converted to micrometres in one place.
"""

import math
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

from ui.sections.tools import Drawn
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
    tool: str = "cursor"
    drawn: Drawn | None = None

    def pixel(self) -> QPointF:
        """Return the pixel of the cursor."""
        return self.point(self.cursor_um)

    def place(self, point: QPointF) -> tuple[float, float]:
        """Return the position of a pixel in um, along right and down."""
        right, down = point.x() * self.um_per_pixel, point.y() * self.um_per_pixel
        return self.low_um[0] + right, self.low_um[1] + down

    def along(self, point: QPointF) -> dict[int, float]:
        """Return the position of a pixel in um, by axis."""
        right, down = self.place(point)
        return {self.plane.right: right, self.plane.down: down}

    def point(self, place_um: tuple[float, float]) -> QPointF:
        """Return the pixel of a position along right and down, in um."""
        right, down = (
            (at - low) / self.um_per_pixel for at, low in zip(place_um, self.low_um, strict=True)
        )
        return QPointF(right, down)


class Overlay(QWidget):
    """The overlay of one panel; its signals are in micrometres."""

    # Positions as dict[int, float], micrometres by axis: Signal(dict) takes string keys only.
    pointed = Signal(object)
    panned = Signal(object)
    zoomed = Signal(float, object)
    stepped = Signal(int, int)
    drew = Signal(object)  # a Drawn, or None: the last one is wiped off
    enlarged = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setStyleSheet("background: transparent")
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._marks: Marks | None = None
        self._grabbed: QPointF | None = None
        self._begun: QPointF | None = None
        self._turned = 0.0

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
        """Place the cursor, begin to draw, or grab the image."""
        self._grabbed = self._begun = None
        if not _with_the_tool(event):
            self._grabbed = event.position()
        elif self._marks is not None and self._marks.tool != "cursor":
            self._begun = event.position()
            self.drew.emit(None)
            return
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drag the cursor, the end of what is drawn, or the image."""
        marks = self._marks
        if marks is None:
            return
        if self._begun is not None:
            begin, end = marks.place(self._begun), marks.place(event.position())
            self.drew.emit(Drawn(marks.tool, marks.plane.name, begin, end))
        elif self._grabbed is None:
            self.pointed.emit(marks.along(event.position()))
        else:
            shift = (self._grabbed - event.position()) * marks.um_per_pixel
            self._grabbed = event.position()
            self.panned.emit({marks.plane.right: shift.x(), marks.plane.down: shift.y()})

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stop dragging."""
        self._grabbed = self._begun = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Let this section fill the views, or show all of them again."""
        if self._marks is not None:
            self.enlarged.emit(self._marks.plane.name)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Step through the sections; with Ctrl, zoom around the pointer."""
        notches = event.angleDelta().y() / 120
        if self._marks is None or notches == 0:
            return
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoomed.emit(ZOOM_PER_NOTCH**notches, self._marks.along(event.position()))
            return
        self._turned += notches  # a touchpad sends fractions
        steps = math.trunc(self._turned)
        self._turned -= steps
        if steps:
            self.stepped.emit(self._marks.plane.cut, steps)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the marks."""
        if self._marks is None:
            return
        painter = QPainter(self)
        painter.setFont(digits_font(self.font()))
        if self._marks.crosshair:
            self._paint_crosshair(painter, self._marks)
        if self._marks.drawn is not None:
            self._paint_drawn(painter, self._marks, self._marks.drawn)
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

    def _paint_drawn(self, painter: QPainter, marks: Marks, drawn: Drawn) -> None:
        begin, end = marks.point(drawn.begin_um), marks.point(drawn.end_um)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for width, colour in ((3.5, SHADOW), (1.5, QColor(IMAGE.amber))):
            painter.setPen(QPen(colour, width))
            if drawn.tool == "line":
                painter.drawLine(begin, end)
            else:
                painter.drawRect(QRectF(begin, end).normalized())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _paint_captions(self, painter: QPainter, marks: Marks) -> None:
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        line = painter.fontMetrics().height()
        bold = QFont(painter.font())
        bold.setBold(True)
        painter.setFont(bold)
        self._text(painter, 0, left, marks.plane.name, AXIS_COLOURS[marks.plane.cut])
        indent = painter.fontMetrics().horizontalAdvance(marks.plane.name + "  ")
        shown = painter.fontMetrics().elidedText(  # what it is made by comes last
            marks.badge.text, Qt.TextElideMode.ElideLeft, self.width() - 2 * EDGE_PX
        )
        badge = painter.fontMetrics().horizontalAdvance(shown)
        caption = indent + painter.fontMetrics().horizontalAdvance(marks.caption)
        below = line if caption + badge + 3 * EDGE_PX > self.width() else 0  # else side by side
        self._text(painter, below, right, shown, marks.badge.colour)
        painter.setFont(digits_font(self.font()))
        self._text(painter, 0, left, marks.caption, IMAGE.text, indent)
        note = painter.fontMetrics().elidedText(
            marks.badge.note, Qt.TextElideMode.ElideRight, self.width() - 2 * EDGE_PX
        )
        self._text(painter, below + line, right, note, IMAGE.amber)

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


def _with_the_tool(event: QMouseEvent) -> bool:
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
