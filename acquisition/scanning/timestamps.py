"""Times of scans, in seconds since the epoch (1970-01-01 UTC), and recognition of other units.

A scan's time is a date, or it counts from an arbitrary zero (0, 5.25, 99.75 s) and gives intervals
only. Other programs use other units and epochs; their numbers are far too large to be seconds, or,
in days, far too close together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

__all__ = ["guessed_unit", "is_possible_time", "time_text", "utc_date"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Earlier times count from an arbitrary zero: there were no digital holographic recordings then.
_EARLIEST_S = datetime(1980, 1, 1, tzinfo=UTC).timestamp()
# Later times are not dates: seconds since 1904 (LabVIEW) start here for scans of 1984.
_LATEST_S = datetime(2050, 1, 1, tzinfo=UTC).timestamp()
_DAY_S = 86400.0
_CLOSEST_S = 0.05  # shortest interval of scans in seconds; in days, intervals are smaller numbers


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit of time: its length in seconds, and its zero in seconds since the epoch."""

    name: str
    seconds: float
    zero_s: float = 0.0

    def read(self, value: float) -> float:
        return value * self.seconds + self.zero_s


_LARGE = (
    _Unit("milliseconds", 1e-3),
    _Unit("microseconds", 1e-6),
    _Unit("nanoseconds", 1e-9),
    _Unit("seconds since 1904 (LabVIEW)", 1.0, -2082844800.0),
    _Unit("units of 100 ns since 1601 (Windows)", 1e-7, -11644473600.0),
    _Unit("units of 100 ns since the year 1 (.NET)", 1e-7, -62135596800.0),
)
_DAYS = (
    _Unit("days since 1900 (Excel)", _DAY_S, -25569 * _DAY_S),
    _Unit("days since the year 0 (MATLAB's datenum)", _DAY_S, -719529 * _DAY_S),
    _Unit("days since 4713 BC (Julian dates)", _DAY_S, -2440587.5 * _DAY_S),
    _Unit("days since 1970", _DAY_S),
)
_FIRST_SEEN_S = datetime(2000, 1, 1, tzinfo=UTC).timestamp()  # a recording's date, in any unit


def is_possible_time(timestamp: float) -> bool:
    """Return whether a number can be a scan's time in seconds, as a date or from any zero."""
    return math.isfinite(timestamp) and abs(timestamp) < _LATEST_S


def utc_date(timestamp: float) -> datetime | None:
    """Return the date in UTC; None if the number is not a date in seconds since the epoch."""
    if not _EARLIEST_S <= timestamp < _LATEST_S:  # nan is not, either
        return None
    return datetime.fromtimestamp(timestamp, UTC)


def time_text(timestamp: float) -> str:
    """Return a time as ``2026-11-27 20:29:25.250000``; an arbitrary zero counts as 1970-01-01."""
    return f"{_EPOCH + timedelta(seconds=timestamp):%Y-%m-%d %H:%M:%S.%f}"


def guessed_unit(timestamps: Sequence[float]) -> str:
    """Return the likely unit of times that are not in seconds; "" if none fits.

    Days are recognised by their magnitude and by steps that are too small for seconds.
    """
    largest = max(map(abs, timestamps), default=0.0)
    if not is_possible_time(largest):
        return _fitting(_LARGE, timestamps)
    steps = sorted(abs(b - a) for a, b in pairwise(timestamps) if a != b)
    close = bool(steps) and steps[len(steps) // 2] < _CLOSEST_S
    return _fitting(_DAYS, timestamps) if close else ""


def _fitting(units: Sequence[_Unit], timestamps: Sequence[float]) -> str:
    for unit in units:
        if all(_FIRST_SEEN_S <= unit.read(value) < _LATEST_S for value in timestamps):
            return unit.name
    return ""
