"""How good the regularizers are on objects they have not seen: the tables of docs/regularizer.md.

Every method runs on the same simulated scans (seeds that training never sees) and is compared with
the true object and with converged TV, by the strict metrics of ``regularizer.metrics``. "tv, same
time" is split Bregman, cold, given the time that network and finish took in the same run.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer import training_data
from regularizer.methods import DeepRegularizer
from regularizer.metrics import Comparison, compare
from regularizer.total_variation import PARAMETERS, SplitBregman
from regularizer.training_data import KINDS, Sample

__all__ = ["Row", "evaluate", "main", "table"]

_TEST_SEED = 2000
_CONVERGED = replace(PARAMETERS["tv"], inner=200)


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one object."""

    kind: str
    seed: int
    method: str
    seconds: float
    truth: Comparison
    tv: Comparison


def _tomogram(sample: Sample) -> Tomogram:
    optics = sample.spectrum.optics
    index = index_from_contrast(sample.raw, optics.medium_index)
    return Tomogram(index, sample.spectrum.voxel_size_um, optics)


def _timed(function: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def evaluate_sample(sample: Sample, network: DeepRegularizer) -> list[Row]:
    """Return a row for each method."""
    tomogram, spectrum = _tomogram(sample), sample.spectrum

    def finished() -> torch.Tensor:
        return network(tomogram, spectrum).contrast

    results = {"raw": (tomogram.contrast, 0.0)}
    results["network"] = _timed(lambda: network.contrast(sample.raw).clone())
    results["network + finish"] = _timed(finished)
    results["tv-fast"] = _timed(lambda: SplitBregman(spectrum, PARAMETERS["tv-fast"]).run())
    one = results["tv-fast"][1] / PARAMETERS["tv-fast"].inner
    count = max(1, round(results["network + finish"][1] / one))
    same = replace(PARAMETERS["tv-fast"], inner=count)
    results["tv, same time"] = _timed(lambda: SplitBregman(spectrum, same).run())
    results["tv"] = _timed(lambda: SplitBregman(spectrum, PARAMETERS["tv"]).run())
    converged = SplitBregman(spectrum, _CONVERGED).run()
    medium = spectrum.optics.medium_index
    return [
        Row(
            sample.kind,
            sample.seed,
            method,
            seconds,
            compare(contrast, sample.truth, medium),
            compare(contrast, converged, medium),
        )
        for method, (contrast, seconds) in results.items()
    ]


def evaluate(kinds: tuple[str, ...], objects: int, cache: Path) -> list[Row]:
    """Evaluate on ``objects`` unseen objects of each kind; scans are kept in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    network = DeepRegularizer()
    rows: list[Row] = []
    for kind in kinds:
        for seed in range(_TEST_SEED, _TEST_SEED + objects):
            path = cache / f"{kind}-{seed:05d}.npz"
            if not path.exists():
                training_data.save(training_data.make_sample(kind, seed), path)
            rows += evaluate_sample(training_data.load(path), network)
            print(f"{kind} {seed} done", flush=True)
    return rows


def table(rows: list[Row]) -> str:
    """Return Markdown tables, means over the objects of each kind."""
    lines: list[str] = []
    for kind in dict.fromkeys(row.kind for row in rows):
        chosen = [row for row in rows if row.kind == kind]
        count = len({row.seed for row in chosen})
        lines += [
            f"\n### {kind} ({count} unseen objects)\n",
            "| method | s | SSIM | PSNR | MSE | corr. | SSIM to TV | corr. to TV | paper's SSIM |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for method in dict.fromkeys(row.method for row in chosen):
            lines.append(_line(method, [row for row in chosen if row.method == method]))
    return "\n".join(lines) + "\n"


def _line(method: str, rows: list[Row]) -> str:
    def mean(pick: Callable[[Row], float]) -> float:
        return float(np.mean([pick(row) for row in rows]))

    return (
        f"| {method} | {mean(lambda r: r.seconds):.2f} | {mean(lambda r: r.truth.ssim):.3f} "
        f"| {mean(lambda r: r.truth.psnr_db):.1f} | {mean(lambda r: r.truth.mse):.1e} "
        f"| {mean(lambda r: r.truth.correlation):.4f} | {mean(lambda r: r.tv.ssim):.3f} "
        f"| {mean(lambda r: r.tv.correlation):.4f} | {mean(lambda r: r.tv.paper_ssim):.4f} |"
    )


def main(argv: list[str]) -> int:
    """Run the ``evaluate`` command."""
    parser = argparse.ArgumentParser(prog="launcher.py evaluate", description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--objects", type=int, default=4, help="unseen objects of each kind")
    parser.add_argument("--cache", type=Path, default=Path("runs/test"))
    parser.add_argument("--output", type=Path, help="write the tables to this Markdown file")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args(argv)
    rows = evaluate(tuple(options.kinds), options.objects, options.cache)
    text = table(rows)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(json.dumps([_plain(row) for row in rows]) if options.json else text)
    return 0


def _plain(row: Row) -> dict[str, object]:
    scores = {
        f"{against}_{name}": getattr(comparison, name)
        for against, comparison in (("truth", row.truth), ("tv", row.tv))
        for name in Comparison.__dataclass_fields__
    }
    return {
        "kind": row.kind,
        "seed": row.seed,
        "method": row.method,
        "seconds": row.seconds,
        **scores,
    }
