"""Reads image files of other programs frame by frame: TIFF pages, PNG and BMP files.

Pixels keep their stored values. A grey palette is looked up, and an image in which zero is white is
inverted. Anything ambiguous is refused. tifffile decodes some kinds of compression and packed
pixels itself and needs imagecodecs for the others.
"""

import logging
import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from acquisition.errors import DataError

__all__ = ["DECODER_ERRORS", "IMAGE_SUFFIXES", "Frame", "image_frames", "tiff_layout"]

Frame = tuple[str, NDArray[Any]]  # its place, for messages; (y, x) pixels

_TIFF = (".tif", ".tiff")
IMAGE_SUFFIXES = (*_TIFF, ".png", ".bmp")  # endings
# What decoders raise for damaged files: SyntaxError is Pillow's word for a broken PNG, imagecodecs'
# errors are RuntimeErrors, absurd sizes end in a MemoryError.
DECODER_ERRORS = (
    OSError, ValueError, LookupError, EOFError, SyntaxError, RuntimeError, TypeError,
    ArithmeticError, AttributeError, MemoryError, ImportError,
    struct.error, tokenize.TokenError, lzma.LZMAError, zlib.error, zipfile.BadZipFile,
    Image.DecompressionBombError,
)  # fmt: skip
_CODECS = "imagecodecs"
_LARGEST = 2**28  # pixels; more than any camera has: a damaged header
_BESIDE = 0b101  # kinds of TIFF pages: a thumbnail of another, a mask
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY = 0  # PNG colour type
_COLOURS = tifffile.PHOTOMETRIC
_GREYABLE = (
    _COLOURS.MINISWHITE, _COLOURS.MINISBLACK, _COLOURS.RGB, _COLOURS.PALETTE, _COLOURS.YCBCR,
    _COLOURS.LINEAR_RAW,
)  # fmt: skip


def image_frames(path: Path) -> Iterator[Frame]:
    """Yield the pages of a TIFF, or the single image of a PNG or BMP.

    Raises
    ------
    DataError
        If it cannot be read; the message names the file and the remedy.
    """
    match path.suffix.lower():
        case ".png":
            yield str(path), _png(path)
        case ".bmp":
            yield str(path), _bmp(path)
        case _:
            yield from _tiff(path)


# ---- TIFF ----------------------------------------------------------------------------------------


def tiff_layout(path: Path) -> tuple[str, tuple[int, ...]]:
    """Return names and lengths of the axes in which an ImageJ or OME TIFF orders its pages.

    The last axis varies fastest. Empty if there are fewer than two, or the file does not name them.
    """
    if path.suffix.lower() not in _TIFF:
        return "", ()
    try:
        with _complaints(), tifffile.TiffFile(path) as tiff:
            if not (tiff.is_imagej or tiff.is_ome):
                return "", ()
            pages, series = len(tiff.pages), tiff.series[0]
            sizes = [
                (axis, int(length))
                for axis, length in zip(series.axes, series.shape, strict=True)
                if axis not in "YXS" and length > 1
            ]
    except DECODER_ERRORS:
        return "", ()  # reading its frames says what is wrong
    axes, lengths = "".join(axis for axis, _ in sizes), tuple(length for _, length in sizes)
    return (axes, lengths) if np.prod(lengths) == pages and len(axes) > 1 else ("", ())


def _tiff(path: Path) -> Iterator[Frame]:
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            for number, pixels in enumerate(_pages(tiff, path)):
                yield f"{path} page {number}", pixels
        if complaints:  # a file that was cut off ends early, and only the log says so
            raise DataError(f"{path} is damaged or was cut off: {complaints[0]}")
    except DECODER_ERRORS as error:
        raise DataError(f"{path} cannot be read as TIFF: {error}{_remedy(error)}") from error


def _pages(tiff: tifffile.TiffFile, path: Path) -> Iterator[NDArray[Any]]:
    if len(tiff.pages) == 0:
        raise ValueError("it has no pages")
    first = tiff.pages[0]
    if len(tiff.pages) == 1 and tiff.series[0].is_truncated and 0 not in first.shape:
        # ImageJ beyond 4 GB: one directory entry for all frames, which follow each other
        stack = tifffile.memmap(path, mode="r")
        yield from (_as_grey(pixels, first) for pixels in stack.reshape(-1, *first.shape))
        return
    for page in tiff.pages:
        if not getattr(page, "subfiletype", 0) & _BESIDE:
            _check_size(page)
            yield _as_grey(page.asarray(maxworkers=1), page.keyframe or page)


def _check_size(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Refuse an impossible size from a damaged header, before memory is allocated."""
    if not 0 < page.size <= _LARGEST:
        raise ValueError(f"a page must have 1 to {_LARGEST} pixels, got shape {page.shape}")


def _as_grey(pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Return the pixels of a page as grey values with black as zero; refuse colours."""
    colours = page.photometric
    if colours not in _GREYABLE:
        name = getattr(colours, "name", str(colours))
        raise ValueError(f"its pixels are {name}, interferograms must be grey: save it as grey")
    if colours == _COLOURS.MINISWHITE and pixels.dtype.kind == "u":
        return np.asarray(2**page.bitspersample - 1 - pixels, pixels.dtype)
    return _looked_up(pixels, page.colormap) if colours == _COLOURS.PALETTE else pixels


def _looked_up(pixels: NDArray[Any], colours: NDArray[Any] | None) -> NDArray[Any]:
    if colours is None:
        return pixels
    if len(colours) != 3 or not (colours == colours[0]).all():
        raise ValueError("its palette has colours, interferograms must be grey: save it as grey")
    grey = np.asarray(colours[0][pixels])  # palettes have 16 bits, whatever the pixels have
    return grey if pixels.dtype == np.uint16 else (grey >> 8).astype(np.uint8)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile reports as an error in its log, instead of raising it."""
    found: list[str] = []
    log = tifffile.logger()
    collector = logging.Handler(logging.ERROR)
    collector.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(collector)
    try:
        yield found
    finally:
        log.removeHandler(collector)


def _remedy(error: BaseException) -> str:
    """Return how to install a missing decoder; empty if none is missing."""
    absent = isinstance(error, ImportError) or _CODECS in str(error)
    install = f"python -m pip install {_CODECS}"
    return f": install the decoder with `{install}`, or save it uncompressed" if absent else ""


# ---- PNG and BMP ---------------------------------------------------------------------------------


def _png(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            header = file.read(26)
        if header[:8] != _PNG or len(header) < 26:
            raise ValueError("it does not begin with the PNG signature")
        depth, colour = header[24], header[25]
        if depth < 8 or (depth == 16 and colour != _GREY):  # Pillow would make 8 bits of it
            raise ValueError(f"{depth}-bit pixels of colour type {colour}: save it as grey")
        return _picture(path, "PNG")
    except DECODER_ERRORS as error:
        raise DataError(f"{path} cannot be read as an 8-bit or grey 16-bit PNG: {error}") from error


def _bmp(path: Path) -> NDArray[Any]:
    try:
        return _picture(path, "BMP")
    except DECODER_ERRORS as error:
        raise DataError(f"{path} cannot be read as BMP: {error}") from error


def _picture(path: Path, kind: str) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large cameras exist
        with Image.open(path, formats=[kind]) as image:
            count = getattr(image, "n_frames", 1)
            if count > 1:
                raise ValueError(f"it holds {count} images: save each in its own file")
            return np.asarray(image.convert("RGB") if image.mode == "P" else image)
