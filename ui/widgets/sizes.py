"""Sizes of dialogs that fit on the screen, however small it is or far it is scaled."""

from PySide6.QtWidgets import QWidget

__all__ = ["resize_on_screen"]

_FRAME_PX = 48  # the title bar, and some of what is around


def resize_on_screen(widget: QWidget, width: int, height: int) -> None:
    """Give a window a size, or as much of it as the screen has room for."""
    room = widget.screen().availableGeometry()
    widget.resize(min(width, room.width()), min(height, room.height() - _FRAME_PX))
