"""The colour bar: the RI range of the colours, set by dragging or typing."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QLocale, QPointF, QRectF, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QWheelEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ui.actions.action_set import ActionSet
from ui.sections.colours import COLORMAPS, Colours, lookup_table
from ui.sections.contrast import AUTOSCALES, HIGHEST_INDEX, LOWEST_INDEX, Contrast
from ui.style import CONTROL_PX, digits_font, nice_step, theme
from ui.viewmodel import ViewState
from ui.widgets.labels import heading

__all__ = ["ColourBar", "ContrastColumn"]

Grip = Callable[[Contrast, float], Contrast]

WIDTH_PX = 124
STRIP_PX = 16
HISTOGRAM_PX = 30
TICK_PX = 42
GRAB_PX = 9
STEP = 0.001
DRAG_TIP = (
    "How many voxels have which RI, logarithmic, and the limits of the colours.\n"
    "Drag a limit, or what lies between both. The wheel narrows or widens the range.\n"
    "The notch marks the medium."
)


class ColourBar(QWidget):
    """The colours with their indices beside the histogram, and limits that can be dragged."""

    changed = Signal(Contrast)

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.SizeVerCursor)
        self.setMinimumHeight(80)
        self._contrast = Contrast(1.33, 1.4)
        self._colours = lookup_table(COLORMAPS[0])
        self._medium: float | None = None
        self._histogram: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._drag: tuple[float, float, Contrast, Grip] | None = None

    def draw(self, contrast: Contrast, colours: Colours, medium: float | None = None) -> None:
        """Show colours, contrast and the index of the medium."""
        self._contrast, self._colours, self._medium = contrast, colours, medium
        self.update()

    def draw_histogram(self, heights: NDArray[np.float64], edges: NDArray[np.float64]) -> None:
        """Show how many voxels (bins,), 0 to 1, lie between which indices (bins + 1,)."""
        self._histogram = (heights, edges)
        self.update()

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest RI on the scale: the limits and what is about them."""
        low, high = self._contrast.low, self._contrast.high
        spare = 0.06 * (high - low)
        if self._histogram is not None:
            edges, most = self._histogram[1], 0.5 * (high - low)
            low = min(low, max(float(edges[0]), low - most))
            high = max(high, min(float(edges[-1]), high + most))
        return low - spare, high + spare

    def height_of(self, index: float) -> float:
        """Return the y of an RI, in pixels from the top."""
        low, high = self.range
        return self._top() + (high - index) / (high - low) * self._length()

    def _top(self) -> float:
        return self.fontMetrics().height() / 2

    def _length(self) -> float:
        return max(self.height() - 2 * self._top(), 1.0)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Grab the nearer limit, or both where neither is near."""
        y = event.position().y()
        high, low = (self.height_of(end) for end in (self._contrast.high, self._contrast.low))
        grip: Grip = _shift_both
        if abs(y - high) <= min(GRAB_PX, abs(y - low)) or y < high:
            grip = _shift_high
        elif abs(y - low) <= GRAB_PX or y > low:
            grip = _shift_low
        bottom, top = self.range
        self._drag = (y, (top - bottom) / self._length(), self._contrast, grip)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Change the contrast; dragging upwards raises the index."""
        if self._drag is None:
            return
        start, index_per_pixel, contrast, grip = self._drag
        self.changed.emit(grip(contrast, (start - event.position().y()) * index_per_pixel))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stop dragging."""
        self._drag = None

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Narrow or widen the range around its middle."""
        self.changed.emit(self._contrast.scaled(1.1 ** (-event.angleDelta().y() / 120)))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint histogram, colours, ticks and limits."""
        painter = QPainter(self)
        painter.setFont(digits_font(self.font()))
        strip = QRectF(HISTOGRAM_PX + 4, self._top(), STRIP_PX, self._length())
        self._paint_strip(painter, strip)
        self._paint_histogram(painter, strip)
        low, high = self.range
        for value in ticks(Contrast(low, high), int(strip.height() / TICK_PX)):
            self._paint_tick(painter, strip, value)
        for limit in (self._contrast.low, self._contrast.high):
            y = self.height_of(limit)
            painter.setPen(QPen(QColor(theme().accent), 2))
            painter.drawLine(QPointF(2, y), QPointF(strip.right(), y))
        if self._medium is not None and low <= self._medium <= high:
            self._paint_medium(painter, strip, self._medium)
        painter.end()

    def _paint_strip(self, painter: QPainter, strip: QRectF) -> None:
        low, high = self.range
        values = np.linspace(high, low, 512)  # the highest index on top
        share = (values - self._contrast.low) / (self._contrast.high - self._contrast.low)
        rows = np.clip(np.rint(share * (len(self._colours) - 1)), 0, len(self._colours) - 1)
        column = np.ascontiguousarray(self._colours[rows.astype(int)])
        image = QImage(column.data, 1, len(column), 3, QImage.Format.Format_RGB888)
        painter.drawImage(strip, image)
        painter.setPen(QPen(QColor(theme().edge)))
        painter.drawRect(strip)

    def _paint_histogram(self, painter: QPainter, strip: QRectF) -> None:
        if self._histogram is None:
            return
        heights, edges = self._histogram
        right = strip.left() - 3
        outline = [QPointF(right, self.height_of(float(edges[0])))]
        for height, (below, above) in zip(heights, pairwise(edges), strict=True):
            x = right - height * HISTOGRAM_PX
            outline += [QPointF(x, self.height_of(float(edge))) for edge in (below, above)]
        outline.append(QPointF(right, self.height_of(float(edges[-1]))))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(theme().dim))
        painter.setClipRect(QRectF(0, strip.top(), right + 1, strip.height()))
        painter.drawPolygon(outline)
        painter.setClipping(False)

    def _paint_medium(self, painter: QPainter, strip: QRectF, medium: float) -> None:
        """Paint a notch at the strip's right edge."""
        tip = QPointF(strip.right() - 4, self.height_of(medium))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(theme().surface), 1))
        painter.setBrush(QColor(theme().amber))
        back = QPointF(9, 0)
        painter.drawPolygon([tip, tip + back + QPointF(0, 5), tip + back - QPointF(0, 5)])

    def _paint_tick(self, painter: QPainter, strip: QRectF, value: float) -> None:
        y = self.height_of(value)
        painter.setPen(QColor(theme().dim))
        painter.drawLine(QPointF(strip.right() + 1, y), QPointF(strip.right() + 5, y))
        painter.setPen(QColor(theme().text))
        label = QRectF(strip.right() + 8, y - 10, self.width() - strip.right() - 8, 20)
        painter.drawText(label, Qt.AlignmentFlag.AlignVCenter, f"{value:.3f}")


