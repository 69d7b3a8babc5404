"""The colour bar: the RI range of the colours, set by dragging or typing."""

from collections.abc import Callable

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
from ui.sections.orthogonal_views import lookup_table
from ui.style import CONTROL_PX, digits_font, nice_step, theme
from ui.viewmodel import (
    COLORMAPS,
    HIGHEST_INDEX,
    LOWEST_INDEX,
    Contrast,
    ViewState,
)
from ui.widgets.labels import heading

__all__ = ["ColourBar", "ContrastColumn"]

Grip = Callable[[Contrast, float], Contrast]

STRIP_PX = 18
TICK_PX = 42
STEP = 0.001
DRAG_TIP = (
    "Drag near the top to change the highest index, near the bottom the lowest,\n"
    "in between both. The wheel narrows or widens the range.\n"
    "The notch at the left marks the medium."
)


class ColourBar(QWidget):
    """A strip of the colours with their indices, which can be dragged."""

    changed = Signal(Contrast)

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.SizeVerCursor)
        self.setMinimumHeight(80)
        self._contrast = Contrast(1.33, 1.4)
        self._colours = lookup_table(COLORMAPS[0])
        self._medium: float | None = None
        self._drag: tuple[float, Contrast, Grip] | None = None

    def draw(
        self, contrast: Contrast, colours: NDArray[np.uint8], medium: float | None = None
    ) -> None:
        """Show colours, contrast and the index of the medium."""
        self._contrast, self._colours, self._medium = contrast, colours, medium
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Grab one end, or both."""
        y = event.position().y()
        grip: Grip = _shift_both
        if y < self.height() / 3:
            grip = _shift_high
        elif y > self.height() * 2 / 3:
            grip = _shift_low
        self._drag = (y, self._contrast, grip)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Change the contrast; dragging upwards raises the index."""
        if self._drag is None:
            return
        start, contrast, grip = self._drag
        by = (start - event.position().y()) / self.height() * (contrast.high - contrast.low)
        self.changed.emit(grip(contrast, by))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stop dragging."""
        self._drag = None

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Narrow or widen the range around its middle."""
        self.changed.emit(self._contrast.scaled(1.1 ** (-event.angleDelta().y() / 120)))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the strip and its ticks."""
        painter = QPainter(self)
        painter.setFont(digits_font(self.font()))
        margin = painter.fontMetrics().height() / 2
        strip = QRectF(6, margin, STRIP_PX, self.height() - 2 * margin)
        column = np.ascontiguousarray(self._colours[::-1])  # (256, 3): brightest on top
        painter.drawImage(strip, QImage(column.data, 1, 256, 3, QImage.Format.Format_RGB888))
        painter.setPen(QPen(QColor(theme().edge)))
        painter.drawRect(strip)
        for value in ticks(self._contrast, int(strip.height() / TICK_PX)):
            self._paint_tick(painter, strip, value)
        if self._medium is not None and self._contrast.low <= self._medium <= self._contrast.high:
            self._paint_medium(painter, strip, self._medium)
        painter.end()

    def _height(self, strip: QRectF, value: float) -> float:
        share = (value - self._contrast.low) / (self._contrast.high - self._contrast.low)
        return strip.bottom() - share * strip.height()

    def _paint_medium(self, painter: QPainter, strip: QRectF, medium: float) -> None:
        """Paint a notch at the strip's left edge."""
        tip = QPointF(strip.left() + 5, self._height(strip, medium))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(QColor(theme().accent))
        back = QPointF(-9, 0)
        painter.drawPolygon([tip, tip + back + QPointF(0, 5), tip + back - QPointF(0, 5)])

    def _paint_tick(self, painter: QPainter, strip: QRectF, value: float) -> None:
        y = self._height(strip, value)
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
    """Colour bar with its ends as numbers, automatic contrast, choice of colour map."""

    changed = Signal(Contrast)
    colormap_chosen = Signal(str)

    def __init__(self, actions: ActionSet) -> None:
        super().__init__()
        self.setFixedWidth(92)
        self.high = _spin_box("Highest RI of the colour scale")
        self.low = _spin_box("Lowest RI of the colour scale")
        self.bar = ColourBar()
        self.auto = QPushButton("Auto")
        self.auto.clicked.connect(actions["auto"].trigger)
        self.colormap = QComboBox()
        self.colormap.addItems(COLORMAPS)
        for box in (self.high, self.low, self.colormap):
            box.setMinimumHeight(CONTROL_PX)
        self.bar.setToolTip(DRAG_TIP)
        self.auto.setToolTip(actions["auto"].toolTip())
        self.colormap.setToolTip(actions["colormap"].toolTip())
        self.auto.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.colormap.setFocusPolicy(Qt.FocusPolicy.NoFocus)
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
        for widget in (self.low, self.auto, self.colormap):
            column.addWidget(widget)

    def _connect(self) -> None:
        self.bar.changed.connect(self.changed)
        self.colormap.textActivated.connect(self.colormap_chosen)
        self.low.valueChanged.connect(lambda v: self.changed.emit(self._contrast.with_low(v)))
        self.high.valueChanged.connect(lambda v: self.changed.emit(self._contrast.with_high(v)))
        for box in (self.low, self.high):
            box.editingFinished.connect(box.clearFocus)

    def draw(self, state: ViewState, medium: float | None) -> None:
        """Show the state's contrast and colours, and the index of the medium."""
        if state.contrast is None:
            return
        self._contrast = state.contrast
        self.bar.draw(state.contrast, lookup_table(state.colormap), medium)
        self.colormap.setCurrentText(state.colormap)
        for box, value in ((self.low, state.contrast.low), (self.high, state.contrast.high)):
            with QSignalBlocker(box):
                box.setValue(value)


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
