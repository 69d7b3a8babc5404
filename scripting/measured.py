"""Measuring for scripts: the objects of a tomogram."""

from __future__ import annotations  # what a type names is loaded when it is used

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measuring.following import Follower
    from measuring.measure_volume import Measurement
    from scripting.tomogram_handle import Tomogram

__all__ = ["measure"]


def measure(
    tomogram: Tomogram,
    threshold: float | None = None,
    *,
    increment_ml_per_g: float = 0.19,
    minimum_um3: float = 0.2,
    lipid_threshold: float | None = None,
    follower: Follower | None = None,
) -> Measurement:
    """Find and measure the objects of a tomogram.

    Parameters
    ----------
    tomogram : Tomogram
        Best a regularized one: the missing cone distorts a raw one.
    threshold : float or None
        Index at the surface of objects. Above the medium's index objects are denser than their
        medium, below it lighter. None: Otsu's threshold finds objects of either kind; the surface
        of each is half-way between its own index and that of its surroundings.
    increment_ml_per_g : float
        Refraction increment: how much the index rises per g/ml of dry matter.
    minimum_um3 : float
        Smaller objects are left out.
    lipid_threshold : float or None
        Index above which matter counts as lipid; None: the lipid fraction is not measured.
    follower : measuring.following.Follower or None
        Gives the objects of successive tomograms lasting numbers and speeds; use one for a
        time-lapse. None: numbers are the order of size.

    Returns
    -------
    Measurement
        ``objects`` (a tuple of ``measuring.measured_object.MeasuredObject``), ``labels`` (z, y, x)
        uint16, where ``i + 1`` is ``objects[i]``, and ``threshold``, the index that found them.

    Raises
    ------
    ConfigurationError
        If a setting is impossible.
    DataError
        If the tomogram has values that are not finite.

    Examples
    --------
    >>> follower = Follower()  # from measuring.following
    >>> for tomogram in livetomo.open_tomograms("cells-tomograms.h5"):
    ...     for cell in livetomo.measure(tomogram, follower=follower).objects:
    ...         print(tomogram.timestamp, cell.number, cell.volume_um3, cell.dry_mass_pg)
    """
    from measuring.measure_volume import measure_volume
    from measuring.measuring_settings import MeasuringSettings

    settings = MeasuringSettings(threshold, increment_ml_per_g, minimum_um3, lipid_threshold)
    found = measure_volume(tomogram.index_array, tomogram.voxel_size_um, tomogram.optics, settings)
    if follower is None:
        return found
    return replace(found, objects=follower.follow(found.objects, tomogram.timestamp))
