"""Rows of /quality in tomogram files: the comparison of one time point with total variation."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from regularizer.quality_report import SSIM_WINDOW, QualityReport

__all__ = ["finished_time_points", "quality_columns", "quality_row", "quality_type"]

_SCALARS = (
    "ssim", "mse", "correlation", "data_range", "residual_raw", "residual", "residual_tv"
)  # fmt: skip


def quality_type(shape: tuple[int, ...]) -> np.dtype[np.void]:
    """Return the type of a row for volumes (z, y, x)."""
    slices = max(shape[0] - SSIM_WINDOW + 1, 1)
    columns = [("time", "<i8"), ("method", "S16"), *((name, "<f8") for name in _SCALARS)]
    return np.dtype([*columns, ("ssim_z", "<f4", (slices,))])


def quality_row(dtype: Any, time: int, report: QualityReport) -> Any:
    """Return the row of a time point: ``method`` as bytes, ``ssim_z`` as an array."""
    row = np.zeros((), dtype)
    row["time"], row["method"] = time, report.method.encode()
    for name in (*_SCALARS, "ssim_z"):
        row[name] = getattr(report, name)
    return row


def quality_columns(file: h5py.File) -> dict[str, NDArray[Any]]:
    """Return the columns of /quality; nothing where there is none."""
    if "quality" not in file:
        return {}
    rows = file["quality"][()]
    return {name: rows[name] for name in rows.dtype.names or ()}


def finished_time_points(
    scans: NDArray[np.int64], quality: Mapping[str, NDArray[Any]], check_every: int
) -> int:
    """Return how many time points lack nothing: not the last one while its row is due.

    A time point is compared after it was written, so a process that ended in between has left the
    row out. Every ``check_every``-th scan gets one; 0: none.
    """
    last = len(scans) - 1
    due = check_every > 0 and last >= 0 and scans[last] % check_every == 0
    return last if due and last not in quality.get("time", ()) else last + 1
