"""Corrections of the Rytov approximation, and multi-slice inversion, against the truth.

    python -m benchmarks scattering [--only TABLE ...] [--rows TEXT ...] [--again] [--data FOLDER]

Makes the tables of docs/explanation/scattering.md. A row takes minutes on two cores, so each result
is kept in benchmarks/results/scattering.json; rows that are in it are not computed again, unless
--again is given, and rows that have never been computed say so. --rows computes those only whose
name contains one of the texts. FOLDER (or LIVETOMO_DATA) is the ground truth, which the row of the
real HL60 cell needs.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import scattering_vectors as vectors
from benchmarks.accuracy_cases import width_um
from benchmarks.machine import machine
from benchmarks.pages import DOCS, markdown, put
from benchmarks.scattering_cases import HL60, TABLES, Case, Scanned
from reconstruction.tomogram import Tomogram
from regularizer.deep import DeepRegularizer
from regularizer.metrics import correlation, relative_error
from regularizer.registry import regularizer
from regularizer.scattering.multislice_regularizer import MultisliceRegularizer

__all__ = ["main"]

_PAGE = DOCS / "explanation" / "scattering.md"
_RESULTS = Path(__file__).parent / "results" / "scattering.json"
_VECTORS = "vectors"  # the table of refined wave vectors
_METHODS = ("raw", "deep", "deep, 1 correction", "multislice")


@dataclass(frozen=True, slots=True)
class Result:
    """One method on one case.

    Parameters
    ----------
    error : float
        Relative error ||f - truth|| / ||truth|| of the contrast.
    correlation : float
        With the truth, in and around the object.
    index_error : float or None
        Mean index within 70 % of a sphere's radius minus the true one.
    axial_um : float or None
        Full width at half maximum along z of a sphere, minus its diameter.
    seconds : float
        Processor time.
    note : str
        What it says about its steps.
    """

    error: float
    correlation: float
    index_error: float | None
    axial_um: float | None
    seconds: float
    note: str = ""


def measured(case: Case, data: Path | None = None) -> dict[str, Result]:
    """Return the results of all methods on a case; some need the folder of the ground truth."""
    scan = case.scan(data)
    results: dict[str, Result] = {}
    made: dict[str, Tomogram] = {}
    for name in _METHODS:
        begin = time.process_time()
        if name == "multislice":
            start = made["deep, 1 correction"]
            network = DeepRegularizer()
            method = MultisliceRegularizer(lambda *_, start=start, **__: start, network=network)
            made[name] = method(scan.raw, scan.spectrum)
        else:
            way = "none" if name == "raw" else name.partition(",")[0]
            apply = regularizer(way, corrections=int("correction" in name))
            made[name] = apply(scan.raw, scan.spectrum)
        seconds = time.process_time() - begin
        results[name] = _result(scan, made[name], seconds)
    return results


def _result(scan: Scanned, tomogram: Tomogram, seconds: float) -> Result:
    contrast, truth = tomogram.contrast, scan.truth
    index_error = axial = None
    if scan.sphere is not None:
        core = scan.distance_um < 0.7 * scan.sphere.radius_um
        true = tomogram.optics.medium_index + scan.sphere.contrast
        index_error = float(tomogram.index[core].mean()) - true
        axial = width_um(tomogram.index, scan.sphere, scan.spectrum, 0)
        axial -= 2 * scan.sphere.radius_um
    steps = (tomogram.provenance.get(key, "") for key in ("corrections", "warning"))
    said = tomogram.provenance.get("regularizer", "")
    notes = [*steps, said.partition(", noise")[0] if said.startswith("multislice") else ""]
    return Result(
        relative_error(contrast, truth),
        correlation(contrast[scan.around], truth[scan.around]),
        index_error,
        axial,
        seconds,
        "; ".join(note for note in notes if note),
    )


def _row(case: Case, results: dict[str, dict[str, float | None]] | None) -> list[str]:
    if results is None:
        return [case.name, "not yet measured", *[""] * (len(_METHODS) + 1)]
    cells = [case.name]
    for name in _METHODS:
        r = results[name]
        cells.append(f"{r['error']:.3f} ({r['correlation']:.3f})")
    last = results["multislice"]
    for key, form in (("index_error", "+.4f"), ("axial_um", "+.2f")):
        value = last[key]
        cells.append("" if value is None else format(value, form))
    return cells


def _table(cases: Sequence[Case], kept: dict[str, dict[str, Any]]) -> str:
    head = (*_METHODS, "index", "axial, um")
    return markdown(("case",), head, (_row(case, kept.get(case.name)) for case in cases))


def _kept() -> dict[str, dict[str, Any]]:
    """Return the results so far, by case and method."""
    text = _RESULTS.read_text("utf-8") if _RESULTS.exists() else "{}"
    results: dict[str, dict[str, Any]] = json.loads(text)
    return results


def main(argv: Sequence[str] = ()) -> int:
    """Measure what is asked for, and write the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.scattering", description=__doc__)
    names = [*TABLES, _VECTORS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", nargs="+", default=[""])
    parser.add_argument("--again", action="store_true")
    where = os.environ.get("LIVETOMO_DATA")
    parser.add_argument("--data", type=Path, default=Path(where) if where else None)
    options = parser.parse_args(argv)
    torch.manual_seed(0)
    for table in options.only:
        cases = vectors.CASES if table == _VECTORS else TABLES[table]
        for case in cases:
            wanted = any(text in case.name for text in options.rows)
            if not wanted or (case.name in _kept() and not options.again):
                continue
            if isinstance(case, Case):
                if case.kind == HL60 and options.data is None:
                    continue
                found = measured(case, options.data)
                results: dict[str, Any] = {name: asdict(result) for name, result in found.items()}
            else:
                results = vectors.measured(case)
            kept = _kept() | {case.name: results}  # others may measure at the same time
            _RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(case.name, json.dumps(results), flush=True)
        made = vectors.table(_kept()) if table == _VECTORS else _table(TABLES[table], _kept())
        put(_PAGE, table, made)
    print(f"machine: {machine()}; torch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
