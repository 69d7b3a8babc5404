"""The frames of a scan, each put in the place of its angle as it arrives.

What reads along with the scan therefore needs no copy of its own. The places are those that the
camera's counter gives; only the whole scan shows whether it can be trusted (``attribution``). So
the places are settled at the end: frames that were exposed at the wrong moment are wiped out, and
whoever read along is told where places turn out to be wrong.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ScanError
from acquisition.scanning.attribution import FrameReport

__all__ = ["CollectedFrames", "FrameSink"]


class FrameSink(Protocol):
    """Provides the memory for a scan, and is told of its frames as they arrive."""

    def begin(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array (angles, y, x) for the frames of a scan that begins."""

    def arrived(self, angle: int) -> None:
        """Take note that the frame of this angle is in its place, until something else is said."""

    def moved(self) -> None:
        """Take note that frames were put in other places: nothing read before is valid."""


class CollectedFrames:
    """The frames of one scan.

    Parameters
    ----------
    angles : int
        Number of angles; frames of further pictures (dark ones) are not kept.
    shape : (y, x)
    dtype : uint8 or uint16
        Shape and type that frames must have.
    camera : str
        Label of the camera, for errors.
    counter_start : int or None
        The camera's counter at the first angle; None: that of the first frame that arrives.
    sink : FrameSink or None
        None: the frames are collected in an array of their own.

    Attributes
    ----------
    stack : (angles, y, x)
    reports : list of FrameReport
        What the camera said of each frame, in order of arrival.
    """

    def __init__(
        self,
        angles: int,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        camera: str,
        counter_start: int | None,
        sink: FrameSink | None = None,
    ) -> None:
        self._camera, self._start, self._sink = camera, counter_start, sink
        whole = (angles, *shape)
        self.stack: NDArray[Any] = (
            np.empty(whole, dtype) if sink is None else sink.begin(whole, dtype)
        )
        self.reports: list[FrameReport] = []
        self._places: list[int | None] = []
        self._taken: set[int] = set()
        self._aside: dict[int, NDArray[Any]] = {}  # by order of arrival: frames without a place

    def __len__(self) -> int:
        return len(self.reports)

    def add(self, image: NDArray[Any], report: FrameReport) -> None:
        """Put a frame in its place.

        Raises
        ------
        ScanError
            If it has the wrong shape or type.
        """
        if image.shape != self.stack.shape[1:] or image.dtype != self.stack.dtype:
            raise ScanError(
                f"camera {self._camera!r} must deliver {self.stack.shape[1:]} {self.stack.dtype} "
                f"frames, got {image.shape} {image.dtype}: correct [camera] width, height and "
                "bit_depth"
            )
        if self._start is None:
            self._start = report.counter
        place = report.counter - self._start
        known = 0 <= place < len(self.stack) and place not in self._taken
        if known:
            self.stack[place] = image
            self._taken.add(place)
        else:
            self._aside[len(self.reports)] = image
        self._places.append(place if known else None)
        self.reports.append(report)
        if known and self._sink is not None:
            self._sink.arrived(place)

    def settle(self, angles: Sequence[int | None]) -> tuple[int, ...]:
        """Put every frame in its final place, wipe out all others, and return the lost angles.

        Parameters
        ----------
        angles : sequence of int or None
            Angle of each frame in order of arrival; None if it has none, or it is unknown.
        """
        pairs = zip(self._places, angles, strict=True)
        if any(now != before for before, now in pairs if now is not None):
            self._move(angles)
        found = {angle for angle in angles if angle is not None}
        lost = tuple(angle for angle in range(len(self.stack)) if angle not in found)
        self.stack[list(lost)] = 0
        self._aside.clear()
        return lost

    def _move(self, final: Sequence[int | None]) -> None:
        """Move the frames to other places than those that they arrived at."""
        images = [
            self._aside[number] if place is None else self.stack[place].copy()
            for number, place in enumerate(self._places)
        ]
        for image, angle in zip(images, final, strict=True):
            if angle is not None:
                self.stack[angle] = image
        if self._sink is not None:
            self._sink.moved()
