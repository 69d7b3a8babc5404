"""Training of the networks: pairs from the simulated instrument, Adam, l2 loss.

``python launcher.py train --network NAME`` makes missing data (with ``--bulk``, also samples
without scattering), trains with a checkpoint every minute, resumes an interrupted run, and writes
the weights of the best validation MSE. As in the paper: patches of 64^3, l2 loss, He
initialisation, flips and rotations with probability 0.3 (about z only: the missing cone has an
axis). Different from the paper: a cosine schedule; a higher rate and smaller batches for the live
view's networks; and every object's squared errors are divided by the rms of its target. Without
that a chain of cocci, with a hundredth of a cell's volume, would count a hundredth.
"""

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

from acquisition.errors import ConfigurationError, DataError
from regularizer.metrics import data_residual, unexplained
from regularizer.networks.inference import apply_patches, apply_whole
from regularizer.networks.trained import NETWORKS, Recipe, load_network, save_network
from regularizer.networks.unet import LightUNet, channels_last
from regularizer.training import training_data
from regularizer.training.pairs import (
    Pair,
    Pairs,
    TrainingObjects,
    ValidationObject,
    drawn_pair,
    load_objects,
)
from regularizer.training.precision import Precision, in_bf16
from regularizer.training.team import ALONE, Team, averaged
from regularizer.training.trained_range import TrainingRange
from regularizer.training.training_data import KINDS

__all__ = [
    "Run",
    "Settings",
    "evaluate_object",
    "record",
    "train",
    "train_uncertainty_head",
    "training_metadata",
]

_HALVED = 8
CHECKPOINT_S = 60.0  # between two checkpoints
_UNCERTAINTY_RATE = 2e-3  # of Adam, for the uncertainty head


@dataclass(frozen=True, slots=True)
class Settings:
    """One training run.

    ``batch`` and ``rate`` default to the recipe's. At most ``chunk`` patches are in memory at once;
    the gradients of a batch are summed over its chunks. ``start``: file of weights to start from.
    ``uncertainty_steps``: steps of the uncertainty head, after the rest is trained. ``data``: what
    the samples are, for the header of the weights; "": simulated scans. ``precision``: "auto",
    "bf16" or "float32" (``regularizer.training.precision``).

    Raises
    ------
    ConfigurationError
        If a number is impossible.
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
    uncertainty_steps: int = 500
    patch: int = 64
    data: str = ""
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("rate", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ConfigurationError(f"--{name} must be at least {least}, got {value:g}")
        if self.patch < _HALVED or self.patch % _HALVED:
            raise ConfigurationError(
                f"--patch must be a multiple of {_HALVED}, since networks halve it three times, "
                f"got {self.patch}"
            )

    @property
    def recipe(self) -> Recipe:
        """Recipe of the network to train."""
        return NETWORKS[self.network]


def _cut(
    pair: Pair, rng: np.random.Generator, size: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a random patch, three of four near the object; return input and target, augmented."""
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
    pairs: Pairs,
    seeds: Sequence[tuple[int, ...]],
    size: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a random patch of size^3 for each seed, their targets and weights, on a device.

    A seed is that of the training, the step, and the number of the patch in its batch.
    """
    draws = [np.random.default_rng(seed) for seed in seeds]
    patches = [seed[2] for seed in seeds]
    chosen = [drawn_pair(pairs, p, rng) for p, rng in zip(patches, draws, strict=True)]
    cuts = [_cut(pair, rng, size, device) for pair, rng in zip(chosen, draws, strict=True)]
    seen, target = (torch.stack(part).contiguous() for part in zip(*cuts, strict=True))
    return seen, target, torch.tensor([pair.weight for pair in chosen]).to(device)


def evaluate_object(
    network: nn.Module, recipe: Recipe, one: ValidationObject, device: torch.device
) -> tuple[torch.Tensor, float, float]:
    """Return the result (z, y, x) on an object, its weighted MSE and its unexplained share."""
    with torch.inference_mode():
        seen = one.pair.seen.to(device, torch.float32)
        result = _whole(network, recipe, seen).to(one.pair.target.device)
        wrong = functional.mse_loss(result, one.pair.target.to(torch.float32))
        residual = data_residual(result * one.pair.scale, one.spectrum)
    return result, one.pair.weight * float(wrong), unexplained(residual, one.spectrum.noise)


def _validate(
    network: nn.Module, recipe: Recipe, unseen: Sequence[ValidationObject], device: torch.device
) -> tuple[float, float]:
    """Return the objects' mean weighted MSE, and the largest unexplained share of a result."""
    network.eval()
    found = [evaluate_object(network, recipe, one, device)[1:] for one in unseen]
    network.train()
    errors, left = zip(*found, strict=True)
    return float(np.mean(errors)), max(left)


