"""Training of the networks: pairs from our own instrument, Adam, l2 loss.

``python launcher.py train --network NAME`` makes the data that is missing (with ``--bulk``, samples
without scattering as well), trains with a checkpoint every minute, goes on where an interrupted run
stopped, and writes the weights of the best validation MSE. As in the paper: patches of 64^3, l2
loss, He initialisation, flips and rotations with probability 0.3 (about z only: the missing cone
has an axis). Ours: a cosine schedule; for the live view's networks a higher rate and smaller
batches; and every object's squared errors are divided by the rms of its target, without which a
chain of cocci, a hundredth of a cell's volume, would count a hundredth.
"""

import argparse
import contextlib
import csv
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from reconstruction.tomogram import Spectrum
from regularizer import training_data
from regularizer.bulk_data import BULK_SEED, make_bulk
from regularizer.inference import apply_patches, apply_whole
from regularizer.metrics import data_residual
from regularizer.networks import LightUNet, channels_last
from regularizer.trained import NETWORKS, WEIGHTS, Recipe, load_network, network_input, save_network
from regularizer.training_data import (
    KINDS,
    TEST_SEED,
    VALIDATION_SEED,
    Sample,
    quick_start,
    target_tv,
)
from regularizer.training_range import TrainingRange, figures, unexplained

__all__ = ["Settings", "main", "train"]

_PATCH = 64
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

    @property
    def recipe(self) -> Recipe:
        """Of the network that is trained."""
        return NETWORKS[self.network]


@dataclass(frozen=True, slots=True)
class _Pair:
    """What the network sees (channels, z, y, x) of an object, its target, where the object is.

    Both float16, as in the files: some hundred objects have to fit into memory.
    """

    scale: float  # contrast of 1 in the two
    weight: float  # of its squared errors
    seen: torch.Tensor
    target: torch.Tensor
    inside: torch.Tensor  # (n, 3) voxels above a tenth of the range


@dataclass(frozen=True, slots=True)
class _Unseen:
    """An object of the validation split, and what was measured of it."""

    pair: _Pair
    spectrum: Spectrum


@dataclass(frozen=True, slots=True)
class _Objects:
    """The objects of one training run."""

    scans: int  # how many of ``trained`` were scanned; the others were made in bulk
    trained: list[_Pair]
    unseen: list[_Unseen]
    range: TrainingRange  # of the scans


def _pair(sample: Sample, recipe: Recipe) -> _Pair:
    seen, scale = network_input(
        sample.raw, sample.spectrum, recipe.channels, lambda: quick_start(sample)
    )
    target = (target_tv(sample) if recipe.target == "tv" else sample.truth) / scale
    weight = 1 / math.sqrt(max(float(target.square().mean()), _FAINTEST))
    inside = torch.nonzero(target > 0.1).to(torch.int16)
    return _Pair(scale, weight, seen.to(torch.float16), target.to(torch.float16), inside)


def _cut(pair: _Pair, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a patch near the object (three of four) or anywhere, and turn it."""
    shape = np.array(pair.target.shape)
    if len(pair.inside) and rng.uniform() < 0.75:
        centre = pair.inside[int(rng.integers(len(pair.inside)))].numpy() - _PATCH // 2
        centre = centre + rng.integers(-16, 17, 3)
    else:
        centre = rng.integers(0, np.maximum(shape - _PATCH, 0) + 1)
    z, y, x = (slice(int(c), int(c) + _PATCH) for c in np.clip(centre, 0, shape - _PATCH))
    flips = [axis - 3 for axis in range(3) if rng.uniform() < 0.3]
    turns = int(rng.integers(1, 4)) if rng.uniform() < 0.3 else 0
    seen, target = (
        torch.rot90(v.to(torch.float32).flip(flips), turns, (-2, -1))
        for v in (pair.seen[:, z, y, x], pair.target[None, z, y, x])
    )
    return seen, target


def _batch(
    pairs: Sequence[_Pair], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chosen = [pairs[int(rng.integers(len(pairs)))] for _ in range(size)]
    cuts = [_cut(pair, rng) for pair in chosen]
    seen, target = (torch.stack(part).contiguous() for part in zip(*cuts, strict=True))
    return seen, target, torch.tensor([pair.weight for pair in chosen])


def _validate(
    network: nn.Module, recipe: Recipe, unseen: Sequence[_Unseen], device: torch.device
) -> tuple[float, float]:
    """Return the objects' mean weighted MSE, and the most that a result leaves unexplained."""
    network.eval()
    errors, left = [], []
    with torch.inference_mode():
        for one in unseen:
            result = _whole(network, recipe, one.pair.seen.to(device, torch.float32)).cpu()
            wrong = functional.mse_loss(result, one.pair.target.to(torch.float32))
            errors.append(one.pair.weight * float(wrong))
            residual = data_residual(result * one.pair.scale, one.spectrum)
            left.append(unexplained(residual, one.spectrum.noise))
    network.train()
    return float(np.mean(errors)), max(left)


class _Run:
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
        self.network.load_state_dict(state["network"])
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

    def advance(self, pairs: Sequence[_Pair]) -> float:
        """Take one step; the random numbers depend on seed and step, so a resume is exact."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.step])
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.rate * warm * 0.5 * (1 + math.cos(math.pi * self.step / settings.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for first in range(0, self.batch, settings.chunk):
            size = min(settings.chunk, self.batch - first)
            seen, target, weight = (part.to(self.device) for part in _batch(pairs, size, rng))
            with self._precision():
                result = self.network(seen)
            wrong = (result.float() - target).square().mean(dim=(1, 2, 3, 4))
            loss = (weight * wrong).sum() / self.batch
            loss.backward()
            total += float(loss.detach())
        self.optimizer.step()
        self.step += 1
        return total

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """bf16 on a GPU; on processors without AMX it is a hundred times slower than float32."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()


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
    run = _Run(settings, folder, device)
    saved = time.monotonic()
    started, first, losses = saved, run.step, []
    last = settings.steps if stop_at is None else min(stop_at, settings.steps)
    if settings.steps == 0 and settings.start is not None:  # only the head that doubts is taught
        known = load_network(settings.network, settings.start)
        save_network(settings.network, known.network, output, known.range, known.about)
    while run.step < last:
        losses.append(run.advance(objects.trained))
        if run.step % settings.validate_every == 0 or run.step == last:
            error, left_out = _validate(run.network, settings.recipe, objects.unseen, device)
            if error < run.best:
                run.best = error
                about = _about(settings, run, error, objects)
                limits = {**objects.range.limits, "unexplained": (0.0, left_out)}
                seen = TrainingRange(limits)
                save_network(settings.network, run.network, output, seen, about)
            left = (time.monotonic() - started) / (run.step - first) * (settings.steps - run.step)
            _record(folder / "curve.csv", run.step, float(np.mean(losses)), error)
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
    """Train the head that says how large the errors are; the other weights stay as they are.

    By the likelihood of normal errors times their standard deviation (Seitzer et al. 2022): by the
    likelihood alone, which small errors and outliers rule, 600 steps did not settle. Errors on the
    trained objects are smaller than on others, so it is scaled to those on the validation objects.
    """
    trained = load_network(settings.network, path)
    network = trained.network.to(device)
    if not isinstance(network, LightUNet) or network.doubt is None:
        return
    channels_last(network)
    optimizer = torch.optim.Adam(network.doubt.parameters(), _DOUBT_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.doubt_steps, 1))
    for step in range(settings.doubt_steps):
        rng = np.random.default_rng([settings.seed, step, 1])
        seen, target, _ = _batch(objects.trained, batch, rng)
        seen, target = seen.to(device), target.to(device)
        with torch.no_grad():
            features = network.features(seen)
            wrong = network.corrected(seen, features) - target
        deviation = network.deviation(features)
        optimizer.zero_grad(set_to_none=True)
        loss = 0.5 * (wrong / deviation).square() + deviation.log()
        torch.autograd.backward((deviation.detach() * loss).mean())
        optimizer.step()
        schedule.step()
    ratios = [_sureness(network, one.pair, device) for one in objects.unseen]
    network.doubt.scale.fill_(float(np.mean(ratios)))
    save_network(settings.network, network.cpu(), path, trained.range, trained.about)


