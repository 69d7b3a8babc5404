"""Take pictures of the window with a living, simulated cell in it, for the documentation.

window.png and window.gif are those of the README; then come all panels and dialogs, dark and light.
A virtual display serves where there is none.
"""

import os
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.errors import LiveTomoError
from commands.options import add_device

if TYPE_CHECKING:
    from PIL.Image import Image
    from PySide6.QtGui import QPixmap

    from pipeline.live.supervisor import Instrument
    from ui.viewed_client import ViewedClient

__all__ = ["HELP", "add_options", "film", "run"]

HELP = "take pictures of the window, its panels and its dialogs, as in the documentation"

_PATIENCE_S = 180.0  # for the next tomogram
_FRAME_MS = 400
_WIDTH = 960  # pixels of the moving picture
_COLOURS = 96
_SCANS = 6  # of the time-lapse that the window on a file shows
_STAINED, _BRIGHT, _DARK = 1.38, 2e4, 20.0  # RI from which a simulated stain shines, and how much
_MICROSCOPE = """# A microscope to edit
[microscope]
name = "Simulated"

[optics]
preset = "cell"

[camera]
exposure_ms = 2.0

[simulation]
phantom = "cell"
"""


def add_options(parser: ArgumentParser) -> None:
    """Add the folder, and how long the moving picture is."""
    add_device(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", required=True)
    text = "pictures of the moving one, a tomogram each"
    parser.add_argument("--tomograms", type=int, metavar="N", default=12, help=text)
    text = "only the pictures of the README, without panels and dialogs"
    parser.add_argument("--only-window", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Film the live window on the simulated microscope, and take stills of all of it."""
    from ui.display import leave_display, virtual_display

    options.output.mkdir(parents=True, exist_ok=True)
    with virtual_display() as environment:
        os.environ.update(environment)
        try:
            return _take(options)
        finally:
            leave_display()


def _take(options: Namespace) -> int:
    from pipeline.live.supervisor import open_instrument

    with open_instrument(None, options.device) as instrument:
        client = instrument.client()
        try:
            pictures = film(client, options.tomograms, title="LiveTomo - simulated microscope")
            still, moving = (options.output / f"window.{ending}" for ending in ("png", "gif"))
            pictures[-1].save(still)
            small = [_small(picture) for picture in pictures]
            small[0].save(
                moving, save_all=True, append_images=small[1:], duration=_FRAME_MS, loop=0
            )
            stills = [] if options.only_window else _of_the_instrument(instrument, options.output)
        finally:
            client.close()
    if not options.only_window:
        stills += _of_a_file(options.output, options.device)
    print(f"{len(pictures)} tomograms: {still}, {moving}; {len(stills)} pictures of panels")
    return 0


def _of_the_instrument(instrument: "Instrument", folder: Path) -> list[Path]:
    from commands.window_stills import OF_THE_INSTRUMENT, take_stills
    from ui.bench import Bench

    client = instrument.client()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        file = Path(made) / "microscope.toml"
        file.write_text(_MICROSCOPE)
        bench = Bench(file, instrument.release, instrument.take_back, instrument.restart)
        try:
            return take_stills(client, OF_THE_INSTRUMENT, folder, bench=bench)
        finally:
            client.close()


def _of_a_file(folder: Path, device: str | None) -> list[Path]:
    """Record a short time-lapse and picture the window on its tomograms."""
    from commands.reconstruct import run_reconstruct
    from commands.record_session import run_record
    from commands.window_stills import OF_A_FILE, OF_FLUORESCENCE, take_stills
    from pipeline.live.playback import open_playback

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        recording, tomograms = Path(made) / "cells.h5", Path(made) / "cells_tomograms.h5"
        run_record(None, _SCANS, 2.0, recording, as_json=False)
        run_reconstruct(recording, tomograms, "deep", device or "cpu", check_every=2)
        with open_playback(tomograms, "deep", device) as playback:
            taken = take_stills(playback, OF_A_FILE, folder, timeline=playback)
        _stain(tomograms)
        with open_playback(tomograms, "deep", device) as playback:
            return taken + take_stills(playback, OF_FLUORESCENCE, folder, timeline=playback)


def _stain(tomograms: Path) -> None:
    """Add a channel of fluorescence: a simulated stain of what is dense."""
    import numpy as np
    from scipy import ndimage

    from files.tomogram_fluorescence import write_fluorescence
    from files.tomograms import read_tomograms
    from files.volumes.volume_source import Fluorescence

    series = read_tomograms(tomograms)
    light = []
    for scan in range(len(series)):
        index = series.volume("deep", scan)
        assert index is not None
        stained = np.maximum(index - np.float32(_STAINED), 0) * np.float32(_BRIGHT)
        light.append(ndimage.gaussian_filter(stained, 1.0) + np.float32(_DARK))
    write_fluorescence(tomograms, [Fluorescence("dense parts", len(light), light.__getitem__)])


def film(client: "ViewedClient", count: int, *, title: str) -> "list[Image]":
    """Return pictures of the window on a client, one for each of the next tomograms.

    Raises
    ------
    LiveTomoError
        If no tomogram comes for three minutes.
    """
    from PySide6.QtCore import QEvent
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
        window.close_without_asking()
        window.finish_commands()
        window.deleteLater()  # or it is drawn anew with each change of the theme
        application.sendPostedEvents(None, QEvent.Type.DeferredDelete)
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
