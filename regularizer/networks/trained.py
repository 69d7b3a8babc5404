"""The networks by name, what each is trained for, and the files of their weights.

A network sees the channels that its recipe names, over the maximum of the last one:

raw       the raw tomogram's contrast
tv-quick  20 split-Bregman iterations with mu by the scan's noise (``quick_contrast``)

Weights are safetensors; the header says network, training data, its range and what was reached.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from acquisition.errors import ConfigurationError, DataError
from reconstruction.tomogram import Spectrum
from regularizer.networks.scnas import ScnasNetwork
from regularizer.networks.unet import LightUNet, UNet
from regularizer.total_variation.automatic import quick_contrast
from regularizer.training.trained_range import TrainingRange

__all__ = [
    "NETWORKS",
    "WEIGHTS",
    "Recipe",
    "Trained",
    "best_network",
    "load_network",
    "network_input",
    "save_network",
    "shipped",
]

WEIGHTS = Path(__file__).parents[1] / "weights"
_FORMAT = "livetomo.network"
_VERSION = "3"
_NOTHING = 1e-9  # contrast; a tomogram without any is left as it is


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and what it is trained for.

    Parameters
    ----------
    build : callable
        Makes the network with fresh weights.
    channels : tuple of str
        What it sees: "raw", "tv-quick".
    target : str
        "truth", the simulated object, or "tv".
    rate, batch : float, int
        Of Adam.
    multiple : int
        Every edge of a volume must be one.
    patches : bool
        Whether it looks at a patch as a whole, so that it runs on patches of 64^3 only.
    """

    build: Callable[[], nn.Module]
    channels: tuple[str, ...]
    target: str
    rate: float
    batch: int
    multiple: int = 8
    patches: bool = False


_BOTH = ("raw", "tv-quick")

NETWORKS: dict[str, Recipe] = {
    # the live view's: on two cores, on a GPU
    "light-unet": Recipe(lambda: LightUNet(doubt=True), _BOTH, "truth", 2e-3, 4),
    "full-unet": Recipe(lambda: LightUNet(2, (32, 64, 128), doubt=True), _BOTH, "truth", 1e-3, 16),
    # in the manner of the paper: raw in, total variation out
    "light-unet-tv": Recipe(lambda: LightUNet(1), ("raw",), "tv", 2e-3, 4),
    "unet": Recipe(UNet, ("raw",), "tv", 1e-4, 80),
    "scnas": Recipe(ScnasNetwork, ("raw",), "tv", 1e-4, 80, patches=True),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A network in evaluation mode and what its file says about it."""

    name: str
    network: nn.Module
    about: Mapping[str, str]
    range: TrainingRange

    @property
    def recipe(self) -> Recipe:
        """What it was trained for."""
        return NETWORKS[self.name]


def network_input(
    raw: torch.Tensor,
    spectrum: Spectrum,
    channels: Sequence[str],
    quick: Callable[[], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, float]:
    """Return what a network sees (channels, z, y, x), and the contrast that its values are over.

    Parameters
    ----------
    raw : (z, y, x)
        Contrast.
    spectrum : Spectrum
    channels : sequence of str
        The recipe's.
    quick : callable or None
        Makes the contrast "tv-quick" where it is asked for; None: cold, from the spectrum.
    """
    parts = []
    for name in channels:
        if name == "raw":
            parts.append(raw)
        elif quick is not None:
            parts.append(quick())
        else:
            parts.append(quick_contrast(spectrum))
    scale = max(float(parts[-1].max()), _NOTHING)
    return torch.stack(parts) / scale, scale


def recipe(name: str) -> Recipe:
    """Return the recipe of that name."""
    if name not in NETWORKS:
        raise ConfigurationError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}")
    return NETWORKS[name]


def save_network(
    name: str,
    network: nn.Module,
    path: Path,
    range_: TrainingRange,
    about: Mapping[str, str],
    *,
    half: bool = False,
) -> None:
    """Write the weights, whole or not at all.

    Parameters
    ----------
    name : str
    network : Module
    path : Path
    range_ : TrainingRange
    about : mapping of str
        Tells training data and metrics.
    half : bool
        Whether weights are written in half precision; what norms have counted is not.
    """
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "network": name,
        "channels": json.dumps(NETWORKS[name].channels),
        "target": NETWORKS[name].target,
        "range": range_.dumps(),
        **about,
    }
    learned = {key for key, _ in network.named_parameters()} if half else set()
    weights = {
        key: (value.half() if key in learned else value).contiguous()
        for key, value in network.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(weights, partial, metadata=header)
    partial.replace(path)


def load_network(name: str, path: Path | None = None) -> Trained:
    """Read a network's weights; those that come with LiveTomo where no path is given.

    Raises
    ------
    ConfigurationError
        If there is no such network.
    DataError
        If the file is absent or holds another network, or one that sees something else.
    """
    made = recipe(name)
    path = WEIGHTS / f"{name}.safetensors" if path is None else path
    if not path.is_file():
        raise DataError(
            f"network weights must be at {path}: train them with "
            f"`launcher.py train --network {name}`"
        )
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata() or {})
        weights = {key: file.get_tensor(key) for key in file.keys()}
    wanted = (_FORMAT, _VERSION, name, json.dumps(made.channels))
    found = tuple(header.get(key) for key in ("format", "version", "network", "channels"))
    if found != wanted:
        raise DataError(f"{path} must hold {wanted} (format, version, network, input), got {found}")
    network = made.build()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit {name}: {error}") from error
    return Trained(name, network.eval(), header, TrainingRange.loads(header["range"]))


def shipped() -> tuple[str, ...]:
    """Return the names of the networks whose weights come with LiveTomo."""
    return tuple(name for name in NETWORKS if (WEIGHTS / f"{name}.safetensors").is_file())


def best_network(device: torch.device) -> str:
    """Return the shipped network that suits a machine: the full size on a GPU, if it is there."""
    there = shipped()
    return "full-unet" if device.type == "cuda" and "full-unet" in there else "light-unet"