class Run:
    """A training run that can be interrupted at any step and resumed."""

    def __init__(
        self, settings: Settings, folder: Path, device: torch.device, team: Team = ALONE
    ) -> None:
        torch.manual_seed(settings.seed)
        self.team = team
        coarsest = settings.patch // settings.recipe.multiple
        self.in_bf16 = in_bf16(settings.precision, device, coarsest)
        self.settings, self.folder, self.device = settings, folder, device
        # channels last: a step on two cores in 0.7 s instead of 1.0
        self.network = channels_last(settings.recipe.build()).to(device)
        self.before = ""
        if settings.start is not None:
            trained = load_network(settings.network, settings.start)
            self.network.load_state_dict(trained.network.state_dict())
            self.before = f"{trained.metadata['settings']}, then "
        self.rate = settings.recipe.rate if settings.rate is None else settings.rate
        self.batch = settings.recipe.batch if settings.batch is None else settings.batch
        self.optimizer = torch.optim.Adam(self.network.parameters(), self.rate)
        self.step = 0
        self.best = math.inf
        self.checkpoint = folder / "checkpoint.pt"
        if self.checkpoint.is_file():
            self._resume()
        self._together = team.wrapped(self.network)
        self._statistics = [one for one in self.network.buffers() if one.is_floating_point()]

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise DataError(
                f"a checkpoint must be of the network to train, {self.settings.network}, and "
                f"{self.checkpoint} is not: remove it, or give another --run"
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

    def advance(self, pairs: Pairs, done: float) -> torch.Tensor:
        """Take one step and return its loss; ``done`` is the finished share of the training.

        The random numbers of a patch depend on seed, step and its number in the batch only, so
        resuming is exact, and several processes see the patches that one would see. The statistics
        of batch norms are the mean over the parts of a batch.
        """
        settings, team = self.settings, self.team
        warm = min(1.0, (self.step + 1) / 100)
        _set_rate(self.optimizer, self.rate * warm, done)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        share = team.share(self.batch)
        parts = [share[at : at + settings.chunk] for at in range(0, len(share), settings.chunk)]
        with averaged(self._statistics, len(parts), team) as begin_part:
            for number, part in enumerate(parts):
                begin_part()
                seeds = [(settings.seed, self.step, patch) for patch in part]
                seen, target, weight = _batch(pairs, seeds, settings.patch, self.device)
                with team.part(self._together, last=number == len(parts) - 1):
                    with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_bf16):
                        result = self._together(seen)
                    wrong = (result.float() - target).square().mean(dim=(1, 2, 3, 4))
                    loss = (weight * wrong).sum() / self.batch
                    (loss * team.size).backward()  # gradients are averaged over the processes
                total += loss.detach()  # not read here, so as not to wait for a GPU
        self.optimizer.step()
        self.step += 1
        return team.total(total)

    def number(self, loss: torch.Tensor) -> float:
        """Return a loss as a number; DataError if it is none, and the training is lost."""
        value = float(loss)
        if not math.isfinite(value):
            raise DataError(
                f"a loss must be a finite number, and by step {self.step} it is {value}: go on "
                "from the last checkpoint with a lower --rate, or with --precision float32"
            )
        return value


