"""Frames of other programs, one after the other: TIFF, PNG, folders of them, .npy and .npz arrays.

A source can be read as often as need be and holds one frame at a time, however long the series;
only an .npz array, which is compressed, is held whole. Frames come out as (y, x) uint8 or uint16
with the grey values of the file: what would have to be scaled or mixed to become grey is refused.
"""

import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from acquisition.errors import DataError

__all__ = ["Source", "natural", "open_source"]

Frame = tuple[str, NDArray[Any]]  # where it stands, for messages; (y, x) pixels

_TIFF = (".tif", ".tiff")
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY = 0  # PNG colour type
_PALETTE = 3  # TIFF photometric interpretation
_HIGHEST = 65535
# What decoders raise for damaged files; SyntaxError is Pillow's word for a broken PNG.
_UNREADABLE = (
    OSError, ValueError, LookupError, EOFError, SyntaxError,
    struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Frames of one file, folder or array.

    Parameters
    ----------
    name : str
        What the user called it.
    read : callable
        Opens it and yields the frames as they are stored.
    layout : tuple of int
        Leading axes of an array, (angles,) or (time, angles); empty where only the order counts.
    """

    name: str
    read: Callable[[], Iterator[Frame]]
    layout: tuple[int, ...] = ()

    def frames(self) -> Iterator[Frame]:
        """Yield where each frame stands and its (y, x) uint8 or uint16 pixels."""
        for where, stored in self.read():
            yield where, _integers(_grey(stored, where), where)


def open_source(name: str) -> Source:
    """Return the frames of a TIFF or PNG file, a folder of them, FILE.npy or FILE.npz[:ARRAY].

    Raises
    ------
    DataError
        If there is no such thing, or nothing in it can be a series of frames.
    """
    file, found, array = name.rpartition(".npz:")
    if found:
        return _npz(Path(f"{file}.npz"), array)
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DataError(f"{name} must be a file or a folder, found nothing of that name")
    match path.suffix.lower():
        case ".npy":
            return _npy(path)
        case ".npz":
            return _npz(path, "")
        case _:
            return Source(name, lambda: _image_frames(path))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Return the key by which frame_2 comes before frame_10."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(False, int(p), "") if p.isdecimal() else (True, 0, p) for p in parts]


# ---- Image files ---------------------------------------------------------------------------------


def _folder(path: Path) -> Source:
    """Return the frames of the images in a folder, files in natural order."""
    files = [file for file in path.iterdir() if file.suffix.lower() in (*_TIFF, ".png")]
    files = sorted((f for f in files if not f.name.startswith(".")), key=lambda f: natural(f.name))
    if not files:
        inside = any(entry.is_dir() for entry in path.iterdir())
        hint = "; give its folders one by one, each a time point or more" if inside else ""
        raise DataError(f"{path} must hold .tif, .tiff or .png files, found none{hint}")
    return Source(str(path), lambda: (frame for file in files for frame in _image_frames(file)))


def _image_frames(path: Path) -> Iterator[Frame]:
    """Yield the pages of a TIFF, or the one picture of a PNG."""
    suffix = path.suffix.lower()
    if suffix not in (*_TIFF, ".png"):
        raise DataError(
            f"{path} must be .tif, .tiff, .png, .npy, .npz or a folder of pictures: convert it"
        )
    if suffix == ".png":
        yield str(path), _png(path)
    else:
        yield from _tiff(path)


def _tiff(path: Path) -> Iterator[Frame]:
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            if len(tiff.pages) == 1 and tiff.series[0].is_truncated:
                # ImageJ beyond 4 GB: one directory entry for all frames, which follow each other
                stack = tifffile.memmap(path, mode="r")
                pages: Iterator[NDArray[Any]] = iter(stack.reshape(-1, *stack.shape[-2:]))
            else:
                pages = map(_page, tiff.pages)
            for number, pixels in enumerate(pages):
                yield f"{path} page {number}", pixels
        if complaints:  # a file that was cut off ends early, and only the log says so
            raise DataError(f"{path} is damaged or was cut off: {complaints[0]}")
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as TIFF: {error}") from error


def _page(page: tifffile.TiffPage | tifffile.TiffFrame) -> NDArray[Any]:
    pixels = page.asarray(maxworkers=1)
    first = page.keyframe  # what all pages have in common
    colours = first.colormap if first is not None and first.photometric == _PALETTE else None
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


def _png(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            header = file.read(26)
        if header[:8] != _PNG or len(header) < 26:
            raise ValueError("it does not begin like one")
        depth, colour = header[24], header[25]
        if depth < 8 or (depth == 16 and colour != _GREY):  # Pillow would make 8 bits of it
            raise ValueError(f"{depth}-bit pixels of colour type {colour}: save it as grey")
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an 8-bit or grey 16-bit PNG: {error}") from error


# ---- Arrays --------------------------------------------------------------------------------------


def _npy(path: Path) -> Source:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an array of numbers: {error}") from error
    return _array(str(path), array)


def _npz(path: Path, name: str) -> Source:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = sorted(arrays.files)
            if not name and len(names) == 1:
                name = names[0]
            if name in names:
                return _array(f"{path}:{name}", arrays[name])
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as .npz: {error}") from error
    example = f"{path}:{names[0]}" if names else "a file that has some"
    raise DataError(
        f"{path} holds the arrays {', '.join(names) or '(none)'}: name one of them, as in {example}"
        + (f"; got {name!r}" if name else "")
    )


def _array(name: str, array: NDArray[Any]) -> Source:
    colour = 1 if array.ndim > 2 and array.shape[-1] in (3, 4) else 0
    layout = array.shape[: max(array.ndim - 2 - colour, 0)]
    if array.ndim < 2 or len(layout) > 2:
        raise DataError(
            f"{name} must have shape (angles, y, x) or (time, angles, y, x), got {array.shape}"
        )

    def frames() -> Iterator[Frame]:
        for index in np.ndindex(layout):
            yield f"{name} [{', '.join(map(str, index))}]", np.asarray(array[index])

    return Source(name, frames, layout)


# ---- Pixels --------------------------------------------------------------------------------------


def _grey(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    """Return (y, x) of a frame with or without a colour axis, where all colours are the same."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or min(pixels.shape[0], pixels.shape[-1]) > 4:
        raise DataError(f"{where} must be one picture (y, x), got shape {pixels.shape}")
    channels = np.moveaxis(pixels, int(np.argmin(pixels.shape)), 0)
    channels = channels[:1] if len(channels) == 2 else channels[:3]  # without opacity
    if (channels != channels[0]).any():
        raise DataError(
            f"{where} must be grey, its colour channels differ: save the camera's raw picture, or "
            "the one channel that holds the fringes"
        )
    return np.asarray(channels[0])


def _integers(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    """Return uint8 as it is and whole numbers from 0 to 65535 of any other type as uint16."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "iuf":
        raise DataError(f"{where} must hold numbers, got {pixels.dtype}")
    if pixels.size and not (0 <= pixels.min() and pixels.max() <= _HIGHEST):  # nan is not, either
        raise DataError(
            f"{where} must hold values from 0 to {_HIGHEST}, got {pixels.min()} to {pixels.max()}: "
            "save the camera's raw pictures"
        )
    if pixels.dtype.kind == "f" and (pixels != np.rint(pixels)).any():
        raise DataError(
            f"{where} must hold whole grey values, got fractions ({pixels.dtype}): save the "
            "camera's raw pictures, unscaled and not averaged"
        )
    return pixels.astype(np.uint16)
