"""Reads a table of measured objects (CSV) that lies beside its tomogram file."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from measuring.measured_object import COLUMNS, MeasuredObject

__all__ = ["HEADER", "LIPID", "read_measured", "table_beside"]

HEADER: Final = ("time_s", "object", *COLUMNS)
LIPID: Final = "lipid_fraction"  # the last column, where a second threshold was given
_DERIVED = ("sphericity", "density_pg_per_um3")


def table_beside(tomograms: Path) -> Path | None:
    """Return the table of a tomogram file: a CSV file beside it whose name begins as its own.

    Of NAME.h5 that is NAME.csv, else the first of NAME*.csv with the columns of a table.
    """
    stem = tomograms.stem
    for found in sorted(
        (path for path in tomograms.parent.glob("*.csv") if path.stem.startswith(stem)),
        key=lambda path: (path.stem != stem, path.name),
    ):
        with found.open(newline="", encoding="utf-8", errors="replace") as stream:
            if tuple(next(csv.reader(stream), ()))[: len(HEADER)] == HEADER:
                return found
    return None


def read_measured(
    table: Path, timestamps: NDArray[np.float64]
) -> dict[int, tuple[MeasuredObject, ...]]:
    """Return the objects of each time point.

    Parameters
    ----------
    table : Path
        As ``measure_tomograms`` writes it.
    timestamps : (time,) float64
        Of the tomogram file, in seconds since the epoch; all zero if it has none.

    Raises
    ------
    DataError
        If it cannot be read, or is about other time points.
    """
    known = (
        timestamps - timestamps[0] if timestamps.any() else np.arange(len(timestamps), dtype=float)
    )
    times = {f"{time_s:.10g}": time for time, time_s in enumerate(known.tolist())}
    found: dict[int, list[MeasuredObject]] = defaultdict(list)
    last: dict[int, tuple[float, MeasuredObject]] = {}
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                one = _with_speed(_object(row), float(row["time_s"]), last)
                found[times[row["time_s"]]].append(one)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{table} must be a table that `launcher.py measure` made of this tomogram file, found "
            f"{error!r}: measure the file again"
        ) from error
    return {time: tuple(objects) for time, objects in sorted(found.items())}


def _object(row: dict[str, str]) -> MeasuredObject:
    figures: dict[str, Any] = {name: float(row[name]) for name in COLUMNS if name not in _DERIVED}
    lipid = float(row[LIPID]) if row.get(LIPID) else None
    return MeasuredObject(number=int(row["object"]), lipid_fraction=lipid, **figures)


def _with_speed(
    one: MeasuredObject, time_s: float, last: dict[int, tuple[float, MeasuredObject]]
) -> MeasuredObject:
    """Return the object with its speed since its row before, which the table does not have."""
    before = last.get(one.number)
    last[one.number] = (time_s, one)
    if before is None or time_s <= before[0]:
        return one
    distance = float(np.linalg.norm(np.subtract(one.centroid_um, before[1].centroid_um)))
    return replace(one, speed_um_per_s=distance / (time_s - before[0]))
