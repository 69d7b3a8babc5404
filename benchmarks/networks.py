"""The networks' sizes and speeds: the tables of docs/networks.md.

    python -m benchmarks networks [--only sizes]

Sizes are computed: parameters, operations for a patch of 64^3 (two for a multiplication and an
addition, in convolutions), and the receptive field, the edge of the cube of input voxels that an
output voxel depends on. Speeds are of this machine, on the live volume of 64 x 192 x 192.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pages import DOCS, make_tables, markdown
from regularizer.trained import NETWORKS, Recipe

__all__ = ["main", "sizes"]

_PAGE = DOCS / "networks.md"
_PATCH = 64
_VOLUME = (64, 192, 192)


def sizes() -> str:
    """Return the table of what can be computed."""
    rows = []
    for name, recipe in NETWORKS.items():
        network = recipe.build().eval()
        parameters = sum(p.numel() for p in network.parameters())
        seen = "the patch" if recipe.patches else f"{receptive_field(network, recipe)}"
        rows.append(
            [
                f"`{name}`",
                ", ".join(recipe.channels),
                recipe.target,
                f"{parameters / 1e6:.2f} M",
                f"{operations(network, recipe) / 1e9:.1f} G",
                seen,
            ]
        )
    figures = ("parameters", "operations a patch", "receptive field, voxels")
    return markdown(("network", "sees", "learns"), figures, rows)


def operations(network: nn.Module, recipe: Recipe) -> int:
    """Return the operations of the convolutions on one patch."""
    count = 0

    def add(module: nn.Module, _: object, result: torch.Tensor) -> None:
        nonlocal count
        assert isinstance(module, nn.Conv3d)
        count += 2 * result.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.Conv3d)]
    with torch.inference_mode():
        network(torch.rand(1, len(recipe.channels), _PATCH, _PATCH, _PATCH))
    for hook in hooks:
        hook.remove()
    return count


def receptive_field(network: nn.Module, recipe: Recipe) -> int:
    """Return how many voxels along an axis an output voxel depends on, whichever it is.

    Every weight is made positive and every pooling an average, so that no way through the network
    is shut; then the gradient says which input voxels reach an output voxel.
    """
    generator = torch.Generator().manual_seed(0)
    length, middle, width = 128, 56, 8
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) / parameter[0].numel())
    reach = 0
    with mock.patch.object(functional, "max_pool3d", functional.avg_pool3d):
        for at in range(middle, middle + recipe.multiple):
            shape = (1, len(recipe.channels), length, width, width)
            volume = torch.rand(shape, generator=generator).requires_grad_()
            network(volume)[0, 0, at, width // 2, width // 2].backward()
            assert volume.grad is not None
            seen = volume.grad.abs().amax(dim=(0, 1, 3, 4)).nonzero()[:, 0]
            reach = max(reach, at - int(seen.min()), int(seen.max()) - at)
    return 2 * reach + 1


def _seconds(work: Callable[[], object], turns: int = 7) -> float:
    """Return the median time of several turns, after one that is not counted."""
    work()
    times = []
    for _ in range(turns):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return sorted(times)[turns // 2]


def main(argv: Sequence[str]) -> int:
    """Make the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks networks", description=__doc__)
    return make_tables(_PAGE, {"sizes": sizes}, {}, parser, argv)
