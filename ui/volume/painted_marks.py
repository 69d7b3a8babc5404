"""What is painted over the 3D picture: box, scale, crosshair, captions; sharp at any resolution."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen

from ui.sections.overlay import Badge
from ui.sections.view_scale import round_length_um
from ui.sections.voxel_grid import AXES
from ui.style import AXIS_COLOURS, IMAGE, nice_step
from ui.volume.ray_caster import Scene
from ui.volume.scale_box import AxisScale, Point, axis_scales, box_edges, crosshair_lines

__all__ = ["MarkPainter"]

EDGE_PX = 10
TICK_PX, LABEL_PX = 5, 16
CLOSEST_PX, SHORTEST_PX = 46, 40  # between two ticks; an edge with a scale
HOLE_PX = 6
LIGHT_STEPS = 8  # of the crosshair: neighbouring pieces of the same one are one line
FAINT = 0.16  # of a line behind something opaque
SCALE_BAR_SHARE = 0.3
SHADOW = QColor(0, 0, 0, 190)


@dataclass(frozen=True, slots=True)
class MarkPainter:
    """Paints the marks of one scene.

    Parameters
    ----------
    painter : QPainter
    scene : Scene
    width, height : float
        Of the widget, in its own pixels.
    background : QColor
        What lies behind the volume: marks are light on dark, or dark on light.
    """

    painter: QPainter
    scene: Scene
    width: float
    height: float
    background: QColor

    @property
    def um_per_pixel(self) -> float:
        """Scale of the widget's pixels."""
        scene = self.scene
        assert scene.state.grid is not None
        scale = scene.state.camera.um_per_pixel(scene.width, scene.height, scene.state.grid)
        return scale * scene.width / self.width

    def _pixel(self, point: Point | NDArray[np.float64]) -> QPointF:
        scale = self.um_per_pixel
        return QPointF(
            self.width / 2 + float(point[0]) / scale, self.height / 2 + float(point[1]) / scale
        )

    def _line_colour(self, alpha: int) -> QColor:
        dark = self.background.lightness() < 140
        colour = QColor("#aeb9c6" if dark else "#20262d")
        colour.setAlpha(alpha)
        return colour

    def paint_box(self, *, behind: bool) -> None:
        """Paint the edges of the box that lie behind the volume, or the others."""
        state = self.scene.state
        if not state.box or state.grid is None:
            return
        self.painter.setPen(QPen(self._line_colour(70 if behind else 110), 1.0))
        for edge in box_edges(state.camera, state.grid):
            if edge.behind is behind:
                self.painter.drawLine(QLineF(self._pixel(edge.start), self._pixel(edge.end)))

    def paint_scales(self) -> None:
        """Paint ticks and numbers along three edges of the box."""
        state = self.scene.state
        if not state.box or state.grid is None:
            return
        scale = self.um_per_pixel
        step = nice_step(CLOSEST_PX * scale)
        taken: list[QRectF] = []
        for axis in axis_scales(state.camera, state.grid, step, SHORTEST_PX * scale):
            self._paint_scale(axis, taken)

    def _paint_scale(self, scale: AxisScale, taken: list[QRectF]) -> None:
        """Paint ticks, and the numbers for which others leave room: axes meet in corners."""
        out = QPointF(*scale.outwards)
        places = [self._pixel(tick.at) for tick in scale.ticks]
        for at, tick in zip(places, scale.ticks, strict=True):
            self.painter.setPen(QPen(self._line_colour(190), 1.0))
            self.painter.drawLine(QLineF(at, at + out * TICK_PX))
            text = f"{tick.value_um:g}".replace("-", "\N{MINUS SIGN}")
            self._centred(at + out * LABEL_PX, text, self._line_colour(235), taken)
        self._name_axis(scale, places)

    def _name_axis(self, scale: AxisScale, ticks: Sequence[QPointF]) -> None:
        """Write the name of an axis: under its numbers, or beside the box between two of them."""
        out = QPointF(*scale.outwards)
        middle = (self._pixel(scale.edge.start) + self._pixel(scale.edge.end)) / 2
        away = LABEL_PX * 2.2
        if abs(out.x()) > abs(out.y()) and len(ticks) > 1:
            half = len(ticks) // 2
            middle, away = (ticks[half - 1] + ticks[half]) / 2, LABEL_PX * 1.5
        name = f"{AXES[scale.axis]} / µm"
        self._centred(middle + out * away, name, QColor(AXIS_COLOURS[scale.axis]))

    def _centred(
        self, place: QPointF, text: str, colour: QColor, taken: list[QRectF] | None = None
    ) -> None:
        width = self.painter.fontMetrics().horizontalAdvance(text) + 2
        left = min(max(place.x() - width / 2, 4.0), self.width - width - 4)
        box = QRectF(left, place.y() - 10, width, 20)
        letters = box.adjusted(-2, 4, 2, -4)
        if taken is not None:
            if any(letters.intersects(other) for other in taken):
                return
            taken.append(letters)
        self.painter.setPen(colour)
        self.painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

    def paint_crosshair(self, light: NDArray[np.float32]) -> None:
        """Paint the lines through the cursor; ``light`` (axes, pieces) dims what is hidden."""
        state = self.scene.state
        if state.grid is None:
            return
        lines = state.camera.projected(crosshair_lines(self.scene.cursor_um, state.grid))
        middle = self._pixel(state.camera.projected(np.array(self.scene.cursor_um)))
        for axis in range(3):
            colour = QColor(AXIS_COLOURS[axis])
            for first, last, share in evenly_lit(light[axis]):
                colour.setAlphaF(FAINT + (0.9 - FAINT) * share)
                pen = QPen(colour, 1.4)
                pen.setCapStyle(Qt.PenCapStyle.FlatCap)
                self.painter.setPen(pen)
                start, end = (self._pixel(lines[axis, number]) for number in (first, last))
                for part in around(QLineF(start, end), middle):
                    self.painter.drawLine(part)
        self.painter.setBrush(Qt.BrushStyle.NoBrush)
        self.painter.setPen(QPen(QColor("#ffffff"), 1.4))
        self.painter.drawEllipse(middle, HOLE_PX - 2, HOLE_PX - 2)

    def paint_captions(self, caption: str, badge: Badge) -> None:
        """Paint the name of the view at the left and that of the volume at the right."""
        bold = QFont(self.painter.font())
        plain = QFont(self.painter.font())
        bold.setBold(True)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        self.painter.setFont(bold)
        indent = self.painter.fontMetrics().horizontalAdvance("3D  ")
        line = self.painter.fontMetrics().height()
        self._text(0, left, "3D", IMAGE.text)
        self._text(0, right, badge.text, badge.colour)
        self.painter.setFont(plain)
        self._text(0, left, caption, IMAGE.text, indent)
        note = self.painter.fontMetrics().elidedText(
            badge.note, Qt.TextElideMode.ElideRight, int(self.width - 2 * EDGE_PX)
        )
        self._text(line, right, note, IMAGE.amber)

    def _text(
        self, top: int, align: Qt.AlignmentFlag, text: str, colour: str, indent: int = 0
    ) -> None:
        box = QRectF(0, 0, self.width, self.height)
        box.adjust(EDGE_PX + indent, EDGE_PX - 2 + top, -EDGE_PX, 0)
        self.painter.setPen(SHADOW)
        self.painter.drawText(box.translated(1, 1), align | Qt.AlignmentFlag.AlignTop, text)
        self.painter.setPen(QColor(colour))
        self.painter.drawText(box, align | Qt.AlignmentFlag.AlignTop, text)

    def paint_scale_bar(self) -> None:
        """Paint the scale bar; it holds at every depth, as rays are parallel."""
        scale = self.um_per_pixel
        length_um = round_length_um(self.width * SCALE_BAR_SHARE * scale)
        bar = QRectF(0, 0, length_um / scale, 4)
        bar.moveBottomRight(QPointF(self.width - EDGE_PX, self.height - EDGE_PX))
        self.painter.fillRect(bar.adjusted(-1, -1, 1, 1), SHADOW)
        self.painter.fillRect(bar, QColor(IMAGE.text))
        label = QRectF(bar.right() - 200, bar.top() - 22, 200, 20)
        self.painter.setPen(QColor(IMAGE.text))
        self.painter.drawText(label, Qt.AlignmentFlag.AlignRight, f"{length_um:g} µm")

    def paint_directions(self) -> None:
        """Paint the directions of x, y and z at the lower left, those ahead of the others first."""
        directions = self.scene.state.camera.directions
        origin = QPointF(EDGE_PX + 30, self.height - EDGE_PX - 34)
        for axis in sorted(range(3), key=lambda a: -directions[2, a]):
            right, down = float(directions[0, axis]), float(directions[1, axis])
            colour = QColor(AXIS_COLOURS[axis])
            tip = origin + QPointF(right, down) * 24
            self.painter.setPen(QPen(colour, 1.8))
            self.painter.drawLine(QLineF(origin, tip))
            if np.hypot(right, down) > 0.25:
                self._centred(origin + QPointF(right, down) * 33, AXES[axis], colour)


def evenly_lit(light: NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """Return runs of pieces of about the same light: first and last point, light."""
    steps = np.round(light * LIGHT_STEPS)
    starts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(light)]
    return [
        (first, last, float(steps[first]) / LIGHT_STEPS)
        for first, last in itertools.pairwise(starts)
    ]


def around(line: QLineF, middle: QPointF) -> list[QLineF]:
    """Return the parts of a line that keep ``HOLE_PX`` away from a point on its course."""
    length = line.length()
    if length < 1e-6:
        return []
    along = QPointF(line.dx(), line.dy()) / length
    offset = middle - line.p1()
    at = offset.x() * along.x() + offset.y() * along.y()
    before, after = min(at - HOLE_PX, length), max(at + HOLE_PX, 0.0)
    parts = []
    if before > 0:
        parts.append(QLineF(line.p1(), line.p1() + along * before))
    if after < length:
        parts.append(QLineF(line.p1() + along * after, line.p2()))
    return parts
