"""A single image that is updated often."""

from typing import Any

import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter, QResizeEvent
from PySide6.QtWidgets import QWidget

__all__ = ["ImagePanel"]


class ImagePanel(QWidget):
    """A square image as wide as the widget."""

    def __init__(self) -> None:
        super().__init__()
        self._view: Any = pg.GraphicsView(self, background="#000000")
        self._box: Any = pg.ViewBox(
            enableMouse=False, enableMenu=False, invertY=True, lockAspect=True, defaultPadding=0
        )
        self.image: Any = pg.ImageItem(axisOrder="row-major")
        # Fringes are near the screen's sampling: without interpolation they alias into moiré.
        self._view.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        self._view.setCentralItem(self._box)
        self._box.addItem(self.image)
        self._shape: tuple[int, ...] = ()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the image square."""
        self._view.setGeometry(0, 0, self.width(), self.width())
        self.setFixedHeight(self.width())

    def draw(self, frame: NDArray[Any], full: float) -> None:
        """Show a frame (y, x) from 0, the darkest, to ``full``, the brightest."""
        self.image.setImage(frame, autoLevels=False, levels=(0, full))
        if frame.shape != self._shape:
            self._shape = frame.shape
            height, width = frame.shape
            self._box.setRange(QRectF(0, 0, width, height), padding=0, disableAutoRange=True)
