"""Which angle does a frame belong to? Decided by what the camera reported, never by hope.

Two witnesses: a counter of triggers (or frames) since the camera was armed, and, where there is
one, the time of the exposure on the camera's clock. The counter names the angle. It misleads when
the camera overlooked an edge or saw one too many: then every later frame would get its neighbour's
angle. A scan whose counter cannot be trusted is therefore given up as a whole; a single frame that
was exposed at the wrong moment is given up alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Attribution", "FrameReport", "attribute"]

# In picture times. Camera clocks jitter by microseconds; a quarter of a picture is far beyond.
_LATE = 0.25
_SLIPPED = 0.75


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What the camera reported with one frame; ``time_s`` on its own clock, None if unknown."""

    counter: int
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """The angle of each frame in order of arrival, None where unknown, and why any is."""

    angles: tuple[int | None, ...]
    note: str = ""


def attribute(
    reports: Sequence[FrameReport],
    angles: int,
    period_s: float,
    counter_start: int | None,
    triggers: int | None = None,
) -> Attribution:
    """Match frames to angles.

    Parameters
    ----------
    reports : sequence of FrameReport
        In order of arrival; at least one.
    angles : int
        Pictures that the DMD showed.
    period_s : float
        How long it showed each.
    counter_start : int or None
        What the counter says for the first trigger after arming; None where it does not restart.
    triggers : int or None
        How many edges the camera says it received, where it says so.
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
    """Say why the counter cannot be trusted; empty where it can."""
    if len(np.unique(number)) < len(number):
        return "the camera reported the same trigger twice"
    if number.min() < 0 or number.max() >= angles:
        return f"the camera counted triggers {number.min()} to {number.max()} of {angles}"
    if number.max() + 1 == angles or (restarts and triggers == angles):
        return ""
    seen = number.max() + 1 if triggers is None else triggers
    return f"the camera saw {seen} of {angles} triggers and nothing tells which"


def _check_times(number: NDArray[np.int64], time: NDArray[np.float64]) -> Attribution:
    """Compare the exposures' times (in pictures) with the DMD's rhythm."""
    lag = time - number
    lag -= np.median(lag)
    far = np.abs(lag[np.argsort(number)]) >= _SLIPPED
    # One picture off and staying there is a slip; at the first frame the two cannot be told apart.
    if far[0] or (far[1:] & far[:-1]).any():
        return Attribution(
            (None,) * len(number), "the camera's trigger count slipped against its clock"
        )
    late = np.abs(lag) > _LATE
    found = tuple(None if bad else int(angle) for angle, bad in zip(number, late, strict=True))
    names = ", ".join(str(angle) for angle in sorted(number[late].tolist()))
    return Attribution(found, f"exposed at the wrong moment: {names}" if names else "")
