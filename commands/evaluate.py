"""Evaluate the regularizers on unseen simulated samples, and print the tables."""

import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from commands.options import TENSOR_PACKAGES
from commands.train import check_names

if TYPE_CHECKING:
    import torch

    from regularizer.training.generalisation import Study

__all__ = ["HELP", "SUFFICIENT_PACKAGES", "add_options", "run"]

HELP = "evaluate the regularizers on simulated samples and print the tables"
SUFFICIENT_PACKAGES = TENSOR_PACKAGES

_LEFT_OUT = ("cell", "cocci", "bead", "adherent")  # each left out of the training of one network
_QUICK_STEPS = 20
_BELOW = "<!-- below: tables of benchmarks -->"


def add_options(parser: ArgumentParser) -> None:
    """Add samples, output and options of the study."""
    add = parser.add_argument
    add("--kinds", nargs="+", metavar="KIND", help="kinds of objects; default: all")
    add("--objects", type=int, default=2, help="unseen objects of each kind; default: 2")
    add("--quick", action="store_true", help="one object each of three kinds only: minutes")
    add("--cache", type=Path, default=Path("runs/test"))
    text = "train networks without some kinds of objects and test them on those kinds "
    text += "(hours); see docs/explanation/generalisation.md"
    add("--generalisation", action="store_true", help=text)
    add("--data", type=Path, default=Path("runs/data"), help="folder of training samples")
    add("--steps", type=int, default=500, help="steps of each of these trainings")
    add("--device", help="default: cuda if there is one, otherwise cpu")
    add("--output", type=Path, help="write the page to this Markdown file")
    add("--json", action="store_true", help="print the rows as JSON")


def run(options: Namespace) -> int:
    """Evaluate and print the tables."""
    import torch

    from regularizer.deep import DeepRegularizer
    from regularizer.training import generalisation
    from regularizer.training.evaluation import Row, evaluate, page, uncertainty_calibration
    from regularizer.training.training_data import KINDS, TEST_SEED, cached_sample

    kinds, objects = check_names(options.kinds or KINDS, KINDS, "--kinds"), options.objects
    if options.quick:
        kinds, objects = KINDS[:3], 1
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    rows: list[Row] = []
    if options.generalisation:
        text = generalisation.page(_study(options, kinds, objects, device))
    else:
        rows = evaluate(kinds, objects, options.cache, device)
        unsure = DeepRegularizer(device, uncertainty=True)
        seeds = range(TEST_SEED, TEST_SEED + objects)
        samples = (cached_sample(kind, seed, options.cache) for kind in kinds for seed in seeds)
        text = page(
            rows, [uncertainty_calibration(sample.to(device), unsure) for sample in samples]
        )
    if options.output:
        options.output.write_text(text + _below(options.output), encoding="utf-8")
    print(json.dumps([asdict(row) for row in rows]) if options.json else text)
    return 0


def _below(page: Path) -> str:
    """Return what other commands have written below a page's own part."""
    _, mark, rest = (page.read_text("utf-8") if page.exists() else "").partition(_BELOW)
    return f"\n{mark}{rest}" if mark else ""


def _study(
    options: Namespace, kinds: Sequence[str], objects: int, device: "torch.device"
) -> "Study":
    from regularizer.training.generalisation import Study

    quick = options.quick
    return Study(
        kinds=kinds,
        left_out=kinds[:1] if quick else [kind for kind in _LEFT_OUT if kind in kinds],
        objects=objects,
        cache=options.cache,
        data=options.data,
        runs=Path("runs/generalisation"),
        steps=_QUICK_STEPS if quick else options.steps,
        scans=2 if quick else 60,
        jobs=os.cpu_count() or 1,
        device=device,
    )
