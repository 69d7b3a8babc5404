"""Works through many files on a Dask cluster; started again, it goes on where it was interrupted.

The scans of a file are divided into ranges. A worker reads its range from the disk that all share
and writes a part beside the result; no pixels pass between processes. This process appends the
parts in order (``files.joining``). It alone writes the result, which is therefore bit-identical to
that of ``pipeline.tomograms.batch``. A range whose worker dies is given to another one. A part gets
its name when it is finished, so that a worker that was only thought dead cannot spoil it.
"""

import os
import shutil
import socket
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from distributed import CancelledError, Client, KilledWorker

from acquisition.errors import LiveTomoError, Stopped
from files.joining import TomogramJoiner
from files.reopening import sole_writer
from pipeline.tomograms.batch import BatchProgress, Counter, FileResult, FileState

if TYPE_CHECKING:
    from pipeline.tomograms.file_work import FileWork, Row

__all__ = ["run_on_cluster"]

_LONGEST_RANGE = 16  # scans: what the death of a worker costs at most
_RANGES_EACH = 4  # ranges of a file for each worker, so that all end at about the same time
_AHEAD = 3  # ranges for each worker that run or wait to be joined, as parts on the disk
_RETRIES = 3  # of a range that ended with an error other than ours
_LOOK_S = 0.5

_ONE_AT_A_TIME = Lock()  # a worker may have several threads; plans and the device are for one


@dataclass(frozen=True, slots=True)
class _PartResult:
    """What a worker says of a range; ``error`` is one of ours, which a retry would not mend."""

    rows: "tuple[Row, ...]" = ()
    error: str = ""


def _make_part(work: "FileWork", numbers: tuple[int, ...], part: Path) -> _PartResult:
    """Write a range of a file into a part; runs on a worker."""
    unfinished = part.with_name(f"{part.name}.{uuid.uuid4().hex}")
    try:
        with _ONE_AT_A_TIME:
            rows = tuple(work.make_part(numbers, unfinished))
        if unfinished.exists():  # else no scan of the range gave a tomogram
            os.replace(unfinished, part)
        return _PartResult(rows)
    except LiveTomoError as error:
        return _PartResult(error=f"{error} (on {socket.gethostname()})")
    finally:
        unfinished.unlink(missing_ok=True)


def run_on_cluster(
    works: "Sequence[FileWork]",
    client: Client,
    progress: BatchProgress,
    stop: Event | None = None,
) -> Iterator[FileResult]:
    """Make the files on the workers of a Dask cluster; yield what became of each, in order.

    A file that fails does not stop the others.

    Parameters
    ----------
    works : sequence of FileWork
        Their paths must be the same on all workers, on a disk that all share.
    client : distributed.Client
    progress : BatchProgress
    stop : Event or None
        Ends it with ``Stopped``; what was joined until then is kept.
    """
    counter = Counter(progress)
    files: deque[_ClusterFile] = deque()
    unopened = deque(works)
    try:
        while True:
            workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
            while sum(len(file.submitted) for file in files) < _AHEAD * workers:
                waiting = next((file for file in files if file.ranges), None)
                if waiting is not None:
                    waiting.submit_next()
                elif unopened:
                    file = _ClusterFile(unopened.popleft(), client, counter)
                    files.append(file)
                    file.open(workers, len(unopened))
                else:
                    break
            if not files:
                return
            if files[0].submitted:
                files[0].join_next(stop)
            else:
                yield files.popleft().finish(progress)
    finally:
        for file in files:
            file.close()


@dataclass(slots=True)
class _Submitted:
    """A range on the cluster: its part to come, what it came to, and an event for its end."""

    part: Path
    future: Any  # distributed's Future, which has no types
    outcome: _PartResult = field(default_factory=_PartResult)
    ended: Event = field(default_factory=Event)