def _shift_low(contrast: Contrast, by: float) -> Contrast:
    return contrast.with_low(contrast.low + by)


def _shift_high(contrast: Contrast, by: float) -> Contrast:
    return contrast.with_high(contrast.high + by)


def _shift_both(contrast: Contrast, by: float) -> Contrast:
    return contrast.shifted(by)


def ticks(contrast: Contrast, count: int) -> list[float]:
    """Return about ``count`` round indices inside the contrast, at least 0.001 apart."""
    step = max(nice_step((contrast.high - contrast.low) / max(count, 1)), STEP)
    first, last = np.ceil(contrast.low / step - 1e-6), np.floor(contrast.high / step + 1e-6)
    return [float(i) * step for i in np.arange(first, last + 1)]


class ContrastColumn(QWidget):
    """Colour bar with its limits as numbers, when they are set anew, choice of colour map."""

    changed = Signal(Contrast)
    autoscaled = Signal(str)
    percentiles_chosen = Signal(float, float)
    colormap_chosen = Signal(str)

    def __init__(self, actions: ActionSet) -> None:
        super().__init__()
        self.setFixedWidth(WIDTH_PX)
        self.high = _spin_box("Highest RI of the colour scale")
        self.low = _spin_box("Lowest RI of the colour scale")
        self.bar = ColourBar()
        self.auto = QPushButton("Auto")
        self.auto.clicked.connect(actions["auto"].trigger)
        self.autoscale = QComboBox()
        for name, text in AUTOSCALES.items():
            self.autoscale.addItem(text, name)
        self.percentiles = (_percentile("Lower percentile"), _percentile("Upper percentile"))
        self.colormap = QComboBox()
        self.colormap.addItems(COLORMAPS)
        for box in (self.high, self.low, self.autoscale, *self.percentiles, self.colormap):
            box.setMinimumHeight(CONTROL_PX)
        self.bar.setToolTip(DRAG_TIP)
        self.auto.setToolTip(actions.tip("auto"))
        self.colormap.setToolTip(actions.tip("colormap"))
        self.autoscale.setToolTip("When the limits of the colours are set anew")
        for widget in (self.auto, self.colormap, self.autoscale):
            widget.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._contrast = Contrast(1.33, 1.4)
        self._arrange()
        self._connect()

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(heading("RI"))
        column.addWidget(self.high)
        column.addWidget(self.bar, 1)
        for widget in (self.low, self.auto, self.autoscale, *self.percentiles, self.colormap):
            column.addWidget(widget)

    def _connect(self) -> None:
        self.bar.changed.connect(self.changed)
        self.colormap.textActivated.connect(self.colormap_chosen)
        self.autoscale.activated.connect(
            lambda row: self.autoscaled.emit(self.autoscale.itemData(row))
        )
        self.low.valueChanged.connect(lambda v: self.changed.emit(self._contrast.with_low(v)))
        self.high.valueChanged.connect(lambda v: self.changed.emit(self._contrast.with_high(v)))
        for box in self.percentiles:
            box.valueChanged.connect(self._choose_percentiles)
        for box in (self.low, self.high, *self.percentiles):
            box.editingFinished.connect(box.clearFocus)

    def _choose_percentiles(self) -> None:
        low, high = sorted(box.value() for box in self.percentiles)
        self.percentiles_chosen.emit(low, high)

    def draw(self, state: ViewState, medium: float | None) -> None:
        """Show the state's contrast and colours, and the index of the medium."""
        if state.contrast is None:
            return
        self._contrast = state.contrast
        self.bar.draw(state.contrast, lookup_table(state.colormap, state.contrast, medium), medium)
        self.colormap.setCurrentText(state.colormap)
        self.autoscale.setCurrentIndex(self.autoscale.findData(state.autoscale))
        for box, value in (
            (self.low, state.contrast.low),
            (self.high, state.contrast.high),
            *zip(self.percentiles, state.percentiles, strict=True),
        ):
            with QSignalBlocker(box):
                box.setValue(value)
        for box in self.percentiles:
            box.setVisible(state.autoscale == "percentiles")


def _percentile(tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setLocale(QLocale.c())
    box.setRange(0.0, 100.0)
    box.setDecimals(3)
    box.setSuffix(" %")
    box.setKeyboardTracking(False)
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    box.setToolTip(f"{tip} of the volume: its RI is the limit")
    return box


def _spin_box(tip: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    # a decimal point in every language, as indices are published
    box.setLocale(QLocale.c())
    box.setRange(LOWEST_INDEX, HIGHEST_INDEX)
    box.setDecimals(4)
    box.setSingleStep(STEP)
    box.setKeyboardTracking(False)
    box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    box.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    box.setToolTip(f"{tip} (type, or use the arrow keys and the wheel)")
    return box
