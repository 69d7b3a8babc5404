"""The rows of /quality in a tomogram file: how near a tomogram is to total variation."""

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from regularizer.quality_report import SSIM_WINDOW, QualityReport

__all__ = ["quality_row", "quality_type", "read_quality"]

_SCALARS = (
    "ssim", "mse", "correlation", "data_range", "residual_raw", "residual", "residual_tv"
)  # fmt: skip


def quality_type(shape: tuple[int, ...]) -> np.dtype[np.void]:
    """Return the type of a row for volumes (z, y, x)."""
    slices = max(shape[0] - SSIM_WINDOW + 1, 1)
    columns = [("time", "<i8"), ("method", "S16"), *((name, "<f8") for name in _SCALARS)]
    return np.dtype([*columns, ("ssim_z", "<f4", (slices,))])


def quality_row(time: int, report: QualityReport, kind: np.dtype[np.void]) -> NDArray[np.void]:
    """Return the row of a time point's report."""
    row = np.zeros((), kind)
    row["time"], row["method"] = time, report.method.encode()
    for name in (*_SCALARS, "ssim_z"):
        row[name] = getattr(report, name)
    return row


def read_quality(file: h5py.File) -> dict[str, NDArray[Any]]:
    """Return the columns by name; none where nothing was compared."""
    if "quality" not in file:
        return {}
    rows = file["quality"][()]
    return {name: rows[name] for name in rows.dtype.names or ()}
