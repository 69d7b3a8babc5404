"""Samples for a training that goes on while they are made: read and prepared one by one."""

import math
import time
from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from acquisition.closing import Closing
from regularizer.networks.trained import Recipe
from regularizer.training import training_data
from regularizer.training.bulk_samples import BULK_SEED
from regularizer.training.steps import Pair, Unseen, pair_of
from regularizer.training.trained_range import TrainingRange, figures
from regularizer.training.training_data import TEST_SEED, VALIDATION_SEED, Sample

__all__ = ["Intake", "Known"]

_AHEAD = 4  # files that are read before they are asked for
_LOOK_S = 0.5  # how often the folder is looked into
_FREE = 0.5  # of a GPU's memory, for samples to go there

Kind = tuple[tuple[str, ...], str]  # what a network sees and learns


def _seed(path: Path) -> int:
    return int(path.stem[-5:])


def _is_unseen(seed: int) -> bool:
    return VALIDATION_SEED <= seed < TEST_SEED


def _kind(recipe: Recipe) -> Kind:
    return recipe.channels, recipe.target


@dataclass(slots=True)
class Known:
    """The samples so far, as the networks of one kind see them."""

    recipe: Recipe
    trained: list[Pair] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)


class Intake(Closing):
    """Takes in samples as they come: a thread reads the next files while the training goes on.

    On a GPU they stay in its memory while half of it is free.
    """

    def __init__(
        self, data: Path, kinds: Collection[str], recipes: Iterable[Recipe], device: torch.device
    ) -> None:
        self._data, self._kinds, self._device = data, kinds, device
        self._known = {_kind(recipe): Known(recipe) for recipe in recipes}
        self._seen: list[dict[str, float]] = []
        self.scans = 0
        self._taken: set[Path] = set()
        self._looked = -math.inf
        self._waiting: list[Path] = []
        self._reader = ThreadPoolExecutor(1)
        self._ahead: deque[Future[Sample]] = deque()

    def close(self) -> None:
        """Read no further ahead."""
        self._reader.shutdown(cancel_futures=True)

    def of(self, recipe: Recipe) -> Known:
        """Return what a network can be trained and validated on so far."""
        return self._known[_kind(recipe)]

    @property
    def reading(self) -> bool:
        """Whether there are files that have not been taken in."""
        return bool(self._ahead or self._waiting)

    @property
    def bulk(self) -> int:
        """How many of the samples to train on were made in bulk."""
        return len(self._seen) - self.scans

    def take_in(self) -> None:
        """Take in the samples that have been read, and have the next ones read."""
        while self._ahead and self._ahead[0].done():
            self._add(self._ahead.popleft().result())
        if not self._waiting:
            self._look()
        while self._waiting and len(self._ahead) < _AHEAD:
            self._ahead.append(self._reader.submit(training_data.load, self._waiting.pop(0)))

    def _look(self) -> None:
        """Find the files that have come, twice a second at most: validation first, others mixed."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        found = training_data.files(self._data, 0, 10 * BULK_SEED, self._kinds)
        new = [path for path in found if path not in self._taken]
        self._taken.update(new)
        order = np.random.default_rng(len(self._taken)).permutation(len(new))
        wanted = [new[i] for i in order if not TEST_SEED <= _seed(new[i]) < BULK_SEED]
        self._waiting = sorted(wanted, key=lambda path: not _is_unseen(_seed(path)))

    def _add(self, sample: Sample) -> None:
        sample = sample.to(_home(self._device))
        for known in self._known.values():
            pair = pair_of(sample, known.recipe)
            if _is_unseen(sample.seed):
                known.unseen.append(Unseen(pair, sample.spectrum))
            else:
                known.trained.append(pair)
        if not _is_unseen(sample.seed):
            self.scans += sample.seed < VALIDATION_SEED
            self._seen.append(figures(sample.raw, sample.spectrum))

    @property
    def range(self) -> TrainingRange:
        """Of what is trained on."""
        return TrainingRange.over(self._seen)


def _home(device: torch.device) -> torch.device:
    """Return where samples are kept."""
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        if free < _FREE * whole:
            return torch.device("cpu")
    return device
