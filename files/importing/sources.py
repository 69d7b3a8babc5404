"""Sources of frames: image files, folders of images, .npy and .npz arrays.

A source can be read repeatedly and holds one frame in memory at a time. Only an .npz array, which
is compressed, is loaded as a whole. Frames are (y, x) uint8 or uint16 with the grey values of the
file. Pixels that would have to be scaled or mixed to become grey are refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from files.importing.file_names import in_natural_order
from files.importing.image_files import (
    DECODER_ERRORS,
    IMAGE_SUFFIXES,
    Frame,
    image_frames,
    tiff_layout,
)

__all__ = ["Frame", "Source", "open_source"]

_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Source:
    """Frames of one file, folder or array.

    Parameters
    ----------
    name : str
        As the user gave it.
    read : callable
        Opens the source and yields the frames as stored.
    layout : tuple of int
        Lengths of the leading axes: (angles,) or (time, angles) of an array, or the named axes of a
        TIFF. Empty where only the order of the frames is known.
    axes : str
        One letter for each of these axes of a TIFF, as in ImageJ and OME.
    """

    name: str
    read: Callable[[], Iterator[Frame]]
    layout: tuple[int, ...] = ()
    axes: str = ""

    def frames(self) -> Iterator[Frame]:
        """Yield each frame: its place, for messages, and its (y, x) uint8 or uint16 pixels."""
        for where, stored in self.read():
            yield where, _integers(_grey(stored, where), where)


def open_source(name: str) -> Source:
    """Return the frames of a TIFF, PNG or BMP file, a folder of them, FILE.npy or FILE.npz[:ARRAY].

    Raises
    ------
    DataError
        If it does not exist or holds no frames.
    """
    file, found, array = name.rpartition(".npz:")
    if found:
        return _npz(Path(f"{file}.npz"), array)
    path = Path(name)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise DataError(f"{name} must be an existing file or folder, found nothing")
    match path.suffix.lower():
        case ".npy":
            return _npy(path)
        case ".npz":
            return _npz(path, "")
        case ending if ending in IMAGE_SUFFIXES:
            axes, layout = tiff_layout(path)
            return Source(name, lambda: image_frames(path), layout, axes)
        case _:
            raise DataError(
                f"{path} must be {', '.join(IMAGE_SUFFIXES)}, .npy, .npz or a folder of pictures: "
                "convert it"
            )


# ---- Image files ---------------------------------------------------------------------------------


def _folder(path: Path) -> Source:
    """Return the frames of the images in a folder, files in natural order."""
    files = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    names = in_natural_order([f.name for f in files if not f.name.startswith(".")])
    files = [path / name for name in names]
    if not files:
        inside = any(entry.is_dir() for entry in path.iterdir())
        hint = ": give each of its folders as a sample" if inside else ""
        raise DataError(f"{path} must hold {', '.join(IMAGE_SUFFIXES)} files, found none{hint}")
    return Source(str(path), lambda: (frame for file in files for frame in image_frames(file)))


# ---- Arrays --------------------------------------------------------------------------------------


def _npy(path: Path) -> Source:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DECODER_ERRORS as error:
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
    except DECODER_ERRORS as error:
        raise DataError(f"{path} cannot be read as .npz: {error}") from error
    example = f"{path}:{names[0]}" if names else "FILE.npz:ARRAY"
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
    """Return a frame as (y, x); one with a colour axis must have equal colours."""
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or min(pixels.shape[0], pixels.shape[-1]) > 4:
        raise DataError(f"{where} must be one image (y, x), got shape {pixels.shape}")
    channels = np.moveaxis(pixels, int(np.argmin(pixels.shape)), 0)
    channels = channels[:1] if len(channels) == 2 else channels[:3]  # without opacity
    if (channels != channels[0]).any():
        raise DataError(
            f"{where} must be grey, its colour channels differ: save the camera's raw image, or "
            "the one channel that holds the fringes"
        )
    return np.asarray(channels[0])


def _integers(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    """Return uint8 unchanged, and integers from 0 to 65535 of any other type as uint16."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "iuf":
        found = "one bit a pixel" if pixels.dtype.kind == "b" else pixels.dtype
        raise DataError(f"{where} must hold numbers, got {found}")
    if pixels.size == 0:  # the survey says what is wrong with its size
        return pixels.astype(np.uint16)
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not (0 <= lowest and highest <= _HIGHEST):  # nan is not, either
        raise DataError(
            f"{where} must hold values from 0 to {_HIGHEST}, got {lowest} to {highest}: save "
            "the camera's raw images"
        )
    if pixels.dtype.kind == "f" and (pixels != np.rint(pixels)).any():
        raise DataError(
            f"{where} must hold whole grey values, got fractions ({pixels.dtype}): save the "
            "camera's raw images, neither scaled nor averaged"
        )
    return pixels.astype(np.uint16)
