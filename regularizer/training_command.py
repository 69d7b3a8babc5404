"""The ``train`` command: so many steps of one network, or so many minutes of several.

    python launcher.py train --network NAME --steps N
    python launcher.py train --minutes M [--network NAME ...]

The first makes the data that is missing and then trains (``regularizer.training``); the second
trains while the samples are made, and ends in time (``regularizer.timed_training``).
"""

import argparse
import os
import time
from pathlib import Path

import torch

from regularizer import training_data
from regularizer.bulk_data import make_bulk
from regularizer.timed_training import DEFAULT_NETWORKS, Plan, train_for
from regularizer.trained import NETWORKS, WEIGHTS
from regularizer.training import Settings, train
from regularizer.training_data import FRAME, KINDS

__all__ = ["main"]

_RUNS = Path("runs")
# what the two ways do not share, and its value where it is left out
_BY_STEPS = {"steps": 3000, "objects": 30, "bulk": 0, "start": None}
_BY_TIME = {"frame": FRAME, "patch": 64}


def main(argv: list[str]) -> int:
    """Run the ``train`` command; return the exit status."""
    began = time.monotonic()
    parser = _parser()
    options = parser.parse_args(argv)
    foreign = _BY_TIME if options.minutes is None else _BY_STEPS
    for name in foreign:
        if getattr(options, name) is not None:
            rule = "belongs to" if options.minutes is None else "does not go with"
            parser.error(f"--{name} {rule} --minutes")
    for name, value in (_BY_STEPS | _BY_TIME).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.minutes is not None:
        return _by_time(options, began)
    if len(options.network or ()) > 1:
        parser.error(f"several networks share --minutes; got {' '.join(options.network)}")
    return _by_steps(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launcher.py train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    text = "light-unet if not given; with --minutes several, " + " ".join(DEFAULT_NETWORKS)
    add("--network", choices=NETWORKS, nargs="+", metavar="NAME", help=text)
    add("--data", type=Path, help="training samples; runs/data if not given")
    add("--run", type=Path, help="checkpoints; runs/NETWORK if not given, runs with --minutes")
    text = "weights; the shipped ones if not given. With --minutes a folder, runs/weights"
    add("--output", type=Path, help=text)
    add("--jobs", type=int, help="processes that make the data; by the cores if not given")
    add("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of objects")
    add("--batch", type=int, help="patches a step")
    add("--rate", type=float, help="of Adam, at its highest")
    add("--seed", type=int, default=0, help="of weights and patches")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--steps", type=int, help="3000 if not given")
    add("--objects", type=int, help="cells; fewer of other kinds; 30 if not given")
    text = "objects of each kind without scattering, in N geometries"
    add("--bulk", type=int, metavar="N", help=text)
    add("--start", type=Path, help="go on from these weights")
    timed = parser.add_argument_group("by time")
    add = timed.add_argument
    add("--minutes", type=float, metavar="M", help="for all networks, data and validation included")
    add("--frame", type=int, help=f"camera pixels a side of a sample; {FRAME} if not given")
    add("--patch", type=int, help="voxels a side of a patch; 64 if not given")
    return parser


def _by_steps(options: argparse.Namespace) -> int:
    (network,) = options.network or ["light-unet"]
    settings = Settings(
        network,
        options.steps,
        options.batch,
        options.rate,
        seed=options.seed,
        start=options.start,
        kinds=tuple(options.kinds),
    )
    data, jobs = options.data or _RUNS / "data", options.jobs or os.cpu_count() or 1
    training_data.make_data(data, options.objects, jobs, tv=settings.recipe.target == "tv")
    make_bulk(data, options.bulk, jobs)
    output = options.output or WEIGHTS / f"{network}.safetensors"
    run = options.run or _RUNS / network
    best = train(settings, data, run, output, torch.device(options.device))
    print(f"best validation MSE {best:.2e}: {output}" if options.steps else output)
    return 0


def _by_time(options: argparse.Namespace, began: float) -> int:
    small = "" if options.frame == FRAME else f"-{options.frame}"  # samples of another size
    plan = Plan(
        networks=tuple(options.network or DEFAULT_NETWORKS),
        minutes=options.minutes,
        data=options.data or _RUNS / f"data{small}",
        run=options.run or _RUNS,
        output=options.output or _RUNS / "weights",
        device=torch.device(options.device),
        jobs=options.jobs,
        kinds=tuple(options.kinds),
        batch=options.batch,
        rate=options.rate,
        seed=options.seed,
        frame=options.frame,
        patch=options.patch,
    )
    return train_for(plan, began)