def _sureness(network: LightUNet, pair: _Pair, device: torch.device) -> float:
    """Return the rms error over the rms uncertainty where an object is."""
    with torch.inference_mode():
        result, deviation = apply_whole(network.with_doubt, pair.seen.to(device, torch.float32))
    z, y, x = pair.inside.to(torch.int64).unbind(dim=1)
    wrong = (result.cpu() - pair.target)[z, y, x]
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
        trained.append(_pair(sample, recipe))
        seen.append(figures(sample.raw, sample.spectrum))
    scans = len(trained)
    bulk = training_data.files(data, BULK_SEED, 10 * BULK_SEED, kinds)
    trained += [_pair(training_data.load(path), recipe) for path in bulk]
    unseen = []
    for path in training_data.files(data, VALIDATION_SEED, TEST_SEED, kinds):
        sample = training_data.load(path)
        unseen.append(_Unseen(_pair(sample, recipe), sample.spectrum))
    return _Objects(scans, trained, unseen, TrainingRange.over(seen))


def _record(path: Path, step: int, loss: float, error: float) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "validation_mse"])
        writer.writerow([step, f"{loss:.4e}", f"{error:.4e}"])


def _about(settings: Settings, run: _Run, error: float, objects: _Objects) -> dict[str, str]:
    bulk = len(objects.trained) - objects.scans
    return {
        "training_data": f"{objects.scans} simulated scans{f' and {bulk} in bulk' if bulk else ''} "
        f"of {', '.join(settings.kinds)}; presets cell and bacteria, and random optics",
        "kinds": ", ".join(settings.kinds),
        "tv": str(training_data.TARGET),
        "settings": f"{run.before}{settings.steps} steps of Adam, batch {run.batch}, "
        f"rate {run.rate:g}, seed {settings.seed}",
        "validation_mse": f"{error:.4e}",
    }


def main(argv: list[str]) -> int:
    """Run the ``train`` command."""
    parser = argparse.ArgumentParser(prog="launcher.py train", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="light-unet")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="training samples")
    parser.add_argument("--run", type=Path, help="checkpoints; runs/NETWORK if not given")
    parser.add_argument("--output", type=Path, help="weights; the shipped ones if not given")
    parser.add_argument("--objects", type=int, default=30, help="cells; fewer of other kinds")
    parser.add_argument("--bulk", type=int, default=0, metavar="N", help="objects of each kind "
                        "without scattering, in N geometries")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes for the data")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, help="patches a step")
    parser.add_argument("--rate", type=float, help="of Adam, at its highest")
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--seed", type=int, default=0, help="of weights and patches")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    settings = Settings(
        options.network,
        options.steps,
        options.batch,
        options.rate,
        seed=options.seed,
        start=options.start,
        kinds=tuple(options.kinds),
    )
    tv = settings.recipe.target == "tv"
    training_data.make_data(options.data, options.objects, options.jobs, tv=tv)
    make_bulk(options.data, options.bulk, options.jobs)
    run = options.run or Path("runs") / options.network
    output = options.output or WEIGHTS / f"{options.network}.safetensors"
    best = train(settings, options.data, run, output, torch.device(options.device))
    print(f"best validation MSE {best:.2e}: {output}" if options.steps else output)
    return 0