def _set_rate(optimizer: torch.optim.Optimizer, highest: float, done: float) -> None:
    """Set Adam's rate: half a cosine from the highest rate to zero over the training."""
    for group in optimizer.param_groups:
        group["lr"] = highest * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def train(
    settings: Settings,
    data: Path,
    folder: Path,
    output: Path,
    device: torch.device,
    stop_at: int | None = None,
    team: Team = ALONE,
) -> float:
    """Train, write the best weights to ``output``, and return their weighted validation MSE.

    ``stop_at`` ends the run early, at that step; the next call resumes from there. Of several
    processes (``team``) only the first validates and writes, and returns the error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batch = settings.batch or settings.recipe.batch
    objects = load_objects(data, settings.recipe, settings.kinds, batch, validating=team.leads)
    run = Run(settings, folder, device, team)
    team.wait()  # all have read the checkpoint
    saved = time.monotonic()
    started, first = saved, run.step
    losses: list[float] = []
    last = settings.steps if stop_at is None else min(stop_at, settings.steps)
    if (
        settings.steps == 0 and settings.start is not None and team.leads
    ):  # train the uncertainty head only
        known = load_network(settings.network, settings.start)
        save_network(settings.network, known.network, output, known.range, known.metadata)
    while run.step < last:
        losses.append(run.number(run.advance(objects.trained, run.step / settings.steps)))
        if not team.leads:
            continue
        if run.step % settings.validate_every == 0 or run.step == last:
            error, left_out = _validate(run.network, settings.recipe, objects.unseen, device)
            if error < run.best:
                run.best = error
                metadata = training_metadata(
                    run, settings.steps, objects.scans, objects.bulk, f"{error:.4e}"
                )
                limits = {**objects.range.limits, "unexplained": (0.0, left_out)}
                seen = TrainingRange(limits)
                save_network(settings.network, run.network, output, seen, metadata)
            left = (time.monotonic() - started) / (run.step - first) * (settings.steps - run.step)
            record(folder / "curve.csv", run.step, float(np.mean(losses)), error)
            print(
                f"step {run.step} of {settings.steps}: loss {np.mean(losses):.2e}, "
                f"validation {error:.2e} (best {run.best:.2e}), {left / 60:.0f} min left",
                flush=True,
            )
            losses = []
        if time.monotonic() - saved > CHECKPOINT_S or run.step == last:
            run.save()
            saved = time.monotonic()
    if team.leads:
        _finish_uncertainty_head(settings, run.batch, output, objects, device)
    team.wait()
    return run.best


def _finish_uncertainty_head(
    settings: Settings, batch: int, path: Path, objects: TrainingObjects, device: torch.device
) -> None:
    """Train the uncertainty head of the weights in ``path``, if any, and rewrite the file."""
    trained = load_network(settings.network, path)
    network = trained.network.to(device)
    if isinstance(network, LightUNet) and network.uncertainty_head is not None:
        channels_last(network)
        steps = settings.uncertainty_steps
        known = (objects.trained, objects.unseen)
        train_uncertainty_head(
            network, settings, batch, known, lambda step: step / steps if steps else 1.0
        )
        save_network(settings.network, network.cpu(), path, trained.range, trained.metadata)


def train_uncertainty_head(
    network: LightUNet,
    settings: Settings,
    batch: int,
    objects: tuple[Pairs, Sequence[ValidationObject]],
    done: Callable[[int], float],
) -> None:
    """Train the uncertainty head; the other weights stay unchanged.

    The loss is the negative log-likelihood of normal errors times their standard deviation (Seitzer
    et al. 2022). The likelihood alone is dominated by small errors and outliers, and did not
    converge in 600 steps. Errors on training objects are smaller than on others, so the head's
    scale is set from the errors on the validation objects.

    Parameters
    ----------
    network : LightUNet
    settings : Settings
    batch : int
    objects : (sequence of Pair, sequence of ValidationObject)
    done : callable
        Returns the finished share of the training after a number of steps; it ends at 1.
    """
    assert network.uncertainty_head is not None
    trained, unseen = objects
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.uncertainty_head.parameters(), _UNCERTAINTY_RATE)
    step = 0
    while (part := done(step)) < 1:
        _set_rate(optimizer, _UNCERTAINTY_RATE, part)
        seeds = [(settings.seed, step, patch, 1) for patch in range(batch)]
        seen, target, _ = _batch(trained, seeds, settings.patch, device)
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
        ratios = [_error_over_uncertainty(network, one.pair, device) for one in unseen]
        network.uncertainty_head.scale.fill_(float(np.mean(ratios)))


def _error_over_uncertainty(network: LightUNet, pair: Pair, device: torch.device) -> float:
    """Return the rms error over the rms uncertainty, inside the object."""
    with torch.inference_mode():
        result, deviation = apply_whole(
            network.with_uncertainty, pair.seen.to(device, torch.float32)
        )
    z, y, x = pair.inside.to(torch.int64).unbind(dim=1)
    wrong = (result.cpu() - pair.target.cpu())[z, y, x]
    return float(wrong.square().mean().sqrt() / deviation.cpu()[z, y, x].square().mean().sqrt())


def _whole(network: nn.Module, recipe: Recipe, seen: torch.Tensor) -> torch.Tensor:
    """Return network(seen) of a whole volume, (z, y, x)."""
    if recipe.patches:
        return apply_patches(network, seen)[0]
    return apply_whole(network, seen, recipe.multiple)[0]


def record(path: Path, step: int, loss: float, error: float) -> None:
    """Append a line to the CSV file of a training's loss curve."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "validation_mse"])
        writer.writerow([step, f"{loss:.4e}", f"{error:.4e}"])


def training_metadata(run: Run, steps: int, scans: int, bulk: int, error: str) -> dict[str, str]:
    """Return the header entries on the training for a weights file; ``error``: validation MSE."""
    settings = run.settings
    simulated = (
        f"{scans} simulated scans{f' and {bulk} in bulk' if bulk else ''} "
        f"of {', '.join(settings.kinds)}; presets cell and bacteria, and random optics"
    )
    return {
        "training_data": settings.data or simulated,
        "kinds": ", ".join(settings.kinds),
        "tv": str(training_data.TARGET),
        "settings": f"{run.before}{steps} steps of Adam, batch {run.batch}, "
        f"rate {run.rate:g}, seed {settings.seed}",
        "validation_mse": error,
    }
