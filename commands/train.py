"""Train networks: on simulated samples by steps or by time, or on a lab's own data.

    python launcher.py train --network NAME --steps N [--corrections 1]
    python launcher.py train --minutes M [--network NAME ...]
    python launcher.py train --recordings FOLDER [--target auto|multislice]
    python launcher.py train --volumes FOLDER [--target auto|volume]

The first form makes the missing samples, then trains. The second trains while samples are made, and
keeps to the time. The others go on from the shipped weights, and say on held-out files whether the
new ones are better. docs/explanation/networks.md lists the networks.
"""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.errors import ConfigurationError
from commands.options import TENSOR_PACKAGES
from commands.train_shards import OF_SHARDS, add_shard_options, sharded

if TYPE_CHECKING:
    from regularizer.training.steps import Settings

__all__ = ["HELP", "SUFFICIENT_PACKAGES", "add_options", "run"]

HELP = "train the networks of the regularizer"
SUFFICIENT_PACKAGES = TENSOR_PACKAGES

_RUNS = Path("runs")
_FRAME = 192
# options of one form only, and their defaults
_BY_STEPS = {"steps": 3000, "objects": 30, "bulk": 0, "start": None, "corrections": 0}
_BY_TIME = {"frame": _FRAME, "patch": 64}
# options of training on simulated samples only, and of training on own data only
_SIMULATED = (
    "minutes", "objects", "bulk", "frame", "patch", "kinds", "jobs", "corrections", *OF_SHARDS,
)  # fmt: skip
_OWN = ("target", "scans", "optics", "volume_um")


def add_options(parser: ArgumentParser) -> None:
    """Add networks, data and duration of the training."""
    add = parser.add_argument
    text = "default: light-unet. With --minutes several are allowed; default: all shipped networks"
    add("--network", nargs="+", metavar="NAME", help=text)
    add("--data", type=Path, help="folder of training samples; default: runs/data")
    text = "folder of checkpoints; default: runs/NETWORK, with --minutes runs"
    add("--run", dest="checkpoints", type=Path, help=text)
    text = (
        "file of weights; default: the shipped one. With --minutes a folder; default: runs/weights"
    )
    add("--output", type=Path, help=text)
    add("--jobs", type=int, help="processes that make samples; default: by the number of cores")
    add("--kinds", nargs="+", metavar="KIND", help="kinds of objects; default: all")
    add("--batch", type=int, help="patches in each step")
    add("--rate", type=float, help="peak learning rate of Adam")
    add("--seed", type=int, default=0, help="seed of weights and patches")
    add("--device", help="default: cuda if there is one, otherwise cpu")
    text = "training steps; default: 3000, on own data 400"
    add("--steps", type=int, help=text)
    add(
        "--objects",
        type=int,
        help="number of cells, with fewer objects of other kinds; default: 30",
    )
    text = "also make samples in bulk, without multi-slice scattering, in N geometries"
    add("--bulk", type=int, metavar="N", help=text)
    add("--start", type=Path, help="start from these weights")
    text = "1: on spectra that are corrected once for the error of the Rytov approximation, as by "
    text += "reconstruct --corrections 1; starts from the shipped weights and writes to runs/"
    add("--corrections", type=int, choices=(0, 1), help=text)
    add = parser.add_argument_group("by time").add_argument
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="total for all networks, including data and validation",
    )
    add("--frame", type=int, help=f"camera pixels along each side of a sample; default: {_FRAME}")
    add("--patch", type=int, help="voxels along each side of a patch; default: 64")
    text = "of convolutions: auto, bf16 where the device computes in it; default: auto"
    parser.add_argument("--precision", choices=("auto", "bf16", "float32"), help=text)
    add_shard_options(parser)
    group = parser.add_argument_group("own data").add_mutually_exclusive_group()
    text = "folder of recordings to train on, at least three"
    group.add_argument("--recordings", type=Path, metavar="FOLDER", help=text)
    text = "folder of finished tomograms of other programs, or of LiveTomo, at least three files"
    group.add_argument("--volumes", type=Path, metavar="FOLDER", help=text)
    add = parser.add_argument_group("training on own data").add_argument
    text = "what the network learns from own data: auto, total variation; multislice, the "
    text += "inversion of scattering, for recordings; volume, the volumes themselves, of which "
    text += "scans are simulated; default: auto"
    add("--target", choices=("auto", "multislice", "volume"), help=text)
    text = "wavelength, NA and medium of volumes whose files do not name them, as for regularize"
    add("--optics", type=Path, metavar="TOML", help=text)
    text = "voxel size of volumes whose files do not have it"
    add("--volume-um", nargs=3, type=float, metavar=("DZ", "DY", "DX"), help=text)
    text = "scans of each file that are taken, spread evenly; default: 5"
    add("--scans", type=int, metavar="N", help=text)


