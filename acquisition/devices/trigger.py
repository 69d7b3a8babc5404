"""The cable from the DMD's trigger output to the camera's trigger input.

An edge has a time on the instrument's clock (``time.perf_counter``, seconds). The DMD announces the
edges of a whole sequence when it starts; the input delivers each one when it is due. If the camera
is slower than the DMD, edges queue: the exposed light depends on the edge's time, not on the moment
at which the simulation handles it.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable

__all__ = ["TriggerInput", "TriggerLine"]


class TriggerInput:
    """The trigger edges that arrived since one arming of the camera."""

    def __init__(self) -> None:
        self._edges: deque[float] = deque()
        self._changed = threading.Condition()
        self._seen = 0

    @property
    def seen(self) -> int:
        """Number of edges delivered since arming."""
        return self._seen

    @property
    def received(self) -> int:
        """Number of edges that have come since arming, whether the camera got to them or not."""
        now = time.perf_counter()
        with self._changed:
            return self._seen + sum(edge_s <= now for edge_s in self._edges)

    def discard_last_edge(self) -> None:
        """Remove the last edge from the count: the camera was busy and missed it."""
        self._seen -= 1

    def put(self, times_s: Iterable[float]) -> None:
        """Queue edges, in the order of their times."""
        with self._changed:
            self._edges.extend(times_s)
            self._changed.notify()

    def clear(self) -> None:
        """Drop the edges that were not delivered yet."""
        with self._changed:
            self._edges.clear()

    def wait(self, timeout_s: float) -> float | None:
        """Return the time of the next edge once it is due, or None after ``timeout_s``."""
        deadline = time.perf_counter() + timeout_s
        with self._changed:
            while True:
                now = time.perf_counter()
                if self._edges and self._edges[0] <= now:
                    self._seen += 1
                    return self._edges.popleft()
                due = min(deadline, self._edges[0]) if self._edges else deadline
                if deadline <= now:
                    return None
                self._changed.wait(due - now)


class TriggerLine:
    """The trigger cable: edges reach the currently armed input, if any."""

    def __init__(self) -> None:
        self._input: TriggerInput | None = None

    def arm(self) -> TriggerInput:
        """Return a new input that receives all edges sent from now on."""
        self._input = TriggerInput()
        return self._input

    def disarm(self, armed: TriggerInput) -> None:
        """Disconnect ``armed`` unless a later arming has already replaced it."""
        if self._input is armed:
            self._input = None

    def raise_edges(self, times_s: Iterable[float]) -> None:
        """Send edges at these times (s on ``time.perf_counter``)."""
        if self._input is not None:
            self._input.put(sorted(times_s))

    def clear(self) -> None:
        """Drop the edges that are still to come: the DMD has stopped."""
        if self._input is not None:
            self._input.clear()
