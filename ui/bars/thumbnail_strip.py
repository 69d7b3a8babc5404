"""A strip of small pictures above the time slider; they arrive one by one."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from pipeline.wire.state import Playlist
from ui.style import theme

__all__ = ["ThumbnailStrip", "chosen_rows"]

_HEIGHT_PX: Final = 54
_SLOT_PX: Final = 58  # the least that a picture gets
_SPREAD: Final = (1.0, 99.8)  # percentiles of all pictures that become black and white


def chosen_rows(rows: int, most: int) -> range:
    """Return at most ``most`` of the rows, evenly; few of them change while a file grows.

    Every row, every second, every fourth, ...: only when twice as many rows have come, every
    other picture is dropped.
    """
    step = 1
    while -(-rows // step) > max(most, 1):
        step *= 2
    return range(0, rows, step)


class ThumbnailStrip(QWidget):
    """Pictures of time points, evenly over the played scans; a click goes there.

    ``wanted`` is emitted with the scans whose pictures are to be made; ``sought`` with the row that
    was clicked, or dragged to.
    """

    wanted = Signal(object)
    sought = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT_PX)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setMouseTracking(True)
        self.pictures: dict[int, NDArray[np.float32]] = {}
        self._images: dict[int, QImage] = {}
        self._playlist = Playlist()
        self._row = 0
        self._asked: tuple[int, ...] = ()

    @property
    def scans(self) -> tuple[int, ...]:
        """The scans that have a place in the strip."""
        most = self.width() // _SLOT_PX
        return tuple(self._playlist.scans[row] for row in chosen_rows(self.count, most))

    @property
    def count(self) -> int:
        """Number of played scans."""
        return len(self._playlist.scans)

    def draw_playlist(self, playlist: Playlist) -> None:
        """Show the scans that are played now."""
        self._playlist = playlist
        self._ask()

    def draw_row(self, row: int) -> None:
        """Mark the displayed row."""
        self._row = row
        self.update()

    def add(self, pictures: Mapping[int, NDArray[np.float32]]) -> None:
        """Show pictures that have been made, by scan; those without a place are left out."""
        if not pictures:
            return
        known = set(self._asked)
        self.pictures |= {scan: one for scan, one in pictures.items() if scan in known}
        self._render()

    def clear(self) -> None:
        """Forget all pictures: another volume or another file is shown."""
        self.pictures, self._images, self._asked = {}, {}, ()
        self._ask()

    def _ask(self) -> None:
        scans = self.scans
        if scans != self._asked and self.isVisible():
            self._asked = scans
            known = set(scans)
            self.pictures = {scan: one for scan, one in self.pictures.items() if scan in known}
            self._render()
            self.wanted.emit(scans)
        self.update()

    def _render(self) -> None:
        """Make images on one grey scale, so that they can be compared."""
        if self.pictures:
            values = np.concatenate([one.ravel() for one in self.pictures.values()])
            values = values[np.isfinite(values)]
            low, high = np.percentile(values, _SPREAD) if values.size else (0, 1)
            self._images = {
                scan: _grey(one, float(low), float(high)) for scan, one in self.pictures.items()
            }
        else:
            self._images = {}
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Ask for as many pictures as there is room for."""
        super().resizeEvent(event)
        self._ask()

    def showEvent(self, event: Any) -> None:
        """Ask for what was not needed while it was hidden."""
        super().showEvent(event)
        self._ask()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the pictures in their places, and a frame around the displayed time point."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        now = theme()
        painter.fillRect(self.rect(), QColor("#000000"))
        if not self.count:
            return
        rows = chosen_rows(self.count, self.width() // _SLOT_PX)
        width = self.width() * rows.step / self.count
        for row in rows:
            image = self._images.get(self._playlist.scans[row])
            place = QRectF(self.width() * row / self.count, 0, width - 1, self.height())
            if image is None:
                painter.fillRect(place, QColor(now.surface))
            else:
                place = _narrowed(image, place)
                painter.drawImage(place, image, _cropped(image, place))
        x = self.width() * (self._row + 0.5) / self.count
        painter.setPen(QPen(QColor(now.accent), 2))
        painter.drawLine(int(x), 0, int(x), self.height())

    def _row_at(self, x: float) -> int:
        return min(max(int(x / max(self.width(), 1) * self.count), 0), max(self.count - 1, 0))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the time point under the pointer."""
        if event.button() == Qt.MouseButton.LeftButton and self.count:
            self.sought.emit(self._row_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Say which time point is under the pointer; go there while the button is held."""
        if not self.count:
            return
        row = self._row_at(event.position().x())
        if event.buttons() & Qt.MouseButton.LeftButton:
            self.sought.emit(row)
        else:
            text = f"{row + 1} of {self.count}"
            QToolTip.showText(event.globalPosition().toPoint(), text, self)


def _grey(picture: NDArray[np.float32], low: float, high: float) -> QImage:
    share = (np.nan_to_num(picture, nan=low) - low) / max(high - low, 1e-9)
    grey = np.ascontiguousarray(np.clip(255 * share, 0, 255).astype(np.uint8))
    rows, columns = grey.shape
    return QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8).copy()


def _narrowed(image: QImage, place: QRectF) -> QRectF:
    """Return the middle of a place that is wider than an image of its height."""
    width = min(place.width(), place.height() * image.width() / image.height())
    return QRectF(place.center().x() - width / 2, place.y(), width, place.height())


def _cropped(image: QImage, place: QRectF) -> QRectF:
    """Return the middle of an image that fills a place without being stretched."""
    scale = min(image.width() / place.width(), image.height() / place.height())
    width, height = place.width() * scale, place.height() * scale
    return QRectF((image.width() - width) / 2, (image.height() - height) / 2, width, height)
