"""The network of the paper (Ryu et al. 2021), found there by an architecture search (SCNAS).

No code of the 3D network is public. The paper specifies the stem, the operations (convolution,
skip, average pooling, dilated convolution with rate 2 or 3), the cells, widths and resolutions. Its
lab has published the same network in two dimensions (BMOLKAIST, 3D_virtual_HE_staining), whose
cells agree with the paper's text: here they are in 3D, edge by edge. It is likely, but not shown,
that the 3D network had the same edges; docs/explanation/networks.md says which is which.

One addition is LiveTomo's: instance norm discards the magnitude of the contrast, so the stem's gate
comes after its norm, and the output is a correction of the patch in units of its root mean square.

The gates and the statistics of instance norm average over the whole patch. The network therefore
runs on patches of the size it was trained on, never on a whole volume.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ["DECODER", "ENCODER", "EXPANSION", "REDUCTION", "ScnasNetwork"]

_SLOPE = 0.01  # of leaky ReLU below zero
_SQUEEZE = 6  # input channels of a gate per hidden channel

# A cell has four nodes n0 to n3, each the sum of its edges. An edge is an operation on a source: s0
# is the output of the cell before the last, s1 that of the last. n1, n2 and n3 are the result.
Edges = tuple[tuple[tuple[str, str], ...], ...]
REDUCTION: Edges = (
    (("halve", "s0"), ("dilated 2, stride 2", "s1")),
    (("halve", "s0"), ("pool", "n0")),
    (("skip", "n0"), ("convolution", "n1")),
    (("convolution", "n0"), ("pool", "n2")),
)
ENCODER: Edges = (
    (("convolution", "s0"), ("dilated 2", "s1")),
    (("pool", "s0"), ("skip", "n0")),
    (("convolution", "s0"), ("skip", "n0")),
    (("skip", "s0"),),
)
EXPANSION: Edges = (
    (("convolution", "s0"), ("dilated 3", "s1")),
    (("skip", "s0"), ("skip", "n0")),
    (("dilated 2", "s1"), ("skip", "n1")),
    (("skip", "s0"), ("pool", "s1")),
)
DECODER: Edges = (
    (("dilated 2", "s1"),),
    (("skip", "s1"), ("skip", "n0")),
    (("dilated 2", "s1"), ("skip", "n1")),
    (("skip", "s0"), ("pool", "n0")),
)


class _Convolution(nn.Sequential):
    """Leaky ReLU, convolution, instance norm."""

    def __init__(
        self, inputs: int, outputs: int, size: int, rate: int = 1, stride: int = 1
    ) -> None:
        convolution = _he(
            nn.Conv3d(
                inputs,
                outputs,
                size,
                stride=stride,
                padding=rate * (size // 2),
                dilation=rate,
                bias=False,
            )
        )
        super().__init__(nn.LeakyReLU(_SLOPE), convolution, nn.InstanceNorm3d(outputs))


class _Halve(nn.Module):
    """Halve the resolution: two strided 1 x 1 x 1 convolutions, offset by a voxel, concatenated."""

    def __init__(self, inputs: int, outputs: int, *, affine: bool) -> None:
        super().__init__()
        self.even, self.odd = (
            _he(nn.Conv3d(inputs, outputs // 2, 1, stride=2, bias=False)) for _ in range(2)
        )
        self.norm = nn.InstanceNorm3d(outputs, affine=affine)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        seen = functional.leaky_relu(volume, _SLOPE)
        halves = (self.even(seen), self.odd(seen[:, :, 1:, 1:, 1:]))
        result: torch.Tensor = self.norm(torch.cat(halves, dim=1))
        return result


def _he(convolution: nn.Conv3d) -> nn.Conv3d:
    """Initialise a convolution's weights as in the paper (He), in place, and return it."""
    nn.init.kaiming_normal_(convolution.weight, a=_SLOPE)
    return convolution


_OPERATIONS: dict[str, Callable[[int], nn.Module]] = {  # by the channels
    "skip": lambda _: nn.Identity(),
    "pool": lambda _: nn.AvgPool3d(3, stride=1, padding=1),
    "halve": lambda n: _Halve(n, n, affine=True),
    "convolution": lambda n: _Convolution(n, n, 3),
    "dilated 2": lambda n: _Convolution(n, n, 3, rate=2),
    "dilated 2, stride 2": lambda n: _Convolution(n, n, 3, rate=2, stride=2),
    "dilated 3": lambda n: _Convolution(n, n, 3, rate=3),
}


