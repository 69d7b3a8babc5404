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
import itertools
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
from scipy.interpolate import CubicSpline
from torch import nn
from torch.nn import functional

from benchmarks.automatic_tv import OUTERS, errors_by_outer, fit, load_sample, name_of
from benchmarks.machine import machine
from benchmarks.pages import DOCS, markdown, put
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum
from regularizer.deep import DeepRegularizer
from regularizer.metrics import relative_error
from regularizer.total_variation.automatic import (
    GRADIENT,
    MU_RANGE,
    OUTER,
    automatic_parameters,
    noise_and_norm,
)
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.training_data import FRAME, KINDS, TEST_SEED, Sample

__all__ = ["Chooser", "chosen_error", "fitted", "main", "statistics"]

_PAGE = DOCS / "explanation" / "evaluation.md"
_RESULTS = Path(__file__).parent / "results" / "tv_by_network.json"
_MU = tuple(float(mu) for mu in np.geomspace(*MU_RANGE, 5))  # that are run
GRID = tuple(float(mu) for mu in np.geomspace(*MU_RANGE, 17))  # and interpolated between
# as the 100 plain iterations of the rule's grids, in less time
_HOW = TvParameters(max(OUTERS), 60, 1.0, 10.0, 1.0, True, True, 5e-4, GRADIENT, 1.8)
_SMALL, _SMALL_FRAME = ("cocci", "bead", "rods", "debris"), 112
_MARGIN_UM = 1.0
_OBJECT = 0.25  # of the highest smoothed raw contrast: voxels above it are the object
_HIDDEN = 12
_STEPS, _RATE = 250, 2e-2
_DECAYS = (1e-3, 1e-2, 1e-1)
_FOLDS = 4
_BEYOND = 0.3  # cost of a unit of log mu beyond the grid, as in the rule's fit
_TESTED = (TEST_SEED, 8000)  # seeds that neither rule nor networks have seen


def statistics(spectrum: Spectrum) -> NDArray[np.float64]:
    """Return what the network sees of a scan: logarithms and shares.

    In this order: noise over the highest contrast, and norm of the noise-free contrast (these two
    are the rule's); highest raw contrast; the object's volume in um^3; its height over its width
    (rms); noise over its contrast (rms); in the box around it, the share of the contrast's square
    that is negative, and of its lateral power beyond the aperture; measured part of k-space; how
    often a measured voxel was measured; aperture over the medium's index; voxel height over width.
    None depends on how much empty field surrounds the object.
    """
    contrast = contrast_of(spectrum)
    noise, norm = noise_and_norm(spectrum, contrast)
    step = spectrum.voxel_size_um
    highest = float(contrast.max())
    smooth = functional.avg_pool3d(contrast[None, None], 3, 1, 1)[0, 0]
    there = smooth > _OBJECT * smooth.max()
    spread = (there.nonzero().double() * torch.tensor(step, dtype=torch.float64)).std(dim=0)
    spread = spread.clamp_min(step[2])
    part = _boxed(contrast, there, step)
    lateral = torch.fft.rfft2(part).abs().square()
    fy = torch.fft.fftfreq(part.shape[1], step[1])[:, None]
    high = torch.hypot(fy, torch.fft.rfftfreq(part.shape[2], step[2])) > spectrum.optics.cutoff
    measured = spectrum.measured > 0
    return np.array(
        [
            math.log(noise),
            math.log(norm),
            math.log(highest),
            math.log(float(there.sum()) * math.prod(step)),
            math.log(float(spread[0] / spread[1:].square().mean().sqrt())),
            math.log(noise * highest / float(contrast[there].square().mean().sqrt())),
            float(part.clamp_max(0).square().sum() / part.square().sum()),
            math.log(max(float((lateral * high).sum() / lateral.sum()), 1e-6)),
            math.log(float(measured.float().mean())),
            math.log(float(spectrum.measured[measured].mean())),
            spectrum.optics.aperture / spectrum.optics.medium_index,
            math.log(step[0] / step[2]),
        ]
    )


