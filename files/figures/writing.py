"""Turns a figure into pixels, or into a PNG, SVG or PDF file."""

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SUFFIXES", "encode_png", "pixels_of", "save_figure", "svg_of", "write_whole"]

SUFFIXES: Final = (".png", ".svg", ".pdf")
# text stays text: as characters in an SVG, as a TrueType font in a PDF
_REAL_TEXT: Final[Any] = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "livetomo"}
_lock = threading.Lock()  # matplotlib has no setting of these for one figure


def pixels_of(figure: "Figure", dpi: float) -> NDArray[np.uint8]:
    """Return a figure as (y, x, 3) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())[..., :3]
    return np.ascontiguousarray(pixels)


def save_figure(figure: "Figure", path: Path, dpi: float = 300.0) -> None:
    """Write a figure in the format that the ending names; text stays text in SVG and PDF.

    Parameters
    ----------
    figure : Figure
    path : Path
        Ends in .png, .svg or .pdf. A file of that name is replaced once the new one is whole.
    dpi : float
        Pixels an inch of a PNG, and of the images within an SVG or a PDF.

    Raises
    ------
    ConfigurationError
        If the ending is another one.
    DataError
        If the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigurationError(
            f"a figure must end in {', '.join(SUFFIXES)}, got {path.name!r}: add one of them"
        )
    write_whole(path, _saved(figure, kind, dpi))


def svg_of(figure: "Figure", dpi: float = 150.0) -> bytes:
    """Return the content of an SVG file of a figure; text stays text."""
    return _saved(figure, ".svg", dpi)


def _saved(figure: "Figure", kind: str, dpi: float) -> bytes:
    import matplotlib

    # no date and no random names: the same figure is the same file
    dates: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    about = {**dates.get(kind, {}), "Software" if kind == ".png" else "Creator": "LiveTomo"}
    with _lock, matplotlib.rc_context(_REAL_TEXT):
        written = io.BytesIO()
        figure.savefig(written, format=kind[1:], dpi=dpi, metadata=about)
    return written.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name first, so that what is there is never half of it."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(
            f"{path} could not be written: {error.strerror}; check the folder and its permissions"
        ) from error


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Return a (y, x, 3) uint8 picture as a PNG file's content."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(picture).save(written, "PNG")
    return written.getvalue()
