"""The outline of one object: where its contrast is half-way to that of its surroundings.

A blurred edge keeps its half maximum in place, whatever the width of the blur. A common threshold
does not: it lies too far inside of faint objects and too far outside of strong ones. So each object
has its own level, half-way between what it is inside and what surrounds it. Both are medians, which
neither nucleoli nor droplets move: of what lies deeper than the resolution, and of a shell outside
the blurred rim.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from measuring.finding import fill_holes

__all__ = ["LabelledVolume", "Outline", "find_outline"]

_ROUNDS = 10
_STABLE = 0.005  # of the level
_LEAST_AROUND = 50  # voxels, for a median of the surroundings

Box = tuple[slice, slice, slice]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LabelledVolume:
    """A volume and the objects that were found in it.

    Parameters
    ----------
    contrast : (z, y, x) float32
        Index minus the medium's, negated for objects lighter than their medium.
    labels : (z, y, x) int32
        0 outside of objects, then 1, 2, ...
    voxel_size_um : (dz, dy, dx)
    resolution_um : (axial, lateral)
        Of the optics.
    """

    contrast: NDArray[np.float32]
    labels: NDArray[np.int32]
    voxel_size_um: tuple[float, float, float]
    resolution_um: tuple[float, float]

    @property
    def coarsest_um(self) -> float:
        """The coarser resolution, the axial one."""
        return max(self.resolution_um)

    @property
    def rim_um(self) -> float:
        """How far a blurred edge reaches beyond its half maximum.

        The resolution is about the full width at half maximum of the blur, 2.35 standard
        deviations.
        """
        return self.coarsest_um

    def box_around(self, box: Box) -> Box:
        """Return a box with room for the rim and the surroundings of what is in ``box``."""
        wider = []
        for axis, size_um in enumerate(self.voxel_size_um):
            margin = int(np.ceil(2 * self.rim_um / size_um)) + 1
            start, stop = box[axis].start - margin, box[axis].stop + margin
            wider.append(slice(max(start, 0), min(stop, self.contrast.shape[axis])))
        return wider[0], wider[1], wider[2]


@dataclass(frozen=True, slots=True)
class Outline:
    """An object and its surroundings, in a box of the volume.

    Parameters
    ----------
    box : slices (z, y, x)
        Where it lies in the volume.
    contrast : (z, y, x) float32
        Of the box.
    mask : (z, y, x) bool
        The object, holes filled.
    own : (z, y, x) bool
        What is nearer to this object than to any other.
    distance_um : (z, y, x) float64
        Of each voxel outside to the object; 0 inside.
    level : float
        Contrast at the surface.
    inside, around : float
        Typical contrast of the object and of its surroundings.
    """

    box: Box
    contrast: NDArray[np.float32]
    mask: Mask
    own: Mask
    distance_um: NDArray[np.float64]
    level: float
    inside: float
    around: float


def find_outline(
    volume: LabelledVolume, number: int, box: Box, level: float | None = None
) -> Outline | None:
    """Return the outline of an object; None if nothing is left of it.

    Parameters
    ----------
    volume : LabelledVolume
    number : int
        The object's label.
    box : slices (z, y, x)
        The part of the volume that holds it.
    level : float or None
        Contrast at the surface; None: half-way between object and surroundings.
    """
    box = volume.box_around(box)
    found = _described(volume, number, box, volume.labels[box] == number, level)
    for _ in range(_ROUNDS if level is None else 0):
        mask = _above_level(found)
        if mask is None:
            return None
        last = found.level
        found = _described(volume, number, *_moved(volume, found.box, mask), level)
        if abs(found.level - last) < _STABLE * last:
            break
    return found


def _described(
    volume: LabelledVolume, number: int, box: Box, mask: Mask, level: float | None
) -> Outline:
    contrast = volume.contrast[box]
    own = _nearest(volume, box, number)
    size_um = volume.voxel_size_um
    distance = ndimage.distance_transform_edt(~mask, sampling=size_um)
    inside = float(np.median(contrast[_deep(mask, volume)]))
    shell = own & (distance > volume.rim_um) & (distance <= 2 * volume.rim_um)
    seen = np.count_nonzero(shell) >= _LEAST_AROUND
    around = float(np.clip(np.median(contrast[shell]), 0, inside / 2)) if seen else 0.0
    if level is None:
        level = (inside + around) / 2
    return Outline(box, contrast, mask, own, distance, level, inside, around)


def _nearest(volume: LabelledVolume, box: Box, number: int) -> Mask:
    """Return what is nearer to the object, as it was found, than to any other."""
    labels = volume.labels[box]
    if not np.any((labels != 0) & (labels != number)):
        return np.ones(labels.shape, np.bool_)
    nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=volume.voxel_size_um, return_distances=False, return_indices=True
    )
    return np.asarray(labels[tuple(nearest)] == number)


def _deep(mask: Mask, volume: LabelledVolume) -> Mask:
    """Return what of an object lies deeper than the resolution, or else its deeper half."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=volume.voxel_size_um)
    depth = depth[1:-1, 1:-1, 1:-1]
    return np.asarray(depth >= min(volume.coarsest_um, float(depth.max()) / 2))


def _above_level(outline: Outline) -> Mask | None:
    """Return the largest part above the level that the object reaches, its holes filled."""
    parts, count = ndimage.label((outline.contrast > outline.level) & outline.own)
    shared = np.bincount(parts[outline.mask], minlength=count + 1)[1:]
    if not shared.any():
        return None
    return fill_holes(np.asarray(parts == int(shared.argmax()) + 1)) & outline.own


def _moved(volume: LabelledVolume, box: Box, mask: Mask) -> tuple[Box, Mask]:
    """Return the box around what is now the object, and the object in it."""
    (tight,) = ndimage.find_objects(mask.astype(np.uint8))
    placed = [
        slice(outer.start + inner.start, outer.start + inner.stop)
        for outer, inner in zip(box, tight, strict=True)
    ]
    wide = volume.box_around((placed[0], placed[1], placed[2]))
    moved = np.zeros([one.stop - one.start for one in wide], np.bool_)
    there = tuple(
        slice(inner.start - outer.start, inner.stop - outer.start)
        for outer, inner in zip(wide, placed, strict=True)
    )
    moved[there] = mask[tight]
    return wide, moved
