"""Reads and prepares training samples one by one, while they are still being made."""

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
from regularizer.training.pairs import Pair, ValidationObject, training_pair
from regularizer.training.trained_range import TrainingRange, figures
from regularizer.training.training_data import TEST_SEED, VALIDATION_SEED, Sample

__all__ = ["Intake", "PreparedSamples"]

_AHEAD = 4  # files read ahead
_LOOK_S = 0.5  # shortest time between two looks into the folder
_FREE = 0.5  # share of a GPU's memory that must be free to keep samples there

Kind = tuple[tuple[str, ...], str]  # a network's input channels and target


def _seed(path: Path) -> int:
    return int(path.stem[-5:])


def _is_unseen(seed: int) -> bool:
    return VALIDATION_SEED <= seed < TEST_SEED


def _kind(recipe: Recipe) -> Kind:
    return recipe.channels, recipe.target


@dataclass(slots=True)
class PreparedSamples:
    """The samples read so far, prepared for networks with the same input and target."""

    recipe: Recipe
    trained: list[Pair] = field(default_factory=list)
    unseen: list[ValidationObject] = field(default_factory=list)


class Intake(Closing):
    """Reads new samples during a training: a thread reads the next files ahead.

    On a GPU samples are kept in its memory as long as half of it is free.
    """

    def __init__(
        self, data: Path, kinds: Collection[str], recipes: Iterable[Recipe], device: torch.device
    ) -> None:
        self._data, self._kinds, self._device = data, kinds, device
        self._known = {_kind(recipe): PreparedSamples(recipe) for recipe in recipes}
        self._seen: list[dict[str, float]] = []
        self.scans = 0
        self._taken: set[Path] = set()
        self._looked = -math.inf
        self._waiting: list[Path] = []
        self._reader = ThreadPoolExecutor(1)
        self._ahead: deque[Future[Sample]] = deque()

    def close(self) -> None:
        """Stop reading ahead."""
        self._reader.shutdown(cancel_futures=True)

    def prepared_for(self, recipe: Recipe) -> PreparedSamples:
        """Return the samples prepared so far for a recipe's networks."""
        return self._known[_kind(recipe)]

    @property
    def reading(self) -> bool:
        """Whether there are files that are not yet prepared."""
        return bool(self._ahead or self._waiting)

    @property
    def bulk(self) -> int:
        """Number of training samples that were made in bulk."""
        return len(self._seen) - self.scans

    def prepare_ready(self) -> None:
        """Prepare the samples that have been read, and start reading the next ones."""
        while self._ahead and self._ahead[0].done():
            self._add(self._ahead.popleft().result())
        if not self._waiting:
            self._look()
        while self._waiting and len(self._ahead) < _AHEAD:
            self._ahead.append(self._reader.submit(training_data.load, self._waiting.pop(0)))

    def _look(self) -> None:
        """Queue new files, validation first, others shuffled; looks twice a second at most."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        found = training_data.sample_files(self._data, 0, 10 * BULK_SEED, self._kinds)
        new = [path for path in found if path not in self._taken]
        self._taken.update(new)
        order = np.random.default_rng(len(self._taken)).permutation(len(new))
        wanted = [new[i] for i in order if not TEST_SEED <= _seed(new[i]) < BULK_SEED]
        self._waiting = sorted(wanted, key=lambda path: not _is_unseen(_seed(path)))

    def _add(self, sample: Sample) -> None:
        sample = sample.to(_home(self._device))
        for known in self._known.values():
            pair = training_pair(sample, known.recipe)
            if _is_unseen(sample.seed):
                known.unseen.append(ValidationObject(pair, sample.spectrum))
            else:
                known.trained.append(pair)
        if not _is_unseen(sample.seed):
            self.scans += sample.seed < VALIDATION_SEED
            self._seen.append(figures(sample.raw, sample.spectrum))

    @property
    def range(self) -> TrainingRange:
        """Range of the training samples."""
        return TrainingRange.over(self._seen)


def _home(device: torch.device) -> torch.device:
    """Return the device that samples are kept on."""
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        if free < _FREE * whole:
            return torch.device("cpu")
    return device
