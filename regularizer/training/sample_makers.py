"""Processes that make training samples during a training, until they are stopped.

Each process works through its own part of one list of tasks, so they need not communicate. A sample
is one file, written whole or not at all. The list alternates scans of every kind of object with
samples in bulk, with some validation objects early. Even seeds have preset optics, odd seeds random
ones.
"""

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from acquisition.closing import Closing
from regularizer.training.bulk_samples import BULK_SEED, make_geometry
from regularizer.training.training_data import (
    VALIDATION_SEED,
    make_scan_sample,
    sample_file,
    use_one_thread,
)

__all__ = ["SampleMakers", "Samples", "processes"]

_MOST = 40  # objects of each kind, scanned and in bulk each: a sample takes 20 to 40 MB on disk
_VALIDATED = 2  # validation objects of each kind


@dataclass(frozen=True, slots=True)
class Samples:
    """Which samples are made, and where.

    Parameters
    ----------
    data : Path
        Folder of the samples.
    kinds : sequence of str
        Kinds of objects.
    frame : int
        Camera pixels a side.
    tv : bool
        Whether total variation is computed as well.
    """

    data: Path
    kinds: tuple[str, ...]
    frame: int
    tv: bool

    def tasks(self) -> Iterator[tuple[str, int]]:
        """Yield (kind, seed) of every task in order; kind "" means all kinds, made in bulk."""
        yield from (("", BULK_SEED), ("", BULK_SEED + 1))
        yield from ((kind, VALIDATION_SEED) for kind in self.kinds)
        for seed in range(_MOST):
            yield from ((kind, seed) for kind in self.kinds)
            yield "", BULK_SEED + 2 + seed
            if seed + 1 < _VALIDATED:
                yield from ((kind, VALIDATION_SEED + seed + 1) for kind in self.kinds)

    def make(self, kind: str, seed: int) -> None:
        """Make the missing samples of a task."""
        kinds = [kind] if kind else list(self.kinds)
        missing = [one for one in kinds if not sample_file(self.data, one, seed).exists()]
        if missing and kind:
            make_scan_sample(self.data, kind, seed, self.tv, self.frame)
        elif missing:
            make_geometry(self.data, missing, seed, self.tv, self.frame)


def processes() -> int:
    """Return the default number of processes: one core is left to the training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max((cores or 1) - 1, 1)


class SampleMakers(Closing):
    """The processes that make samples, running from the start of ``with`` to its end.

    Parameters
    ----------
    samples : Samples
    jobs : int
        Number of processes.
    """

    def __init__(self, samples: Samples, jobs: int) -> None:
        samples.data.mkdir(parents=True, exist_ok=True)
        spawn = multiprocessing.get_context("spawn")
        self._processes = [
            spawn.Process(target=_work, args=(samples, first, jobs), daemon=True)
            for first in range(jobs)
        ]

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def close(self) -> None:
        """End the processes; unfinished samples are dropped."""
        for process in self._processes:
            process.kill()  # safe: files are written whole or not at all
        for process in self._processes:
            process.join()

    @property
    def at_work(self) -> bool:
        """Whether any process is still making samples."""
        return any(process.is_alive() for process in self._processes)

    @property
    def failed(self) -> int:
        """Number of processes that ended with an error, which they have printed."""
        return sum(bool(process.exitcode) for process in self._processes)


def _work(samples: Samples, first: int, jobs: int) -> None:
    """Make every ``jobs``-th sample; end when the training ends, even if it was killed."""
    use_one_thread()
    training = multiprocessing.parent_process()
    for kind, seed in itertools.islice(samples.tasks(), first, None, jobs):
        if training is None or not training.is_alive():
            return
        samples.make(kind, seed)
