"""Arrays as a picture: layers above one another, painted by Qt alone.

Rows run down and columns to the right, in the unit of the places: micrometres or pixels. pyqtgraph
draws the plots, and is not used here: its import makes all classes of Qt's libraries, 0.2 s of
processor time and more, for which a window need not wait.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QWidget

__all__ = ["Colours", "Layer", "Picture"]

Colours = NDArray[np.uint8]
Range = tuple[float, float]


class Layer:
    """One array of a picture. It is not seen before it is drawn.

    Attributes
    ----------
    image : array or None
        (rows, columns), or (rows, columns, 3 or 4) uint8: its colours, with their alpha.
    levels : (low, high)
        Values that have the first and the last colour of ``lut``.
    lut : (256, 3 or 4) uint8 or None
        The colours of values, with their alpha; None: only colours are drawn.
    place : QRectF
        Where it lies, edge to edge.
    """

    def __init__(self, picture: "Picture", lut: Colours | None, *, added: bool) -> None:
        self.image: Any = None  # an array, once one is drawn
        self.levels, self.lut, self.place = (0.0, 1.0), lut, QRectF()
        modes = QPainter.CompositionMode
        self._mode = modes.CompositionMode_Plus if added else modes.CompositionMode_SourceOver
        self._picture, self._visible = picture, False
        self._made: tuple[NDArray[Any], QImage] | None = None  # Qt's image lies on the array

    def draw(
        self,
        image: NDArray[Any],
        place: QRectF,
        levels: Range = (0.0, 255.0),
        lut: Colours | None = None,
    ) -> None:
        """Show an array at a place; without ``lut`` in the colours that it had."""
        self.image, self.place, self.levels = image, place, levels
        self.lut = self.lut if lut is None else lut
        self._visible, self._made = True, None
        self._picture.update()

    def hide(self) -> None:
        """Show it no longer."""
        self._visible = False
        self._picture.update()

    def isVisible(self) -> bool:
        """Return whether it is shown, as of Qt's widgets."""
        return self._visible

    def paint(self, painter: QPainter, target: QRectF) -> None:
        """Paint it into a rectangle of pixels."""
        if self.image is None or not self._visible:
            return
        if self._made is None:  # not before: of several arrays between two paintings one is seen
            self._made = _image(self.image, self.levels, self.lut)
        painter.setCompositionMode(self._mode)
        painter.drawImage(target, self._made[1])


class Picture(QWidget):
    """Layers on black, scaled so that a range of places fills the widget."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._layers: list[Layer] = []
        self._range: tuple[Range, Range] = ((0.0, 1.0), (0.0, 1.0))
        self._smooth = True

    def add(self, lut: Colours | None = None, *, added: bool = False) -> Layer:
        """Return a new layer above the others; ``added``: its light is added to theirs."""
        layer = Layer(self, lut, added=added)
        self._layers.append(layer)
        return layer

    def interpolate(self, on: bool) -> None:
        """Interpolate between the pixels of the arrays, or show each as a square."""
        if on != self._smooth:
            self._smooth = on
            self.update()

    @property
    def range(self) -> tuple[Range, Range]:
        """The places at the edges of the widget, left and right, top and bottom."""
        return self._range

    @range.setter
    def range(self, edges: tuple[Range, Range]) -> None:
        if edges != self._range:
            self._range = edges
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the layers."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self._smooth)
        for layer in self._layers:
            layer.paint(painter, self._pixels(layer.place))
        painter.end()

    def _pixels(self, place: QRectF) -> QRectF:
        (left, right), (top, bottom) = self._range
        across, down = self.width() / (right - left), self.height() / (bottom - top)
        corner = (place.left() - left) * across, (place.top() - top) * down
        return QRectF(*corner, place.width() * across, place.height() * down)


def _image(image: NDArray[Any], levels: Range, lut: Colours | None) -> tuple[NDArray[Any], QImage]:
    """Return the pixels of an array, and Qt's image of them."""
    formats = QImage.Format
    if image.ndim == 3:
        pixels = np.ascontiguousarray(image)
        kind = formats.Format_RGB888 if image.shape[2] == 3 else formats.Format_RGBA8888
    else:
        assert lut is not None
        pixels = _packed(lut)[_steps(image, levels)]  # (rows, columns) uint32
        kind = formats.Format_RGB32 if lut.shape[1] == 3 else formats.Format_ARGB32
    rows, columns = pixels.shape[:2]
    return pixels, QImage(pixels.data, columns, rows, pixels.strides[0], kind)


def _packed(lut: Colours) -> NDArray[np.uint32]:
    """Return colours as Qt has them, 0xAARRGGBB."""
    alpha = lut[:, 3:].astype(np.uint32) if lut.shape[1] == 4 else np.uint32(255)
    red, green, blue = (lut[:, i : i + 1].astype(np.uint32) for i in range(3))
    packed = alpha << 24 | red << 16 | green << 8 | blue
    return np.asarray(packed[:, 0], np.uint32)


def _steps(image: NDArray[Any], levels: Range) -> NDArray[np.uint8]:
    """Return which of 256 equal steps between the levels each value is on."""
    low, high = levels
    steps = np.subtract(image, low, dtype=np.float32, order="C")  # Qt reads row by row
    steps *= 256 / max(high - low, 1e-12)
    np.clip(steps, 0, 255, out=steps)
    with np.errstate(invalid="ignore"):  # what is not a number has no colour of its own
        return np.asarray(steps, np.uint8)
