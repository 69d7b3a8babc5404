"""What a tomogram file holds beside its volumes, read and checked."""

import json
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from files import hdf5
from files.quality_rows import finished_time_points, quality_columns

__all__ = [
    "complete_time_points",
    "finished",
    "provenance_in",
    "scan_numbers",
    "timestamps",
    "voxel_size",
]


def complete_time_points(file: h5py.File) -> int:
    """Return how many time points are complete: those with a timestamp, where there are any."""
    raw = hdf5.checked_dataset(file, "tomograms/raw", (None, None, None, None), (np.float32,))
    if "tomograms/timestamps" not in file:
        return len(raw)
    return len(hdf5.checked_dataset(file, "tomograms/timestamps", (None,), (np.float64,)))


def timestamps(file: h5py.File, count: int) -> NDArray[np.float64]:
    """Return the time of each time point, seconds since the epoch; zero where there are none."""
    if "tomograms/timestamps" not in file:
        return np.zeros(count)
    return np.asarray(file["tomograms/timestamps"][:count], np.float64)


def scan_numbers(file: h5py.File, count: int) -> NDArray[np.int64]:
    """Return the scan of each time point; the time point itself where there are none."""
    if "tomograms/scan" not in file:
        return np.arange(count)
    found = hdf5.checked_dataset(file, "tomograms/scan", (None,), (np.int64,))
    return np.asarray(found[:count], np.int64)


def voxel_size(file: h5py.File) -> tuple[float, float, float]:
    """Return the voxel size (dz, dy, dx), um."""
    values = np.atleast_1d(file["tomograms"].attrs.get("voxel_size_um", ()))
    if values.shape != (3,) or values.dtype.kind not in "fiu" or not (values > 0).all():
        raise DataError(
            f"{file.filename}: attribute 'voxel_size_um' of /tomograms must be three positive "
            f"numbers (dz, dy, dx), found {values.tolist() or 'nothing'}"
        )
    dz, dy, dx = (float(value) for value in values)
    return dz, dy, dx


def finished(file: h5py.File) -> int:
    """Return how many time points lack nothing, not even the comparison that is due."""
    scans = scan_numbers(file, complete_time_points(file))
    every = provenance_in(file).get("check_every", 0)
    return finished_time_points(scans, quality_columns(file), every)


def provenance_in(file: h5py.File) -> dict[str, Any]:
    """Return what the file was made from, and how."""
    text = hdf5.required_attribute(file, "provenance", "a JSON object")
    try:
        provenance = json.loads(text)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{file.filename}: attribute 'provenance' of / must be a JSON object, found {text!r}"
        ) from error
    return provenance if isinstance(provenance, dict) else {"provenance": provenance}
