"""By how much what is in the field has moved, where no whole object can be seen in it.

A large cell reaches the edge of the field, or fills it: part of it is missing, so that its
centroid says little. Instead the tomogram is compared with an earlier one of the same place. Both
are reduced to detail between 0.4 and 1 um, since the edge of the field adds slow gradients where it
cuts an object; the part that both show is weighted with a Hann window, and their cross-correlation
is highest at the shift, found to a twentieth of a voxel (Guizar-Sicairos, Thurman and Fienup, Opt.
Lett. 33, 156, 2008). What is cut out follows the shift, until it no longer changes. Phase
correlation, which weighs all frequencies alike, found the static edges of the field at shift 0
instead (docs/explanation/decisions/0029-large-cells-by-correlation.md).

Arrays (z, y, x), lengths in um. Pure numpy, scipy and scikit-image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal.windows import hann
from skimage.registration import phase_cross_correlation

from measuring.sighting import ObjectPlace, Sighting, Zyx

__all__ = ["FieldReference", "detail_of", "find_shifted", "first_sight"]

Volume = NDArray[np.float32]

_VOXEL_UM = (0.35, 0.2, 0.2)  # as accurate as finer ones, 8 times faster
_SLOW_UM = 1.0
_MARGIN_UM = 0.8  # of the field, where an object that it cuts leaves its worst traces
_LEAST_VOXELS = 12  # along each axis of what is compared
# Detail in the strongest plane over that in the weakest quarter: of a cell 2.3 to 3.5, of noise
# 1.0, of an empty field whose static dust shows since the phase has drifted 1.4.
_DEPTH = 1.7
_LIKE = 0.65  # correlation; another cell, or the static dust of an empty field, has 0.55
_RENEWED = 0.8  # a cell that changes is compared with a newer tomogram
_ROUNDS = 5
_FINER = 20  # than a voxel


@dataclass(frozen=True, slots=True, eq=False)
class FieldReference:
    """The detail of an earlier tomogram.

    Parameters
    ----------
    detail : (z, y, x) float16
    voxel_size_um : (dz, dy, dx)
        Of ``detail``.
    at_um : (z, y, x)
        Where the object is said to have been then, from the middle.
    """

    detail: NDArray[np.float16]
    voxel_size_um: Zyx
    at_um: Zyx

    @property
    def reach_um(self) -> float:
        """How far the object may be from where it is expected: a third of the field."""
        sizes = zip(self.detail.shape[1:], self.voxel_size_um[1:], strict=True)
        return float(min(count * size for count, size in sizes)) / 3


def detail_of(contrast: Volume, voxel_size_um: Zyx) -> tuple[Volume, Zyx]:
    """Return the detail of a contrast n - n_m, without the margin of the field, and its voxels."""
    margins = [0, *(round(_MARGIN_UM / size) for size in voxel_size_um[1:])]
    inner = contrast[tuple(slice(m, n - m) for m, n in zip(margins, contrast.shape, strict=True))]
    bins = [max(round(to / size), 1) for to, size in zip(_VOXEL_UM, voxel_size_um, strict=True)]
    counts = [n // b for n, b in zip(inner.shape, bins, strict=True)]
    whole = inner[tuple(slice(n * b) for n, b in zip(counts, bins, strict=True))]
    blocks = [part for n, b in zip(counts, bins, strict=True) for part in (n, b)]
    binned = whole.reshape(blocks).mean((1, 3, 5), dtype=np.float32)
    dz, dy, dx = (size * b for size, b in zip(voxel_size_um, bins, strict=True))
    slow = ndimage.gaussian_filter(binned, [_SLOW_UM / size for size in (dz, dy, dx)])
    return np.asarray(binned - slow, np.float32), (dz, dy, dx)


def first_sight(contrast: Volume, voxel_size_um: Zyx, at_um: Zyx) -> ObjectPlace | None:
    """Return an object that is recognised by its field from now on.

    Noise has the same strength in all planes of a tomogram; a cell has not. None: there is only
    noise, or too few voxels to compare.

    Parameters
    ----------
    contrast : (z, y, x) float32
        n - n_m.
    voxel_size_um : (dz, dy, dx)
    at_um : (z, y, x)
        Where the object is said to be now.
    """
    detail, sizes = detail_of(contrast, voxel_size_um)
    if min(detail.shape) < _LEAST_VOXELS:
        return None
    by_plane = detail.std((1, 2))
    if not by_plane.max() > _DEPTH * np.percentile(by_plane, 25) > 0:
        return None
    return ObjectPlace(at_um, 0.0, FieldReference(detail.astype(np.float16), sizes, at_um))


def find_shifted(contrast: Volume, voxel_size_um: Zyx, expected: ObjectPlace) -> Sighting:
    """Return where the object is that was recognised by its field.

    Parameters
    ----------
    contrast : (z, y, x) float32
        n - n_m.
    voxel_size_um : (dz, dy, dx)
    expected : ObjectPlace
        With its field.
    """
    reference = expected.field
    assert reference is not None
    detail, sizes = detail_of(contrast, voxel_size_um)
    if detail.shape != reference.detail.shape:
        return Sighting(None, "the tomogram has another size than the one it is compared with")
    steps, like = _shift(reference.detail.astype(np.float32), detail)
    if like < _LIKE:
        return Sighting(
            None, f"the field does not look like the one before it (correlation {like:.2f})"
        )
    z, y, x = (
        at + step * size for at, step, size in zip(reference.at_um, steps, sizes, strict=True)
    )
    field = reference
    if like < _RENEWED:
        field = FieldReference(detail.astype(np.float16), sizes, (z, y, x))
    place = ObjectPlace((z, y, x), 0.0, field)
    away_um = float(np.linalg.norm(np.subtract(place.centre_um, expected.centre_um)))
    if away_um > reference.reach_um:
        return Sighting(None, f"the field has moved by {away_um:.1f} um, too far to compare it")
    return Sighting(place)


def _shift(before: Volume, after: Volume) -> tuple[NDArray[np.float64], float]:
    """Return by how many voxels the content moved, and how alike it is there, from -1 to 1."""
    whole, found = np.zeros(3, int), np.zeros(3)
    best = (found, -1.0)
    for _ in range(_ROUNDS):
        one, other = _windowed(*_common(before, after, whole))
        step, _, _ = phase_cross_correlation(other, one, upsample_factor=_FINER, normalization=None)
        like = float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-30))
        found = whole + step
        best = max(best, (found, like), key=lambda pair: pair[1])
        ahead = np.rint(found).astype(int)
        too_far = (np.array(before.shape) - np.abs(ahead) < _LEAST_VOXELS).any()
        if too_far or (ahead == whole).all():
            break
        whole = ahead
    return best


def _common(before: Volume, after: Volume, by: NDArray[np.int_]) -> tuple[Volume, Volume]:
    """Return the part that both show if the content moved by so many voxels."""
    sizes = list(zip(before.shape, by.tolist(), strict=True))
    here = tuple(slice(max(-s, 0), n - max(s, 0)) for n, s in sizes)
    there = tuple(slice(max(s, 0), n - max(-s, 0)) for n, s in sizes)
    return before[here], after[there]


def _windowed(*volumes: Volume) -> list[Volume]:
    """Return volumes under a Hann window, each about its mean under it."""
    z, y, x = (hann(n + 2)[1:-1] for n in volumes[0].shape)
    window = np.asarray(z[:, None, None] * y[:, None] * x, np.float32)
    total = float(window.sum())
    return [(part - float((part * window).sum()) / total) * window for part in volumes]
