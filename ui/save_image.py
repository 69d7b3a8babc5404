"""Saves what a widget shows as a picture."""

import time
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QWidget

__all__ = ["save_image"]


def save_image(window: QWidget, shown: QWidget, folder: Path) -> tuple[Path, str] | None:
    """Ask for a file name and save a PNG of a widget.

    Returns the path and why it could not be written ("": it was); None if the user cancelled.
    """
    picture = shown.grab()  # before the dialog covers it
    name = time.strftime("livetomo_%Y-%m-%d_%H%M%S.png")
    path, _ = QFileDialog.getSaveFileName(
        window, "Save the views", str(folder / name), "Images (*.png)"
    )
    if not path:
        return None
    if picture.save(path, "PNG"):
        return Path(path), ""
    why = f"the image could not be written to {path}: check folder, permissions and free space"
    return Path(path), why
