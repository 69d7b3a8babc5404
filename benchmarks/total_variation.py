"""How fast split Bregman reaches the least total variation, beside peers, in one run.

The problem is the same for all: mu / 2 ||M F f - g||^2 + |grad f|_1, f >= 0, periodic forward
differences, on spheres and their measured part of k-space with noise. Counted is the time of the
iterations until the objective of one is within 1 % of the optimum (a long run in float64); looking
at it is not counted. Peers, where they are installed: pyproximal's primal-dual (Chambolle and Pock
2011), with the best of several ratios of its two steps.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.illumination import preset
from benchmarks.machine import machine
from reconstruction.tomogram import Spectrum
from regularizer.total_variation import SplitBregman, TvParameters

__all__ = ["main"]

_RESULTS = Path(__file__).parent / "results"
_WITHIN = 0.01  # of the optimum
_MOST = 1500  # iterations of a peer
_RATIOS = (0.03, 0.1, 0.3, 1.0)  # of the primal step to the dual one
_PARAMETERS = TvParameters(1, 1, 20.0, 20.0, 10.0)
Shape = tuple[int, int, int]


def problem(shape: Shape) -> Spectrum:
    """Return the noisy spectrum of three spheres, measured outside a double cone about z."""
    z, y, x = np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij")
    volume = np.zeros(shape, np.float32)
    for at, radius, contrast in ((0, 14, 1.0), (20, 7, 0.6), (-22, 9, 0.8)):
        volume[(z**2 + (y - at) ** 2 + (x + at) ** 2) < radius**2] = contrast
    values = np.fft.rfftn(np.fft.ifftshift(volume), norm="ortho").astype(np.complex64)
    kz, ky = np.fft.fftfreq(shape[0])[:, None, None], np.fft.fftfreq(shape[1])[:, None]
    measured = np.hypot(ky, np.fft.rfftfreq(shape[2])) >= 1.2 * np.abs(kz)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, *values.shape)).astype(np.float32)
    values = (values + 0.02 * (noise[0] + 1j * noise[1])) * measured
    optics = preset("cell").optics
    mask = torch.tensor(measured.astype(np.float32))
    return Spectrum(torch.tensor(values), mask, shape, (0.1, 0.1, 0.1), optics)


class Objective:
    """The objective of a volume f (z, y, x), position 0 at index 0, without its negative part."""

    def __init__(self, spectrum: Spectrum, mu: float) -> None:
        self.mask = (spectrum.measured > 0).numpy()
        self.data = spectrum.values.numpy()
        # each column of the half spectrum but the first (and last, for even sizes) stands for two
        columns = spectrum.shape[2]
        twice = np.full(columns // 2 + 1, 2.0, np.float32)
        twice[0] = 1
        if columns % 2 == 0:
            twice[-1] = 1
        self.twice = twice
        self.mu = mu

    def __call__(self, f: NDArray[Any]) -> float:
        """Return its value."""
        f = np.maximum(f, 0)
        rest = (np.fft.rfftn(f, norm="ortho") - self.data) * self.mask
        length = np.sqrt(sum((np.roll(f, -1, a) - f) ** 2 for a in range(3)))
        fidelity = float((np.abs(rest) ** 2 * self.twice).sum())
        return self.mu / 2 * fidelity + float(length.sum(dtype=np.float64))


class Stopwatch:
    """Counts iterations and their seconds until one is good enough."""

    def __init__(self, objective: Objective, limit: float, every: int) -> None:
        self.objective, self.limit, self.every = objective, limit, every
        self.count, self.seconds, self.reached = 0, 0.0, False
        self.restart()

    def restart(self) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()

    def note(self, f: NDArray[Any]) -> None:
        """Look at an iterate, with the clock stopped; raises Reached where it is good enough."""
        self.seconds += time.perf_counter() - self._begin
        self.count += 1
        if self.count % self.every == 0 and self.objective(f) <= self.limit:
            self.reached = True
            raise Reached
        self._begin = time.perf_counter()


class Reached(Exception):
    """The objective is within the limit."""


def ours(spectrum: Spectrum, watch: Stopwatch, fused: bool) -> None:
    """Iterate until the objective is reached."""
    solver = SplitBregman(spectrum, replace(_PARAMETERS, inner=300), scale=1.0, fused=fused)
    solver.run(lambda done, of: watch.note(solver.f.numpy()))


def primal_dual(spectrum: Spectrum, watch: Stopwatch, *, ratio: float) -> None:
    """Let pyproximal's primal-dual iterate until the objective is reached."""
    import pylops
    import pyproximal
    from pyproximal.optimization.primaldual import PrimalDual

    shape, size = spectrum.shape, int(np.prod(spectrum.shape))
    objective = watch.objective
    root = np.sqrt(objective.twice) * objective.mask
    inverse = (objective.mask / np.sqrt(objective.twice)).astype(np.float32)

    def real(values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values.astype(np.complex64)).view(np.float32).ravel()

    def measure(f: NDArray[Any]) -> NDArray[Any]:
        volume = torch.from_numpy(f.reshape(shape))
        return real(torch.fft.rfftn(volume, norm="ortho").numpy() * root)

    def back(g: NDArray[Any]) -> NDArray[Any]:
        half = torch.from_numpy(g.view(np.complex64).reshape(root.shape) * inverse)
        return np.asarray(torch.fft.irfftn(half, s=shape, norm="ortho").numpy()).ravel()

    def gradient(f: NDArray[Any]) -> NDArray[Any]:
        f = f.reshape(shape)
        return np.stack([np.roll(f, -1, a) - f for a in range(3)]).ravel()

    def divergence(d: NDArray[Any]) -> NDArray[Any]:
        parts = zip(d.reshape(3, *shape), range(3), strict=True)
        return np.asarray(sum(np.roll(v, 1, a) - v for v, a in parts)).ravel()

    rows = 2 * root.size
    operators = [
        pylops.FunctionOperator(measure, back, rows, size, dtype=np.float32),
        pylops.FunctionOperator(gradient, divergence, 3 * size, size, dtype=np.float32),
    ]
    data = pyproximal.L2(b=real(objective.data * root), sigma=_PARAMETERS.mu)
    dual = pyproximal.VStack([data, pyproximal.L21(ndim=3)], nn=[rows, 3 * size])
    step = 0.99 / np.sqrt(13.0)  # the operators' norm is at most sqrt(1 + 12)
    PrimalDual(
        pyproximal.Box(lower=0.0), dual, pylops.VStack(operators), np.zeros(size, np.float32),
        tau=step * ratio, mu=step / ratio, niter=_MOST,
        callback=lambda f: watch.note(f.reshape(shape)),
    )  # fmt: skip


