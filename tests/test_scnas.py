"""The paper's network: its cells edge by edge, its sizes, and that it keeps the contrast's size."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from regularizer.networks.inference import apply_patches
from regularizer.networks.scnas import DECODER, ENCODER, EXPANSION, REDUCTION, Edges, ScnasNetwork
from regularizer.networks.trained import shipped_networks

WIDTHS = (18, 36, 72, 144)


def outspoken() -> ScnasNetwork:
    """Return the network with a head that says something; a fresh one corrects nothing."""
    torch.manual_seed(1)
    network = ScnasNetwork()
    nn.init.normal_(network.head.weight)
    return network


@pytest.fixture
def network() -> ScnasNetwork:
    return outspoken()


def convolved(
    volume: torch.Tensor, weight: torch.Tensor, rate: int = 1, stride: int = 1
) -> torch.Tensor:
    """Leaky ReLU, convolution without bias, instance norm."""
    padding = rate * (weight.shape[-1] // 2)
    seen = functional.leaky_relu(volume, 0.01)
    return functional.instance_norm(
        functional.conv3d(seen, weight, None, stride, padding, dilation=rate)
    )


def pooled(volume: torch.Tensor) -> torch.Tensor:
    """Average over 3 x 3 x 3 voxels."""
    ones = torch.full((volume.shape[1], 1, 3, 3, 3), 1 / 27)
    return functional.conv3d(volume, ones, padding=1, groups=volume.shape[1])


def halved(volume: torch.Tensor, even: torch.Tensor, odd: torch.Tensor) -> torch.Tensor:
    """Every second voxel, and the one after it, each with weights of its own, side by side."""
    seen = functional.leaky_relu(volume, 0.01)
    parts = [
        torch.einsum("oizyx,bizyx->bozyx", w.expand(-1, -1, *half.shape[2:]), half)
        for w, half in ((even, seen[:, :, ::2, ::2, ::2]), (odd, seen[:, :, 1::2, 1::2, 1::2]))
    ]
    return functional.instance_norm(torch.cat(parts, dim=1))


Weights = Callable[[], torch.Tensor]  # the cell's, one after the other


def reduction(s0: torch.Tensor, s1: torch.Tensor, w: Weights) -> list[torch.Tensor]:
    n0 = halved(s0, w(), w()) + convolved(s1, w(), rate=2, stride=2)
    n1 = halved(s0, w(), w()) + pooled(n0)
    n2 = n0 + convolved(n1, w())
    return [n1, n2, convolved(n0, w()) + pooled(n2)]


def encoder(s0: torch.Tensor, s1: torch.Tensor, w: Weights) -> list[torch.Tensor]:
    n0 = convolved(s0, w()) + convolved(s1, w(), rate=2)
    return [pooled(s0) + n0, convolved(s0, w()) + n0, s0]


def expansion(s0: torch.Tensor, s1: torch.Tensor, w: Weights) -> list[torch.Tensor]:
    n0 = convolved(s0, w()) + convolved(s1, w(), rate=3)
    n1 = s0 + n0
    return [n1, convolved(s1, w(), rate=2) + n1, s0 + pooled(s1)]


def decoder(s0: torch.Tensor, s1: torch.Tensor, w: Weights) -> list[torch.Tensor]:
    n0 = convolved(s1, w(), rate=2)
    n1 = s1 + n0
    return [n1, convolved(s1, w(), rate=2) + n1, s0 + pooled(n0)]


FORMULAS = (
    ("encode", 0, reduction),
    ("encode", 1, encoder),
    ("encode", 4, reduction),
    ("decode", 0, decoder),
    ("decode", 1, expansion),
    ("decode", 5, expansion),
)


@pytest.mark.parametrize(("side", "place", "formula"), FORMULAS)
def test_a_cell_is_what_its_edges_say(
    network: ScnasNetwork,
    side: str,
    place: int,
    formula: Callable[[torch.Tensor, torch.Tensor, Weights], list[torch.Tensor]],
) -> None:
    """Written out as formulas, with the weights in the order of the nodes."""
    cell = getattr(network, side)[place]
    assert isinstance(cell.gate.squeeze, nn.Linear)
    channels = cell.gate.squeeze.in_features
    cell.before = cell.last = nn.Identity()
    s0, s1 = torch.randn(2, 1, channels // 3, 8, 8, 8)
    weights = (p for p in cell.nodes.parameters() if p.ndim == 5)
    with torch.inference_mode():
        joined = torch.cat(formula(s0, s1, lambda: next(weights)), dim=1)
        averages = joined.mean(dim=(2, 3, 4))
        gate = torch.sigmoid(cell.gate.excite(cell.gate.squeeze(averages).relu()))
        found = cell(s0, s1)
    assert next(weights, None) is None
    assert torch.allclose(found, joined * gate[:, :, None, None, None], atol=1e-4)


@pytest.mark.parametrize(
    ("edges", "dilated", "plain"),
    [(REDUCTION, 1, 2), (ENCODER, 1, 2), (EXPANSION, 2, 1), (DECODER, 2, 0)],
)
def test_dilated_convolutions_dominate_the_decoder(edges: Edges, dilated: int, plain: int) -> None:
    """And no cell leaves out what the paper names."""
    names = [name for node in edges for name, _ in node]
    assert sum(name.startswith("dilated") for name in names) == dilated
    assert names.count("convolution") == plain
    assert {"skip", "pool"} <= set(names)


def test_every_level_has_its_width_and_resolution(network: ScnasNetwork) -> None:
    """And two cells a level each way, the bridge at the bottom."""
    seen: list[tuple[int, ...]] = []
    parts = [network.stem, *network.encode, network.bridge, *network.decode, network.head]
    for part in parts:
        part.register_forward_hook(lambda _, __, result: seen.append(tuple(result.shape[1:])))
    with torch.inference_mode():
        network(torch.rand(1, 1, 32, 32, 32))
    levels = [(width, *3 * (32 >> depth,)) for depth, width in enumerate(WIDTHS)]
    full, half, quarter, eighth = levels
    down = [full, half, half, quarter, quarter, eighth, eighth]
    assert seen == [*down, eighth, eighth, quarter, quarter, half, half, full, (1, 32, 32, 32)]


def expected_parameters() -> int:
    """Count weights by the tables: c is a third of a cell's channels, k of 3 x 3 x 3."""

    def gate(n: int) -> int:
        return n * (n // 6) + n // 6 + (n // 6) * n + n

    k, total = 27, 27 * WIDTHS[0] + gate(WIDTHS[0]) + WIDTHS[0] + 1  # stem and head
    before = WIDTHS[0]
    for last, n in itertools.pairwise(WIDTHS):
        c = n // 3
        reducing = (before + last) * c + 2 * (c * c + 2 * c) + 3 * k * c * c  # norms of "halve"
        total += reducing + gate(n) + (last + n) * c + 3 * k * c * c + gate(n)
        before = n
    n = WIDTHS[-1]
    total += 2 * n * (n // 3) + 3 * k * (n // 3) ** 2 + gate(n)  # the bridge
    for n, finer in itertools.pairwise(reversed(WIDTHS)):
        c, d = n // 3, finer // 3
        total += (before + n) * c + 2 * k * c * c + gate(n)
        total += 2 * n * d + 3 * k * d * d + gate(finer)
        before = n
    return total


def test_it_has_as_many_parameters_as_its_cells(network: ScnasNetwork) -> None:
    assert sum(p.numel() for p in network.parameters()) == expected_parameters()


def test_every_weight_counts(network: ScnasNetwork) -> None:
    network(torch.rand(2, 1, 24, 24, 24)).square().mean().backward()
    steepest = {
        name: 0.0 if p.grad is None else float(p.grad.abs().max())
        for name, p in network.named_parameters()
    }
    greatest = max(steepest.values())
    assert {name: s for name, s in steepest.items() if s < 1e-6 * greatest} == {}


def test_no_norm_takes_the_stems_gate_out_again(network: ScnasNetwork) -> None:
    volume = torch.rand(1, 1, 24, 24, 24)
    with torch.inference_mode():
        before = network(volume)
        assert network.stem.gate.excite.bias is not None
        network.stem.gate.excite.bias[0] -= 2.0
        after = network(volume)
    assert float((after - before).square().mean() / (before - volume).var()) > 0.01


def test_it_knows_how_large_the_contrast_is(network: ScnasNetwork) -> None:
    """Instance norm does not: what it says of a tenth of the contrast is about a tenth."""
    volume = torch.rand(1, 1, 24, 24, 24)
    with torch.inference_mode():
        said, faint = (network(v) - v for v in (volume, volume / 10))
    assert float(faint.std() / said.std()) == pytest.approx(0.1, rel=0.1)


def test_a_fresh_one_leaves_a_volume_of_any_size_as_it_is() -> None:
    volume = torch.rand(1, 24, 30, 40)
    with torch.inference_mode():
        stitched = apply_patches(ScnasNetwork().eval(), volume, size=24, stride=12)
    assert torch.allclose(stitched, volume, atol=1e-5)


def test_there_are_no_weights_of_it_yet() -> None:
    assert "scnas" not in shipped_networks()
