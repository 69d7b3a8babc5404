"""U-Nets that regularize a contrast volume.

The input (batch, channels, z, y, x) holds contrasts divided by the maximum of the last channel; the
output is (batch, 1, z, y, x). ``UNet`` is the standard one of the paper's appendix D (Ryu et al.
2021).
``LightUNet`` is for the live view: it works at half resolution (pixel unshuffle: each 2 x 2 x 2
block becomes 8 channels), has two further levels, and predicts a correction to its last input
channel and, optionally, the standard deviation of the remaining error. Batch norm only, no
patch-global operation, so that a tile and the whole volume give the same result away from their
borders.
"""

import copy
import math
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["LightUNet", "UNet", "channels_last", "fold_batch_norm"]

SLOPE = 0.1  # of leaky ReLU below zero
LEAST_UNCERTAINTY = 1e-3  # over the highest contrast
_FRESH_UNCERTAINTY = 0.05  # that an untrained head predicts, over the highest contrast
_STORED_HEAD = "doubt"  # key of the uncertainty head in weight files and checkpoints

_Network = TypeVar("_Network", bound=nn.Module)


class _Block(nn.Sequential):
    """Two convolutions of 3 x 3 x 3, each with batch norm and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            convolution = nn.Conv3d(channels, outputs, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, a=SLOPE)  # He, as in the paper
            layers += [convolution, nn.BatchNorm3d(outputs), nn.LeakyReLU(SLOPE, inplace=True)]
        super().__init__(*layers)


class _UncertaintyHead(nn.Sequential):
    """Predicts a value whose softplus, times ``scale``, is the standard deviation of the error.

    Not its logarithm, which would explode on a scan unlike any in the training.
    """

    scale: torch.Tensor

    def __init__(self, inputs: int) -> None:
        last = nn.Conv3d(inputs, 8, 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.constant_(last.bias, math.log(math.expm1(_FRESH_UNCERTAINTY)))
        first = nn.Conv3d(inputs, inputs, 3, padding=1)
        super().__init__(first, nn.LeakyReLU(SLOPE, inplace=True), last)
        self.register_buffer("scale", torch.ones(()))


class LightUNet(nn.Module):
    """The light network for the live view on a CPU.

    The output is the last input channel plus a correction, clipped at zero: the network is for
    non-negative contrast.

    Parameters
    ----------
    inputs : int
        Channels of the input.
    widths : tuple of int
        Channels at half, quarter and eighth resolution.
    uncertainty : bool
        Whether a separate head predicts the standard deviation of the output's error
        (``with_uncertainty``). It is trained after the rest, which stays unchanged.
    """

    def __init__(
        self,
        inputs: int = 2,
        widths: tuple[int, int, int] = (16, 32, 64),
        *,
        uncertainty: bool = False,
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.inputs = inputs
        self.encode_fine = _Block(8 * inputs, fine)
        self.encode_middle = _Block(fine, middle)
        self.encode_coarse = _Block(middle, coarse)
        self.decode_middle = _Block(coarse + middle, middle)
        self.decode_fine = _Block(middle + fine, fine)
        self.head = nn.Conv3d(fine, 8, 1)
        nn.init.zeros_(self.head.weight)  # start as the identity
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        self.register_module(_STORED_HEAD, _UncertaintyHead(fine) if uncertainty else None)

    @property
    def uncertainty_head(self) -> _UncertaintyHead | None:
        """The head that predicts the standard deviation of the error; None without one."""
        head = self._modules[_STORED_HEAD]
        assert head is None or isinstance(head, _UncertaintyHead)
        return head

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the regularized volume (batch, 1, z, y, x) from (batch, inputs, z, y, x)."""
        return self.corrected(volume, self.features(volume))

    def with_uncertainty(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the regularized volume and the standard deviation of its error.

        Parameters
        ----------
        volume : (batch, inputs, z, y, x)

        Returns
        -------
        (batch, 2, z, y, x)
        """
        features = self.features(volume)
        return torch.cat([self.corrected(volume, features), self.deviation(features)], dim=1)

    def features(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the features that both heads take in, (batch, channels, z/2, y/2, x/2)."""
        fine = self.encode_fine(unshuffle(volume))
        middle = self.encode_middle(_halve(fine))
        coarse = self.encode_coarse(_halve(middle))
        up = torch.cat([functional.interpolate(coarse, scale_factor=2.0), middle], dim=1)
        up = self.decode_middle(up)
        up = torch.cat([functional.interpolate(up, scale_factor=2.0), fine], dim=1)
        decoded: torch.Tensor = self.decode_fine(up)
        return decoded

    def corrected(self, volume: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the regularized volume (batch, 1, z, y, x) from a volume and its features."""
        return (volume[:, -1:] + shuffle(self.head(features))).clamp_min(0)

    def deviation(self, features: torch.Tensor) -> torch.Tensor:
        """Return the standard deviation of the error (batch, 1, z, y, x), at least 1e-3."""
        head = self.uncertainty_head
        assert head is not None
        return functional.softplus(shuffle(head(features))) * head.scale + LEAST_UNCERTAINTY


class UNet(nn.Module):
    """The standard U-Net of the paper's appendix D, raw in and regularized out.

    The appendix specifies the U shape, convolution, batch norm and leaky ReLU. Chosen here: four
    levels from full resolution down, two convolutions each, max pooling, nearest-neighbour
    upsampling.

    Parameters
    ----------
    widths : tuple of int
        Channels at full, half, quarter and eighth resolution.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        inputs = (1, *widths[:-1])
        self.encode = nn.ModuleList(_Block(a, b) for a, b in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.decode = nn.ModuleList(_Block(low + high, high) for low, high in pairs)
        self.head = nn.Conv3d(widths[0], 1, 1)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the regularized volume (batch, 1, z, y, x) from (batch, 1, z, y, x)."""
        skips = [self.encode[0](volume)]
        for block in self.encode[1:]:
            skips.append(block(_halve(skips[-1])))
        up = skips.pop()
        for block in self.decode:
            up = block(
                torch.cat([functional.interpolate(up, scale_factor=2.0), skips.pop()], dim=1)
            )
        result: torch.Tensor = self.head(up)
        return result


def _halve(volume: torch.Tensor) -> torch.Tensor:
    """Return half the resolution, channels last: otherwise the next convolution is slow."""
    pooled = functional.max_pool3d(volume, 2)
    return pooled.contiguous(memory_format=torch.channels_last_3d)


def unshuffle(volume: torch.Tensor) -> torch.Tensor:
    """Turn (batch, c, z, y, x) into (batch, 8 c, z/2, y/2, x/2), channels last."""
    batch, c, z, y, x = volume.shape
    blocks = volume.reshape(batch, c, z // 2, 2, y // 2, 2, x // 2, 2)
    blocks = blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, 8 * c, z // 2, y // 2, x // 2)
    return blocks.contiguous(memory_format=torch.channels_last_3d)


def shuffle(channels: torch.Tensor) -> torch.Tensor:
    """Turn (batch, 8, z, y, x) into (batch, 1, 2z, 2y, 2x), the inverse of ``unshuffle``."""
    batch, _, z, y, x = channels.shape
    blocks = channels.reshape(batch, 2, 2, 2, z, y, x).permute(0, 4, 1, 5, 2, 6, 3)
    return blocks.reshape(batch, 1, 2 * z, 2 * y, 2 * x)


def channels_last(network: _Network) -> _Network:
    """Store the weights channels last, in place: CPU convolutions take a quarter less time."""
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]  # torch's gap


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return an inference copy with batch norms folded into the convolutions."""
    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        if isinstance(block, _Block):
            for i in range(0, len(block), 3):
                block[i] = fuse_conv_bn_eval(block[i], block[i + 1])  # type: ignore[arg-type,type-var]
                block[i + 1] = nn.Identity()
    return channels_last(folded)
