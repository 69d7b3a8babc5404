"""Parameters of total variation chosen by a small network, against the rule of ``auto``.

    python -m benchmarks tv_by_network [--scans N] [--fit-only]

The network sees statistics of a scan (noise, contrast, extent of the object, the measured part of
the spectrum) and the rule's mu. It says what to multiply mu by, for one and for two outer
iterations, and which of the two to take; inner iterations end by the rule's tolerance. It is
trained on the grids of ``benchmarks.automatic_tv``: the error of each mu and number of outer
iterations, relative to the best, is interpolated between the grid's points, and its mean square is
what is minimised. The same scans and the same objective give the rule's three numbers anew, so that
data and network are told apart. Both, ``auto``, ``tv`` and ``deep`` are then compared on other
scans; the table goes to docs/explanation/evaluation.md.

Scans and grids are kept in runs/automatic; they take half a minute of processor time each.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.automatic_tv import MU, OUTERS, ScanWithGrid, fit, load_scan
from benchmarks.machine import machine
from benchmarks.pages import DOCS, markdown, put
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum
from regularizer.deep import DeepRegularizer
from regularizer.metrics import relative_error
from regularizer.total_variation.automatic import (
    GRADIENT,
    MU_RANGE,
    automatic_parameters,
    noise_and_norm,
)
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.training_data import KINDS, TEST_SEED, Sample

__all__ = ["Chooser", "chosen_error", "fitted", "main", "statistics"]

_PAGE = DOCS / "explanation" / "evaluation.md"
_RESULTS = Path(__file__).parent / "results" / "tv_by_network.json"
_OBJECT = 0.25  # of the highest smoothed raw contrast: voxels above it are the object
_HIDDEN = 12
_STEPS, _RATE = 1500, 1e-2
_DECAYS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_FOLDS = 6
_BEYOND = 0.3  # cost of a unit of log mu beyond the grid, as in the rule's fit
_TESTED = (TEST_SEED, 8000)  # seeds that neither rule nor networks have seen


def statistics(spectrum: Spectrum) -> NDArray[np.float64]:
    """Return what the network sees of a scan: logarithms and shares, all near 1 or below 10.

    In this order: noise over the highest contrast; norm of the noise-free contrast; noise of the
    spectrum; highest raw contrast; volume of the object in um^3; its rms height over its rms width;
    share of the contrast's square that is negative; measured part of k-space; how often a measured
    voxel was measured; share of the measured power beyond half of the lateral reach; aperture over
    the medium's index; voxel height over width. The first two are the rule's.
    """
    contrast = contrast_of(spectrum)
    noise, norm = noise_and_norm(spectrum, contrast)
    dz, dy, dx = spectrum.voxel_size_um
    smooth = functional.avg_pool3d(contrast[None, None], 3, 1, 1)[0, 0]
    there = smooth > _OBJECT * smooth.max()
    at = there.nonzero().double() * torch.tensor([dz, dy, dx], dtype=torch.float64)
    spread = at.std(dim=0).clamp_min(dx)
    measured = spectrum.measured > 0
    power = spectrum.values.abs().square()
    fy = torch.fft.fftfreq(spectrum.shape[1], dy)[:, None]
    fx = torch.fft.rfftfreq(spectrum.shape[2], dx)
    high = (fy**2 + fx**2).sqrt() > spectrum.optics.cutoff
    negative = contrast.clamp_max(0).square().sum() / contrast.square().sum()
    return np.array(
        [
            math.log(noise),
            math.log(norm),
            spectrum.noise or 0.0,
            math.log(float(contrast.max())),
            math.log(float(there.sum()) * dz * dy * dx),
            math.log(float(spread[0] / spread[1:].square().mean().sqrt())),
            float(negative),
            math.log(float(measured.float().mean())),
            math.log(float(spectrum.measured[measured].mean())),
            math.log(max(float((power * high).sum() / power.sum()), 1e-6)),
            spectrum.optics.aperture / spectrum.optics.medium_index,
            math.log(dz / dx),
        ]
    )


@dataclass(frozen=True, slots=True)
class Known:
    """A scan for the fit: what is seen of it, the rule's log mu, and log errors of the grid."""

    name: str
    seen: NDArray[np.float64]
    rule: float
    grid: NDArray[np.float64]  # (outer, mu): error over the least one, minus 1


def known(scan: ScanWithGrid) -> Known:
    """Return a scan as the fit sees it; its grid has the rule's gradient only."""
    spectrum = scan.sample.spectrum
    grid = scan.grid[0] / scan.grid[0].min() - 1
    rule = math.log(automatic_parameters(spectrum).mu)
    return Known(scan.name, statistics(spectrum), rule, grid)


