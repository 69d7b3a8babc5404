"""Refractive indices at which surfaces of a cell lie, found in the volume itself.

Otsu's threshold ("A threshold selection method from gray-level histograms", IEEE Trans. SMC 9,
1979) divides voxels into two classes whose means lie as far apart as possible. Applied to the
contrast |n - n_m| of all voxels it finds the object; to the voxels above it, the denser half of the
object, which is no thing of its own; and from there on what is denser than its surroundings:
nucleoli, and again, lipid droplets.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["otsu_threshold", "surface_levels"]

_BINS = 512
_FEWEST = 64  # voxels that a class of its own must have
_SAMPLED = 1_000_000  # voxels: a histogram of more gives the same levels


def surface_levels(
    volume: NDArray[np.float32], medium_index: float, count: int = 3
) -> tuple[float, ...]:
    """Return indices at which ``count`` nested surfaces lie, the outermost first.

    Parameters
    ----------
    volume : (z, y, x) float32
        RI.
    medium_index : float
        RI of the medium. Objects lighter than it get levels below it.
    count : int
        Number of levels, at least 1.

    Returns
    -------
    tuple of float
        RI. The first is half way from the medium to the mean of the object, where a band-limited
        image of a sharp edge has it. In a volume without structure they are spread evenly.
    """
    thinned = volume.ravel()[:: max(volume.size // _SAMPLED, 1)]
    contrast = thinned[np.isfinite(thinned)] - np.float32(medium_index)
    sign = _sign(contrast)
    contrast *= sign
    top = max(float(contrast.max(initial=0.0)), 1e-3)
    thresholds: list[float] = []
    inside = contrast[contrast > 0]
    while len(thresholds) <= count and len(inside) >= _FEWEST:
        thresholds.append(otsu_threshold(inside))
        inside = inside[inside > thresholds[-1]]
        if len(thresholds) == 1 and inside.size:
            # half way to the mean of the object, whose dense parts drew the threshold up
            object_level = float(np.median(inside)) / 2
    levels = [object_level, *thresholds[2:]] if len(thresholds) > 1 else []
    missing = count - len(levels)
    start = levels[-1] if levels else 0.0
    levels += [start + (top - start) * (n + 1) / (missing + 1) for n in range(missing)]
    return tuple(medium_index + sign * level for level in levels)


def _sign(contrast: NDArray[np.float32]) -> int:
    """Return -1 if the strongest contrast is that of something lighter than the medium."""
    if not contrast.size:
        return 1
    low, high = np.percentile(contrast, (0.1, 99.9)).tolist()
    return -1 if -low > 2 * high else 1


def otsu_threshold(values: NDArray[np.float32]) -> float:
    """Return the value that divides ``values`` into two classes by Otsu's criterion."""
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts, dtype=np.float64)[:-1]
    sums = np.cumsum(counts * middles)
    above = counts.sum() - below
    means = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (means[0] - means[1]) ** 2
    return float(edges[1:-1][np.argmax(between)])
