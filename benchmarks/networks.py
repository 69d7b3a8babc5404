"""Sizes, speeds and memory of the networks: the tables of docs/explanation/networks.md.

    python -m benchmarks networks [--only sizes]

Sizes are computed: parameters, operations for a patch of 64^3 (a multiplication and an addition
count as two, in convolutions), and the receptive field, the edge of the cube of input voxels that
an output voxel depends on. Speeds are measured on this machine, on the live volume of
64 x 192 x 192. OpenVINO, an extra, and MONAI, which LiveTomo does not use, are included if they are
installed. Memory is the increase of a fresh process's peak memory while it runs a network.
"""

import argparse
import copy
import importlib.util
import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.nn import functional

from benchmarks.machine import peak_mb
from benchmarks.pages import DOCS, make_tables, markdown
from regularizer.networks.inference import apply_patches, apply_whole
from regularizer.networks.openvino_graph import in_openvino, is_installed
from regularizer.networks.trained import NETWORKS, Recipe, load_network, shipped_networks
from regularizer.networks.unet import LightUNet, fold_batch_norm

__all__ = ["convolution_work", "main", "operations", "receptive_field", "sizes", "with_statistics"]

_PAGE = DOCS / "explanation" / "networks.md"
_PATCH = 64
_VOLUME = (64, 192, 192)


def sizes() -> str:
    """Return the table of computed sizes."""
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
    """Return the operations of the convolutions on one patch, computed from shapes alone."""
    return convolution_work(network, recipe, (_PATCH, _PATCH, _PATCH))[0]


