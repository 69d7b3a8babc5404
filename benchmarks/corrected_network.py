"""A network that was trained on corrected spectra, against the ways there were before it.

    python -m benchmarks corrected_network [--weights FILE] [--rows TEXT ...]

With one correction of the Rytov error the network runs twice. The second time it sees a corrected
spectrum, which ``python launcher.py train --corrections 1`` trains it for. On exact spheres and
simulated objects that no training saw, the table of docs/explanation/evaluation.md compares:
``deep``; ``deep`` corrected once; the same with the trained network in the second place; and
``auto`` corrected once, which takes about the same time. Errors are
||f - truth|| / ||truth|| of the contrast, times are processor times. Results are kept in
benchmarks/results/corrected_network.json; what is in it is measured again when its
row is named.
"""

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.pages import DOCS, markdown, put
from benchmarks.scattering_cases import TABLES, Case, Scanned
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.constraint import Constrained
from regularizer.deep import DeepRegularizer
from regularizer.interface import Regularizer
from regularizer.metrics import relative_error
from regularizer.registry import regularizer
from regularizer.scattering.defect_correction import (
    Corrected,
    beyond_noise,
    fields_of,
    seen_of,
)

__all__ = ["main", "table", "uncertainty_table"]

_PAGE = DOCS / "explanation" / "evaluation.md"
_RESULTS = Path(__file__).parent / "results" / "corrected_network.json"
_WEIGHTS = Path("runs") / "light-unet-corrected.safetensors"
_LEAST_LEFT = 0.005
_SEEN = 0.1  # share of the highest true contrast above which a voxel counts as object
_NAMES = ("deep", "deep, 1 correction", "then the trained one", "auto, 1 correction")

CASES: dict[str, tuple[Case, ...]] = {
    "exact spheres": (TABLES["targets"][0], TABLES["targets"][3], *TABLES["unseen"]),
    "simulated objects": (
        Case("cell, seed 9001", kind="cell", seed=9001),
        Case("cell, seed 9002", kind="cell", seed=9002),
        Case("cell with fat droplets, seed 9001", kind="fatty", seed=9001),
        Case("adherent cell, seed 9001", kind="adherent", seed=9001),
        Case("random structure, seed 9001", kind="random", seed=9001),
        Case("crystal, seed 9001", kind="crystal", seed=9001),
    ),
}

Results = dict[str, dict[str, float | str]]


def methods(weights: Path) -> dict[str, Callable[[], Regularizer]]:
    """Return what makes each method, by name."""

    def trained() -> Regularizer:
        first = DeepRegularizer("cpu", "light-unet", uncertainty=True)
        then = DeepRegularizer("cpu", "light-unet", weights=weights, uncertainty=True)
        return Constrained(Corrected(first, 1, after=then))

    make: tuple[Callable[[], Regularizer], ...] = (
        lambda: regularizer("deep", uncertainty=True),
        lambda: regularizer("deep", corrections=1, uncertainty=True),
        trained,
        lambda: regularizer("auto", corrections=1),
    )
    return {
        name: one
        for name, one in zip(_NAMES, make, strict=True)
        if one is not trained or weights.is_file()
    }


def measured(case: Case, chosen: dict[str, Callable[[], Regularizer]]) -> Results:
    """Return error, seconds and the correction's notes of each method on a case."""
    scan = case.scan()
    return {name: _measure(scan, make()) for name, make in chosen.items()}


def _measure(scan: Scanned, method: Regularizer) -> dict[str, float | str]:
    begin = time.process_time()
    found = method(scan.raw, scan.spectrum)
    seconds = time.process_time() - begin
    figures: dict[str, float | str] = {
        "error": relative_error(found.contrast, scan.truth),
        "seconds": seconds,
        "note": found.provenance.get("corrections", ""),
    }
    if found.uncertainty is not None:
        figures |= _uncertainty(scan, found, found.uncertainty)
    return figures


def _uncertainty(scan: Scanned, found: Tomogram, deviation: torch.Tensor) -> dict[str, float | str]:
    """Return rms error and rms uncertainty in the object, RI, and what the light leaves."""
    truth = index_from_contrast(scan.truth, found.optics.medium_index)
    there = torch.maximum(found.contrast, scan.truth) > _SEEN * float(scan.truth.max())
    wrong = (found.index - truth)[there].square().mean().sqrt()
    said = deviation[there].square().mean().sqrt()
    spectrum = scan.spectrum
    seen = seen_of(found, spectrum, fields_of(spectrum), None)
    left = math.nan if seen is None else beyond_noise(seen.light.misfit, seen.noise)
    return {"rms_error": float(wrong), "rms_uncertainty": float(said), "left": left}