def _boxed(
    contrast: torch.Tensor, there: torch.Tensor, step: tuple[float, float, float]
) -> torch.Tensor:
    """Return the contrast (z, y, x) in the columns around the voxels ``there``."""
    spans = [slice(None)]
    for axis, other in ((1, 2), (2, 1)):
        at = there.any(dim=0).any(dim=other - 1).nonzero()[:, 0]
        margin = round(_MARGIN_UM / step[axis])
        spans.append(slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin))
    return contrast[tuple(spans)]


@dataclass(frozen=True, slots=True)
class Known:
    """A scan for the fit.

    Parameters
    ----------
    name : str
    sample : Sample
    seen : (statistics,)
    rule : float
        Log mu by the rule.
    errors : (outer, mu)
        At the mu of ``GRID``.
    """

    name: str
    sample: Sample
    seen: NDArray[np.float64]
    rule: float
    errors: NDArray[np.float64]

    @property
    def excess(self) -> NDArray[np.float64]:
        """Errors over the least one, minus 1."""
        return np.asarray(self.errors / self.errors.min() - 1, np.float64)


def frame_of(kind: str) -> int:
    """Return the camera pixels a side: small objects do not need the whole field."""
    return _SMALL_FRAME if kind in _SMALL else FRAME


def known(kind: str, seed: int, varied: bool, cache: Path) -> Known:
    """Return a scan and its grid, from the cache if they are there."""
    sample, path = load_sample(kind, seed, varied, cache, frame_of(kind))
    path = path.with_suffix(".grid.json")
    if not path.exists():
        found = [errors_by_outer(sample, replace(_HOW, mu=mu)) for mu in _MU]
        path.write_text(json.dumps(np.transpose(found).tolist()), encoding="utf-8")
    errors = np.array(json.loads(path.read_text("utf-8")), np.float64)
    fine = np.exp(CubicSpline(np.log(_MU), np.log(errors), axis=1)(np.log(GRID)))
    rule = math.log(automatic_parameters(sample.spectrum).mu)
    return Known(name_of(kind, seed, varied), sample, statistics(sample.spectrum), rule, fine)


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
    points = torch.tensor(np.log(GRID))
    step = points[1] - points[0]
    inside = log_mu.clamp(points[0], points[-1])
    at = ((inside - points[0]) / step).clamp(0, len(GRID) - 1.001)
    low = at.detach().floor().long()
    left = grid.gather(2, low[..., None])[..., 0]
    right = grid.gather(2, low[..., None] + 1)[..., 0]
    return left + (at - low) * (right - left) + _BEYOND * (log_mu - inside).abs()


