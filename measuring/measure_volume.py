"""Measures the objects of one tomogram: finds them, outlines them, and returns their figures.

Arrays (z, y, x), lengths in um, the volume's centre at index n//2. Pure numpy, scipy and
scikit-image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acquisition.errors import ConfigurationError, DataError
from acquisition.optics import Optics
from measuring.figures import measure_object
from measuring.finding import find_objects
from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from measuring.outline import LabelledVolume, Outline, find_outline
from measuring.threshold import otsu, spread_below

__all__ = ["Measurement", "measure_volume"]

_ROUNDS = 3
_LOWER = 0.8  # an outline's level below this share of the threshold lowers the threshold
_MOST = 65535  # objects, as labels are 16 bit


@dataclass(frozen=True, slots=True)
class Measurement:
    """The objects of one tomogram.

    Parameters
    ----------
    objects : tuple of MeasuredObject
        The largest first.
    labels : (z, y, x) uint16
        0 outside of objects; ``i + 1`` in ``objects[i]``.
    threshold : float
        Index above (for lighter objects: below) which objects were searched; nan where Otsu's
        threshold found only noise.
    """

    objects: tuple[MeasuredObject, ...]
    labels: NDArray[np.uint16]
    threshold: float


def measure_volume(
    index: NDArray[np.float32],
    voxel_size_um: tuple[float, float, float],
    optics: Optics,
    settings: MeasuringSettings | None = None,
) -> Measurement:
    """Find and measure the objects of a volume.

    Parameters
    ----------
    index : (z, y, x) float32
        Refractive index, best regularized.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
        The medium's index, and the resolution.
    settings : MeasuringSettings or None
        None: the defaults.

    Returns
    -------
    Measurement
        Without objects where there are none.

    Raises
    ------
    DataError
        If the volume is not three-dimensional, or not finite.
    ConfigurationError
        If the threshold is the medium's index.
    """
    settings = settings or MeasuringSettings()
    if index.ndim != 3 or not np.isfinite(index).all():
        raise DataError(
            "a measured tomogram must be a (z, y, x) volume of finite indices, got shape "
            f"{index.shape}{'' if index.ndim != 3 else ' with values that are not finite'}"
        )
    contrast = np.asarray(index - np.float32(optics.medium_index), np.float32)
    chosen = _threshold(contrast, optics.medium_index, settings)
    labels = np.zeros(index.shape, np.uint16)
    if chosen is None:
        return Measurement((), labels, float("nan"))
    threshold, signs = chosen
    found: list[tuple[MeasuredObject, Outline]] = []
    for sign in signs:
        for one, outline in _of_one_sign(
            contrast if sign > 0 else -contrast, sign, threshold, voxel_size_um, optics, settings
        ):
            if not (sign < 0 and labels[outline.box][outline.mask].any()):  # no vacuole of another
                found.append((one, outline))
                labels[outline.box][outline.mask] = 1
    found.sort(key=lambda pair: -pair[0].volume_um3)
    del found[_MOST:]
    labels[...] = 0
    for number, (_, outline) in enumerate(found, start=1):
        labels[outline.box][outline.mask] = number
    objects = tuple(one.renumbered(number) for number, (one, _) in enumerate(found, start=1))
    return Measurement(objects, labels, optics.medium_index + signs[0] * threshold)


def _threshold(
    contrast: NDArray[np.float32], medium_index: float, settings: MeasuringSettings
) -> tuple[float, tuple[int, ...]] | None:
    """Return the least |n - n_m| of objects, and the signs that they may have; None: only noise."""
    if settings.threshold is None:
        found = otsu(np.abs(contrast))
        return None if found is None else (found, (1, -1))
    typed = settings.threshold - medium_index
    if typed == 0:
        raise ConfigurationError(
            f"the threshold must differ from the medium's index {medium_index:g}, got the same: "
            "above it objects are denser than the medium, below it lighter"
        )
    return abs(typed), (1 if typed > 0 else -1,)


def _of_one_sign(
    contrast: NDArray[np.float32],
    sign: int,
    threshold: float,
    voxel_size_um: tuple[float, float, float],
    optics: Optics,
    settings: MeasuringSettings,
) -> list[tuple[MeasuredObject, Outline]]:
    """Return the objects that are denser (or, with the contrast negated, lighter)."""
    resolution_um = optics.axial_resolution_um, optics.lateral_resolution_um
    volume, outlines = None, []
    for _ in range(_ROUNDS):
        labels = find_objects(
            contrast, threshold, voxel_size_um, max(resolution_um), settings.minimum_um3
        )
        volume = LabelledVolume(contrast, labels, voxel_size_um, resolution_um)
        outlines = _outlines(volume, threshold if settings.threshold is not None else None)
        lowest = min((outline.level for outline in outlines), default=threshold)
        if settings.threshold is not None or lowest > _LOWER * threshold:
            break
        threshold = max(lowest, spread_below(np.abs(contrast), threshold))
    assert volume is not None
    measured = (
        (measure_object(volume, outline, optics.medium_index, sign, settings, 0), outline)
        for outline in outlines
    )
    return [pair for pair in measured if pair[0].volume_um3 >= settings.minimum_um3]


def _outlines(volume: LabelledVolume, level: float | None) -> list[Outline]:
    boxes = enumerate(ndimage.find_objects(volume.labels), start=1)
    found = (find_outline(volume, number, box, level) for number, box in boxes)
    return [outline for outline in found if outline is not None]