def table(kept: dict[str, Results]) -> str:
    """Return the table of all cases; what was not measured says so, means are of whole rows."""
    lines = []
    for title, cases in CASES.items():
        rows = [(case.name, kept.get(case.name, {})) for case in cases]
        lines += [[name, *(_error(found, way) for way in _NAMES)] for name, found in rows]
        whole = [found for _, found in rows if all(way in found for way in _NAMES)]
        if whole:
            means = [np.mean([found[way]["error"] for found in whole]) for way in _NAMES]
            times = [np.mean([found[way]["seconds"] for found in whole]) for way in _NAMES]
            what = f"{len(whole)} {title}"
            lines.append([f"**mean of {what}**", *(f"**{mean:.3f}**" for mean in means)])
            lines.append([f"processor time of {what}, s", *(f"{mean:.1f}" for mean in times)])
    return markdown(("case",), _NAMES, lines)


def _error(found: Results, way: str) -> str:
    return f"{found[way]['error']:.3f}" if way in found else "not yet measured"


def uncertainty_table(kept: dict[str, Results]) -> str:
    """Return the table of errors and uncertainties, one factor for all or by the light left."""
    names = [n for n in _NAMES[:3] if all("left" in r.get(n, {}) for r in kept.values())]
    lines = []
    for name in names:
        rows = [results[name] for results in kept.values()]
        ratio = np.log([float(row["rms_error"]) / float(row["rms_uncertainty"]) for row in rows])
        left = np.log([max(float(row["left"]), _LEAST_LEFT) for row in rows])
        good = np.isfinite(ratio) & np.isfinite(left)
        ratio, left = ratio[good], left[good]
        plain = _left_out(ratio, np.empty((len(ratio), 0)))
        by_light = _left_out(ratio, left[:, None])
        correlated = float(np.corrcoef(ratio, left)[0, 1])
        factors = (math.exp(float(np.mean(np.abs(r)))) for r in (ratio, plain, by_light))
        lines.append([name, *(f"{factor:.2f}" for factor in factors), f"{correlated:+.2f}"])
    head = ("as it is", "one factor for all", "factor by the light left", "correlation")
    return markdown(("method",), head, lines)


def _left_out(ratio: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a linear fit to all other rows leaves of each row's log ratio."""
    design = np.column_stack([np.ones(len(ratio)), seen])
    rest = []
    for row in range(len(ratio)):
        others = np.arange(len(ratio)) != row
        weights = np.linalg.lstsq(design[others], ratio[others], rcond=None)[0]
        rest.append(ratio[row] - design[row] @ weights)
    return np.array(rest)


def _kept() -> dict[str, Results]:
    text = _RESULTS.read_text("utf-8") if _RESULTS.exists() else "{}"
    results: dict[str, Results] = json.loads(text)
    return results


def main(argv: Sequence[str] = ()) -> int:
    """Measure what is not yet measured, or what is named, and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.corrected_network", description=__doc__)
    parser.add_argument("--weights", type=Path, default=_WEIGHTS)
    parser.add_argument("--rows", nargs="+", help="measure those whose names have these texts")
    options = parser.parse_args(argv)
    ways = methods(options.weights)
    for case in itertools.chain(*CASES.values()):
        before = _kept().get(case.name, {})
        again = options.rows is not None and any(text in case.name for text in options.rows)
        missing = {name: make for name, make in ways.items() if again or name not in before}
        if missing:
            found = before | measured(case, missing)
            text = json.dumps(_kept() | {case.name: found}, indent=1)
            _RESULTS.write_text(text + "\n", "utf-8")
            figures = ", ".join(f"{name} {one['error']:.3f}" for name, one in found.items())
            print(f"{case.name}: {figures}", flush=True)
    put(_PAGE, "corrected network", table(_kept()))
    put(_PAGE, "corrected uncertainty", uncertainty_table(_kept()))
    print(f"machine: {machine()}; torch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
