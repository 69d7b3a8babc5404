"""Train the networks: so many steps of one, or so many minutes of several.

    python launcher.py train --network NAME --steps N
    python launcher.py train --minutes M [--network NAME ...]

The first makes the samples that are missing, and then trains. The second trains while the samples
are made, and ends in time. docs/explanation/networks.md lists the networks.
"""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path

from acquisition.errors import ConfigurationError
from commands.options import TENSOR_PACKAGES

__all__ = ["ENOUGH", "HELP", "add_options", "run"]

HELP = "train the networks of the regularizer"
ENOUGH = TENSOR_PACKAGES

_RUNS = Path("runs")
_FRAME = 192
# what the two ways do not share, and its value where it is left out
_BY_STEPS = {"steps": 3000, "objects": 30, "bulk": 0, "start": None}
_BY_TIME = {"frame": _FRAME, "patch": 64}


def add_options(parser: ArgumentParser) -> None:
    """Add what is trained, on what, and for how long."""
    add = parser.add_argument
    text = "light-unet if not given; with --minutes several may be, and the shipped ones are"
    add("--network", nargs="+", metavar="NAME", help=text)
    add("--data", type=Path, help="training samples; runs/data if not given")
    add(
        "--run",
        dest="checkpoints",
        type=Path,
        help="checkpoints; runs/NETWORK if not given, runs with --minutes",
    )
    text = "weights; the shipped ones if not given. With --minutes a folder, runs/weights"
    add("--output", type=Path, help=text)
    add("--jobs", type=int, help="processes that make the data; by the cores if not given")
    add("--kinds", nargs="+", metavar="KIND", help="of objects; all if not given")
    add("--batch", type=int, help="patches a step")
    add("--rate", type=float, help="of Adam, at its highest")
    add("--seed", type=int, default=0, help="of weights and patches")
    add("--device", help="cuda if there is one, otherwise cpu, if not given")
    add("--steps", type=int, help="3000 if not given")
    add("--objects", type=int, help="cells; fewer of other kinds; 30 if not given")
    text = "objects of each kind without scattering, in N geometries"
    add("--bulk", type=int, metavar="N", help=text)
    add("--start", type=Path, help="go on from these weights")
    add = parser.add_argument_group("by time").add_argument
    add("--minutes", type=float, metavar="M", help="for all networks, data and validation included")
    add("--frame", type=int, help=f"camera pixels a side of a sample; {_FRAME} if not given")
    add("--patch", type=int, help="voxels a side of a patch; 64 if not given")


def run(options: Namespace) -> int:
    """Train as the options say.

    Raises
    ------
    ConfigurationError
        If options do not go together, or there is no network or kind of that name.
    """
    began = time.monotonic()
    foreign = _BY_TIME if options.minutes is None else _BY_STEPS
    for name in foreign:
        if getattr(options, name) is not None:
            rule = "belongs to" if options.minutes is None else "does not go with"
            raise ConfigurationError(f"--{name} {rule} --minutes")
    if options.minutes is None and len(options.network or ()) > 1:
        raise ConfigurationError(
            f"several networks share --minutes; got {' '.join(options.network)}"
        )
    for name, value in (_BY_STEPS | _BY_TIME).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    import torch

    from regularizer.networks.trained import NETWORKS
    from regularizer.training.training_data import KINDS

    known(options.network or (), NETWORKS, "--network")
    options.kinds = known(options.kinds or KINDS, KINDS, "--kinds")
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return _by_steps(options) if options.minutes is None else _by_time(options, began)


def known(chosen: Iterable[str], names: Iterable[str], option: str) -> tuple[str, ...]:
    """Return what was chosen of the names; raise ConfigurationError for another one."""
    names = tuple(names)
    for name in chosen:
        if name not in names:
            raise ConfigurationError(f"{option} must be among {', '.join(names)}, got {name!r}")
    return tuple(chosen)


def _by_steps(options: Namespace) -> int:
    import torch

    from regularizer.networks.trained import WEIGHTS
    from regularizer.training.bulk_samples import make_bulk
    from regularizer.training.steps import Settings, train
    from regularizer.training.training_data import make_data

    (network,) = options.network or ["light-unet"]
    settings = Settings(
        network,
        options.steps,
        options.batch,
        options.rate,
        seed=options.seed,
        start=options.start,
        kinds=options.kinds,
    )
    data, jobs = options.data or _RUNS / "data", options.jobs or os.cpu_count() or 1
    make_data(data, options.objects, jobs, tv=settings.recipe.target == "tv")
    make_bulk(data, options.bulk, jobs)
    output = options.output or WEIGHTS / f"{network}.safetensors"
    run = options.checkpoints or _RUNS / network
    best = train(settings, data, run, output, torch.device(options.device))
    print(f"best validation MSE {best:.2e}: {output}" if options.steps else output)
    return 0


def _by_time(options: Namespace, began: float) -> int:
    import torch

    from regularizer.training.minutes import DEFAULT_NETWORKS, Plan, train_for

    small = "" if options.frame == _FRAME else f"-{options.frame}"  # samples of another size
    plan = Plan(
        networks=tuple(options.network or DEFAULT_NETWORKS),
        minutes=options.minutes,
        data=options.data or _RUNS / f"data{small}",
        run=options.checkpoints or _RUNS,
        output=options.output or _RUNS / "weights",
        device=torch.device(options.device),
        jobs=options.jobs,
        kinds=options.kinds,
        batch=options.batch,
        rate=options.rate,
        seed=options.seed,
        frame=options.frame,
        patch=options.patch,
    )
    return train_for(plan, began)