class Chooser(nn.Module):
    """Chooses mu and outer iterations: 12 statistics, 12 hidden values, 3 results; 195 weights.

    Parameters
    ----------
    mean, deviation : (statistics,)
        Of the scans that it is trained on.
    """

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        last = nn.Linear(_HIDDEN, len(OUTERS) + 1)
        nn.init.zeros_(last.weight)  # start as the rule
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(len(mean), _HIDDEN), nn.Tanh(), last).double()

    def forward(self, seen: torch.Tensor, rule: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log mu (scans, outer), and the probability of each number of iterations."""
        assert isinstance(self.mean, torch.Tensor)
        assert isinstance(self.deviation, torch.Tensor)
        found = self.layers((seen - self.mean) / self.deviation)
        one, two = len(OUTERS), found[:, -1:]
        # the rule takes two outer iterations
        return rule[:, None] + found[:, :one], torch.sigmoid(torch.cat([-two - 1, two + 1], dim=1))

    def parameters_for(self, spectrum: Spectrum) -> TvParameters:
        """Return the parameters chosen for a scan."""
        own = automatic_parameters(spectrum)
        with torch.inference_mode():
            seen = torch.tensor(statistics(spectrum))[None]
            log_mu, likely = self(seen, torch.tensor([math.log(own.mu)], dtype=torch.float64))
        best = int(likely[0].argmax())
        mu = min(max(math.exp(float(log_mu[0, best])), MU_RANGE[0]), MU_RANGE[1])
        return replace(own, outer=OUTERS[best], mu=round(mu, 2))


def _costs(log_mu: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Return the excess (scans, outer) at log mu, interpolated in the grid (scans, outer, mu)."""
    points = torch.tensor(np.log(MU))
    step = points[1] - points[0]
    inside = log_mu.clamp(points[0], points[-1])
    at = ((inside - points[0]) / step).clamp(0, len(MU) - 1.001)
    low = at.detach().floor().long()
    left = grid.gather(2, low[..., None])[..., 0]
    right = grid.gather(2, low[..., None] + 1)[..., 0]
    return left + (at - low) * (right - left) + _BEYOND * (log_mu - inside).abs()


def fitted(scans: Sequence[Known], decay: float, seed: int = 0) -> Chooser:
    """Return the network trained on scans, with a weight decay."""
    torch.manual_seed(seed)
    seen = torch.tensor(np.stack([one.seen for one in scans]))
    rule = torch.tensor([one.rule for one in scans], dtype=torch.float64)
    grid = torch.tensor(np.stack([one.grid for one in scans]))
    chooser = Chooser(seen.mean(dim=0), seen.std(dim=0).clamp_min(1e-3))
    optimizer = torch.optim.AdamW(chooser.parameters(), _RATE, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        log_mu, likely = chooser(seen, rule)
        loss = (likely * _costs(log_mu, grid).square()).sum(dim=1).mean()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's gap
        optimizer.step()
        schedule.step()
    return chooser


def chosen_error(chooser: Chooser, scan: Known) -> float:
    """Return the excess of the network's choice on a scan, interpolated in its grid."""
    with torch.inference_mode():
        seen, rule = torch.tensor(scan.seen)[None], torch.tensor([scan.rule], dtype=torch.float64)
        log_mu, likely = chooser(seen, rule)
        cost = _costs(log_mu, torch.tensor(scan.grid)[None])
        return float(cost[0, int(likely[0].argmax())])


def _best_decay(scans: Sequence[Known]) -> tuple[float, dict[float, float]]:
    """Return the weight decay of the least mean excess on scans left out, and all of them."""
    order = np.random.default_rng(0).permutation(len(scans))
    found = {}
    for decay in _DECAYS:
        excess = []
        for fold in range(_FOLDS):
            out = set(order[fold::_FOLDS].tolist())
            rest = [one for i, one in enumerate(scans) if i not in out]
            chooser = fitted(rest, decay)
            excess += [chosen_error(chooser, scans[i]) for i in out]
        found[decay] = float(np.mean(excess))
    return min(found, key=lambda decay: found[decay]), found


@dataclass(frozen=True, slots=True)
class Row:
    """Errors on one scan, what was chosen, and processor times in s."""

    name: str
    best: float
    errors: dict[str, float]
    chosen: dict[str, str]
    seconds: dict[str, float]


def measured(scan: ScanWithGrid, choices: dict[str, Callable[[Spectrum], TvParameters]]) -> Row:
    """Return a row: each choice of parameters by total variation, and ``deep``."""
    sample = scan.sample
    errors, chosen, seconds = {}, {}, {}
    for name, choose in choices.items():
        begin = time.process_time()
        how = choose(sample.spectrum)
        found = SplitBregman(sample.spectrum, how).run()
        seconds[name] = time.process_time() - begin
        errors[name] = relative_error(found, sample.truth)
        chosen[name] = f"{how.outer} x, {how.mu:g}"
    begin = time.process_time()
    found = _deep(sample)
    seconds["deep"], errors["deep"] = (
        time.process_time() - begin,
        relative_error(found, sample.truth),
    )
    return Row(scan.name, float(scan.grid.min()), errors, chosen, seconds)


def _deep(sample: Sample) -> torch.Tensor:
    method = DeepRegularizer()
    return method(sample.tomogram, sample.spectrum).contrast


def _refitted(scans: Sequence[ScanWithGrid]) -> Callable[[Spectrum], TvParameters]:
    """Return the rule with three numbers fitted to the scans that the network is trained on."""
    factor, noise_power, norm_power = fit(
        [(scan.over_maximum, scan.norm, scan.grid) for scan in scans]
    )

    def choose(spectrum: Spectrum) -> TvParameters:
        noise, norm = noise_and_norm(spectrum)
        mu = min(max(factor * noise**noise_power * norm**norm_power, MU_RANGE[0]), MU_RANGE[1])
        return replace(automatic_parameters(spectrum), mu=round(mu, 2))

    return choose


def _table(rows: Sequence[Row]) -> str:
    names = list(rows[0].errors)
    lines = []
    for row in rows:
        figures = [f"{row.errors[name]:.3f}" for name in names]
        picks = [row.chosen["auto"], row.chosen["network"]]
        lines.append([row.name, *picks, f"{row.best:.3f}", *figures])
    best = np.array([row.best for row in rows])
    errors = {name: np.array([row.errors[name] for row in rows]) for name in names}
    seconds = {name: np.mean([row.seconds[name] for row in rows]) for name in names}

    def add(title: str, first: str, figure: Callable[[str], str]) -> None:
        lines.append([title, "", "", first, *(figure(name) for name in names)])

    add("**mean**", f"{best.mean():.3f}", lambda name: f"**{errors[name].mean():.3f}**")
    add("over the best", "", lambda name: f"{(errors[name] / best - 1).mean():+.1%}")
    add("than `auto` by 1 %", "", lambda name: _wins(errors[name], errors["auto"]))
    add("processor time, s", "", lambda name: f"{seconds[name]:.2f}")
    head = ("scan", "`auto` takes", "network takes")
    return markdown(head, ("best of the grid", *names), lines)


def _wins(errors: NDArray[np.float64], others: NDArray[np.float64]) -> str:
    better, worse = (errors < 0.99 * others).sum(), (errors > 1.01 * others).sum()
    return f"{better} better, {worse} worse"


def main(argv: Sequence[str] = ()) -> int:
    """Train the network, compare, and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.tv_by_network", description=__doc__)
    parser.add_argument("--scans", type=int, default=10, help="scans of each kind to train on")
    parser.add_argument("--cache", type=Path, default=Path("runs/automatic"))
    parser.add_argument("--fit-only", action="store_true", help="only what is left out of the fit")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)

    def scan(kind: str, seed: int, varied: bool) -> ScanWithGrid:
        found = load_scan(kind, seed, varied, options.cache, (GRADIENT,))
        print(found.name, file=sys.stderr, flush=True)
        return found

    trained = [scan(kind, seed, seed % 2 == 1) for seed in range(options.scans) for kind in KINDS]
    taken = [known(one) for one in trained]
    decay, tried = _best_decay(taken)
    rule = np.mean([_rule_error(one) for one in taken])
    left_out = ", ".join(f"{d:g}: {excess:.1%}" for d, excess in tried.items())
    print(
        f"{len(taken)} scans; the rule's excess {rule:.1%}; on scans left out, by decay {left_out}"
    )
    if options.fit_only:
        return 0
    chooser = fitted(taken, decay)
    choices: dict[str, Callable[[Spectrum], TvParameters]] = {
        "tv": lambda _: PARAMETERS["tv"],
        "auto": automatic_parameters,
        "rule, fitted anew": _refitted(trained),
        "network": chooser.parameters_for,
    }
    rows = []
    for seed in _TESTED:
        for kind in KINDS:
            rows.append(measured(scan(kind, seed, seed != TEST_SEED), choices))
            print(rows[-1], file=sys.stderr, flush=True)
    table = _table(rows)
    put(_PAGE, "tv by network", table)
    kept = {"machine": machine(), "scans": len(taken), "decay": decay, "left_out": tried}
    text = json.dumps(kept | {"rows": [asdict(row) for row in rows]}, indent=1)
    _RESULTS.write_text(text + "\n", encoding="utf-8")
    print(table)
    return 0


def _rule_error(scan: Known) -> float:
    """Return the rule's excess on a scan, interpolated in its grid."""
    at = torch.tensor([[scan.rule, scan.rule]], dtype=torch.float64)
    return float(_costs(at, torch.tensor(scan.grid)[None])[0, 1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