class _Gate(nn.Module):
    """A factor from 0 to 1 for each channel, from the channels' averages over the patch.

    After instance norm the averages are near zero, where a ReLU with a negative bias passes no
    gradient: biases are initialised positive.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // _SQUEEZE)
        with torch.no_grad():
            self.squeeze.bias.abs_()
        self.excite = nn.Linear(channels // _SQUEEZE, channels)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        squeezed = functional.relu(self.squeeze(volume.mean(dim=(2, 3, 4))))
        return torch.sigmoid(self.excite(squeezed))[:, :, None, None, None]


class _Stem(nn.Module):
    """Convolution, ReLU and instance norm, times a gate for each channel from its global average.

    The gate comes after the norm, which would otherwise cancel every factor of a channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = _he(nn.Conv3d(1, channels, 3, padding=1, bias=False))
        self.gate = _Gate(channels)
        self.norm = nn.InstanceNorm3d(channels)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        seen = functional.relu(self.convolution(volume))
        result: torch.Tensor = self.norm(seen) * self.gate(seen)
        return result


class _Node(nn.Module):
    """The sum of some edges."""

    def __init__(self, edges: Sequence[tuple[str, str]], channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(_OPERATIONS[name](channels) for name, _ in edges)
        self.sources = [source for _, source in edges]

    def forward(self, known: dict[str, torch.Tensor]) -> torch.Tensor:
        pairs = zip(self.operations, self.sources, strict=True)
        parts: list[torch.Tensor] = [edge(known[source]) for edge, source in pairs]
        return functools.reduce(torch.add, parts)


class _Cell(nn.Module):
    """Four nodes on the outputs of the last two cells; three of them are concatenated and gated.

    Parameters
    ----------
    edges : Edges
        The cell's table.
    before, last : Module
        Adapters of the two inputs to a third of the channels.
    channels : int
        Channels of the result.
    """

    def __init__(self, edges: Edges, before: nn.Module, last: nn.Module, channels: int) -> None:
        super().__init__()
        self.before, self.last = before, last
        self.nodes = nn.ModuleList(_Node(node, channels // 3) for node in edges)
        self.gate = _Gate(channels)

    def forward(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        known = {"s0": self.before(before), "s1": self.last(last)}
        for number, node in enumerate(self.nodes):
            known[f"n{number}"] = node(known)
        joined = torch.cat([known[name] for name in ("n1", "n2", "n3")], dim=1)
        result: torch.Tensor = joined * self.gate(joined)
        return result


def _same(inputs: int, outputs: int) -> nn.Module:
    """Return the adapter of a cell's input to ``outputs`` channels at the same resolution."""
    return _Convolution(inputs, outputs // 3, 1)


def _half(inputs: int, outputs: int) -> nn.Module:
    """Return the adapter to ``outputs`` channels at half the resolution."""
    return _Halve(inputs, outputs // 3, affine=False)


def _double(inputs: int, outputs: int) -> nn.Module:
    """Return the adapter to ``outputs`` channels at twice the resolution."""
    doubled = nn.Upsample(scale_factor=2.0, mode="trilinear", align_corners=True)
    return nn.Sequential(doubled, _same(inputs, outputs))


class ScnasNetwork(nn.Module):
    """Encoder and decoder of cells on cubic patches.

    Parameters
    ----------
    widths : channels at full, half, quarter and eighth resolution, multiples of 6
    """

    def __init__(self, widths: tuple[int, int, int, int] = (18, 36, 72, 144)) -> None:
        super().__init__()
        self.stem = _Stem(widths[0])
        self.encode, self.decode = nn.ModuleList(), nn.ModuleList()
        before = widths[0]  # channels; at the first cell both inputs are the stem's output
        for last, n in itertools.pairwise(widths):
            self.encode.append(_Cell(REDUCTION, _same(before, n), _same(last, n), n))
            self.encode.append(_Cell(ENCODER, _half(last, n), _same(n, n), n))
            before = n
        n = widths[-1]
        self.bridge = _Cell(ENCODER, _same(n, n), _same(n, n), n)
        bring = _same  # after an expansion the input before it has half the resolution
        for n, finer in itertools.pairwise(reversed(widths)):
            self.decode.append(_Cell(DECODER, bring(before, n), _same(n, n), n))
            self.decode.append(_Cell(EXPANSION, _double(n, finer), _double(n, finer), finer))
            before, bring = n, _double
        self.head = nn.Conv3d(widths[0], 1, 1)
        nn.init.zeros_(self.head.weight)  # start as the identity
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Return regularized patches (batch, 1, n, n, n) from raw ones; n = 24, 32, 40, ..."""
        before = last = self.stem(volume)
        skips = []
        for cell in self.encode:
            skips.append(last)
            before, last = last, cell(before, last)
        before, last = last, self.bridge(before, last)
        for cell in self.decode:
            before, last = last, cell(before, last) + skips.pop()
        scale = volume.square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()
        result: torch.Tensor = volume + scale * self.head(last)
        return result
