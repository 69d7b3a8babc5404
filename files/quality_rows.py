"""Rows of /quality in tomogram files: the comparison of one time point with total variation."""

from typing import Any

import numpy as np

from regularizer.quality_report import SSIM_WINDOW, QualityReport

__all__ = ["quality_row", "quality_type"]

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
