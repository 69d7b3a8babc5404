"""How fast the networks and total variation are on a GPU, and how much of its memory they take.

    python -m benchmarks gpu [--device cuda]

Each network as LiveTomo runs it there (bfloat16), on a patch of 64^3 and on a volume of
64 x 320 x 320, beside a matrix product of as many operations in the same precision: the limit of
the machine. Training is counted in patches a second. Without a GPU nothing is measured.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.networks import operations, settled
from benchmarks.pages import markdown
from reconstruction.tomogram import Tomogram
from regularizer.engines import fastest
from regularizer.inference import apply_patches, apply_whole
from regularizer.methods import regularizer
from regularizer.networks import channels_last
from regularizer.trained import NETWORKS, Recipe
from regularizer.training_data import Sample, make_sample

__all__ = ["main", "regularizers", "speeds"]

_RESULTS = Path(__file__).parent / "results"
_PATCH = (64, 64, 64)
_VOLUME = (64, 320, 320)
_TURNS = 10
_UNCOUNTED = 2  # turns in which memory is allocated and kernels are chosen
_METHODS = ("tv", "tv-fast", "auto", "deep")

Shape = tuple[int, int, int]


def speeds(
    device: torch.device, patch: Shape = _PATCH, volume: Shape = _VOLUME, batch: int = 4
) -> str:
    """Return the table of the networks.

    Parameters
    ----------
    device : torch.device
    patch, volume : (z, y, x)
        What the networks run on; what is larger than ``patch`` in patches where they must.
    batch : int
        Patches in a step of training.
    """
    rows = []
    for name, recipe in NETWORKS.items():
        network, channels = settled(name), len(recipe.channels)
        work = operations(network, recipe) * _voxels(volume) / 64**3
        run = fastest(network, device)
        small, large = (torch.rand((channels, *shape), device=device) for shape in (patch, volume))
        with torch.inference_mode():
            patch_s = _seconds(lambda: apply_whole(run, small), device)  # noqa: B023  # called at once
            before = _allocated(device)
            way = apply_patches if recipe.patches else apply_whole
            volume_s = _seconds(lambda: way(run, large), device)  # noqa: B023  # called at once
            peak_mb = (_peak(device) - before) / 1e6
        limit_s = _product_s(work, device)
        rows.append(
            [
                f"`{name}`",
                f"{1e3 * patch_s:.2f}",
                f"{1e3 * volume_s:.1f}",
                f"{1e3 * limit_s:.1f}",
                f"{volume_s / limit_s:.1f}",
                f"{peak_mb:.0f}",
                f"{batch / _training_s(recipe, patch, batch, device):.1f}",
            ]
        )
    figures = (
        f"{_told(patch)}, ms",
        f"{_told(volume)}, ms",
        "a product of as many operations, ms",
        "ratio",
        "peak, MB",
        "training, patches/s",
    )
    return markdown(("network",), figures, rows)


def regularizers(device: torch.device, sample: Sample) -> str:
    """Return the table of the regularizers on a scan, as the live view calls them."""
    there = sample.to(device)
    spectrum, tomogram = there.spectrum, there.tomogram
    rows = []
    for name in _METHODS:
        method = regularizer(name, device)
        seconds = _seconds(lambda: _shown(method(tomogram, spectrum)), device)  # noqa: B023  # called at once
        rows.append([name, f"{1e3 * seconds:.1f}"])
    return markdown(("regularizer",), (f"{_told(spectrum.shape)}, ms",), rows)


def _shown(tomogram: Tomogram) -> torch.Tensor:
    """Bring a tomogram to where it is sent and shown from."""
    return tomogram.index.cpu()


def _training_s(recipe: Recipe, patch: Shape, batch: int, device: torch.device) -> float:
    """Return the seconds of a training step: forward, backward, Adam, in the training's types."""
    network = channels_last(recipe.build()).to(device)
    optimizer = torch.optim.Adam(network.parameters(), recipe.rate)
    seen = torch.rand((batch, len(recipe.channels), *patch), device=device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with half:
            result = network(seen)
        torch.autograd.backward(result.float().square().mean())
        optimizer.step()

    return _seconds(step, device)


def _product_s(work: float, device: torch.device) -> float:
    """Return the seconds of a product of square matrices of as many operations."""
    edge = max(round((work / 2) ** (1 / 3)), 1)
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    one = torch.rand((edge, edge), device=device, dtype=kind)
    return _seconds(lambda: one @ one, device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the shortest time of several turns, after those that are not counted."""
    times = []
    for _ in range(_UNCOUNTED + _TURNS):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return min(times[_UNCOUNTED:])


def _allocated(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _voxels(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _told(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def main(argv: Sequence[str]) -> int:
    """Measure, print and keep the result."""
    parser = argparse.ArgumentParser(prog="benchmarks gpu", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else None)
    options = parser.parse_args(argv)
    if options.device is None:
        print("no GPU that torch can use: nothing is measured")
        return 0
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    torch.manual_seed(0)
    tables = [speeds(device), regularizers(device, make_sample("cell", 0, 256, tv=False))]
    text = "\n\n".join([f"machine: {name}, torch {torch.__version__}", *tables])
    print(text)
    kept = _RESULTS / f"gpu_{name.lower().replace(' ', '_')}.md"
    kept.write_text(text + "\n", encoding="utf-8")
    return 0
