"""Training of the networks: pairs from our own instrument, Adam, l2 loss.

``python launcher.py train --network NAME`` makes the data that is missing (with ``--bulk``, samples
without scattering as well), trains with a checkpoint every minute, goes on where an interrupted run
stopped, and writes the weights of the best validation MSE. As in the paper: patches of 64^3, l2
loss, He initialisation, flips and rotations with probability 0.3 (about z only: the missing cone
has an axis). Ours: a cosine schedule; for the live view's networks a higher rate and smaller
batches; and every object's squared errors are divided by the rms of its target, without which a
chain of cocci, a hundredth of a cell's volume, would count a hundredth.
"""

import contextlib
import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from acquisition.errors import DataError
from reconstruction.tomogram import Spectrum
from regularizer.metrics import data_residual, unexplained
from regularizer.networks.inference import apply_patches, apply_whole
from regularizer.networks.trained import NETWORKS, Recipe, load_network, network_input, save_network
from regularizer.networks.unet import LightUNet, channels_last
from regularizer.training import training_data
from regularizer.training.bulk_samples import BULK_SEED
from regularizer.training.trained_range import TrainingRange, figures
from regularizer.training.training_data import (
    KINDS,
    TEST_SEED,
    VALIDATION_SEED,
    Sample,
    quick_start,
    target_tv,
)

__all__ = [
    "Pair",
    "Run",
    "Settings",
    "Unseen",
    "about",
    "examined",
    "pair_of",
    "record",
    "teach_doubt",
    "train",
]

_DOUBT_RATE = 2e-3  # of Adam, for the head that says how large the errors are
_FAINTEST = 1e-5  # mean square of a target; what is fainter gets no higher weight


@dataclass(frozen=True, slots=True)
class Settings:
    """One training run.

    ``batch`` and ``rate`` are the recipe's where None. No more than ``chunk`` patches are in memory
    at once; the gradients of a batch are summed over its chunks. ``start``: weights to go on from.
    """

    network: str = "light-unet"
    steps: int = 3000
    batch: int | None = None
    rate: float | None = None
    chunk: int = 16
    seed: int = 0
    validate_every: int = 200
    kinds: tuple[str, ...] = KINDS
    start: Path | None = None
    doubt_steps: int = 500
    patch: int = 64

    @property
    def recipe(self) -> Recipe:
        """Of the network that is trained."""
        return NETWORKS[self.network]


@dataclass(frozen=True, slots=True)
class Pair:
    """What the network sees (channels, z, y, x) of an object, its target, where the object is.

    Both float16, as in the files: some hundred objects have to fit into memory.
    """

    scale: float  # contrast of 1 in the two
    weight: float  # of its squared errors
    seen: torch.Tensor
    target: torch.Tensor
    inside: torch.Tensor  # (n, 3) voxels above a tenth of the range


@dataclass(frozen=True, slots=True)
class Unseen:
    """An object of the validation split, and what was measured of it."""

    pair: Pair
    spectrum: Spectrum


@dataclass(frozen=True, slots=True)
class _Objects:
    """The objects of one training run."""

    scans: int  # how many of ``trained`` were scanned; the others were made in bulk
    trained: list[Pair]
    unseen: list[Unseen]
    range: TrainingRange  # of the scans

    @property
    def bulk(self) -> int:
        """How many were made in bulk."""
        return len(self.trained) - self.scans


def pair_of(sample: Sample, recipe: Recipe) -> Pair:
    """Return what a network of that recipe sees of a sample and learns from it."""
    seen, scale = network_input(
        sample.raw, sample.spectrum, recipe.channels, lambda: quick_start(sample)
    )
    target = (target_tv(sample) if recipe.target == "tv" else sample.truth) / scale
    weight = 1 / math.sqrt(max(float(target.square().mean()), _FAINTEST))
    inside = torch.nonzero(target > 0.1).to("cpu", torch.int16)
    return Pair(scale, weight, seen.to(torch.float16), target.to(torch.float16), inside)


