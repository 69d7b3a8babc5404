"""A scan that is reconstructed while it is taken: after its last frame only the inverse is left.

In the middle of it there is a tomogram as well, of the newest frame of each angle.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from acquisition.interferograms import InterferogramStack
from pipeline.wire.frame_ring import RingPlace
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.rolling import RollingTomography

__all__ = ["ScanInProgress"]


class ScanInProgress:
    """Takes frames as they come, and makes the tomogram of a scan once it is whole.

    Parameters
    ----------
    reconstructor : Reconstructor
        Planned for the background of the scans.
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        self.reconstructor = reconstructor
        self._rolling: RollingTomography | None = None
        self._place: RingPlace | None = None
        self._position = ""
        self._done: set[int] = set()  # angles of the scan at this place
        self._taken_s: dict[int, float] = {}  # when the newest frame of each angle came

    @property
    def halfway(self) -> bool:
        """Whether a scan is neither whole nor empty, and there is a frame of every angle."""
        angles = len(self.reconstructor.background.frames)
        return 0 < len(self._done) < angles == len(self._taken_s)

    def now(self) -> tuple[Reconstruction, float]:
        """Return the tomogram of the newest frame of each angle, and the age of the oldest, s.

        Raises
        ------
        DataError
            As from ``RollingTomography``.
        """
        assert self._rolling is not None
        found = self._rolling.reconstruction()
        used = set(self._taken_s) - set(found.report.left_out)
        return found, time.monotonic() - min(self._taken_s[angle] for angle in used)

    def add(self, frames: NDArray[Any], angles: Iterable[int], scan: InterferogramStack) -> None:
        """Take new frames.

        Parameters
        ----------
        frames : (angles, y, x)
            Memory of the scan; only ``angles`` are read.
        angles : ints
        scan : InterferogramStack
            As in ``RollingTomography.update``.
        """
        if self._rolling is None:
            self._rolling = RollingTomography(self.reconstructor)
        for first, last in _runs(sorted(angles)):
            self._rolling.update(frames[first:last], first, scan)
            self._done.update(range(first, last))
            self._taken_s.update(dict.fromkeys(range(first, last), time.monotonic()))

    def announce(self, place: RingPlace, position: str = "") -> None:
        """Say where the scan lies whose frames come next, and at which stage position it is taken.

        Frames of another position show something else: none goes into a tomogram with these.
        """
        if place != self._place:
            self._place, self._done = place, set()
        if position != self._position:
            self._position, self._taken_s = position, {}

    def finish(
        self, stack: InterferogramStack, place: RingPlace | None, *, moved: bool
    ) -> Reconstruction:
        """Return the tomogram of a whole scan.

        Parameters
        ----------
        stack : InterferogramStack
        place : RingPlace or None
            Where its frames lie; None: they were not announced.
        moved : bool
            Frames that were announced are in other places now.

        Raises
        ------
        DataError
            As from ``Reconstructor``.
        """
        reconstructor = self.reconstructor
        if not reconstructor.oriented:
            return reconstructor(stack)
        if place is None or place != self._place or moved:
            self._done = set()
        self._place = None
        self._done -= set(stack.lost)
        self.add(stack.frames, set(range(len(stack.frames))) - self._done, stack)
        assert self._rolling is not None
        return self._rolling.reconstruction(stack)


def _runs(angles: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last + 1 of each run of consecutive numbers."""
    for number, angle in enumerate(angles):
        if number == 0 or angles[number - 1] != angle - 1:
            first = angle
        if number == len(angles) - 1 or angles[number + 1] != angle + 1:
            yield first, angle + 1
