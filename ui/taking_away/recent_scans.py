"""The last tomograms of an instrument, as far as there is memory: for movies and snaps."""

import threading
from collections import deque

from pipeline.wire.state import TomogramView

__all__ = ["RecentScans"]

_KEPT_BYTES = 2**29  # 10 scans of 320 x 320 x 64 voxels, raw and regularized


class RecentScans:
    """Keeps tomograms in the order in which they came; the oldest go first.

    They are not copied: a view shares the memory of its message.
    """

    def __init__(self) -> None:
        self._views: deque[TomogramView] = deque()

    def note(self, view: TomogramView) -> None:
        """Keep a tomogram; one of another shape than those before it begins anew.

        One that was made in the middle of a scan is not kept.
        """
        if view.oldest_s is not None:
            return
        if self._views and self._views[-1].raw.shape != view.raw.shape:
            self._views.clear()
        self._views.append(view)
        while len(self._views) > max(_KEPT_BYTES // max(_size(view), 1), 2):
            self._views.popleft()

    def __len__(self) -> int:
        return len(self._views)

    def of_scan(self, sequence: int) -> TomogramView | None:
        """Return the newest tomogram of a scan; None if there is none any more."""
        return next((view for view in reversed(self._views) if view.sequence == sequence), None)

    def frozen(self, position: str = "") -> "RecentScans":
        """Return those of now at a stage position: they stay while others come."""
        now = RecentScans()
        now._views.extend(view for view in self._views if view.position == position)
        return now

    def view(self, wanted: tuple[int, str, str], stop: threading.Event) -> TomogramView:
        """Return the n-th of them; method and constraint are those that it was made with."""
        return self._views[wanted[0]]


def _size(view: TomogramView) -> int:
    volumes = (view.raw, view.regularized, view.uncertainty)
    return sum(volume.nbytes for volume in volumes if volume is not None)