def convolution_work(
    network: nn.Module, recipe: Recipe, shape: tuple[int, int, int]
) -> tuple[int, int]:
    """Return the operations of the convolutions on a volume (z, y, x), and the values they touch.

    The values are those that each convolution reads and writes, weights included. Both are computed
    from shapes alone.
    """
    network = copy.deepcopy(network).to("meta")
    count = values = 0

    def add(module: nn.Module, seen: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
        nonlocal count, values
        assert isinstance(module, nn.Conv3d)
        count += 2 * result.numel() * module.weight[0].numel()
        values += seen[0].numel() + result.numel() + module.weight.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(add)
    with torch.inference_mode():
        network(torch.rand(1, len(recipe.channels), *shape, device="meta"))
    return count, values


def receptive_field(network: nn.Module, recipe: Recipe) -> int:
    """Return the largest number of voxels along an axis that an output voxel depends on.

    Every weight is made positive and every pooling an average, so that no path through the network
    is blocked; the gradient then shows which input voxels affect an output voxel.
    """
    generator = torch.Generator().manual_seed(0)
    length, middle, width = 128, 56, 8
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) / parameter[0].numel())
    network.requires_grad_(False)
    shape = (1, len(recipe.channels), length, width, width)
    volume = torch.rand(shape, generator=generator).requires_grad_()
    with mock.patch.object(functional, "max_pool3d", functional.avg_pool3d):
        along_z = network(volume)[0, 0, :, width // 2, width // 2]
    reach = 0
    for at in range(middle, middle + recipe.multiple):
        (gradient,) = torch.autograd.grad(along_z[at], volume, retain_graph=True)
        seen = gradient.abs().amax(dim=(0, 1, 3, 4)).nonzero()[:, 0]
        reach = max(reach, at - int(seen.min()), int(seen.max()) - at)
    return 2 * reach + 1


def speeds() -> str:
    """Return the table of times on the live volume, for each network and engine.

    All are measured in the same run on the same input, and compared with the result of plain torch.
    """
    generator = torch.Generator().manual_seed(0)
    rows = []
    for name in ("light-unet", "full-unet"):
        recipe = NETWORKS[name]
        network = fold_batch_norm(with_statistics(name))
        seen = torch.rand((len(recipe.channels), *_VOLUME), generator=generator)
        with torch.inference_mode():
            expected = apply_whole(network, seen)
            whole = _seconds(lambda: apply_whole(network, seen))  # noqa: B023  # called at once
        rows.append([f"`{name}`", "torch, the whole volume", f"{whole:.3f}", "1", ""])
        for engine, make in _ENGINES.items():
            run = make(network, seen[None])
            if run is None:
                continue
            time_s = _seconds(run)
            off = float((run().reshape(_VOLUME) - expected).abs().max() / expected.max())
            rows.append(
                [f"`{name}`", engine, f"{time_s:.3f}", f"{time_s / whole:.2f}", f"{off:.0e}"]
            )
    return markdown(("network", "how"), ("s", "ratio", "largest difference"), rows)


def with_statistics(name: str) -> nn.Module:
    """Return the shipped network, or one with random weights and updated batch-norm statistics."""
    if name in shipped_networks():
        return load_network(name).network
    network = NETWORKS[name].build()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():  # an untrained network ends in zeros
                parameter.normal_(0, 0.1)
        network.train()
        network(torch.rand(1, len(NETWORKS[name].channels), 32, 32, 32))
    return network.eval()


def memory() -> str:
    """Return the table of each network's memory on the live volume, in fresh processes."""
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for name, recipe in NETWORKS.items():
        ways = (True,) if recipe.patches else (False, True)
        for patches in ways:
            with ProcessPoolExecutor(1, spawn) as pool:
                peak_mb = pool.submit(_peak_mb, name, patches).result()
            how = "patches of 64^3, four at once" if patches else "the whole volume"
            weights_mb = sum(p.numel() for p in recipe.build().parameters()) * 4e-6
            rows.append([f"`{name}`", how, f"{weights_mb:.1f}", f"{peak_mb:.0f}"])
    return markdown(("network", "how"), ("weights, MB", "peak, MB"), rows)


def _peak_mb(name: str, patches: bool) -> float:
    """Return the increase of this process's peak memory while it runs a network, 10^6 bytes."""
    network = fold_batch_norm(NETWORKS[name].build())
    seen = torch.rand((len(NETWORKS[name].channels), *_VOLUME))
    before = peak_mb()
    with torch.inference_mode():
        if patches:
            apply_patches(network, seen)
        else:
            apply_whole(network, seen, NETWORKS[name].multiple)
    return peak_mb() - before


Run = Callable[[], torch.Tensor]


def _compiled(network: nn.Module, seen: torch.Tensor) -> Run | None:
    """Return a run by torch.compile with frozen weights; None without a C++ compiler."""
    if shutil.which("g++") is None and shutil.which("cl") is None:
        return None
    from torch._inductor import config

    config.freezing = True
    compiled = torch.compile(network)

    def run() -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = compiled(seen)
        return result

    return run


def _with_uncertainty(network: nn.Module, seen: torch.Tensor) -> Run:
    """Return a run by torch that includes the uncertainty head."""
    assert isinstance(network, LightUNet)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return network.with_uncertainty(seen)[:, :1]

    return run


def _openvino(network: nn.Module, seen: torch.Tensor) -> Run | None:
    """Return a run by OpenVINO in float32, as in LiveTomo; None if it is not installed."""
    if not is_installed():
        return None
    assert isinstance(network, LightUNet)
    run = in_openvino(network)
    return lambda: run(seen)


def _patches(network: nn.Module, seen: torch.Tensor) -> Run:
    """Return a run by LiveTomo on patches as in the paper: 64^3, stride 32, spline window."""

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return apply_patches(network, seen[0])

    return run


def _monai(network: nn.Module, seen: torch.Tensor) -> Run | None:
    """Return a run by MONAI's sliding_window_inference on the same patches, if installed."""
    if importlib.util.find_spec("monai") is None:
        return None
    inferers: Any = importlib.import_module("monai.inferers")

    def run() -> torch.Tensor:
        with torch.inference_mode():
            result: torch.Tensor = inferers.sliding_window_inference(
                seen, (_PATCH,) * 3, 4, network, overlap=0.5, mode="gaussian"
            )
        return result

    return run


_ENGINES: dict[str, Callable[[nn.Module, torch.Tensor], Run | None]] = {
    "torch, and how large the error may be": _with_uncertainty,
    "torch.compile, frozen": _compiled,
    "OpenVINO, float32": _openvino,
    "torch, patches of 64^3, stride 32": _patches,
    "MONAI's sliding_window_inference, the same patches": _monai,
}


def _seconds(work: Callable[[], object], turns: int = 7) -> float:
    """Return the median time of several runs in seconds, after one that is not counted."""
    work()
    times = []
    for _ in range(turns):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return sorted(times)[turns // 2]


def main(argv: Sequence[str]) -> int:
    """Make the tables and write them into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks networks", description=__doc__)
    return make_tables(
        _PAGE, {"sizes": sizes, "speeds": speeds, "memory": memory}, {}, parser, argv
    )
