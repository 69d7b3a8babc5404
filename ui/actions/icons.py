"""Icons of actions, as strokes on a 16 x 16 grid in the colour of the text."""

from typing import Final

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

__all__ = ["icon"]

_SIZE = 16
_PIXELS = 64  # drawn larger than shown: sharp at a scaling of 400 %
_STROKES: Final = {
    "play": '<path d="M5 3.5v9l7-4.5z" fill="{c}"/>',
    "stop": '<rect x="4" y="4" width="8" height="8" rx="1" fill="{c}"/>',
    "record": '<circle cx="8" cy="8" r="4" fill="{c}"/>',
    "empty": '<rect x="2.5" y="2.5" width="11" height="11" rx="2"/><path d="M5 11 11 5"/>',
    "camera": '<path d="M2.5 5h3l1-1.5h3l1 1.5h3v7.5h-11z"/><circle cx="8" cy="8.5" r="2.2"/>',
    "snap": '<circle cx="8" cy="8" r="5.5"/><circle cx="8" cy="8" r="2" fill="{c}"/>',
    "undo": '<path d="M6 3.5 3 6.5l3 3M3 6.5h6.5a3.2 3.2 0 0 1 0 6.4H7"/>',
    "redo": '<path d="M10 3.5l3 3-3 3M13 6.5H6.5a3.2 3.2 0 0 0 0 6.4H9"/>',
    "contrast": '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5v11a5.5 5.5 0 0 0 0-11z" '
    'fill="{c}"/>',
    "fit": '<path d="M2.5 6v-3.5h3.5M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10"/>',
    "projection": '<path d="M2.5 5.5 8 2.5l5.5 3L8 8.5zM2.5 8.25 8 11.25l5.5-3"/>'
    '<path d="M2.5 11 8 14l5.5-3"/>',
    "smooth": '<path d="M2 12C5 12 5 4 8 4s3 8 6 8"/>',
    "crosshair": '<circle cx="8" cy="8" r="2"/><path d="M8 1.5v4M8 10.5v4M1.5 8h4M10.5 8h4"/>',
    "cube": '<path d="M8 2l5.5 3v6L8 14l-5.5-3V5zM2.5 5 8 8l5.5-3M8 8v6"/>',
    "line": '<path d="M3 13 13 3M1.8 11.8l2.4 2.4M11.8 1.8l2.4 2.4"/>',
    "region": '<rect x="2.5" y="4" width="11" height="8" stroke-dasharray="2.4 1.8"/>',
    "follow": '<circle cx="9" cy="7" r="3"/><path d="M1.5 14c1.5-2.5 2.5-3.5 4.5-4.5"/>',
    "beside": '<rect x="2" y="3.5" width="5.2" height="9"/><rect x="8.8" y="3.5" width="5.2" '
    'height="9"/>',
    "search": '<circle cx="7" cy="7" r="4"/><path d="M10 10l4 4"/>',
}


def icon(name: str, colour: str) -> QIcon:
    """Return an icon in a colour (#rrggbb); an empty one for ""."""
    if not name:
        return QIcon()
    drawing = _STROKES[name].replace("{c}", colour)
    source = (
        f'<svg xmlns="http://www.w3.org/20/svg" viewBox="0 0 {_SIZE} {_SIZE}" fill="none" '
        f'stroke="{colour}" stroke-width="1.3" stroke-linecap="round" stroke-linejoin="round">'
        f"{drawing}</svg>"
    )
    pixmap = QPixmap(_PIXELS, _PIXELS)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    QSvgRenderer(QByteArray(source.encode())).render(painter, QRectF(0, 0, _PIXELS, _PIXELS))
    painter.end()
    return QIcon(pixmap)