def _cut(
    pair: Pair, rng: np.random.Generator, size: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a patch near the object (three of four) or anywhere, and turn it."""
    shape = np.array(pair.target.shape)
    if len(pair.inside) and rng.uniform() < 0.75:
        centre = pair.inside[int(rng.integers(len(pair.inside)))].numpy() - size // 2
        centre = centre + rng.integers(-16, 17, 3)
    else:
        centre = rng.integers(0, np.maximum(shape - size, 0) + 1)
    z, y, x = (slice(int(c), int(c) + size) for c in np.clip(centre, 0, shape - size))
    flips = [axis - 3 for axis in range(3) if rng.uniform() < 0.3]
    turns = int(rng.integers(1, 4)) if rng.uniform() < 0.3 else 0
    seen, target = (
        torch.rot90(v.to(device, torch.float32).flip(flips), turns, (-2, -1))
        for v in (pair.seen[:, z, y, x], pair.target[None, z, y, x])
    )
    return seen, target


def _batch(
    pairs: Sequence[Pair],
    count: int,
    rng: np.random.Generator,
    size: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return so many patches of size^3, their targets and weights, on a device."""
    chosen = [pairs[int(rng.integers(len(pairs)))] for _ in range(count)]
    cuts = [_cut(pair, rng, size, device) for pair in chosen]
    seen, target = (torch.stack(part).contiguous() for part in zip(*cuts, strict=True))
    return seen, target, torch.tensor([pair.weight for pair in chosen]).to(device)


def examined(
    network: nn.Module, recipe: Recipe, one: Unseen, device: torch.device
) -> tuple[torch.Tensor, float, float]:
    """Return the result on an object, its weighted MSE and what it leaves unexplained."""
    with torch.inference_mode():
        seen = one.pair.seen.to(device, torch.float32)
        result = _whole(network, recipe, seen).to(one.pair.target.device)
        wrong = functional.mse_loss(result, one.pair.target.to(torch.float32))
        residual = data_residual(result * one.pair.scale, one.spectrum)
    return result, one.pair.weight * float(wrong), unexplained(residual, one.spectrum.noise)


def _validate(
    network: nn.Module, recipe: Recipe, unseen: Sequence[Unseen], device: torch.device
) -> tuple[float, float]:
    """Return the objects' mean weighted MSE, and the most that a result leaves unexplained."""
    network.eval()
    found = [examined(network, recipe, one, device)[1:] for one in unseen]
    network.train()
    errors, left = zip(*found, strict=True)
    return float(np.mean(errors)), max(left)


class Run:
    """A training run that can stop anywhere and go on."""

    def __init__(self, settings: Settings, folder: Path, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.folder, self.device = settings, folder, device
        # channels last: a step on two cores in 0.7 s instead of 1.0
        self.network = channels_last(settings.recipe.build()).to(device)
        self.before = ""
        if settings.start is not None:
            taught = load_network(settings.network, settings.start)
            self.network.load_state_dict(taught.network.state_dict())
            self.before = f"{taught.about['settings']}, then "
        self.rate = settings.recipe.rate if settings.rate is None else settings.rate
        self.batch = settings.recipe.batch if settings.batch is None else settings.batch
        self.optimizer = torch.optim.Adam(self.network.parameters(), self.rate)
        self.step = 0
        self.best = math.inf
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.is_file():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise DataError(
                f"a checkpoint must be of the network that is trained; {self.checkpoint} does not "
                f"fit {self.settings.network} as it is now: remove it, or give another --run"
            ) from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = int(state["step"]), float(state["best"])

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def advance(self, pairs: Sequence[Pair], done: float) -> torch.Tensor:
        """Take one step and return its loss; ``done`` is the part of the training behind it.

        The random numbers depend on seed and step, so a resume is exact.
        """
        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.step])
        warm = min(1.0, (self.step + 1) / 100)
        _set_rate(self.optimizer, self.rate * warm, done)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for first in range(0, self.batch, settings.chunk):
            count = min(settings.chunk, self.batch - first)
            seen, target, weight = _batch(pairs, count, rng, settings.patch, self.device)
            with self._precision():
                result = self.network(seen)
            wrong = (result.float() - target).square().mean(dim=(1, 2, 3, 4))
            loss = (weight * wrong).sum() / self.batch
            loss.backward()
            total += loss.detach()  # not read here: a GPU would be waited for
        self.optimizer.step()
        self.step += 1
        return total

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """bf16 on a GPU; on processors without AMX it is a hundred times slower than float32."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()


def _set_rate(optimizer: torch.optim.Optimizer, highest: float, done: float) -> None:
    """Set Adam's rate: half a cosine from the highest to nothing over the training."""
    for group in optimizer.param_groups:
        group["lr"] = highest * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def train(
    settings: Settings,
    data: Path,
    folder: Path,
    output: Path,
    device: torch.device,
    stop_at: int | None = None,
) -> float:
    """Train and return the best weighted validation MSE; ``output`` has the weights of then.

    ``stop_at`` ends the run early, at a step; the next call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    objects = _load(data, settings)
    run = Run(settings, folder, device)
    saved = time.monotonic()
    started, first = saved, run.step
    losses: list[float] = []
    last = settings.steps if stop_at is None else min(stop_at, settings.steps)
    if settings.steps == 0 and settings.start is not None:  # only the head that doubts is taught
        known = load_network(settings.network, settings.start)
        save_network(settings.network, known.network, output, known.range, known.about)
    while run.step < last:
        losses.append(float(run.advance(objects.trained, run.step / settings.steps)))
        if run.step % settings.validate_every == 0 or run.step == last:
            error, left_out = _validate(run.network, settings.recipe, objects.unseen, device)
            if error < run.best:
                run.best = error
                told = about(run, settings.steps, objects.scans, objects.bulk, f"{error:.4e}")
                limits = {**objects.range.limits, "unexplained": (0.0, left_out)}
                seen = TrainingRange(limits)
                save_network(settings.network, run.network, output, seen, told)
            left = (time.monotonic() - started) / (run.step - first) * (settings.steps - run.step)
            record(folder / "curve.csv", run.step, float(np.mean(losses)), error)
            print(
                f"step {run.step} of {settings.steps}: loss {np.mean(losses):.2e}, "
                f"validation {error:.2e} (best {run.best:.2e}), {left / 60:.0f} min left",
                flush=True,
            )
            losses = []
        if time.monotonic() - saved > 60 or run.step == last:
            run.save()
            saved = time.monotonic()
    _learn_doubt(settings, run.batch, output, objects, device)
    return run.best


def _learn_doubt(
    settings: Settings, batch: int, path: Path, objects: _Objects, device: torch.device
) -> None:
    """Train the head that says how large the errors are of the best weights, into their file."""
    trained = load_network(settings.network, path)
    network = trained.network.to(device)
    if isinstance(network, LightUNet) and network.doubt is not None:
        channels_last(network)
        steps = settings.doubt_steps
        known = (objects.trained, objects.unseen)
        teach_doubt(network, settings, batch, known, lambda step: step / steps if steps else 1.0)
        save_network(settings.network, network.cpu(), path, trained.range, trained.about)


def teach_doubt(
    network: LightUNet,
    settings: Settings,
    batch: int,
    objects: tuple[Sequence[Pair], Sequence[Unseen]],
    done: Callable[[int], float],
) -> None:
    """Train the head that says how large the errors are; the other weights stay as they are.

    By the likelihood of normal errors times their standard deviation (Seitzer et al. 2022): by the
    likelihood alone, which small errors and outliers rule, 600 steps did not settle. Errors on the
    trained objects are smaller than on others, so it is scaled to those on the validation objects.

    Parameters
    ----------
    network : LightUNet
    settings : Settings
    batch : int
    objects : trained, unseen
    done : callable
        Which part of the training a number of steps is; it ends at 1.
    """
    assert network.doubt is not None
    trained, unseen = objects
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.doubt.parameters(), _DOUBT_RATE)
    step = 0
    while (part := done(step)) < 1:
        _set_rate(optimizer, _DOUBT_RATE, part)
        rng = np.random.default_rng([settings.seed, step, 1])
        seen, target, _ = _batch(trained, batch, rng, settings.patch, device)
        with torch.no_grad():
            features = network.features(seen)
            wrong = network.corrected(seen, features) - target
        deviation = network.deviation(features)
        optimizer.zero_grad(set_to_none=True)
        loss = 0.5 * (wrong / deviation).square() + deviation.log()
        torch.autograd.backward((deviation.detach() * loss).mean())
        optimizer.step()
        step += 1
    if unseen:
        ratios = [_sureness(network, one.pair, device) for one in unseen]
        network.doubt.scale.fill_(float(np.mean(ratios)))


def _sureness(network: LightUNet, pair: Pair, device: torch.device) -> float:
    """Return the rms error over the rms uncertainty where an object is."""
    with torch.inference_mode():
        result, deviation = apply_whole(network.with_doubt, pair.seen.to(device, torch.float32))
    z, y, x = pair.inside.to(torch.int64).unbind(dim=1)
    wrong = (result.cpu() - pair.target.cpu())[z, y, x]
    return float(wrong.square().mean().sqrt() / deviation.cpu()[z, y, x].square().mean().sqrt())


def _whole(network: nn.Module, recipe: Recipe, seen: torch.Tensor) -> torch.Tensor:
    """Return network(seen) of a whole volume, (z, y, x)."""
    if recipe.patches:
        return apply_patches(network, seen)[0]
    return apply_whole(network, seen, recipe.multiple)[0]


def _load(data: Path, settings: Settings) -> _Objects:
    """Load what there is of the training and the validation split."""
    recipe, kinds = settings.recipe, settings.kinds
    trained, seen = [], []
    for path in training_data.files(data, 0, VALIDATION_SEED, kinds):
        sample = training_data.load(path)
        trained.append(pair_of(sample, recipe))
        seen.append(figures(sample.raw, sample.spectrum))
    scans = len(trained)
    bulk = training_data.files(data, BULK_SEED, 10 * BULK_SEED, kinds)
    trained += [pair_of(training_data.load(path), recipe) for path in bulk]
    unseen = []
    for path in training_data.files(data, VALIDATION_SEED, TEST_SEED, kinds):
        sample = training_data.load(path)
        unseen.append(Unseen(pair_of(sample, recipe), sample.spectrum))
    return _Objects(scans, trained, unseen, TrainingRange.over(seen))


def record(path: Path, step: int, loss: float, error: float) -> None:
    """Add a line to the curve of a training."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "validation_mse"])
        writer.writerow([step, f"{loss:.4e}", f"{error:.4e}"])


def about(run: Run, steps: int, scans: int, bulk: int, error: str) -> dict[str, str]:
    """Return what the weights' file says of their training; ``error``: the validation MSE."""
    settings = run.settings
    return {
        "training_data": f"{scans} simulated scans{f' and {bulk} in bulk' if bulk else ''} "
        f"of {', '.join(settings.kinds)}; presets cell and bacteria, and random optics",
        "kinds": ", ".join(settings.kinds),
        "tv": str(training_data.TARGET),
        "settings": f"{run.before}{steps} steps of Adam, batch {run.batch}, "
        f"rate {run.rate:g}, seed {settings.seed}",
        "validation_mse": error,
    }
