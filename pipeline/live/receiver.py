"""What reaches the processor: a thread keeps its queues empty, so that the newest is at hand."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import zmq
from numpy.typing import NDArray

from acquisition.errors import LiveTomoError
from acquisition.interferograms import InterferogramStack
from pipeline.wire.bound_sockets import FRAMES_QUEUE, Context, connect
from pipeline.wire.frame_ring import RingPlace, RingReader
from pipeline.wire.messages import FramesHeader, Inbox, Message, StackHeader, stack_from
from pipeline.wire.places import HERE, ViewPlace
from pipeline.wire.sockets import PipelineError

__all__ = ["ArrivedFrames", "ArrivedScan", "BackgroundKey", "Receiver"]

BackgroundKey = tuple[int, int]  # session of the acquirer, number of the background


@dataclass(frozen=True, slots=True)
class ArrivedScan:
    """The message of a scan or a background.

    Its frames, if they lie in shared memory, are read with ``Receiver.stack``.
    """

    header: StackHeader
    arrays: tuple[Any, ...]

    @property
    def key(self) -> BackgroundKey:
        """The background that this is, or that applies to this scan."""
        return (self.header.session, self.header.background)


@dataclass(frozen=True, slots=True)
class ArrivedFrames:
    """Frames of a scan that is still being taken."""

    place: RingPlace
    key: BackgroundKey
    sequence: int
    timestamp: float  # when the first of them was announced, seconds since the epoch
    view: ViewPlace = HERE
    angles: list[int] = field(default_factory=list)


class Receiver(threading.Thread):
    """Empties the queues; keeps the newest scan, the frames after it and the newest background.

    Parameters
    ----------
    context : zmq context
    stacks, frames : str
        Endpoints: of whole scans, and of news of frames.
    """

    def __init__(self, context: Context, stacks: str, frames: str) -> None:
        super().__init__(name="receiver", daemon=True)
        self._context, self._endpoints = context, (stacks, frames)
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._scan: ArrivedScan | None = None
        self._frames: ArrivedFrames | None = None
        self._last: tuple[int, int] | None = None  # session and number of the last scan taken
        self._taken: RingPlace | None = None  # where it lies
        self.background: ArrivedScan | None = None
        self.skipped = 0
        self._unusable = 0
        self._inboxes: list[Inbox] = []
        self._ring = RingReader()

    @property
    def malformed(self) -> int:
        """Number of messages that were malformed or held no usable scan."""
        return self._unusable + sum(inbox.malformed for inbox in self._inboxes)

    def run(self) -> None:
        """Receive until ``end`` is called."""
        stacks, frames = self._endpoints
        with (
            connect(self._context, zmq.PULL, stacks) as of_stacks,
            connect(self._context, zmq.PULL, frames, queue=FRAMES_QUEUE) as of_frames,
        ):
            self._inboxes = [Inbox(of_stacks), Inbox(of_frames)]
            poller = zmq.Poller()
            for inbox in self._inboxes:
                poller.register(inbox.socket, zmq.POLLIN)
            while not self._ended.is_set():
                if not poller.poll(50):
                    continue
                for inbox in self._inboxes:
                    message = inbox.receive()
                    if message is not None:
                        self._keep(message)

    def take(self, timeout_s: float) -> ArrivedScan | ArrivedFrames | None:
        """Return the newest scan, else the newest frames, None if there are none in time.

        Scans that were skipped are counted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._scan is not None or self._frames, timeout_s)
            scan, self._scan = self._scan, None
            frames = self._frames
            if scan is not None:
                self._taken = scan.header.place
            if scan is None or (frames is not None and frames.place == self._taken):
                self._frames = None
        if scan is None:
            return frames
        header = scan.header
        if self._last is not None and self._last[0] == header.session:
            self.skipped += max(header.sequence - self._last[1] - 1, 0)
        self._last = (header.session, header.sequence)
        return scan

    @contextmanager
    def stack(self, arrived: ArrivedScan) -> Iterator[InterferogramStack]:
        """Provide a scan; its frames are valid within the context only.

        Raises
        ------
        DataError
            If the message holds no scan.
        PipelineError
            If its memory has been used again for a newer scan.
        """
        place = arrived.header.place
        if place is None:
            yield stack_from(arrived.header, arrived.arrays)
            return
        with self._ring.frames(place) as frames:
            if frames is None:
                raise PipelineError("it was overwritten by a newer one before it was read")
            yield stack_from(arrived.header, arrived.arrays, frames)

    def frames(self, arrived: ArrivedFrames) -> AbstractContextManager[NDArray[Any] | None]:
        """Provide the frames (angles, y, x) of a scan that is being taken; None if it has gone.

        Only those of the angles that have arrived hold anything.
        """
        return self._ring.frames(arrived.place)

    def end(self) -> None:
        """Stop receiving."""
        self._ended.set()
        self.join()

    def _keep(self, message: Message) -> None:
        header = message.header
        try:
            if isinstance(header, FramesHeader):
                self._keep_frames(header)
                return
            if not isinstance(header, StackHeader):
                raise PipelineError(f"the message must be a scan, got kind {header.kind!r}")
            if header.place is None:
                stack_from(header, message.arrays)  # is it one?
        except LiveTomoError:
            self._unusable += 1
            return
        arrival = ArrivedScan(header, message.arrays)
        with self._changed:
            if header.kind == "background":
                self.background = arrival
            else:
                self._scan = arrival
            self._changed.notify_all()

    def _keep_frames(self, header: FramesHeader) -> None:
        if any(angle >= header.place.shape[0] for angle in header.angles):
            raise PipelineError("frames must be those of angles of the scan")
        key = (header.session, header.background)
        with self._changed:
            if header.place == self._taken:
                return  # the scan was faster, on its own socket
            waiting = self._frames
            if waiting is None or waiting.place != header.place:
                waiting = ArrivedFrames(
                    header.place,
                    key,
                    header.sequence,
                    time.time(),
                    ViewPlace(header.position, header.correction_um),
                )
            waiting.angles.extend(header.angles)
            self._frames = waiting
            self._changed.notify_all()
