"""Reads all frames once before anything is written: sizes, counts, grey values.

Frames are read twice this way. In return a bad frame at the end of a long series is reported at
once, and the pixel type of the recording is known.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import FULL_SCALES
from files.importing.description import ImportDescription
from files.importing.sources import Frame, Source

__all__ = ["PixelRule", "Survey", "brightness_warnings", "cropped", "pixel_rule", "survey"]

_SMALLEST = 32  # pixels a side; the band of an NA 1.2 objective has no fewer samples
_CLIPPED = 0.01  # part of a frame at full scale that makes it saturated
_BYTE = 0xFF
_SIMILAR = 4.0  # ratio of mean grey values that different exposures explain


@dataclass(frozen=True, slots=True)
class PixelRule:
    """How grey values are stored."""

    dtype: type[np.uint8] | type[np.uint16]

    def __call__(self, pixels: NDArray[Any], of: "Survey") -> NDArray[Any]:
        """Return pixels in the type of the recording; 8-bit data in the upper byte is shifted."""
        shift = of.shift if self.dtype is np.uint8 else 0
        return np.asarray(np.right_shift(pixels, shift), self.dtype)


@dataclass(frozen=True, slots=True)
class Survey:
    """Size, count and grey values of the frames of a source.

    Parameters
    ----------
    source : Source
    shape : (y, x)
        Of every frame, after the crop.
    frames : int
    bits : int
        Bitwise or of all grey values: the bits in use.
    wide : bool
        Whether pixels have more than 8 bits.
    mean : float
        Grey value.
    blank : tuple of int
        Frames with a single grey value.
    saturated : tuple of int
        Frames with more than 1 % of the pixels at full scale.
    """

    source: Source
    shape: tuple[int, int]
    frames: int
    bits: int
    wide: bool
    mean: float
    blank: tuple[int, ...]
    saturated: tuple[int, ...]

    @property
    def shift(self) -> int:
        """Bits by which grey values are shifted up: 8 for 8-bit data in the upper byte, else 0."""
        return 8 if self.bits > _BYTE and self.bits & _BYTE == 0 else 0


def survey(source: Source, description: ImportDescription) -> Survey:
    """Read all frames of a source once.

    Raises
    ------
    DataError
        If the frames are not a whole number of scans, differ in size, or are all blank.
    """
    _check_layout(source, description.scan_length)
    shape, bits, wide, total = (0, 0), 0, False, 0.0
    blank, clipped, count, top = [], [], 0, 0
    for pixels in _same_size(cropped(source, description)):
        lowest, highest = int(pixels.min()), int(pixels.max())
        top = max(top, highest)
        shape, wide = (pixels.shape[0], pixels.shape[1]), wide or pixels.itemsize > 1
        bits |= int(np.bitwise_or.reduce(pixels, axis=None))
        total += float(pixels.mean())
        if lowest == highest:
            blank.append(count)
        elif highest in FULL_SCALES and (pixels == highest).mean() > _CLIPPED:
            clipped.append((highest, count))
        count += 1
    _check_count(source.name, count, description.scan_length)
    if len(blank) == count:
        raise DataError(f"{source.name} must show fringes, but every frame has a single grey value")
    saturated = tuple(number for value, number in clipped if value == top)
    return Survey(source, shape, count, bits, wide, total / count, tuple(blank), saturated)


def cropped(source: Source, description: ImportDescription) -> Iterator[Frame]:
    """Yield the frames, cropped as the description says."""
    if description.crop is None:
        yield from source.frames()
        return
    top, left, height, width = description.crop
    for where, pixels in source.frames():
        if top + height > pixels.shape[0] or left + width > pixels.shape[1]:
            raise DataError(
                f"crop (top, left, height, width) must lie within the frame, got "
                f"{description.crop} and {where} of {_size(pixels)}"
            )
        yield where, pixels[top : top + height, left : left + width]


def _same_size(frames: Iterator[Frame]) -> Iterator[NDArray[Any]]:
    """Yield the pixels of frames that all have the size of the first."""
    first, size = "", ""
    for where, pixels in frames:
        if not first:
            first, size = where, _size(pixels)
            _check_size(where, pixels)
        if _size(pixels) != size:
            raise DataError(
                f"every frame must have the size of the first, {first} has {size} pixels and "
                f"{where} {_size(pixels)}: remove what does not belong"
            )
        yield pixels


def _check_size(where: str, pixels: NDArray[Any]) -> None:
    if min(pixels.shape) < _SMALLEST:
        raise DataError(
            f"frames must have at least {_SMALLEST} x {_SMALLEST} pixels, {where} has "
            f"{_size(pixels)}: arrays are (angles, y, x) or (time, angles, y, x)"
        )


def _check_layout(source: Source, angles: int) -> None:
    """Refuse an array of another layout, and a hyperstack that does not keep a scan together."""
    layout = source.layout
    if len(layout) < 2:
        return
    if not source.axes and layout[1] != angles:
        raise DataError(
            f"{source.name} must be (time, angles, y, x) with {angles} angles, got "
            f"{layout[0]} times {layout[1]} frames: correct angles in the description"
        )
    together = [math.prod(layout[i:]) for i in range(len(layout))]  # frames that follow each other
    if angles not in together and layout[-1] % angles:
        sizes = " x ".join(f"{n} {axis}" for axis, n in zip(source.axes, layout, strict=True))
        raise DataError(
            f"{source.name} must hold the {angles} frames of a scan in sequence, got a "
            f"hyperstack of {sizes} in which {source.axes[-1]} varies fastest: save one channel, "
            "save each scan in a file, or correct angles"
        )


def _check_count(name: str, count: int, angles: int) -> None:
    if count < angles:
        raise DataError(f"{name} must hold at least one scan of {angles} frames, found {count}")
    if count % angles:
        raise DataError(
            f"{name} must hold whole scans of {angles} frames, found {count} = "
            f"{count // angles} x {angles} + {count % angles}: {angles - count % angles} are "
            "missing, or angles is wrong"
        )


def pixel_rule(surveys: Sequence[Survey]) -> tuple[PixelRule, list[str]]:
    """Return the smallest type that holds all grey values, and warnings about it."""
    narrow = [one for one in surveys if one.bits >> one.shift <= _BYTE]
    if len(narrow) == len(surveys):
        return PixelRule(np.uint8), _packed_notes([one for one in surveys if one.wide])
    names = ", ".join(one.source.name for one in narrow)
    note = f"{names} has 8-bit data, but other sources have more bits: check the camera settings"
    return PixelRule(np.uint16), [note] if narrow else []


def _packed_notes(wide: Sequence[Survey]) -> list[str]:
    """Return warnings about 8-bit data in 16-bit frames."""
    notes = []
    for shifted, how in ((False, "no value above 255"), (True, "only multiples of 256")):
        names = ", ".join(one.source.name for one in wide if bool(one.shift) is shifted)
        if names:
            notes.append(f"{names}: 16-bit frames hold 8-bit data ({how}), stored in 8 bits")
    return notes


def brightness_warnings(background: Survey, samples: Sequence[Survey]) -> list[str]:
    """Return a warning for each sample that is much brighter or darker than the background."""
    empty = _grey(background)
    return [
        f"{one.source.name} has a mean grey value of {_grey(one):.1f}, its background "
        f"{background.source.name} {empty:.1f}: check exposure and bit depth"
        for one in samples
        if not 1 / _SIMILAR < (_grey(one) + 1) / (empty + 1) < _SIMILAR
    ]


def _grey(one: Survey) -> float:
    return one.mean / (1 << one.shift)


def _size(pixels: NDArray[Any]) -> str:
    return f"{pixels.shape[0]} x {pixels.shape[1]}"
