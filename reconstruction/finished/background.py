"""The medium's index, and the noise of the measured spectrum, from a volume itself."""

import math

import numpy as np
from numpy.typing import NDArray

from reconstruction.finished.clipping import is_nonnegative
from reconstruction.finished.scan_caps import lateral_frequencies
from reconstruction.tomogram import Spectrum

__all__ = ["medium_of", "noise_share"]

_FINEST = 1e-4  # width of a bin; the integer step of TCF
_BINS = 400
_SAMPLED = 4_000_000  # voxels, evenly chosen, of a larger volume
_OUTER = (0.5, 0.8)  # of the band across


def medium_of(index: NDArray[np.float32]) -> float:
    """Return the medium's index of a volume (z, y, x): the most frequent one.

    Of a raw tomogram that is looked for among the means along z. The missing cone leaves the plane
    K_z = 0 alone, so that they have no halo, which lowers the index of half of the voxels (by 0.001
    around a sphere of 2.6 um).
    """
    found = _mode(index)
    if is_nonnegative(index, found):
        return found
    return _mode(index.mean(axis=0, dtype=np.float64))


def _mode(values: NDArray[np.floating]) -> float:
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // _SAMPLED)].astype(np.float64)
    low, high = np.quantile(flat, [0.01, 0.99])
    if high - low < _FINEST:
        return float(np.median(flat))
    bins = min(_BINS, math.ceil((high - low) / _FINEST))
    width = max((high - low) / bins, _FINEST)
    edges = low - width / 2 + np.arange(bins + 2) * width
    counts, _ = np.histogram(flat, edges)
    peak = int(np.argmax(counts))
    first, last = max(peak - 1, 0), min(peak + 2, len(edges) - 1)
    return float(np.median(flat[(flat >= edges[first]) & (flat <= edges[last])]))


def noise_share(spectrum: Spectrum) -> float | None:
    """Return the rms of the noise in a measured spectrum over that of its values.

    Noise fills the measured voxels evenly, and an object's power falls with the frequency: the
    middle power between half and four fifths of the band across is taken for noise everywhere. On
    an exact sphere with shot noise that is 0.166, where the difference of K and -K gives 0.164.

    None where nothing was measured there.
    """
    share = lateral_frequencies(spectrum.shape, spectrum.voxel_size_um) / spectrum.optics.cutoff
    ring = ((share > 2 * _OUTER[0]) & (share < 2 * _OUTER[1])).to(spectrum.values.device)
    measured = spectrum.measured > 0
    power = spectrum.values.abs().square()
    outer, whole = power[measured & ring], float(power.sum())
    if not len(outer) or whole == 0:
        return None
    each = float(outer.median()) / math.log(2)  # the mean of an exponential distribution
    return min(math.sqrt(each * float(measured.sum()) / whole), 1.0)