@dataclass(slots=True)
class _ClusterFile:
    """A file that is being made: the ranges that are left, those on the cluster, and what is made.

    While it is open, it holds the lock of the result and a folder of parts beside it.
    """

    work: "FileWork"
    client: Client
    counter: Counter
    ranges: deque[tuple[int, ...]] = field(default_factory=deque)
    submitted: deque[_Submitted] = field(default_factory=deque)
    rows: "list[Row]" = field(default_factory=list)
    held: int = 0
    error: str = ""
    joiner: TomogramJoiner | None = None
    entered: ExitStack = field(default_factory=ExitStack)

    @property
    def parts(self) -> Path:
        """The folder of its parts."""
        return self.work.output.with_name(f"{self.work.output.name}.parts")

    def open(self, workers: int, unopened: int) -> None:
        """Find what is left to be done, and divide it into ranges."""
        try:
            self.entered.enter_context(sole_writer(self.work.output))
            self.work = self.work.settled()
            every, left = self.work.all(), self.work.left()
            self.held = len(every) - len(left)
            self.counter.plan(len(left), unopened)
            if not left:
                return
            self.entered.callback(shutil.rmtree, self.parts, ignore_errors=True)
            shutil.rmtree(self.parts, ignore_errors=True)  # of a run that was killed
            self.parts.mkdir()
            self.joiner = self.entered.enter_context(TomogramJoiner(self.work.output))
        except (LiveTomoError, OSError) as error:
            self._fail(str(error))
            return
        size = min(max(1, len(left) // (_RANGES_EACH * workers)), _LONGEST_RANGE)
        self.ranges.extend(tuple(left[i : i + size]) for i in range(0, len(left), size))

    def submit_next(self) -> None:
        """Give the next range to the cluster."""
        numbers = self.ranges.popleft()
        part = self.parts / f"{numbers[0]:08d}.h5"
        future: Any = self.client.submit(
            _make_part, self.work, numbers, part, pure=False, retries=_RETRIES
        )
        one = _Submitted(part, future)
        future.add_done_callback(lambda _: self._hear(one, len(numbers)))
        self.submitted.append(one)

    def _hear(self, one: _Submitted, count: int) -> None:
        # fetched at once: what a worker says of a part is lost with it, and would be made again
        one.outcome = _outcome(one.future)
        if not one.outcome.error:
            self.counter.advance(count)
        one.ended.set()

    def join_next(self, stop: Event | None) -> None:
        """Wait for the oldest range and append its part to the result."""
        oldest = self.submitted[0]
        while not oldest.ended.wait(_LOOK_S):
            if stop is not None and stop.is_set():
                raise Stopped("the batch was stopped")
        self.submitted.popleft()
        made, part = oldest.outcome, oldest.part
        self.rows += made.rows
        if made.error:
            self._fail(made.error)
            return
        assert self.joiner is not None  # it is open
        try:
            if part.exists():
                self.joiner.append(part)
                part.unlink()
        except (LiveTomoError, OSError) as error:
            self._fail(str(error))

    def _fail(self, error: str) -> None:
        self.error = error
        self.ranges.clear()
        self._cancel()

    def _cancel(self) -> None:
        for one in self.submitted:
            one.future.cancel()
        self.submitted.clear()

    def finish(self, progress: BatchProgress) -> FileResult:
        """Close the result and return what became of the file."""
        if self.joiner is not None:
            self.joiner.close()
        if not self.error and self.work.output.exists():
            try:
                self.work.finish(progress)
            except (LiveTomoError, OSError) as error:
                self.error = str(error)
        self.close()
        state: FileState = "failed" if self.error else "made" if self.rows else "done"
        source, output = self.work.source, self.work.output
        return FileResult(source, output, state, tuple(self.rows), self.held, self.error)

    def close(self) -> None:
        """Take back what is on the cluster, close the result, and remove the parts."""
        self._cancel()
        self.entered.close()


def _outcome(future: Any) -> _PartResult:
    """Return what a range came to; an error that retries did not mend is one of the file."""
    try:
        result: _PartResult = future.result()
        return result
    except KilledWorker as error:
        return _PartResult(
            error=f"{error.allowed_failures + 1} workers died of the same range of scans, the last "
            f"was {error.last_worker.address}: if they ran out of memory, use fewer workers on a "
            "machine"
        )
    except CancelledError:
        return _PartResult(
            error="the scheduler has gone, or has dropped the work: start the same command again, "
            "it goes on with what is left"
        )
    except ModuleNotFoundError as error:
        return _PartResult(
            error=f"the workers must be able to import LiveTomo, but {error}: install it in their "
            "environment, or add its folder to their PYTHONPATH"
        )
    except Exception as error:  # whatever a worker raised: the other files go on
        return _PartResult(error=f"{type(error).__name__} on a worker: {error}")
