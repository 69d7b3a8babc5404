"""The networks by name: how each is built and trained, and the files of their weights.

A network's input is the channels that its recipe names, divided by the maximum of the last one:

raw       the raw tomogram's contrast
tv-quick  20 split-Bregman iterations with mu chosen from the scan's noise (``quick_contrast``)

Weights are safetensors files; the header holds network, training data, its range and the
validation error.
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
    "network_channels",
    "network_input",
    "save_network",
    "shipped_networks",
]

WEIGHTS = Path(__file__).parents[1] / "weights"
_FORMAT = "livetomo.network"
_VERSION = "3"
_NOTHING = 1e-9  # contrast; keeps a constant tomogram from being divided by zero


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is built, what it takes in, and how it is trained.

    Parameters
    ----------
    build : callable
        Makes the network with fresh weights.
    channels : tuple of str
        Its input: "raw", "tv-quick".
    target : str
        What it learns: "truth", the simulated object, or "tv", total variation's result.
    rate, batch : float, int
        Learning rate and batch size of Adam.
    multiple : int
        Every edge of a volume must be a multiple of this.
    patches : bool
        Whether it uses patch-wide statistics, so that it runs on patches of 64^3 only.
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
    # for the live view: on two cores, on a GPU
    "light-unet": Recipe(lambda: LightUNet(uncertainty=True), _BOTH, "truth", 2e-3, 4),
    "full-unet": Recipe(
        lambda: LightUNet(2, (32, 64, 128), uncertainty=True), _BOTH, "truth", 1e-3, 16
    ),
    # as in the paper: raw in, total variation out
    "light-unet-tv": Recipe(lambda: LightUNet(1), ("raw",), "tv", 2e-3, 4),
    "unet": Recipe(UNet, ("raw",), "tv", 1e-4, 80),
    "scnas": Recipe(ScnasNetwork, ("raw",), "tv", 1e-4, 80, patches=True),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A network in evaluation mode, its file's metadata, and its training range."""

    name: str
    network: nn.Module
    metadata: Mapping[str, str]
    range: TrainingRange

    @property
    def recipe(self) -> Recipe:
        """How it was built and trained."""
        return NETWORKS[self.name]


def network_channels(
    raw: torch.Tensor,
    spectrum: Spectrum,
    channels: Sequence[str],
    quick: Callable[[], torch.Tensor] | None = None,
) -> tuple[list[torch.Tensor], float]:
    """Return a network's channels, each (z, y, x), and the contrast they are to be divided by.

    Parameters
    ----------
    raw : (z, y, x)
        Raw contrast.
    spectrum : Spectrum
    channels : sequence of str
        Channel names, as in ``Recipe.channels``.
    quick : callable or None
        Computes the channel "tv-quick"; None: ``quick_contrast`` of the spectrum.
    """
    parts = []
    for name in channels:
        if name == "raw":
            parts.append(raw)
        elif quick is not None:
            parts.append(quick())
        else:
            parts.append(quick_contrast(spectrum))
    return parts, max(float(parts[-1].max()), _NOTHING)


def network_input(
    raw: torch.Tensor,
    spectrum: Spectrum,
    channels: Sequence[str],
    quick: Callable[[], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, float]:
    """Return a network's input (channels, z, y, x) and the contrast it was divided by.

    The arguments are those of ``network_channels``.
    """
    parts, scale = network_channels(raw, spectrum, channels, quick)
    return torch.stack(parts).div_(scale), scale


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
    metadata: Mapping[str, str],
    *,
    half: bool = False,
) -> None:
    """Write a network's weights and metadata as a safetensors file, whole or not at all.

    Parameters
    ----------
    name : str
        Name in ``NETWORKS``.
    network : Module
    path : Path
    range_ : TrainingRange
    metadata : mapping of str
        Further header entries: training data, metrics.
    half : bool
        Whether weights are written in half precision; running statistics of norms never are.
    """
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "network": name,
        "channels": json.dumps(NETWORKS[name].channels),
        "target": NETWORKS[name].target,
        "range": range_.dumps(),
        **metadata,
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
    """Return a network with the weights in ``path``; None: the weights shipped with LiveTomo.

    Raises
    ------
    ConfigurationError
        If there is no network of that name.
    DataError
        If the file is missing, or holds another network or one with other input channels.
    """
    wanted_recipe = recipe(name)
    path = WEIGHTS / f"{name}.safetensors" if path is None else path
    if not path.is_file():
        raise DataError(
            f"network weights must be at {path}: train them with "
            f"`launcher.py train --network {name}`"
        )
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata() or {})
        weights = {key: file.get_tensor(key) for key in file.keys()}
    wanted = (_FORMAT, _VERSION, name, json.dumps(wanted_recipe.channels))
    found = tuple(header.get(key) for key in ("format", "version", "network", "channels"))
    if found != wanted:
        raise DataError(f"{path} must hold {wanted} (format, version, network, input), got {found}")
    network = wanted_recipe.build()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path} must hold the weights of {name}: {error}") from error
    return Trained(name, network.eval(), header, TrainingRange.loads(header["range"]))


def shipped_networks() -> tuple[str, ...]:
    """Return the names of the networks whose weights are shipped with LiveTomo."""
    return tuple(name for name in NETWORKS if (WEIGHTS / f"{name}.safetensors").is_file())


def best_network(device: torch.device) -> str:
    """Return the best shipped network for a device: "full-unet" on a GPU if shipped, else light."""
    there = shipped_networks()
    return "full-unet" if device.type == "cuda" and "full-unet" in there else "light-unet"
