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
_AWAITED_S = 0.5  # without news of the scan that is followed: it has been cut short


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

    def newer_than(self, scan: ArrivedScan) -> bool:
        """Return whether their scan was begun after a whole one."""
        same = self.key[0] == scan.header.session
        return same and self.sequence > scan.header.sequence


class Receiver(threading.Thread):
    """Empties the queues; keeps the newest scan, the frames after it and the newest background.

    A scan whose frames are read while it is taken is followed: it is kept until it has been taken,
    beside a newer one.

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
        self._followed: ArrivedFrames | None = None  # the frames that were read along last
        self._whole: ArrivedScan | None = None  # their scan, once it is whole
        self._news_s = 0.0  # when news of frames came last
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

    def take(self, timeout_s: float, *, follow: bool = False) -> ArrivedScan | ArrivedFrames | None:
        """Return the newest scan, else the newest frames, None if there are none in time.

        With ``follow``, frames come before a whole scan that is older than theirs, and their scan
        comes once it is whole: most of the work on it is done by then. A scan that was cut short is
        not waited for. Scans that were skipped are counted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._due(follow) is not None, timeout_s)
            due = self._due(follow)
            if isinstance(due, ArrivedFrames):
                self._frames = None
                if follow:
                    self._followed = due
            elif due is not None:
                self._take(due)
        return due

    def _due(self, follow: bool) -> ArrivedScan | ArrivedFrames | None:
        """Return what is to be taken now; None to wait."""
        scan, frames = self._scan, self._frames
        if self._whole is not None or scan is None or not follow:
            return self._whole or scan or frames
        if frames is not None and frames.newer_than(scan):
            return frames
        followed = self._followed is not None and self._followed.newer_than(scan)
        if followed and time.monotonic() < self._news_s + _AWAITED_S:
            return None
        return scan

    def _take(self, scan: ArrivedScan) -> None:
        self._taken = scan.header.place
        if scan is self._scan:
            self._scan = None
        self._whole = self._followed = None
        if self._frames is not None and not self._frames.newer_than(scan):
            self._frames = None
        header = scan.header
        if self._last is not None and self._last[0] == header.session:
            self.skipped += max(header.sequence - self._last[1] - 1, 0)
        self._last = (header.session, header.sequence)

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
            followed = self._followed
            if header.kind == "background":
                self.background = arrival
            elif followed is not None and header.place == followed.place:
                self._whole, self._scan = arrival, None  # what came before it is older
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
            self._frames, self._news_s = waiting, time.monotonic()
            self._changed.notify_all()
