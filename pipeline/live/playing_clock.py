"""Which scan is due while a file is played, at a number of scans a second or by the real time."""

import time

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.file_state import PlaySpeed

__all__ = ["PlayingClock"]


class PlayingClock:
    """Paces playing: a scan is never left out, except by the real time where reading is too slow.

    Attributes
    ----------
    speed : PlaySpeed
    """

    def __init__(self) -> None:
        self.speed = PlaySpeed()
        self._shown_s = time.monotonic()
        self._anchor: tuple[float, int] | None = None  # when playing began, at which row
        self._due_s = 0.0

    def set_speed(self, speed: PlaySpeed) -> None:
        """Play as fast as that, from the scan that is shown."""
        self.speed = speed
        self.restart()

    def restart(self) -> None:
        """Begin anew at the scan that is shown next."""
        self._anchor = None

    def note_shown(self) -> None:
        """Note that a scan was shown just now."""
        self._shown_s = time.monotonic()

    def due_row(self, row: int, timestamps: NDArray[np.float64], rows: int) -> int:
        """Return the row to show now, ``row`` as long as the next is not due.

        Parameters
        ----------
        row : int
            The one that is shown.
        timestamps : (rows,) float64
            Start of each scan in seconds; used for the real time only.
        rows : int
        """
        now = time.monotonic()
        if not self.speed.real_time:
            self._due_s = self._shown_s + 1 / self.speed.value
            return min(row + 1, rows - 1) if now >= self._due_s else row
        if self._anchor is None:
            self._anchor = (now, row)
        begun, first = self._anchor
        passed = (now - begun) * self.speed.value
        due = int(np.searchsorted(timestamps, timestamps[first] + passed, side="right")) - 1
        following = min(row + 1, rows - 1)
        self._due_s = begun + float(timestamps[following] - timestamps[first]) / self.speed.value
        return min(max(due, row), rows - 1)

    def due_s(self) -> float:
        """Return in how many seconds the next scan is due, as far as that is known."""
        return self._due_s - time.monotonic()
