"""The colours that stand for refractive indices."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ui.sections.contrast import Contrast

__all__ = [
    "ABOUT_MEDIUM",
    "COLORMAPS",
    "DIFFERENCE",
    "Colours",
    "lookup_table",
    "map_colours",
    "object_colour",
    "outlines",
]

Colours = NDArray[np.uint8]

ABOUT_MEDIUM: Final = "about medium"
DIFFERENCE: Final = ABOUT_MEDIUM  # of differences: about zero, the middle of the colours
COLORMAPS: Final = ("gray", "viridis", "inferno", "cividis", ABOUT_MEDIUM)
_SIZE = 256
# Okabe and Ito (2008), told apart with any colour vision, without black
_OBJECTS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")


def lookup_table(
    colormap: str, contrast: Contrast | None = None, medium_index: float | None = None
) -> NDArray[np.uint8]:
    """Return the 256 colours of a colour map, (256, 3) uint8.

    All of them are even to the eye: equal steps of RI look equal. ABOUT_MEDIUM is white at the
    index of the medium, red above and blue below, with equal steps on both sides.
    """
    if colormap == "gray":
        return np.repeat(np.arange(_SIZE, dtype=np.uint8)[:, None], 3, axis=1)
    if colormap != ABOUT_MEDIUM:
        return _table(colormap, _SIZE)
    if contrast is None or medium_index is None:
        return _table("CET-D1A", _SIZE)
    values = np.linspace(contrast.low, contrast.high, _SIZE) - medium_index
    furthest = max(abs(values[0]), abs(values[-1]))
    fine = _table("CET-D1A", 4 * _SIZE)
    rows = np.rint((values / furthest + 1) / 2 * (len(fine) - 1)).astype(int)
    return np.asarray(fine[rows])


def map_colours() -> NDArray[np.uint8]:
    """Return the colours of maps over a section, (256, 4) uint8: from clear to strong magenta."""
    strength = np.linspace(0, 1, _SIZE)
    table = np.empty((_SIZE, 4), np.uint8)
    table[:, :3] = (255, 40, 200)
    table[:, 3] = 210 * strength
    return table


def object_colour(number: int) -> str:
    """Return the colour of an object by its number, as #rrggbb; neighbours differ clearly."""
    return _OBJECTS[number % len(_OBJECTS)]


def outlines(labels: NDArray[Any], numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Return the outlines of labelled objects as colours with alpha, (rows, columns, 4) uint8.

    Parameters
    ----------
    labels : (rows, columns)
        0 outside of objects, ``i + 1`` in the object ``numbers[i]``.
    numbers : sequence of int
        Numbers of the objects.
    """
    table = np.zeros((len(numbers) + 1, 4), np.uint8)
    for row, number in enumerate(numbers, 1):
        table[row] = (*bytes.fromhex(object_colour(number)[1:]), 255)
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            edge |= labels != np.roll(labels, step, axis)
    return table[np.where(edge, labels, 0)]


@lru_cache
def _table(name: str, size: int) -> NDArray[np.uint8]:
    """Return a colour map of pyqtgraph, (size, 3), from its file: its import takes too long."""
    spec = find_spec("pyqtgraph")
    assert spec is not None and spec.origin is not None
    file = Path(spec.origin).parent / "colors" / "maps" / f"{name}.csv"
    stops = np.loadtxt(file, delimiter=",", comments=";")  # (stops, 3), 0 to 1
    at, known = np.linspace(0, 1, size), np.linspace(0, 1, len(stops))
    table = [np.interp(at, known, stops[:, channel]) for channel in range(3)]
    return np.rint(255 * np.stack(table, axis=1)).astype(np.uint8)
