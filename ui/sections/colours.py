"""The colours that stand for refractive indices."""

from functools import lru_cache
from typing import Final

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray

from ui.sections.contrast import Contrast

__all__ = ["ABOUT_MEDIUM", "COLORMAPS", "DIFFERENCE", "Colours", "lookup_table", "map_colours"]

Colours = NDArray[np.uint8]

ABOUT_MEDIUM: Final = "about medium"
DIFFERENCE: Final = ABOUT_MEDIUM  # of differences: about zero, the middle of the colours
COLORMAPS: Final = ("gray", "viridis", "inferno", "cividis", ABOUT_MEDIUM)
_SIZE = 256


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


@lru_cache
def _table(name: str, size: int) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = pg.colormap.get(name).getLookupTable(nPts=size)
    return np.ascontiguousarray(table[:, :3])
