"""Attributes frames to angles, by what the camera reported and never by their order alone.

The camera reports a counter of triggers (or frames) since it was armed and, on some cameras, the
time of the exposure on its clock. The counter gives the angle. It is wrong if the camera missed an
edge or counted one too many: every later frame would then get its neighbour's angle. So a scan with
an unreliable counter is dropped as a whole, and a single frame exposed at the wrong moment is
dropped alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Attribution", "FrameReport", "attribute"]

# In picture times. Camera clocks jitter by microseconds, far less than a quarter of a picture.
_LATE = 0.25
_SLIPPED = 0.75


@dataclass(frozen=True, slots=True)
class FrameReport:
    """The camera's metadata of one frame; ``time_s`` is on its own clock, None if unknown."""

    counter: int
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """The angle of each frame in order of arrival, None if unknown, and a note on the reason."""

    angles: tuple[int | None, ...]
    note: str = ""


def attribute(
    reports: Sequence[FrameReport],
    angles: int,
    period_s: float,
    counter_start: int | None,
    triggers: int | None = None,
) -> Attribution:
    """Return the angle of each frame.

    Parameters
    ----------
    reports : sequence of FrameReport
        In order of arrival; at least one.
    angles : int
        Number of pictures that the DMD showed.
    period_s : float
        Time that it showed each.
    counter_start : int or None
        Value of the counter for the first trigger after arming; None if it does not restart.
    triggers : int or None
        Number of edges that the camera received; None if it does not report that.
    """
    counters = np.array([report.counter for report in reports])
    number = counters - (counters.min() if counter_start is None else counter_start)
    problem = _counter_problem(number, angles, counter_start is not None, triggers)
    if problem:
        return Attribution((None,) * len(reports), problem)
    times = [report.time_s for report in reports if report.time_s is not None]
    if len(times) < len(reports):
        return Attribution(tuple(number.tolist()))
    return _check_times(number, np.array(times) / period_s)


def _counter_problem(
    number: NDArray[np.int64], angles: int, restarts: bool, triggers: int | None
) -> str:
    """Return why the counter is unreliable; "" if it is not."""
    if len(np.unique(number)) < len(number):
        return "the camera reported the same trigger twice"
    if number.min() < 0 or number.max() >= angles:
        return f"the camera counted triggers {number.min()} to {number.max()} of {angles}"
    if number.max() + 1 == angles or (restarts and triggers == angles):
        return ""
    seen = number.max() + 1 if triggers is None else triggers
    return f"the camera saw {seen} of {angles} triggers, and it is unknown which"


def _check_times(number: NDArray[np.int64], time: NDArray[np.float64]) -> Attribution:
    """Compare the exposures' times (in picture times) with the DMD's schedule."""
    lag = time - number
    lag -= np.median(lag)
    far = np.abs(lag[np.argsort(number)]) >= _SLIPPED
    # A lasting shift by one picture is a slip; at the first frame it looks like a single late one.
    if far[0] or (far[1:] & far[:-1]).any():
        return Attribution(
            (None,) * len(number), "the camera's trigger count slipped against its clock"
        )
    late = np.abs(lag) > _LATE
    found = tuple(None if bad else int(angle) for angle, bad in zip(number, late, strict=True))
    names = ", ".join(str(angle) for angle in sorted(number[late].tolist()))
    return Attribution(found, f"exposed at the wrong moment: {names}" if names else "")
