"""Writes measured tables into the pages of docs/."""

import argparse
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.machine import machine

__all__ = ["DOCS", "make_tables", "markdown", "put", "three_digits"]

DOCS = Path(__file__).resolve().parents[1] / "docs"


def markdown(first: Sequence[str], last: Sequence[str], rows: Iterable[list[str]]) -> str:
    """Return a Markdown table: text in the ``first`` columns, numbers in the ``last``."""
    lines = [[*first, *last], ["---"] * len(first) + ["---:"] * len(last), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def three_digits(value: float) -> str:
    """Return a figure with three digits, or all before the point, and no exponent for large ones.

    For example 0.371, 22.2, 1580.
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def put(page: Path, name: str, table: str) -> None:
    """Replace the table between ``<!-- name -->`` and ``<!-- /name -->``."""
    text = page.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(
            f"{page} must have <!-- {name} --> and <!-- /{name} -->, where the table goes"
        )
    page.write_text(pattern.sub(lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text), encoding="utf-8")


def make_tables(
    page: Path,
    tables: Mapping[str, Callable[[], str]],
    of_data: Mapping[str, Callable[[Path], str]],
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
) -> int:
    """Make the tables of a page, print them and write them there; return the exit status.

    The tables ``of_data`` need the folder named by --data or LIVETOMO_DATA; without it they stay
    unchanged.
    """
    import numpy as np  # imported here: writing a table needs neither
    import torch

    where = os.environ.get("LIVETOMO_DATA")
    parser.add_argument("--data", type=Path, default=Path(where) if where else None)
    parser.add_argument("--only", nargs="+", choices=[*tables, *of_data])
    options = parser.parse_args(argv)
    names = [*tables, *(of_data if options.data is not None else ())]
    torch.manual_seed(0)
    for name in options.only or names:
        if name in of_data and options.data is None:
            parser.error(f"the table {name} needs --data FOLDER")
        begin = time.perf_counter()
        table = tables[name]() if name in tables else of_data[name](options.data)
        print(f"{name} ({time.perf_counter() - begin:.0f} s)\n{table}\n", flush=True)
        put(page, name, table)
    print(f"machine: {machine()}; numpy {np.__version__}, torch {torch.__version__}")
    return 0
