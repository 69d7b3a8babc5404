"""Speed of split Bregman on total variation, compared with other libraries in one run.

Solvers that are compared solve the same problem (``benchmarks.total_variation_problem``): the
isotropic one with f >= 0, or the anisotropic one without it for a library that supports neither.
The time is that of the iterations until the objective is within 1 % of the optimum (a long run in
float64); evaluating the objective is not counted. Other libraries are included if they are
installed (``benchmarks.total_variation_peers``).
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.total_variation_peers import peers
from benchmarks.total_variation_problem import Ended, Objective, Shape, Stopwatch, problem
from reconstruction.tomogram import Spectrum
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results"
_WITHIN = 0.01  # of the optimum
_PARAMETERS = TvParameters(1, 1, 20.0, 20.0, 1.0)
# Without f >= 0 there is no variable that gamma ties to f: it only slows f down.
_FREE_GAMMA = 0.1
_RUNS = 3  # of LiveTomo's solver, which takes a fraction of a second: the fastest counts
Solve = Callable[[Spectrum, Stopwatch], None]


def ours(spectrum: Spectrum, watch: Stopwatch, *, fused: bool = True, gamma: float = 1.0) -> None:
    """Iterate until the objective is reached."""
    parameters = replace(watch.objective.parameters, inner=300, gamma=gamma)
    solver = SplitBregman(spectrum, parameters, scale=1.0, fused=fused)
    solver.run(lambda done, of: watch.note(solver.f[0].numpy()))


def compare(shape: Shape, *, isotropic_nonnegative: bool) -> list[str]:
    """Return a line for each solver of a problem."""
    spectrum = problem(shape)
    parameters = replace(
        _PARAMETERS, isotropic=isotropic_nonnegative, nonnegative=isotropic_nonnegative
    )
    objective = Objective(spectrum, parameters)
    long = replace(parameters, inner=600)
    optimum = SplitBregman(spectrum, long, scale=1.0, dtype=torch.float64).run()
    limit = (1 + _WITHIN) * objective(np.fft.ifftshift(optimum.numpy()))
    solvers = _ours(isotropic_nonnegative) + [
        (peer.name, peer.solve, peer.every, 1)
        for peer in peers()
        if peer.isotropic_nonnegative == isotropic_nonnegative
    ]
    kind = "isotropic, f >= 0" if isotropic_nonnegative else "anisotropic"
    lines, first = [], 0.0
    for name, solve, every, runs in solvers:
        # of several, the first touches the buffers
        watches = [_timed(solve, spectrum, Stopwatch(objective, limit, every)) for _ in range(runs)]
        best = min(watches, key=lambda watch: watch.seconds)
        first = first or best.seconds
        lines.append(f"{_times(shape)}, {kind}, {name}: {_outcome(best, first)}")
    return lines


def _ours(isotropic_nonnegative: bool) -> list[tuple[str, Solve, int, int]]:
    """Return names, solvers, iterations between looks, and runs."""
    if isotropic_nonnegative:
        return [
            ("split Bregman", ours, 1, _RUNS),
            ("split Bregman, tensor operations", partial(ours, fused=False), 1, _RUNS),
        ]
    free = partial(ours, gamma=_FREE_GAMMA)
    return [
        (f"split Bregman, gamma {_FREE_GAMMA:g}", free, 1, _RUNS),
        (f"split Bregman, gamma {_PARAMETERS.gamma:g}", ours, 1, _RUNS),
    ]


def _timed(solve: Solve, spectrum: Spectrum, watch: Stopwatch) -> Stopwatch:
    watch.restart()
    with contextlib.suppress(Ended):
        solve(spectrum, watch)
    return watch


def _outcome(watch: Stopwatch, first_s: float) -> str:
    each_ms = 1e3 * watch.seconds / watch.count
    return (
        f"{'' if watch.reached else 'not within '}{watch.seconds:.2f} s, "
        f"{watch.count} iterations of {each_ms:.1f} ms, {watch.seconds / first_s:.1f} times"
    )


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _share(shape: Shape) -> str:
    """Return a line on the share of an iteration that the two transforms take."""
    spectrum = problem(shape)
    volume = torch.rand(shape)
    pair, whole = np.inf, np.inf
    solver = SplitBregman(spectrum, replace(_PARAMETERS, inner=10), scale=1.0)
    for _ in range(10):
        begin = time.perf_counter()
        torch.fft.irfftn(torch.fft.rfftn(volume, norm="ortho"), s=shape, norm="ortho")
        middle = time.perf_counter()
        solver.run()
        pair = min(pair, middle - begin)
        whole = min(whole, (time.perf_counter() - middle) / 10)
    part = f"{1e3 * pair:.1f} ms, {100 * pair / whole:.0f} % of an iteration"
    return f"{_times(shape)}, transforms: {part}"


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.total_variation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the lines as JSON")
    options = parser.parse_args(argv)
    lines = [f"Total variation, time to within {100 * _WITHIN:g} % of the least objective, mu 20"]
    lines.append(f"machine: {machine()}")
    for shape in ((64, 64, 64), (64, 160, 160)):
        for kind in (True, False):
            lines += compare(shape, isotropic_nonnegative=kind)
        lines.append(_share(shape))
    print(json.dumps(lines) if options.json else "\n".join(lines))
    (_RESULTS / "total_variation.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