def fitted(scans: Sequence[Known], decay: float, seed: int = 0) -> Chooser:
    """Return the network trained on scans, with a penalty on the square of its weights."""
    torch.manual_seed(seed)
    seen = torch.tensor(np.stack([one.seen for one in scans]))
    rule = torch.tensor([one.rule for one in scans], dtype=torch.float64)
    grid = torch.tensor(np.stack([one.excess for one in scans]))
    chooser = Chooser(seen.mean(dim=0), seen.std(dim=0).clamp_min(1e-3))
    optimizer = torch.optim.Adam(chooser.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        log_mu, likely = chooser(seen, rule)
        loss = (likely * _costs(log_mu, grid).square()).sum(dim=1).mean()
        for layer in chooser.layers:  # without weights it is the rule
            loss = loss + sum(decay * p.square().sum() for p in layer.parameters())
        loss.backward()
        optimizer.step()
        schedule.step()
    return chooser


def chosen_error(chooser: Chooser, scan: Known) -> float:
    """Return the excess of the network's choice on a scan, interpolated in its grid."""
    with torch.inference_mode():
        seen, rule = torch.tensor(scan.seen)[None], torch.tensor([scan.rule], dtype=torch.float64)
        log_mu, likely = chooser(seen, rule)
        cost = _costs(log_mu, torch.tensor(scan.excess)[None])
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
    errors: dict[str, float]
    chosen: dict[str, str]
    seconds: dict[str, float]


def measured(
    name: str, sample: Sample, file: Path, choices: dict[str, Callable[[Spectrum], TvParameters]]
) -> Row:
    """Return a row: each choice of parameters by total variation, and ``deep``.

    Results are kept beside the sample's ``file``, by parameters.
    """
    errors, chosen, seconds = {}, {}, {}
    for way, choose in choices.items():
        how = choose(sample.spectrum)
        errors[way], seconds[way] = _timed(sample, file, how)
        chosen[way] = f"{how.outer} x, {how.mu:g}"
    errors["deep"], seconds["deep"] = _timed(sample, file, None)
    return Row(name, errors, chosen, seconds)


def _timed(sample: Sample, file: Path, how: TvParameters | None) -> tuple[float, float]:
    """Return error and processor time in s of total variation; of ``deep`` where None."""
    path = file.with_suffix(".errors.json")
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    key = "deep" if how is None else str(how)
    if key not in kept:
        method = DeepRegularizer() if how is None else None
        begin = time.process_time()
        if how is None:
            assert method is not None
            found = method(sample.tomogram, sample.spectrum).contrast
        else:
            found = SplitBregman(sample.spectrum, how).run()
        seconds = time.process_time() - begin
        kept[key] = relative_error(found, sample.truth), seconds
        path.write_text(json.dumps(kept), encoding="utf-8")
    error, seconds = kept[key]
    return error, seconds


def _refitted(scans: Sequence[Known]) -> Callable[[Spectrum], TvParameters]:
    """Return the rule with three numbers fitted to the scans that the network is trained on."""
    outer = OUTERS.index(OUTER)
    factor, noise_power, norm_power = fit(
        [(*noise_and_norm(one.sample.spectrum), one.errors[outer]) for one in scans], GRID
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
        lines.append([row.name, row.chosen["auto"], row.chosen["network"], *figures])
    errors = {name: np.array([row.errors[name] for row in rows]) for name in names}
    seconds = {name: np.mean([row.seconds[name] for row in rows]) for name in names}

    def add(title: str, figure: Callable[[str], str]) -> None:
        lines.append([title, "", "", *(figure(name) for name in names)])

    add("**mean**", lambda name: f"**{errors[name].mean():.3f}**")
    add("mean ratio to `auto`", lambda name: f"{(errors[name] / errors['auto']).mean():.3f}")
    add("than `auto`, by 1 %", lambda name: _wins(errors[name], errors["auto"]))
    add("processor time, s", lambda name: f"{seconds[name]:.2f}")
    return markdown(("scan", "`auto` takes", "network takes"), names, lines)


def _wins(errors: NDArray[np.float64], others: NDArray[np.float64]) -> str:
    better, worse = (errors < 0.99 * others).sum(), (errors > 1.01 * others).sum()
    return f"{better} better, {worse} worse"


def main(argv: Sequence[str] = ()) -> int:
    """Train the network, compare, and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.tv_by_network", description=__doc__)
    parser.add_argument("--scans", type=int, default=4, help="scans of each kind to train on")
    parser.add_argument("--cache", type=Path, default=Path("runs/automatic"))
    parser.add_argument("--fit-only", action="store_true", help="only what is left out of the fit")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)

    taken = []
    for seed, kind in itertools.product(range(options.scans), KINDS):
        taken.append(known(kind, seed, seed % 2 == 1, options.cache))
        print(taken[-1].name, file=sys.stderr, flush=True)
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
        "rule, fitted anew": _refitted(taken),
        "network": chooser.parameters_for,
    }
    rows = []
    for seed, kind in itertools.product(_TESTED, KINDS):
        varied = seed != TEST_SEED
        sample, file = load_sample(kind, seed, varied, options.cache, frame_of(kind))
        rows.append(measured(name_of(kind, seed, varied), sample, file, choices))
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
    return float(_costs(at, torch.tensor(scan.excess)[None])[0, 1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
