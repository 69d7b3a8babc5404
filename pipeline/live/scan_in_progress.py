"""A scan that is reconstructed while it is taken: after its last frame only the inverse is left."""

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
        self._done: set[int] = set()  # angles of the scan at this place

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

    def announce(self, place: RingPlace) -> None:
        """Say where the scan lies whose frames come next."""
        if place != self._place:
            self._place, self._done = place, set()

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
