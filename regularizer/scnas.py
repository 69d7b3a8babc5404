"""The network of the paper (Ryu et al. 2021), found there by an architecture search (SCNAS).

No code of it is public. The paper fixes the stem with its channel gate, the cells (each takes the
outputs of the two before it and combines convolution, skip, average pooling and dilated convolution
with rate 2 or 3; dilated ones dominate the decoder), the widths 18, 36, 72 and 144 and their
resolutions. Ours are the edges: a cell has three nodes of a third of its channels, each node is the
sum of two edges, and the nodes are concatenated. Ours is also what the last convolution says: a
correction of the input over the root of its mean square, since instance norm forgets how large
anything was. docs/networks.md draws it.

The gate averages over the whole patch and instance norm takes its statistics from it, so this
network runs on patches of the size that it was trained on, never on a whole volume.
"""

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ScnasNetwork"]

# A node is the sum of two edges: the operation on the last cell's output, on the one before.
_ENCODER = (("convolution", "skip"), ("pooling", "convolution"), ("convolution", "pooling"))
_DECODER = (("dilated 2", "skip"), ("dilated 3", "dilated 2"), ("skip", "dilated 3"))


def _operation(name: str, channels: int) -> nn.Module:
    if name == "skip":
        return nn.Identity()
    if name == "pooling":
        return nn.AvgPool3d(3, stride=1, padding=1, count_include_pad=False)
    rate = 1 if name == "convolution" else int(name.split()[1])
    return _convolution(channels, channels, 3, rate)


def _convolution(inputs: int, outputs: int, size: int, rate: int = 1) -> nn.Sequential:
    """Convolution, instance norm, ReLU."""
    padding = rate * (size // 2)
    convolution = nn.Conv3d(inputs, outputs, size, padding=padding, dilation=rate, bias=False)
    nn.init.kaiming_normal_(convolution.weight)  # He, as in the paper
    return nn.Sequential(convolution, nn.InstanceNorm3d(outputs, affine=True), nn.ReLU())


class _Stem(nn.Module):
    """Convolution, ReLU and instance norm, times a gate for each channel from its global average.

    The gate comes after the norm, which would take every factor of a channel out again.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.convolution.weight)
        self.squeeze = nn.Linear(channels, channels // 2)
        self.excite = nn.Linear(channels // 2, channels)
        self.norm = nn.InstanceNorm3d(channels)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        seen = functional.relu(self.convolution(volume))
        gate = self.excite(functional.relu(self.squeeze(seen.mean(dim=(2, 3, 4)))))
        result: torch.Tensor = self.norm(seen) * torch.sigmoid(gate)[:, :, None, None, None]
        return result


class _Cell(nn.Module):
    """Three nodes over the outputs of the last two cells, first brought to one size and width."""

    def __init__(
        self, last: int, before: int, outputs: int, operations: tuple[tuple[str, str], ...]
    ) -> None:
        super().__init__()
        width = outputs // len(operations)
        self.last = _convolution(last, width, 1)
        self.before = _convolution(before, width, 1)
        self.on_last = nn.ModuleList(_operation(name, width) for name, _ in operations)
        self.on_before = nn.ModuleList(_operation(name, width) for _, name in operations)

    def forward(self, last: torch.Tensor, before: torch.Tensor, edge: int) -> torch.Tensor:
        a, b = self.last(_resized(last, edge)), self.before(_resized(before, edge))
        nodes = [one(a) + two(b) for one, two in zip(self.on_last, self.on_before, strict=True)]
        return torch.cat(nodes, dim=1)


def _resized(volume: torch.Tensor, edge: int) -> torch.Tensor:
    """Bring a volume to an edge of so many voxels: by averaging, or by nearest neighbours."""
    now = volume.shape[-1]
    if now == edge:
        return volume
    if now > edge:
        return functional.avg_pool3d(volume, now // edge)
    return functional.interpolate(volume, scale_factor=float(edge // now))


class ScnasNetwork(nn.Module):
    """Encoder and decoder of cells on cubic patches.

    Parameters
    ----------
    widths : channels at full, half, quarter and eighth resolution, multiples of 3
    """

    def __init__(self, widths: tuple[int, int, int, int] = (18, 36, 72, 144)) -> None:
        super().__init__()
        self.stem = _Stem(widths[0])
        self.reduce, self.encode = nn.ModuleList(), nn.ModuleList()
        before, last = widths[0], widths[0]
        for width in widths[1:]:
            self.reduce.append(_Cell(last, before, width, _ENCODER))
            self.encode.append(_Cell(width, last, width, _ENCODER))
            before, last = width, width
        self.expand, self.decode = nn.ModuleList(), nn.ModuleList()
        for width in widths[-2::-1]:
            self.expand.append(_Cell(last, before, width, _DECODER))
            self.decode.append(_Cell(2 * width, last, width, _DECODER))
            before, last = 2 * width, width
        self.head = nn.Conv3d(widths[0], 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)  # start as the identity
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the regularized patches (batch, 1, n, n, n) of (batch, 1, n, n, n), n = 8 m."""
        edge = volume.shape[-1]
        before = last = self.stem(volume)
        skips = []
        for reduce, encode in zip(self.reduce, self.encode, strict=True):
            skips.append(last)
            edge //= 2
            before, last = last, reduce(last, before, edge)
            before, last = last, encode(last, before, edge)
        for expand, decode in zip(self.expand, self.decode, strict=True):
            edge *= 2
            grown = expand(last, before, edge)
            before, joined = last, torch.cat([grown, skips.pop()], dim=1)
            before, last = joined, decode(joined, before, edge)
        scale = volume.square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()
        result: torch.Tensor = volume + scale * self.head(last)
        return result
