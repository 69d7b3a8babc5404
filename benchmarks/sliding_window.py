"""A network over a whole volume: at once, in this project's patches, and in MONAI's sliding window.

MONAI runs the same network, with the patches, the overlap (half a patch) and the weights (Gaussian)
that its documentation recommends for segmentation. All take one thread, in turns, and are compared
by processor time; MONAI stays out where it is not installed (``pip install --no-deps monai``).
"""

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.gpu_scans import PAPER, Bench, size_text
from benchmarks.machine import machine
from regularizer.networks.inference import apply_patches, apply_whole
from regularizer.networks.trained import NETWORKS, best_network

__all__ = ["main"]

_RESULT = Path(__file__).parent / "results" / "sliding_window.txt"
_PATCH, _STRIDE = 64, 32


def _ways(
    network: Callable[[torch.Tensor], torch.Tensor], multiple: int
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return functions from a volume (channels, z, y, x) to the network's output."""
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "the whole at once": lambda volume: apply_whole(network, volume, multiple),
        "patches": lambda volume: apply_patches(network, volume, _PATCH, _STRIDE),
    }
    if importlib.util.find_spec("monai") is not None:
        inferers = importlib.import_module("monai.inferers")
        window = inferers.SlidingWindowInferer(
            roi_size=(_PATCH,) * 3, sw_batch_size=4, overlap=0.5, mode="gaussian"
        )
        name = f"MONAI {importlib.import_module('monai').__version__}, sliding window"
        ways[name] = lambda volume: window(volume[None], network)[0]
    return ways


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(
        prog="benchmarks sliding_window",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 192, 192), metavar="N")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    bench = Bench(torch.device("cpu"), PAPER)
    name = best_network(bench.device)
    ways = _ways(bench.engine(name), NETWORKS[name].multiple)
    volume = torch.rand(len(NETWORKS[name].channels), *options.shape)
    times: dict[str, list[float]] = {way: [] for way in ways}
    outputs = {}
    with torch.inference_mode():
        for turn in range(options.turns + 1):
            for way, run in ways.items():
                begin = time.process_time()
                outputs[way] = run(volume)
                if turn > 0:  # the first loads and allocates
                    times[way].append(time.process_time() - begin)
    whole = outputs["the whole at once"]
    lines = [
        f"{name} on {size_text(tuple(options.shape))}, processor time on one thread",
        f"machine: {machine()}; torch {torch.__version__}",
    ]
    for way, found in times.items():
        median = statistics.median(found)
        ratio = median / statistics.median(times["the whole at once"])
        off = float((outputs[way] - whole).norm() / whole.norm())
        lines.append(f"{way}: {median:.2f} s, {ratio:.1f} times; differs by {off:.1e} of the norm")
    text = "\n".join(lines)
    print(text)
    _RESULT.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
