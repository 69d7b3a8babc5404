"""What NumPy and MATLAB files say beside the volumes: voxels, times, places, optics, provenance.

An array has no attributes, so each of these is a variable of its own. Lengths are in um, times in
s; what is unknown is left out.
"""

import numpy as np
from numpy.typing import NDArray

from files.exporting.exported_image import ExportedImage

__all__ = ["Variable", "array_variables"]

Variable = NDArray[np.float64] | str


def array_variables(image: ExportedImage, axes: str) -> dict[str, Variable]:
    """Return the variables that describe the volumes of an image.

    Parameters
    ----------
    image : ExportedImage
    axes : str
        Order of the axes in the file's arrays, of t, z, y, x: "tzyx".

    Returns
    -------
    dict of str to array or text
        ``axes``; ``voxel_size_um`` (3,), in the order that ``axes`` has; ``times_s`` (t,) from the
        first scan, ``timestamps_s`` (t,) since the epoch and ``interval_s`` (1,), where scans are
        evenly spaced; ``stage_um`` (t, 3), x, y and z; ``wavelength_um``, ``numerical_aperture``
        and ``medium_index`` (1,); ``name`` of the position or file; ``provenance``, JSON.
    """
    optics = image.series.optics
    sizes = dict(zip("zyx", image.series.voxel_size_um, strict=True))
    found: dict[str, Variable] = {
        "axes": axes,
        "voxel_size_um": np.array([sizes[axis] for axis in axes if axis in sizes]),
        "wavelength_um": np.array([optics.wavelength_um]),
        "numerical_aperture": np.array([optics.numerical_aperture]),
        "medium_index": np.array([optics.medium_index]),
        "name": image.name,
        "provenance": image.provenance,
    }
    times = {"timestamps_s": image.timestamps, "times_s": image.seconds}
    found |= {name: held for name, held in times.items() if held is not None}
    if image.interval_s is not None:
        found["interval_s"] = np.array([image.interval_s])
    places = np.array(image.stage_um, np.float64)
    if np.isfinite(places).any():
        found["stage_um"] = places
    return found
