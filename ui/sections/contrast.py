"""The range of RI that the colours span, set by hand or from the volume; without Qt."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AUTOSCALES",
    "HIGHEST_INDEX",
    "LOWEST_INDEX",
    "Contrast",
    "auto_contrast",
    "histogram",
    "percentile_contrast",
]

NARROWEST = 0.0005
LOWEST_INDEX, HIGHEST_INDEX = 1.0, 3.0
AUTOSCALES: Final = {
    "once": "Fixed limits",
    "always": "Auto, each scan",
    "percentiles": "Percentiles",
}
_BINS = 160

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Contrast:
    """The RI drawn darkest and brightest."""

    low: float
    high: float

    def with_low(self, low: float) -> "Contrast":
        """Move the lower end; the upper end moves too where they would cross."""
        low = min(max(low, LOWEST_INDEX), HIGHEST_INDEX - NARROWEST)
        return Contrast(low, max(self.high, low + NARROWEST))

    def with_high(self, high: float) -> "Contrast":
        """Move the upper end; the lower end moves too where they would cross."""
        high = max(min(high, HIGHEST_INDEX), LOWEST_INDEX + NARROWEST)
        return Contrast(min(self.low, high - NARROWEST), high)

    def shifted(self, by: float) -> "Contrast":
        """Move both ends by the same amount."""
        by = min(max(by, LOWEST_INDEX - self.low), HIGHEST_INDEX - self.high)
        return Contrast(self.low + by, self.high + by)

    def scaled(self, factor: float) -> "Contrast":
        """Narrow or widen the range around its middle."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        half = max(half * factor, NARROWEST / 2)
        return Contrast(max(middle - half, LOWEST_INDEX), min(middle + half, HIGHEST_INDEX))


def auto_contrast(volume: Volume, medium_index: float) -> Contrast:
    """Return a contrast in which the medium is dark and the densest structures are not clipped.

    Uses every second voxel in x and y. 0.005 % of the voxels may lie above the range (a nucleolus
    is 0.02 % of a field). Indices below the medium (shadows of the missing cone in a raw volume)
    get at most a fifth of the range.
    """
    low, high = np.percentile(volume[:, ::2, ::2], (0.5, 99.995)).tolist()
    if not math.isfinite(low + high):
        return _rounded(medium_index - 0.01, medium_index + 0.05)
    above = max(high - medium_index, 0.0)
    below = max(medium_index - low, 0.0)
    if below > above:
        return _rounded(medium_index - below, medium_index + max(above, 0.1 * below))
    return _rounded(medium_index - min(below, above / 4), medium_index + above)


def percentile_contrast(
    volume: Volume, percentiles: tuple[float, float], medium_index: float
) -> Contrast:
    """Return the contrast between two percentiles (0 to 100) of every second voxel in x and y."""
    low, high = np.percentile(volume[:, ::2, ::2], percentiles).tolist()
    if not math.isfinite(low + high):
        return auto_contrast(volume, medium_index)
    return Contrast(low, max(high, low + NARROWEST))


def _rounded(low: float, high: float) -> Contrast:
    spread = max(0.002 - (high - low), 0.0) / 2
    return Contrast(round(low - spread, 3), round(high + spread, 3))


def histogram(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how many voxels have which RI: heights (bins,) from 0 to 1, and edges (bins + 1,).

    Of every fourth voxel in x and y; the heights are logarithmic, since the empty medium is
    hundreds of times more frequent than what is in it.
    """
    some = volume[:, ::4, ::4]
    some = some[np.isfinite(some)]
    if some.size == 0:
        return np.zeros(1), np.array([1.33, 1.34])
    low, high = float(some.min()), float(some.max())
    counts, edges = np.histogram(some, _BINS, (low, max(high, low + NARROWEST)))
    heights = np.log1p(counts)
    return heights / max(float(heights.max()), 1.0), edges
