"""Take pictures of the window with a living, simulated cell in it: window.png, and window.gif.

They are those of the README. A virtual display serves where there is none.
"""

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.errors import LiveTomoError
from commands.options import add_device

if TYPE_CHECKING:
    from PIL.Image import Image
    from PySide6.QtGui import QPixmap

    from ui.viewed_client import Client

__all__ = ["HELP", "add_options", "film", "run"]

HELP = "take pictures of the window, as in the README"

_PATIENCE_S = 180.0  # for the next tomogram
_FRAME_MS = 400
_WIDTH = 960  # pixels of the moving picture
_COLOURS = 96


def add_options(parser: ArgumentParser) -> None:
    """Add the folder, and how long the moving picture is."""
    add_device(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", required=True)
    text = "pictures of the moving one, a tomogram each"
    parser.add_argument("--tomograms", type=int, metavar="N", default=12, help=text)


def run(options: Namespace) -> int:
    """Film the live window on the simulated microscope."""
    from pipeline.live.supervisor import open_instrument

    options.output.mkdir(parents=True, exist_ok=True)
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with open_instrument(None, options.device) as instrument:
        client = instrument.client()
        try:
            pictures = film(client, options.tomograms, title="LiveTomo - simulated microscope")
        finally:
            client.close()
    still, moving = (options.output / f"window.{ending}" for ending in ("png", "gif"))
    pictures[-1].save(still)
    small = [_small(picture) for picture in pictures]
    small[0].save(moving, save_all=True, append_images=small[1:], duration=_FRAME_MS, loop=0)
    print(f"{len(pictures)} tomograms: {still}, {moving}")
    return 0


def film(client: "Client", count: int, *, title: str) -> "list[Image]":
    """Return pictures of the window on a client, one for each of the next tomograms.

    Raises
    ------
    LiveTomoError
        If no tomogram comes for three minutes.
    """
    from PySide6.QtWidgets import QApplication

    from ui.main import SIZE
    from ui.style import apply_style
    from ui.window import Window

    application = QApplication.instance() or QApplication([title])
    assert isinstance(application, QApplication)
    apply_style(application)
    window = Window(client, title=title)
    window.resize(*SIZE)
    window.show()
    pictures: list[Image] = []
    shown, deadline = None, time.monotonic() + _PATIENCE_S
    try:
        while len(pictures) < count:
            application.processEvents()
            if window.tomogram is not None and window.tomogram is not shown:
                shown, deadline = window.tomogram, time.monotonic() + _PATIENCE_S
                application.processEvents()
                pictures.append(_picture(window.grab()))
            elif time.monotonic() > deadline:
                raise LiveTomoError(f"no tomogram came in {_PATIENCE_S:g} s: see `doctor`")
            else:
                time.sleep(0.01)
    finally:
        window.leave()
        window.end()
    return pictures


def _picture(pixmap: "QPixmap") -> "Image":
    import numpy as np
    from PIL import Image as Images
    from PySide6.QtGui import QImage

    image = pixmap.toImage().convertToFormat(QImage.Format.Format_RGB888)
    lines = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    pixels = lines[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)
    return Images.fromarray(pixels.copy())


def _small(picture: "Image") -> "Image":
    height = round(picture.height * _WIDTH / picture.width)
    return picture.resize((_WIDTH, height)).quantize(_COLOURS)
