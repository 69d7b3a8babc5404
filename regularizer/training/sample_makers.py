"""Processes that make training samples beside a training, until they are told to stop.

Each works through its own part of one list of tasks, so that nothing has to be passed between them;
a sample is a file, whole or not there. In the list, scans of every kind of object alternate with
samples in bulk, and some objects for validation come early. Presets and random optics take turns
by the seed.
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
    make_scanned,
    sample_file,
    take_one_thread,
)

__all__ = ["SampleMakers", "Samples", "processes"]

_MOST = 40  # objects of a kind of either sort: a sample takes 20 to 40 MB of the disk
_VALIDATED = 2  # objects of a kind


@dataclass(frozen=True, slots=True)
class Samples:
    """What is made.

    Parameters
    ----------
    data : Path
        Folder of the samples.
    kinds : sequence of str
        Of objects.
    frame : int
        Camera pixels a side.
    tv : bool
        Whether total variation is computed, too.
    """

    data: Path
    kinds: tuple[str, ...]
    frame: int
    tv: bool

    def tasks(self) -> Iterator[tuple[str, int]]:
        """Return kind and seed of every sample in their order; kind "" is all, made in bulk."""
        yield from (("", BULK_SEED), ("", BULK_SEED + 1))
        yield from ((kind, VALIDATION_SEED) for kind in self.kinds)
        for seed in range(_MOST):
            yield from ((kind, seed) for kind in self.kinds)
            yield "", BULK_SEED + 2 + seed
            if seed + 1 < _VALIDATED:
                yield from ((kind, VALIDATION_SEED + seed + 1) for kind in self.kinds)

    def make(self, kind: str, seed: int) -> None:
        """Make the sample or samples of a task that are missing."""
        kinds = [kind] if kind else list(self.kinds)
        missing = [one for one in kinds if not sample_file(self.data, one, seed).exists()]
        if missing and kind:
            make_scanned(self.data, kind, seed, self.tv, self.frame)
        elif missing:
            make_geometry(self.data, missing, seed, self.tv, self.frame)


def processes() -> int:
    """Return how many processes suit this machine: one core is left to the training."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max((cores or 1) - 1, 1)


class SampleMakers(Closing):
    """So many processes, from ``with`` to its end.

    Parameters
    ----------
    samples : Samples
    jobs : int
        How many.
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
        """End the processes; what is half made is left out."""
        for process in self._processes:
            process.kill()  # a sample that is half made is not there
        for process in self._processes:
            process.join()

    @property
    def at_work(self) -> bool:
        """Whether any of them is still making samples."""
        return any(process.is_alive() for process in self._processes)

    @property
    def failed(self) -> int:
        """How many ended by an error, which they have printed."""
        return sum(bool(process.exitcode) for process in self._processes)


def _work(samples: Samples, first: int, jobs: int) -> None:
    """Make every ``jobs``-th sample; end with the training, even with one that was killed."""
    take_one_thread()
    training = multiprocessing.parent_process()
    for kind, seed in itertools.islice(samples.tasks(), first, None, jobs):
        if training is None or not training.is_alive():
            return
        samples.make(kind, seed)
