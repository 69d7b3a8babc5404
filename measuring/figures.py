"""The figures of one object, from its outline.

Volume and surface are those of the iso-surface at the outline's level. Dry mass is not taken from
what lies inside of it: blur carries part of an object beyond its half maximum, of a sphere of 1 um
radius up to a tenth, and leaves the sum as it is. So what the object adds to its surroundings is
summed over object and rim, as the light of a star is summed over an aperture, and what the
surroundings would contribute to its volume is added:

    m = [ sum over object and rim of (dn - dn_around) dV  +  dn_around V ] / increment

(Barer, Nature 169, 366, 1952: index over the refraction increment is dry mass per volume; 1 ml/g is
1 um^3/pg.)
"""

import numpy as np
from numpy.typing import NDArray

from measuring.blur import volume_without_blur
from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from measuring.outline import LabelledVolume, Outline
from measuring.surface import area_and_volume

__all__ = ["measure_object"]


def measure_object(
    volume: LabelledVolume,
    outline: Outline,
    medium_index: float,
    sign: int,
    settings: MeasuringSettings,
    number: int,
) -> MeasuredObject:
    """Return the figures of an object.

    Parameters
    ----------
    volume : LabelledVolume
    outline : Outline
    medium_index : float
    sign : int
        1 for an object denser than its medium, -1 for a lighter one.
    settings : MeasuringSettings
    number : int
        The object's number.
    """
    area_um2, volume_um3 = _surface(volume, outline)
    voxel_um3 = float(np.prod(volume.voxel_size_um))
    whole = outline.own & (outline.distance_um <= volume.rim_um)
    excess = outline.contrast[whole].astype(np.float64) - outline.around
    added = float(excess.sum()) * voxel_um3 + outline.around * volume_um3  # um^3
    contrast = outline.contrast[outline.mask]
    z, y, x = _centroid(volume, outline, whole)
    return MeasuredObject(
        number=number,
        volume_um3=volume_um3,
        surface_um2=area_um2,
        mean_index=medium_index + sign * added / volume_um3,
        max_index=medium_index + sign * float(contrast.max()),
        dry_mass_pg=sign * added / settings.increment_ml_per_g,
        z_um=z,
        y_um=y,
        x_um=x,
        lipid_fraction=_lipid(contrast, medium_index, sign, settings.lipid_threshold),
        cut=_reaches_the_edge(outline, volume.contrast.shape),
    )


def _surface(volume: LabelledVolume, outline: Outline) -> tuple[float, float]:
    """Return the area (um^2) and the volume (um^3) of an object, without what blur took."""
    field, level, size_um = _closed(outline), outline.level, volume.voxel_size_um
    area_um2, seen_um3 = area_and_volume(field, level, size_um)
    field = np.clip(field, outline.around, outline.inside)  # droplets move no edge
    height = outline.inside - outline.around
    volume_um3 = volume_without_blur(field, level, height, size_um, volume.resolution_um, seen_um3)
    return area_um2 * (volume_um3 / seen_um3) ** (2 / 3), volume_um3


def _closed(outline: Outline) -> NDArray[np.float32]:
    """Return the contrast with the object's surface as its only one at the level.

    Holes are raised above the level. What is above it and belongs to others is mirrored to below,
    which puts a cut between touching objects half-way between their voxels. Outside of the box, all
    is surroundings.
    """
    field, level = outline.contrast.copy(), np.float32(outline.level)
    holes = outline.mask & (field <= level)
    field[holes] = max(outline.inside, outline.level * 1.5)
    strangers = ~outline.mask & (field >= level)
    field[strangers] = 2 * level - field[strangers]
    return np.pad(field, 1, constant_values=outline.around)


def _centroid(
    volume: LabelledVolume, outline: Outline, whole: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return the centroid (z, y, x) in um, each voxel weighted with the part that is object."""
    height = max(outline.inside - outline.around, 1e-12)
    part = np.clip((outline.contrast - outline.around) / height, 0, 1)
    part = np.where(whole, np.where(outline.mask, np.maximum(part, 0.5), part), 0)
    centre = []
    for axis, size_um in enumerate(volume.voxel_size_um):
        along = part.sum(axis=tuple(other for other in range(3) if other != axis))
        places = np.arange(len(along)) + outline.box[axis].start
        middle = volume.contrast.shape[axis] // 2
        centre.append((float(along @ places) / float(along.sum()) - middle) * size_um)
    return centre[0], centre[1], centre[2]


def _lipid(
    contrast: NDArray[np.float32], medium_index: float, sign: int, threshold: float | None
) -> float | None:
    """Return the share of an object's voxels with an index above the second threshold."""
    if threshold is None:
        return None
    return float(np.mean(medium_index + sign * contrast > threshold))


def _reaches_the_edge(outline: Outline, shape: tuple[int, ...]) -> bool:
    for axis, (box, size) in enumerate(zip(outline.box, shape, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        there = np.asarray(outline.mask.any(axis=others))
        if (box.start == 0 and there[0]) or (box.stop == size and there[-1]):
            return True
    return False
