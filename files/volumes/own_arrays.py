"""What LiveTomo's own NumPy and MATLAB files say of their arrays, in variables beside them.

``files.exporting.array_variables`` lists them. A file without ``axes`` is somebody else's, and its
variables mean what they mean there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from files.volumes.volume_source import VolumeSource, positive_sizes
from reconstruction.finished.finished_volume import KnownOptics

__all__ = ["DESCRIBING", "with_own_description"]

_OPTICS: Final = ("wavelength_um", "numerical_aperture", "medium_index")
DESCRIBING: Final = ("axes", "voxel_size_um", "timestamps_s", "times_s", *_OPTICS)


def with_own_description(source: VolumeSource, found: Mapping[str, Any]) -> VolumeSource:
    """Return a source with the voxel size, times and optics that its file has for it.

    Parameters
    ----------
    source : VolumeSource
    found : mapping
        Those of ``DESCRIBING`` that the file has: ``axes`` as text, others as numbers.
    """
    axes = [axis for axis in str(found.get("axes", "")).lower() if axis in "zyx"]
    sizes = np.ravel(found.get("voxel_size_um", ()))
    if sorted(axes) != ["x", "y", "z"] or len(sizes) != 3:
        return source
    voxel = positive_sizes([sizes[axes.index(axis)] for axis in "zyx"])
    stamps = np.ravel(found.get("timestamps_s", found.get("times_s", ()))).astype(np.float64)
    known = {name: float(np.ravel(found[name])[0]) for name in _OPTICS if name in found}
    return replace(
        source,
        voxel_size_um=voxel,
        timestamps=stamps if len(stamps) == source.shape[0] else None,
        known=KnownOptics(**known),
    )
