"""Training of the light DeepRegularizer: pairs from our own instrument, Adam, l2 loss.

``python launcher.py train`` makes the data that is missing, trains with a checkpoint every minute,
goes on where an interrupted run stopped, and writes the weights of the best validation MSE. As in
the paper: patches of 64^3, l2 loss, He initialisation, flips and rotations with probability 0.3
(about z only: the missing cone has an axis). Ours: a cosine schedule from a higher rate.
"""

import argparse
import csv
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from regularizer import training_data
from regularizer.networks import WEIGHTS, LightUNet, channels_last, save_network
from regularizer.training_data import KINDS, Sample

__all__ = ["Settings", "main", "train"]

_PATCH = 64
_VALIDATION_SEED = 1000  # seeds from here on are never trained on
_TEST_SEED = 2000


@dataclass(frozen=True, slots=True)
class Settings:
    """One training run."""

    steps: int = 4000
    batch: int = 4
    rate: float = 2e-3
    seed: int = 0
    validate_every: int = 200


@dataclass(frozen=True, slots=True)
class _Pair:
    """Raw and target of one object, over the raw maximum, and where the object is."""

    raw: torch.Tensor
    target: torch.Tensor
    inside: torch.Tensor  # (n, 3) voxels above a tenth of the range


def _pair(sample: Sample) -> _Pair:
    scale = float(sample.raw.max())
    target = sample.tv / scale
    return _Pair(sample.raw / scale, target, torch.nonzero(target > 0.1))


def _cut(pair: _Pair, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a patch near the object (three of four) or anywhere, and turn it."""
    shape = pair.raw.shape
    if len(pair.inside) and rng.uniform() < 0.75:
        centre = pair.inside[int(rng.integers(len(pair.inside)))].numpy() - _PATCH // 2
        centre = centre + rng.integers(-16, 17, 3)
    else:
        centre = rng.integers(0, np.maximum(np.array(shape) - _PATCH, 0) + 1)
    corner = np.clip(centre, 0, np.array(shape) - _PATCH)
    cut = tuple(slice(int(c), int(c) + _PATCH) for c in corner)
    raw, target = pair.raw[cut], pair.target[cut]
    flips = [axis for axis in range(3) if rng.uniform() < 0.3]
    turns = int(rng.integers(1, 4)) if rng.uniform() < 0.3 else 0
    return tuple(torch.rot90(v.flip(flips), turns, (1, 2)) for v in (raw, target))  # type: ignore[return-value]


def _batch(
    pairs: list[_Pair], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    cuts = [_cut(pairs[int(rng.integers(len(pairs)))], rng) for _ in range(size)]
    raw, target = (torch.stack(part)[:, None].contiguous() for part in zip(*cuts, strict=True))
    return raw, target


def _validate(network: LightUNet, pairs: list[_Pair], device: torch.device) -> float:
    """Return the mean over objects of the MSE on whole volumes (cropped to multiples)."""
    network.eval()
    errors = []
    with torch.no_grad():
        for pair in pairs:
            cut = tuple(slice(0, n - n % network.multiple) for n in pair.raw.shape)
            result = network(pair.raw[cut][None, None].to(device))[0, 0].cpu()
            errors.append(float(functional.mse_loss(result, pair.target[cut])))
    network.train()
    return float(np.mean(errors))


class _Run:
    """A training run that can stop anywhere and go on."""

    def __init__(self, settings: Settings, folder: Path, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.folder, self.device = settings, folder, device
        # channels last: a step on two cores in 0.7 s instead of 1.0
        self.network = channels_last(LightUNet()).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), settings.rate)
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

    def advance(self, pairs: list[_Pair]) -> float:
        """Take one step; the random numbers depend on seed and step, so a resume is exact."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.step])
        warm = min(1.0, (self.step + 1) / 100)
        rate = settings.rate * warm * 0.5 * (1 + math.cos(math.pi * self.step / settings.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        raw, target = (part.to(self.device) for part in _batch(pairs, settings.batch, rng))
        loss = functional.mse_loss(self.network(raw), target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())


def train(
    settings: Settings,
    data: Path,
    folder: Path,
    output: Path,
    device: torch.device,
    stop_at: int | None = None,
) -> float:
    """Train and return the best validation MSE; the weights of that moment are in ``output``.

    ``stop_at`` ends the run early, at a step; the next call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = [_pair(training_data.load(path)) for path in _files(data, 0, _VALIDATION_SEED)]
    unseen = [
        _pair(training_data.load(path)) for path in _files(data, _VALIDATION_SEED, _TEST_SEED)
    ]
    run = _Run(settings, folder, device)
    saved = time.monotonic()
    started, first, losses = saved, run.step, []
    last = settings.steps if stop_at is None else min(stop_at, settings.steps)
    while run.step < last:
        losses.append(run.advance(trained))
        if run.step % settings.validate_every == 0 or run.step == last:
            error = _validate(run.network, unseen, device)
            if error < run.best:
                run.best = error
                save_network(run.network, output, _about(settings, error, len(trained)))
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
    return run.best


def _files(data: Path, first: int, end: int) -> list[Path]:
    return [p for p in sorted(data.glob("*-?????.npz")) if first <= int(p.stem[-5:]) < end]


def _record(path: Path, step: int, loss: float, error: float) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "loss", "validation_mse"])
        writer.writerow([step, f"{loss:.4e}", f"{error:.4e}"])


def _about(settings: Settings, error: float, objects: int) -> dict[str, str]:
    return {
        "training_data": f"{objects} simulated {', '.join(KINDS)}; presets cell and bacteria",
        "target": f"split Bregman {training_data.TARGET}",
        "settings": str(settings),
        "input": "contrast over its maximum; voxels Lauer lateral, Lauer axial / 2",
        "validation_mse": f"{error:.4e}",
        "optics": json.dumps({"wavelength_um": 0.532, "numerical_aperture": [0.8, 1.2]}),
    }


def make_data(data: Path, objects: int) -> None:
    """Make the samples that are missing: a chain to three cells, a bead to five."""
    data.mkdir(parents=True, exist_ok=True)
    wanted = [(kind, _VALIDATION_SEED + i) for i in range(4) for kind in KINDS]
    for seed in range(objects):
        every = {"cell": 1, "cocci": 3, "bead": 5}
        wanted += [(kind, seed) for kind in KINDS if seed % every[kind] == 0]
    for i, (kind, seed) in enumerate(wanted):
        path = data / f"{kind}-{seed:05d}.npz"
        if not path.exists():
            training_data.save(training_data.make_sample(kind, seed), path)
        print(f"\rtraining data {i + 1} of {len(wanted)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def main(argv: list[str]) -> int:
    """Run the ``train`` command."""
    parser = argparse.ArgumentParser(prog="launcher.py train", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="training samples")
    parser.add_argument("--run", type=Path, default=Path("runs/light-unet"), help="checkpoints")
    parser.add_argument("--output", type=Path, default=WEIGHTS / "light-unet.safetensors")
    parser.add_argument("--objects", type=int, default=60, help="cells to train on")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    make_data(options.data, options.objects)
    settings = Settings(steps=options.steps, batch=options.batch)
    best = train(settings, options.data, options.run, options.output, torch.device(options.device))
    print(f"best validation MSE {best:.2e}: {options.output}")
    return 0