def compare(shape: Shape) -> list[str]:
    """Return a line for each solver."""
    spectrum = problem(shape)
    objective = Objective(spectrum, _PARAMETERS.mu)
    long = replace(_PARAMETERS, inner=1500)
    optimum = SplitBregman(spectrum, long, scale=1.0, dtype=torch.float64).run()
    limit = (1 + _WITHIN) * objective(np.fft.ifftshift(optimum.numpy()))
    solvers: dict[str, tuple[Callable[[Stopwatch], None], int]] = {
        "split Bregman": (lambda watch: ours(spectrum, watch, True), 1),
        "split Bregman, tensor operations": (lambda watch: ours(spectrum, watch, False), 1),
    }
    if importlib.util.find_spec("pyproximal") is not None:
        for ratio in _RATIOS:
            name = f"pyproximal primal-dual, steps {ratio:g}:1"
            solvers[name] = (functools.partial(primal_dual, spectrum, ratio=ratio), 10)
    lines, first = [], 0.0
    for name, (solve, every) in solvers.items():
        watches = [Stopwatch(objective, limit, every) for _ in range(3 if every == 1 else 1)]
        for watch in watches:  # the first run touches the buffers
            watch.restart()
            with contextlib.suppress(Reached):
                solve(watch)
        best_of = min(watches, key=lambda watch: watch.seconds)
        first = first or best_of.seconds
        each = 1e3 * best_of.seconds / best_of.count
        lines.append(
            f"{_times(shape)}, {name}: {'' if best_of.reached else 'not within '}"
            f"{best_of.seconds:.2f} s, {best_of.count} iterations of {each:.1f} ms, "
            f"{best_of.seconds / first:.1f} times"
        )
    return [*lines, _share(shape, spectrum)]


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _share(shape: Shape, spectrum: Spectrum) -> str:
    """Return how much of an iteration the two transforms take."""
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
    """Measure, print and keep the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.total_variation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the lines as JSON")
    options = parser.parse_args(argv)
    lines = [f"Total variation, time to within {100 * _WITHIN:g} % of the least objective, mu 20"]
    lines.append(f"machine: {machine()}")
    for shape in ((64, 64, 64), (64, 160, 160)):
        lines += compare(shape)
    print(json.dumps(lines) if options.json else "\n".join(lines))
    (_RESULTS / "total_variation.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