def run(options: Namespace) -> int:
    """Train the networks.

    Raises
    ------
    ConfigurationError
        If options exclude each other, or a network or kind is unknown.
    """
    began = time.monotonic()
    own = options.recordings is not None or options.volumes is not None
    if (own or options.minutes is not None) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigurationError(
            "several processes (torchrun) train by --steps on simulated samples: start one process "
            "for own data and for --minutes"
        )
    if own:
        return _on_own_data(options)
    _refuse(options, _OWN, "needs --recordings or --volumes")
    foreign = _BY_TIME if options.minutes is None else (*_BY_STEPS, *OF_SHARDS)
    for name in foreign:
        if getattr(options, name) is not None:
            rule = "belongs to" if options.minutes is None else "does not go with"
            raise ConfigurationError(f"--{name} {rule} --minutes")
    if options.minutes is None and len(options.network or ()) > 1:
        raise ConfigurationError(
            f"several networks need --minutes, got {' '.join(options.network)}"
        )
    for name, value in (_BY_STEPS | _BY_TIME).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    import torch

    from regularizer.networks.trained import NETWORKS
    from regularizer.training.corrected_samples import CORRECTED_KINDS
    from regularizer.training.training_data import KINDS

    check_names(options.network or (), NETWORKS, "--network")
    kinds = CORRECTED_KINDS if options.corrections else KINDS
    options.kinds = check_names(options.kinds or kinds, kinds, "--kinds")
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return _by_steps(options) if options.minutes is None else _by_time(options, began)


def _refuse(options: Namespace, names: Iterable[str], rule: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ConfigurationError(f"--{name.replace('_', '-')} {rule}")


def _on_own_data(options: Namespace) -> int:
    import torch

    from commands.train_own import train_own
    from regularizer.networks.trained import NETWORKS

    _refuse(options, _SIMULATED, "does not go with own data: leave it out")
    check_names(options.network or (), NETWORKS, "--network")
    if len(options.network or ()) > 1:
        raise ConfigurationError(
            f"own data train one network at a time, got {' '.join(options.network)}"
        )
    options.target = options.target or "auto"
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return train_own(options)


def check_names(chosen: Iterable[str], names: Iterable[str], option: str) -> tuple[str, ...]:
    """Return the chosen names; raise ConfigurationError if one is not in ``names``."""
    names = tuple(names)
    for name in chosen:
        if name not in names:
            raise ConfigurationError(f"{option} must be among {', '.join(names)}, got {name!r}")
    return tuple(chosen)


def _by_steps(options: Namespace) -> int:
    from regularizer.networks.trained import WEIGHTS
    from regularizer.training.bulk_samples import make_bulk
    from regularizer.training.corrected_samples import make_corrected
    from regularizer.training.steps import Settings, train
    from regularizer.training.team import joined_team, own_device
    from regularizer.training.training_data import make_data

    (network,) = options.network or ["light-unet"]
    what = f"{network}-corrected" if options.corrections else network
    settings = Settings(
        network,
        options.steps,
        options.batch,
        options.rate,
        seed=options.seed,
        start=options.start,
        kinds=options.kinds,
        precision=options.precision or "auto",
    )
    data, jobs = options.data or _RUNS / "data", options.jobs or os.cpu_count() or 1
    output = options.output or WEIGHTS / f"{network}.safetensors"
    if options.corrections:
        settings = _for_corrected(options, settings)
        data = options.data or _RUNS / "data-corrected"
        output = options.output or _RUNS / f"{what}.safetensors"
    run = options.checkpoints or _RUNS / what
    device = own_device(options.device)
    with joined_team(device) as team:
        tv = settings.recipe.target == "tv"
        if team.leads and options.corrections:
            make_corrected(data, options.objects, jobs, settings.kinds)
        elif team.leads and not sharded(options, data, tv=tv):
            make_data(data, options.objects, jobs, tv=tv)
            make_bulk(data, options.bulk, jobs)
        team.wait()
        if options.only_samples:
            return 0
        best = train(settings, data, run, output, device, team=team)
    if not team.leads:
        return 0
    print(f"best validation MSE {best:.2e}: {output}" if options.steps else output)
    return 0


def _for_corrected(options: Namespace, settings: "Settings") -> "Settings":
    """Return the settings for corrected spectra, which the shipped network learns to go on with."""
    from regularizer.networks.trained import WEIGHTS

    if options.bulk:
        raise ConfigurationError(
            "--bulk does not go with --corrections: samples in bulk have no error of the Rytov "
            "approximation that could be corrected"
        )
    if options.shards:
        raise ConfigurationError(
            "--shards does not go with --corrections: corrected samples are kept as single files"
        )
    name = settings.network
    return replace(
        settings,
        start=settings.start or WEIGHTS / f"{name}.safetensors",
        data=f"scans of {', '.join(settings.kinds)}, whose spectra were corrected once for the "
        "error of the Rytov approximation",
    )


def _by_time(options: Namespace, began: float) -> int:
    import torch

    from regularizer.training.minutes import DEFAULT_NETWORKS, Plan, train_for

    small = (
        "" if options.frame == _FRAME else f"-{options.frame}"
    )  # samples of another size have a folder of their own
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
