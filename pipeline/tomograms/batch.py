"""Works through many files in this process; started again, it goes on where it was interrupted.

``pipeline.tomograms.cluster_batch`` does the same on several machines.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Literal, Protocol

from acquisition.errors import LiveTomoError, Stopped
from files.reopening import sole_writer

if TYPE_CHECKING:
    from pipeline.tomograms.file_work import FileWork, Row

__all__ = ["BatchProgress", "Counter", "FileResult", "FileState", "run_batch"]

FileState = Literal["made", "done", "failed"]


class BatchProgress(Protocol):
    """Receives the progress of a batch, counted in scans or volumes of all files."""

    def say(self, what: str) -> None:
        """Show what is being done."""

    def advance_to(self, done: float) -> None:
        """Show how much is done."""

    def expect(self, total: int) -> None:
        """Show that there are ``total`` in all."""


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    ``state`` is "made", "done" (it was before) or "failed", for the reason ``error``; ``rows`` are
    the scans or volumes of this run, ``held`` those that the file held before.
    """

    source: Path
    output: Path
    state: FileState = "made"
    rows: "tuple[Row, ...]" = ()
    held: int = 0
    error: str = ""


def run_batch(
    works: "Sequence[FileWork]", progress: BatchProgress, stop: Event | None = None
) -> Iterator[FileResult]:
    """Make the files one after the other in this process; yield what became of each.

    A file that fails does not stop the others.
    """
    counter = Counter(progress)
    for number, given in enumerate(works):
        work = given
        rows: list[Row] = []
        held, error = 0, ""
        try:
            with sole_writer(work.output):
                work = work.settled()
                every, left = work.all(), work.left()
                held = len(every) - len(left)
                counter.plan(len(left), len(works) - number - 1)
                if left:
                    with closing(work.make(left, counter.within(work.source), stop)) as made:
                        for row in made:
                            rows.append(row)
                            counter.advance()
                if work.output.exists():
                    work.finish(progress)
        except Stopped:
            raise
        except (LiveTomoError, OSError, RuntimeError, MemoryError) as failure:  # torch: no memory
            error = str(failure) or type(failure).__name__
        state: FileState = "failed" if error else "made" if rows else "done"
        yield FileResult(work.source, work.output, state, tuple(rows), held, error)


@dataclass(slots=True)
class Counter:
    """Counts what is done, and estimates how much there is in files that were not opened yet."""

    progress: BatchProgress
    done: int = 0
    known: int = 0
    opened: int = 0
    lock: Lock = field(default_factory=Lock)

    def plan(self, count: int, unopened: int) -> None:
        """Count a file that was opened; those not opened yet are taken to be like it."""
        self.known, self.opened = self.known + count, self.opened + 1
        self.progress.expect(self.known + round(unopened * self.known / self.opened))

    def advance(self, count: int = 1) -> None:
        """Count what was made; threads may call it."""
        with self.lock:
            self.done += count
            self.progress.advance_to(self.done)

    def within(self, source: Path) -> "_OneFile":
        """Return a listener for the work on one file."""
        return _OneFile(self.progress, source.name)


@dataclass(frozen=True, slots=True)
class _OneFile:
    """Passes on what is done with one file of the batch."""

    progress: BatchProgress
    name: str

    def say(self, what: str) -> None:
        """Show what is being done with it."""
        self.progress.say(f"{self.name}, {what}")

    def advance_to(self, done: float) -> None:
        """Ignore it: the batch counts for itself."""
