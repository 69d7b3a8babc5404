"""A single image that is updated often."""

from typing import Any

from numpy.typing import NDArray
from PySide6.QtCore import QRectF
from PySide6.QtGui import QResizeEvent

from ui.widgets.picture import Colours, Picture

__all__ = ["ImagePanel"]


class ImagePanel(Picture):
    """An image in a square as wide as the widget.

    Fringes are near the screen's sampling: without interpolation they alias into moiré.

    Parameters
    ----------
    lut : (256, 3) uint8
        The colours, from the darkest on.
    """

    def __init__(self, lut: Colours) -> None:
        super().__init__()
        self.image = self.add(lut)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the image square."""
        self.setFixedHeight(self.width())

    def draw(self, frame: NDArray[Any], full: float) -> None:
        """Show a frame (y, x) from 0, the darkest, to ``full``, the brightest."""
        height, width = frame.shape
        side = max(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        self.range = (left, left + side), (top, top + side)
        self.image.draw(frame, QRectF(0, 0, width, height), (0, full))
