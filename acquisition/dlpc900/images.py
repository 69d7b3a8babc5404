"""Bit planes as the controller stores them: 24 to an image, compressed by enhanced RLE.

A pixel is three bytes on the wire, bit planes 16-23, 8-15 and 0-7. Enhanced RLE by pixels:

    n pixel       repeat n times
    0 n pixels    n > 1 pixels as they are
    0 1 n         copy n pixels from the line above
    0 0           end of line
    0 1 0         end of image

n of 128 or more takes two bytes, (n and 0x7F) or 0x80, then n >> 7.
"""

import struct
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError

__all__ = ["PLANES", "compress", "pack", "stored_image"]

PLANES = 24
_HEADER = 48
_RLE = 2  # enhanced
_SHORTEST_COPY, _SHORTEST_REPEAT = 2, 3  # shorter ones cost more than they save
_LITERAL, _REPEAT, _COPY = 0, 1, 2

Image = NDArray[np.uint8]


def pack(planes: Sequence[NDArray[np.uint8]]) -> Image:
    """Return the image (rows, columns, 3), as it is on the wire, of up to 24 bit planes.

    Parameters
    ----------
    planes : sequence of (rows, columns) uint8
        A mirror is on where the value is not 0. Missing planes are dark.
    """
    if not 1 <= len(planes) <= PLANES:
        raise ConfigurationError(f"an image must hold 1 to {PLANES} bit planes, got {len(planes)}")
    shape = planes[0].shape
    if any(plane.shape != shape for plane in planes) or len(shape) != 2:
        raise ConfigurationError(
            f"bit planes of an image must be (rows, columns) of one size, got "
            f"{sorted({plane.shape for plane in planes})}"
        )
    image = np.zeros((*shape, 3), dtype=np.uint8)
    for first in range(0, len(planes), 8):
        eight = np.stack([plane != 0 for plane in planes[first : first + 8]])
        image[..., 2 - first // 8] = np.packbits(eight, axis=0, bitorder="little")[0]
    return image


def compress(image: Image) -> bytes:
    """Return the enhanced RLE of an image (rows, columns, 3)."""
    columns = image.shape[1]
    first, length, kind = _tokens(image)
    extra = (length >= 128).astype(np.int64)  # the second byte of n
    single = (kind == _LITERAL) & (length == 1)  # written as a repetition: 0 1 copies
    size = np.select(
        [kind == _COPY, (kind == _REPEAT) | single],
        [3 + extra, 4 + extra],
        2 + extra + 3 * length,
    )
    last = np.append(first[1:] % columns == 0, True)  # of its line
    end = np.cumsum(size + 2 * last)
    at = end - size - 2 * last
    out = np.zeros(int(end[-1]) + 3, dtype=np.uint8)
    out[-2] = 1  # 0 1 0: the end
    literal = (kind == _LITERAL) & ~single
    marks = kind == _COPY
    out[at[marks] + 1] = 1
    place = at + np.select([marks, literal], [2, 1], 0)  # of n
    out[place] = np.where(extra, (length & 0x7F) | 0x80, length)
    out[(place + 1)[extra == 1]] = (length >> 7)[extra == 1]
    pixels = image.reshape(-1, 3)
    data = place + 1 + extra
    for byte in range(3):
        one = ~literal & ~marks
        out[data[one] + byte] = pixels[first[one], byte]
    run = length[literal]
    within = np.arange(int(run.sum())) - np.repeat(np.cumsum(run) - run, run)
    target = np.repeat(data[literal], run) + 3 * within
    source = np.repeat(first[literal], run) + within
    for byte in range(3):
        out[target + byte] = pixels[source, byte]
    return out.tobytes()


def _tokens(
    image: Image,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Divide the pixels, line after line, into copies, repetitions and literal pixels.

    Returns
    -------
    first, length, kind : (tokens,)
    """
    rows, columns, _ = image.shape
    value = image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    above = np.zeros((rows, columns), bool)
    above[1:] = value[1:] == value[:-1]
    starts = np.ones((rows, columns), bool)
    starts[:, 1:] = above[:, 1:] != above[:, :-1]
    kind = np.where(_in_runs(starts, _SHORTEST_COPY) & above.ravel(), _COPY, _LITERAL)
    kind = kind.reshape(rows, columns)
    starts[:, 1:] = (value[:, 1:] != value[:, :-1]) | (kind[:, 1:] != kind[:, :-1])
    repeated = _in_runs(starts, _SHORTEST_REPEAT).reshape(rows, columns) & (kind == _LITERAL)
    kind[repeated] = _REPEAT
    starts[:, 1:] = (kind[:, 1:] != kind[:, :-1]) | (starts[:, 1:] & (kind[:, 1:] == _REPEAT))
    first = np.flatnonzero(starts)
    length = np.diff(first, append=rows * columns)
    return first, length, kind.ravel()[first]


def _in_runs(starts: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """Return whether each element is in a run of at least ``least``; ``starts`` begin runs."""
    first = np.flatnonzero(starts)
    length = np.diff(first, append=starts.size)
    return np.repeat(length >= least, length)


def stored_image(image: Image, size_counts: Literal["data", "header", "padding"] = "data") -> bytes:
    """Return a compressed image with its header, padded to a multiple of 4 bytes, for upload.

    Parameters
    ----------
    image : (rows, columns, 3)
    size_counts : str
        What the size in the header includes: "data" the compressed data, "header" also the header,
        "padding" also the padding. Sources differ.
    """
    data = compress(image)
    padding = -(_HEADER + len(data)) % 4
    size = len(data)
    if size_counts != "data":
        size += _HEADER
    if size_counts == "padding":
        size += padding
    rows, columns, _ = image.shape
    head = struct.pack("<4sHHI8s4x", b"Spld", columns, rows, size, b"\xff" * 8)
    head += bytes([1, _RLE, 1, 0, 0, 1])
    return head.ljust(_HEADER, b"\0") + data + bytes(padding)
