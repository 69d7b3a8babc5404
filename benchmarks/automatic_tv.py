"""Compares the automatic parameters of total variation with a grid search that uses the truth.

Simulated scans (``regularizer/training``) of cells, cocci and beads, with preset and with random
optics. On each, a grid of mu, outer iterations and both weights of the gradient is run and compared
with the true object; then the automatic parameters and the preset "tv", which do not use it. Errors
are ||f - truth|| / ||truth|| of the contrast. ``--fit`` fits the rule's three numbers instead.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from regularizer.metrics import relative_error
from regularizer.total_variation.automatic import (
    GRADIENT,
    OUTER,
    automatic_parameters,
    noise_and_norm,
)
from regularizer.total_variation.parameters import PARAMETERS, Gradient, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training import training_data
from regularizer.training.training_data import FRAME, KINDS, Sample

__all__ = ["OUTERS", "errors_by_outer", "fit", "load_sample", "main", "name_of"]

_RESULTS = Path(__file__).parent / "results"
MU = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
OUTERS = (1, 2)
GRADIENTS: tuple[Gradient, ...] = ("voxels", "micrometres")
UNSEEN = (8000, 8001)
SEEN = (
    4000,
    4001,
    4002,
    4003,
    5000,
    5001,
    6000,
    6001,
    7000,
    7001,
)  # seeds that the rule was fitted to


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: errors of the grid (gradient, outer, mu), of the automatic choice and of "tv"."""

    name: str
    aperture: float
    noise: float
    grid: NDArray[np.float64]
    mu: float
    iterations: int
    automatic: float
    preset: float

    @property
    def best(self) -> float:
        """Smallest error of the grid."""
        return float(self.grid.min())

    @property
    def where(self) -> str:
        """Outer iterations, mu and gradient of the smallest error, as text."""
        gradient, outer, mu = np.unravel_index(self.grid.argmin(), self.grid.shape)
        return f"{OUTERS[outer]} x, mu {MU[mu]:g}, {GRADIENTS[gradient]}"


def _grid(sample: Sample, cache: Path) -> NDArray[np.float64]:
    """Return the errors (gradient, outer, mu) with 100 inner iterations; kept in a file."""
    if cache.exists():
        return np.array(json.loads(cache.read_text("utf-8")), np.float64)
    errors = np.zeros((len(GRADIENTS), len(OUTERS), len(MU)))
    for row, gradient in enumerate(GRADIENTS):
        for column, mu in enumerate(MU):
            how = TvParameters(max(OUTERS), 100, mu, 10.0, 1.0, tolerance=3e-4, gradient=gradient)
            errors[row, :, column] = errors_by_outer(sample, how)
    cache.write_text(json.dumps(errors.tolist()), encoding="utf-8")
    return errors


def errors_by_outer(sample: Sample, how: TvParameters) -> list[float]:
    """Return the error after each outer iteration of one run."""
    errors: list[float] = []

    def look(done: int, _: int) -> None:
        if done % how.inner == 0:
            found = torch.fft.fftshift(solver.f[0]).clamp_min(0) * solver.scale[0]
            errors.append(relative_error(found, sample.truth))

    solver = SplitBregman(sample.spectrum, how)
    solver.run(look)
    return errors


@dataclass(frozen=True, slots=True)
class ScanWithGrid:
    """One scan, the figures that the rule uses, and the grid's errors (gradient, outer, mu)."""

    name: str
    sample: Sample
    over_maximum: float
    norm: float
    grid: NDArray[np.float64]


def load_sample(
    kind: str, seed: int, varied: bool, cache: Path, frame: int = FRAME
) -> tuple[Sample, Path]:
    """Return a simulated scan, from the cache if it is there, and its file."""
    size = "" if frame == FRAME else f"-{frame}"
    path = cache / f"{kind}-{'varied' if varied else 'preset'}-{seed}{size}.npz"
    if not path.exists():
        sample = training_data.make_sample(kind, seed, frame, varied=varied, tv=False)
        training_data.save(sample, path)
    return training_data.load(path), path


def name_of(kind: str, seed: int, varied: bool) -> str:
    """Return the name of a scan in tables."""
    return f"{kind}, {'random optics' if varied else 'preset'}, {seed}"


def load_scan(kind: str, seed: int, varied: bool, cache: Path) -> ScanWithGrid:
    """Return one simulated scan and its grid errors, from the cache if they are there."""
    sample, path = load_sample(kind, seed, varied, cache)
    noise, norm = noise_and_norm(sample.spectrum)
    grid = _grid(sample, path.with_suffix(".json"))
    return ScanWithGrid(name_of(kind, seed, varied), sample, noise, norm, grid)


