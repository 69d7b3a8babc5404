"""Networks that turn a raw contrast volume into a regularized one.

Input and output are (batch, 1, z, y, x) of contrast over the raw maximum. ``LightUNet`` is a 3D
U-Net after the paper's appendix D (Ryu et al. 2021), made light enough for two CPU cores: it works
at half resolution (pixel unshuffle: each 2 x 2 x 2 block becomes 8 channels), has two further
levels, and predicts the correction to its input. Batch norm only, no patch-global operation, so
that a tile and the whole volume give the same result away from their borders.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from acquisition.errors import DataError

__all__ = [
    "WEIGHTS",
    "LightUNet",
    "fold_batch_norm",
    "load_network",
    "save_network",
    "shipped_network",
]

_Network = TypeVar("_Network", bound=nn.Module)

WEIGHTS = Path(__file__).parent / "weights"
_FORMAT = "livetomo.network"


class _Block(nn.Sequential):
    """Two convolutions of 3 x 3 x 3, each with batch norm and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            convolution = nn.Conv3d(channels, outputs, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, a=0.1)  # He, as in the paper
            layers += [convolution, nn.BatchNorm3d(outputs), nn.LeakyReLU(0.1, inplace=True)]
        super().__init__(*layers)


class LightUNet(nn.Module):
    """The light network for the live view on a CPU.

    Parameters
    ----------
    widths : channels at half, quarter and eighth resolution
    """

    name = "light-unet"
    multiple = 8  # every edge of the volume must be a multiple

    def __init__(self, widths: tuple[int, int, int] = (16, 32, 64)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.widths = widths
        self.encode_fine = _Block(8, fine)
        self.encode_middle = _Block(fine, middle)
        self.encode_coarse = _Block(middle, coarse)
        self.decode_middle = _Block(coarse + middle, middle)
        self.decode_fine = _Block(middle + fine, fine)
        self.head = nn.Conv3d(fine, 8, 1)
        nn.init.zeros_(self.head.weight)  # start as the identity
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the regularized volume (batch, 1, z, y, x); edges are multiples of 8."""
        fine = self.encode_fine(unshuffle(volume))
        middle = self.encode_middle(_halve(fine))
        coarse = self.encode_coarse(_halve(middle))
        up = torch.cat([functional.interpolate(coarse, scale_factor=2.0), middle], dim=1)
        up = self.decode_middle(up)
        up = torch.cat([functional.interpolate(up, scale_factor=2.0), fine], dim=1)
        return volume + shuffle(self.head(self.decode_fine(up)))


def _halve(volume: torch.Tensor) -> torch.Tensor:
    """Return half the resolution; channels last again, or a slow convolution would follow."""
    pooled = functional.max_pool3d(volume, 2)
    return pooled.contiguous(memory_format=torch.channels_last_3d)


def unshuffle(volume: torch.Tensor) -> torch.Tensor:
    """Turn (batch, 1, z, y, x) into (batch, 8, z/2, y/2, x/2)."""
    batch, _, z, y, x = volume.shape
    blocks = volume.reshape(batch, z // 2, 2, y // 2, 2, x // 2, 2)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(batch, 8, z // 2, y // 2, x // 2)


def shuffle(channels: torch.Tensor) -> torch.Tensor:
    """Turn (batch, 8, z, y, x) into (batch, 1, 2z, 2y, 2x), the inverse of ``unshuffle``."""
    batch, _, z, y, x = channels.shape
    blocks = channels.reshape(batch, 2, 2, 2, z, y, x).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(batch, 1, 2 * z, 2 * y, 2 * x)


def channels_last(network: _Network) -> _Network:
    """Store the weights channels last, in place: convolutions on a CPU take a quarter less time."""
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]  # torch's gap


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return an inference copy in which batch norms are part of the convolutions."""
    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        if isinstance(block, _Block):
            for i in range(0, len(block), 3):
                block[i] = fuse_conv_bn_eval(block[i], block[i + 1])  # type: ignore[arg-type,type-var]
                block[i + 1] = nn.Identity()
    return channels_last(folded)


def save_network(network: LightUNet, path: Path, about: Mapping[str, str]) -> None:
    """Write the weights as safetensors; ``about`` tells data, optics, voxel range and metrics."""
    header = {
        "format": _FORMAT,
        "version": "1",
        "network": network.name,
        "widths": json.dumps(network.widths),
        **about,
    }
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata=header)


def load_network(path: Path) -> tuple[LightUNet, dict[str, str]]:
    """Read a network in evaluation mode and what its file says about it.

    Raises
    ------
    DataError
        If the file is absent or holds another network.
    """
    if not path.is_file():
        raise DataError(f"network weights must be at {path}: train them with `launcher.py train`")
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata() or {})
        weights = {key: file.get_tensor(key) for key in file.keys()}
    found = (header.get("format"), header.get("network"))
    if found != (_FORMAT, LightUNet.name):
        raise DataError(f"{path} must hold a {LightUNet.name} of {_FORMAT}, got {found}")
    network = LightUNet(tuple(json.loads(header["widths"])))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit {LightUNet.name}: {error}") from error
    return network.eval(), header


def shipped_network() -> tuple[LightUNet, dict[str, str]]:
    """Return the network that comes with LiveTomo."""
    return load_network(WEIGHTS / "light-unet.safetensors")
