"""The acquirer's way to the processor: scans in shared memory, announced while they are taken."""

import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from acquisition.interferograms import InterferogramStack
from pipeline.wire.bound_sockets import Socket
from pipeline.wire.frame_ring import FrameRing
from pipeline.wire.messages import FramesHeader, Message, Stamp, send, stack_message
from pipeline.wire.places import ViewPlace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Sending"]

TOGETHER = 7  # frames announced by one message: a seventh of a scan of 49 angles


class Sending:
    """Takes the frames of scans (a ``FrameSink``), and sends whole scans to the processor.

    Nothing waits: a message that finds its queue full is dropped. That of a whole scan then counts
    as unsent; those on single frames only save the processor time.

    Parameters
    ----------
    stacks, frames : socket
        PUSH, bound: for whole scans, and for news of frames that have arrived.
    stamp : Stamp
        Numbers the messages.

    Attributes
    ----------
    together : int
        Number of frames announced by one message.
    locate : callable
        Called when a scan begins; returns where the field of view is.
    view : ViewPlace
        Its answer for the last scan.
    """

    def __init__(self, stacks: Socket, frames: Socket, stamp: Stamp) -> None:
        self._stacks, self._news, self._stamp = stacks, frames, stamp
        self._ring = FrameRing()
        self.together = TOGETHER
        self.locate: Callable[[], ViewPlace] = lambda: self.view
        self.view = ViewPlace()
        self._frames: NDArray[Any] | None = None
        self._arrived: list[int] = []
        self._moved = False
        self._sequence = self._background = 0

    def next_scan(self, sequence: int, background: int) -> None:
        """Say which number the next scan will have, and that of its background."""
        self._sequence, self._background = sequence, background

    def begin(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory for a scan, (angles, y, x), which stays as it is for the next two."""
        self._frames, self._arrived, self._moved = self._ring.begin(shape, dtype), [], False
        self.view = self.locate()
        return self._frames

    def arrived(self, angle: int) -> None:
        """Announce the frame of an angle, together with some others."""
        self._arrived.append(angle)
        if len(self._arrived) < self.together or self._frames is None:
            return
        place = self._ring.place(self._frames)
        if place is not None:
            header = FramesHeader(
                place=place,
                angles=tuple(self._arrived),
                background=self._background,
                position=self.view.position,
                correction_um=self.view.correction_um,
                **self._stamp(self._sequence),
            )
            send(self._news, Message(header))
        self._arrived = []

    def moved(self) -> None:
        """Say with the scan that what was announced before is void."""
        self._moved = True

    def send(
        self, stack: InterferogramStack, kind: Literal["stack", "background"], background: int
    ) -> bool:
        """Send a scan, or the background with that number; return whether it was sent."""
        place = self._ring.place(stack.frames)
        message = stack_message(
            stack,
            self._stamp,
            kind=kind,
            background=background,
            sent_at=time.time(),
            place=place,
            moved=self._moved and place is not None,
            view=self.view,
        )
        return send(self._stacks, message)

    def close(self) -> None:
        """Give the memory back."""
        self._ring.close()