def measure(scan: ScanWithGrid) -> Scan:
    """Return a scan's errors with the automatic parameters, the preset and the grid."""
    spectrum = scan.sample.spectrum
    parameters = automatic_parameters(spectrum)
    steps: list[int] = []
    found = SplitBregman(spectrum, parameters).run(lambda done, of: steps.append(done))
    return Scan(
        scan.name,
        spectrum.optics.numerical_aperture,
        spectrum.noise or 0.0,
        scan.grid,
        parameters.mu,
        len(steps),
        relative_error(found, scan.sample.truth),
        relative_error(SplitBregman(spectrum, PARAMETERS["tv"]).run(), scan.sample.truth),
    )


def fit(
    scans: Sequence[tuple[float, float, NDArray[np.float64]]], points: Sequence[float] = MU
) -> tuple[float, float, float]:
    """Return the rule's numbers that minimise the rms excess error of scans.

    Parameters
    ----------
    scans : sequence of (noise, norm, errors)
        The rule's figures of a scan, and its errors at each mu.
    points : sequence of float
        These mu.
    """
    features = np.log([[math.e, noise, norm] for noise, norm, _ in scans])
    excess = [errors / errors.min() - 1 for _, _, errors in scans]
    log_mu = np.log(points)

    def cost(weights: NDArray[np.float64]) -> float:
        at = features @ weights
        beyond = 0.3 * np.abs(at - np.clip(at, log_mu[0], log_mu[-1]))
        each = [np.interp(x, log_mu, row) for x, row in zip(at, excess, strict=True)]
        return float(np.mean((np.array(each) + beyond) ** 2) ** 0.5)

    best = log_mu[[int(row.argmin()) for row in excess]]
    start = np.linalg.lstsq(features, best, rcond=None)[0]
    options = {"maxiter": 4000, "xatol": 1e-3, "fatol": 1e-5}
    found = scipy.optimize.minimize(cost, start, method="Nelder-Mead", options=options)
    factor, noise_power, norm_power = (float(value) for value in found.x)
    return float(np.exp(factor)), noise_power, norm_power


def _table(scans: Sequence[Scan]) -> str:
    lines = [
        "| scan | NA | noise | best of the grid | error | automatic mu | iterations | error | "
        'over the best | preset "tv", over the best |',
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {scan.name} | {scan.aperture:.2f} | {scan.noise:.2f} | {scan.where} "
        f"| {scan.best:.3f} | {scan.mu:g} | {scan.iterations} | {scan.automatic:.3f} "
        f"| {scan.automatic / scan.best - 1:+.0%} | {scan.preset / scan.best - 1:+.0%} |"
        for scan in scans
    ]
    automatic = np.array([scan.automatic / scan.best - 1 for scan in scans])
    preset = np.array([scan.preset / scan.best - 1 for scan in scans])
    summary = [
        f"{name}: {values.mean():.1%} over the grid's best on average, {(values < 0.1).sum()} of "
        f"{len(scans)} within 10 %, at most {values.max():.0%}"
        for name, values in (("automatic", automatic), ("preset tv", preset))
    ]
    return "\n".join([*lines, "", *summary])


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.automatic_tv", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["cell", "cocci", "bead"])
    parser.add_argument("--cache", type=Path, default=Path("runs/automatic"))
    parser.add_argument("--fit", action="store_true", help="fit the rule to these scans")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    seeds = options.seeds or (SEEN if options.fit else UNSEEN)
    chosen = [
        (kind, seed, varied) for seed in seeds for kind in options.kinds for varied in (False, True)
    ]
    scans = (load_scan(*which, options.cache) for which in chosen)
    if options.fit:
        rows = GRADIENTS.index(GRADIENT), OUTERS.index(OUTER)
        factor, noise_power, norm_power = fit(
            [(scan.over_maximum, scan.norm, scan.grid[rows]) for scan in scans]
        )
        print(f"factor {factor:.4g}, noise to {noise_power:.3f}, norm to {norm_power:.3f}")
        return 0
    measured = []
    for scan in scans:
        measured.append(measure(scan))
        print(scan.name, file=sys.stderr, flush=True)
    table = _table(measured)
    print(json.dumps([_plain(scan) for scan in measured]) if options.json else table)
    report = f"machine: {machine()}\n\n{table}\n"
    (_RESULTS / "automatic_tv.md").write_text(report, encoding="utf-8")
    return 0


def _plain(scan: Scan) -> dict[str, object]:
    values = {name: getattr(scan, name) for name in Scan.__dataclass_fields__}
    return values | {"grid": scan.grid.tolist(), "best": scan.best}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
