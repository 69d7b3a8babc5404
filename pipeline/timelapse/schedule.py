"""The schedule of a plan: a clock that can be paused, and the time left.

A late visit does not delay the later ones; a pause and a crash do.
"""

import math
import threading
import time
from collections.abc import Sequence

import numpy as np

from pipeline.timelapse.plan import Visit

__all__ = ["Schedule"]


class Schedule:
    """Steps through the visits of a plan; thread-safe.

    Parameters
    ----------
    visits : sequence of Visit

    Attributes
    ----------
    done : int
        Number of finished visits.
    scan_s : float
        Duration of a visit, averaged over the last ones.
    """

    def __init__(self, visits: Sequence[Visit]) -> None:
        self._visits = visits
        self._lock = threading.RLock()
        self._zero_s = time.monotonic() - visits[0].time_s
        self._paused_at_s: float | None = None
        self._began_s = 0.0
        self._rest = _Rest(visits)
        self.done = 0
        self.scan_s = 0.0

    @property
    def next(self) -> Visit | None:
        """The next visit; None after the last."""
        return self._visits[self.done] if self.done < len(self._visits) else None

    @property
    def paused(self) -> bool:
        """Whether the clock is stopped."""
        return self._paused_at_s is not None

    @property
    def due_s(self) -> float:
        """Seconds until the next visit; infinite while paused and after the last."""
        with self._lock:
            if self.next is None or self.paused:
                return math.inf
            return self._wait_s(time.monotonic())

    def _wait_s(self, now_s: float) -> float:
        visit = self._visits[self.done]
        fresh = visit.starts_clock and self.done > 0
        return 0.0 if fresh else max(self._zero_s + visit.time_s - now_s, 0.0)

    @property
    def left_s(self) -> float:
        """Seconds until the last visit ends, by the plan or by the duration of visits."""
        with self._lock:
            if self.next is None:
                return 0.0
            now_s = self._paused_at_s or time.monotonic()
            planned = self._wait_s(now_s) + self._rest.after(self.done) + self.scan_s
            return max(planned, (len(self._visits) - self.done) * self.scan_s)

    def continue_after(self, done: int, last_timestamp: float | None) -> None:
        """Continue a plan after ``done`` visits.

        The next visit is due at its planned interval after ``last_timestamp`` (seconds since the
        epoch), or at once if that has passed.
        """
        with self._lock:
            self.done = done
            visit = self.next
            if visit is None:
                return
            wait_s = 0.0
            if done and last_timestamp is not None and not visit.starts_clock:
                pause_s = visit.time_s - self._visits[done - 1].time_s
                wait_s = min(max(last_timestamp + pause_s - time.time(), 0.0), pause_s)
            self._zero_s = time.monotonic() + wait_s - visit.time_s

    def start_visit(self) -> None:
        """Mark the start of the next visit."""
        with self._lock:
            self._began_s = time.monotonic()
            visit = self.next
            if visit is not None and visit.starts_clock:
                self._zero_s = self._began_s - visit.time_s

    def end_visit(self) -> None:
        """Mark the end of the current visit."""
        with self._lock:
            took_s = time.monotonic() - self._began_s
            self.scan_s = took_s if self.done == 0 else 0.8 * self.scan_s + 0.2 * took_s
            self.done += 1

    def pause(self) -> None:
        """Stop the clock."""
        with self._lock:
            if self._paused_at_s is None:
                self._paused_at_s = time.monotonic()

    def unpause(self) -> None:
        """Restart the clock where it was stopped."""
        with self._lock:
            if self._paused_at_s is not None:
                self._zero_s += time.monotonic() - self._paused_at_s
                self._paused_at_s = None


class _Rest:
    """Planned seconds from the start of a visit to the start of the last."""

    def __init__(self, visits: Sequence[Visit]) -> None:
        self._visits = visits
        self._elapsed = None if _even(visits) else _elapsed(visits)

    def after(self, number: int) -> float:
        last = len(self._visits) - 1
        if self._elapsed is None:
            return self._visits[last].time_s - self._visits[number].time_s
        return float(self._elapsed[last] - self._elapsed[number])


def _even(visits: Sequence[Visit]) -> bool:
    return not isinstance(visits, tuple)


def _elapsed(visits: Sequence[Visit]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the planned time of every visit on one clock that is never set back."""
    times = np.array([visit.time_s for visit in visits])
    steps = np.diff(times, prepend=times[0])
    steps[[visit.starts_clock for visit in visits]] = 0.0
    return np.cumsum(steps)
