"""The objects of a training: input and target of each, from single files or from shards.

Of sharded samples (``regularizer.training.shards``) the patches of a batch have a part each: patch
p is drawn from the shards p, p + batch, p + 2 batch, ... So a process reads and holds the shards of
its own patches only, and N processes still draw the patches that one would draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from acquisition.errors import DataError
from reconstruction.tomogram import Spectrum
from regularizer.networks.trained import Recipe, network_input
from regularizer.training import training_data
from regularizer.training.bulk_samples import BULK_SEED
from regularizer.training.shards import Shard, is_sharded, read_manifest, read_shard
from regularizer.training.trained_range import TrainingRange, figures
from regularizer.training.training_data import (
    TEST_SEED,
    VALIDATION_SEED,
    Sample,
    quick_start,
    target_tv,
)

__all__ = [
    "Pair",
    "Pairs",
    "ShardedPairs",
    "TrainingObjects",
    "ValidationObject",
    "drawn_pair",
    "load_objects",
    "training_pair",
]

_FAINTEST = 1e-5  # mean square of a target below which its weight no longer grows


@dataclass(frozen=True, slots=True)
class Pair:
    """A network's input and target for one object.

    Both are float16, as in the files, so that some hundred objects fit into memory.
    """

    scale: float  # contrast that both were divided by
    weight: float  # of its squared errors
    seen: torch.Tensor  # the input (channels, z, y, x)
    target: torch.Tensor  # (z, y, x)
    inside: torch.Tensor  # (n, 3) voxels above a tenth of the range


@dataclass(frozen=True, slots=True)
class ValidationObject:
    """An object of the validation split, and its measured spectrum."""

    pair: Pair
    spectrum: Spectrum


@dataclass(slots=True)
class ShardedPairs:
    """The pairs of sharded samples; a shard is read, and checked, when it is first needed.

    Parameters
    ----------
    folder : Path
    shards : sequence of Shard
        Those to train on.
    recipe : Recipe
    kinds : collection of str
    batch : int
        Patches in each step.
    """

    folder: Path
    shards: Sequence[Shard]
    recipe: Recipe
    kinds: tuple[str, ...]
    batch: int
    _held: dict[int, list[Pair]] = field(default_factory=dict)

    def of_patch(self, patch: int) -> list[Pair]:
        """Return the pairs that a patch of a batch is drawn from."""
        count = len(self.shards)
        numbers = range(patch, count, self.batch) if patch < count else (patch % count,)
        return [pair for number in numbers for pair in self._shard(number)]

    @property
    def held(self) -> tuple[int, ...]:
        """Numbers of the shards that were read."""
        return tuple(sorted(self._held))

    def _shard(self, number: int) -> list[Pair]:
        if number not in self._held:
            samples = read_shard(self.folder, self.shards[number])
            self._held[number] = [
                training_pair(sample, self.recipe)
                for sample in samples
                if sample.kind in self.kinds
            ]
        return self._held[number]


Pairs = Sequence[Pair] | ShardedPairs


def drawn_pair(pairs: Pairs, patch: int, rng: np.random.Generator) -> Pair:
    """Return a random pair for a patch of a batch."""
    among = pairs.of_patch(patch) if isinstance(pairs, ShardedPairs) else pairs
    return among[int(rng.integers(len(among)))]


@dataclass(frozen=True, slots=True)
class TrainingObjects:
    """The objects of one training run."""

    scans: int  # number of simulated scans in ``trained``; the others were made in bulk
    bulk: int  # of those
    trained: Pairs
    unseen: list[ValidationObject]
    range: TrainingRange  # of the scans


def training_pair(sample: Sample, recipe: Recipe) -> Pair:
    """Return the input and target of a sample for networks of a recipe."""
    seen, scale = network_input(
        sample.raw, sample.spectrum, recipe.channels, lambda: quick_start(sample)
    )
    target = (target_tv(sample) if recipe.target == "tv" else sample.truth) / scale
    weight = 1 / math.sqrt(max(float(target.square().mean()), _FAINTEST))
    inside = torch.nonzero(target > 0.1).to("cpu", torch.int16)
    return Pair(scale, weight, seen.to(torch.float16), target.to(torch.float16), inside)


def load_objects(
    data: Path, recipe: Recipe, kinds: tuple[str, ...], batch: int, *, validating: bool = True
) -> TrainingObjects:
    """Load the samples of the training and, where ``validating``, of the validation split.

    Parameters
    ----------
    data : Path
        Folder of samples, or of shards.
    recipe : Recipe
    kinds : tuple of str
    batch : int
        Patches in each step.
    validating : bool
        Whether this process validates; of several only the first does.

    Raises
    ------
    DataError
        If there is nothing to train on, or a shard is damaged.
    """
    if is_sharded(data):
        return _sharded(data, recipe, kinds, batch, validating=validating)
    trained, seen = [], []
    for path in training_data.sample_files(data, 0, VALIDATION_SEED, kinds):
        sample = training_data.load(path)
        trained.append(training_pair(sample, recipe))
        seen.append(figures(sample.raw, sample.spectrum))
    scans = len(trained)
    bulk = training_data.sample_files(data, BULK_SEED, 10 * BULK_SEED, kinds)
    trained += [training_pair(training_data.load(path), recipe) for path in bulk]
    unseen = []
    for path in training_data.sample_files(data, VALIDATION_SEED, TEST_SEED, kinds):
        sample = training_data.load(path)
        unseen.append(ValidationObject(training_pair(sample, recipe), sample.spectrum))
    return TrainingObjects(scans, len(bulk), trained, unseen, TrainingRange.over(seen))


def _sharded(
    data: Path, recipe: Recipe, kinds: tuple[str, ...], batch: int, *, validating: bool
) -> TrainingObjects:
    shards = [one for one in read_manifest(data) if any(s.kind in kinds for s in one.samples)]
    trained = [one for one in shards if not one.validates]
    if not trained:
        raise DataError(
            f"{data} must hold a shard with samples of {', '.join(kinds)} to train on, found none"
        )
    found = [one for shard in trained for one in shard.samples if one.kind in kinds]
    scans = [one.figures for one in found if one.seed < VALIDATION_SEED]
    unseen = [
        ValidationObject(training_pair(sample, recipe), sample.spectrum)
        for shard in shards
        if shard.validates and validating
        for sample in read_shard(data, shard)
        if sample.kind in kinds
    ]
    return TrainingObjects(
        len(scans),
        len(found) - len(scans),
        ShardedPairs(data, trained, recipe, kinds, batch),
        unseen,
        TrainingRange.over(dict(one) for one in scans),
    )
