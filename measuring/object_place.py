"""Where the object of a tomogram is, to keep it in the middle of the field and in focus.

The voxels of objects are those above Otsu's threshold, split where they touch
(``measuring.finding``). The object is the one nearest to where it is expected, and its place is the
centroid of its contrast above the threshold. Of the usual ways to track a particle the centroid
assumes least on its shape (Cheezum, Walker and Guilford, Biophys. J. 81, 2378, 2001); it is exact
for what blurs evenly in all directions, as the missing cone does up and down. A centroid is wrong
where part of the object is missing or a neighbour is taken for a part of it. So an object whose
volume changed too much is not found, nor a small one that reaches the edge of the volume. What
reaches the edge and is half as large as the field is recognised by its field instead, and stays
where it was seen first along the axes on which it is cut (``measuring.field_shift``).

Arrays (z, y, x), lengths in um from the volume's centre, which is voxel n//2 of each axis. Pure
numpy, scipy and scikit-image.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acquisition.optics import Optics
from measuring.field_shift import find_shifted, first_sight
from measuring.finding import find_objects
from measuring.sighting import ObjectPlace, Sighting, Zyx
from measuring.threshold import otsu

__all__ = ["find_place"]

_SMALLEST_UM3 = 0.2  # smaller things are dust and noise
_MOST_CHANGE = 1.6  # of the volume, from scan to scan: a neighbour was joined, or a part is missing

Labels = NDArray[np.int32]


def find_place(
    index: NDArray[np.float32],
    voxel_size_um: Zyx,
    optics: Optics,
    expected: ObjectPlace | None = None,
) -> Sighting:
    """Return where the object is.

    Parameters
    ----------
    index : (z, y, x) float32
        Refractive index, raw or regularized.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    expected : ObjectPlace or None
        The object as it is expected in this volume; None: the one nearest to the middle is meant.

    Returns
    -------
    Sighting
        Without a place where nothing stands out from the noise, where a small object reaches the
        edge, the object is too far from where it is expected, or has another size.
    """
    contrast = np.asarray(index - np.float32(optics.medium_index), np.float32)
    if not np.isfinite(contrast).all():
        return Sighting(None, "the tomogram has values that are not finite")
    if expected is not None and expected.field is not None:
        return find_shifted(contrast, voxel_size_um, expected)
    threshold = otsu(np.abs(contrast))
    if threshold is None:  # or what stands out is everywhere
        large = None if expected else first_sight(contrast, voxel_size_um, (0.0, 0.0, 0.0))
        return Sighting(large, "" if large else "nothing in the field stands out from the noise")
    contrast = _upright(contrast, threshold)
    resolution_um = max(optics.axial_resolution_um, optics.lateral_resolution_um)
    labels = find_objects(contrast, threshold, voxel_size_um, resolution_um, _SMALLEST_UM3)
    places = _places(contrast - np.float32(threshold), labels, voxel_size_um)
    if not places:
        return Sighting(None, "nothing in the field is as large as an object")
    wanted = (0.0, 0.0, 0.0) if expected is None else expected.centre_um
    number = min(places, key=lambda n: math.dist(places[n].centre_um, wanted))
    problem = _problem(places[number], expected)
    cut = _cut_axes(labels, number)
    if problem or not any(cut):
        return Sighting(None, problem) if problem else Sighting(places[number])
    large = None
    if expected is None and _large(labels, number, cut):
        at = (0.0 if off else um for off, um in zip(cut, places[number].centre_um, strict=True))
        large = first_sight(contrast, voxel_size_um, (next(at), next(at), next(at)))
    return Sighting(large, "" if large else "the object reaches the edge of the tomogram")


def _upright(contrast: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Return the contrast, negated where the objects are lighter than the medium."""
    above, below = (float(side[side > threshold].sum()) for side in (contrast, -contrast))
    return contrast if above >= below else -contrast


def _places(
    weight: NDArray[np.float32], labels: Labels, voxel_size_um: Zyx
) -> dict[int, ObjectPlace]:
    """Return all objects by their label; what is too small is left out."""
    voxel_um3 = float(np.prod(voxel_size_um))
    found = {}
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[box] == number
        volume_um3 = float(mask.sum()) * voxel_um3
        if volume_um3 < _SMALLEST_UM3:
            continue
        mass = np.where(mask, np.maximum(weight[box], 0), 0).astype(np.float64)
        if not mass.any():
            continue
        inside = ndimage.center_of_mass(mass)
        z, y, x = (
            float((part.start + at - count // 2) * size)
            for part, at, count, size in zip(box, inside, labels.shape, voxel_size_um, strict=True)
        )
        found[number] = ObjectPlace((z, y, x), volume_um3)
    return found


def _problem(place: ObjectPlace, expected: ObjectPlace | None) -> str:
    """Return why it cannot be the expected object; "" if it can."""
    if expected is None:
        return ""
    away_um = math.dist(place.centre_um, expected.centre_um)
    if away_um > expected.reach_um:
        return f"no object within {expected.reach_um:.1f} um of its last place"
    ratio = place.volume_um3 / expected.volume_um3
    if not 1 / _MOST_CHANGE <= ratio <= _MOST_CHANGE:
        return (
            f"the object there has {ratio:.1f} times the volume that it had: another one touches "
            "it, or it is another one"
        )
    return ""


def _cut_axes(labels: Labels, number: int) -> tuple[bool, bool, bool]:
    """Return on which axes an object reaches the edge."""
    faces = (labels[[0, -1]], labels[:, [0, -1]], labels[:, :, [0, -1]])
    z, y, x = (bool((face == number).any()) for face in faces)
    return z, y, x


def _large(labels: Labels, number: int, cut: tuple[bool, bool, bool]) -> bool:
    """Return whether an object extends over half of an axis on which it is cut."""
    box = ndimage.find_objects(labels, max_label=number)[number - 1]
    sizes = zip(box, labels.shape, cut, strict=True)
    return any(off and part.stop - part.start >= count / 2 for part, count, off in sizes)
