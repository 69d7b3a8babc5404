"""Work for the workers of a test's cluster that loads no torch: time points are copied."""

import os
import shutil
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import h5py

from files.joining import TomogramJoiner

if TYPE_CHECKING:
    from pipeline.tomograms.job import ProgressListener

__all__ = ["CopiedRow", "CopyWork", "Counted"]


@dataclass(frozen=True)
class CopiedRow:
    """A time point, and the process that copied it."""

    time: int
    pid: int


@dataclass(frozen=True)
class CopyWork:
    """Copies the time points of a tomogram file.

    The first process that begins with scan ``fatal`` writes its number into ``victim`` and waits
    for its death.
    """

    source: Path
    output: Path
    count: int
    victim: Path
    fatal: int = -1

    def all(self) -> Sequence[int]:
        if self.source.suffix != ".h5":
            raise OSError(f"{self.source} is broken")
        return range(self.count)

    def settled(self) -> "CopyWork":
        return self

    def left(self) -> Sequence[int]:
        if not self.output.exists():
            return self.all()
        with h5py.File(self.output) as file:
            return range(len(file["tomograms/timestamps"]), self.count)

    def make(
        self, numbers: Sequence[int], listener: "ProgressListener", stop: Event | None = None
    ) -> Generator[CopiedRow, None, None]:
        part = self.output.with_suffix(".part")
        for number in numbers:
            rows = self.make_part([number], part)
            with TomogramJoiner(self.output) as joiner:
                joiner.append(part)
            part.unlink()
            yield rows[0]

    def make_part(self, numbers: Sequence[int], part: Path) -> Sequence[CopiedRow]:
        if self.fatal in numbers and not self.victim.exists():
            part.write_bytes(b"what a killed writer leaves")
            unfinished = self.victim.with_suffix(".new")
            unfinished.write_text(str(os.getpid()))
            unfinished.replace(self.victim)
            while True:
                time.sleep(3600)
        shutil.copy(self.source, part)
        with h5py.File(part, "r+") as file:
            group, now = file["tomograms"], {old: new for new, old in enumerate(numbers)}
            for name in ("gp", "tv"):
                times = group[f"{name}_index"][()]
                here = [row for row, time in enumerate(times) if time in now]
                _keep(group[name], group[name][here])
                _keep(group[f"{name}_index"], [now[times[row]] for row in here])
            for name in ("raw", "scan", "timestamps"):
                _keep(group[name], group[name][list(numbers)])
            rows = [row for row in file["quality"][()] if row["time"] in now]
            for row in rows:
                row["time"] = now[row["time"]]
            _keep(file["quality"], rows)
        return [CopiedRow(number, os.getpid()) for number in numbers]

    def finish(self, listener: "ProgressListener") -> None:
        self.victim.with_name(f"{self.output.name}.finished").touch()


def _keep(held: h5py.Dataset, rows: Any) -> None:
    held.resize(len(rows), axis=0)
    if len(rows):
        held[...] = rows


class Counted:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.done, self.total = 0.0, 0

    def say(self, what: str) -> None:
        pass

    def advance_to(self, done: float) -> None:
        self.done = done

    def expect(self, total: int) -> None:
        self.total = total
