"""Measure the objects of a tomogram file, and write a table of them.

Objects are found in three dimensions and followed from scan to scan. One row of the table (CSV) is
an object at a time point, with its volume, surface, sphericity, index, dry mass and place. The
objects of each stage position are followed by themselves, and numbered on from one position to the
next. docs/how-to/measuring.md says what each column means.
"""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acquisition.choices import VOLUMES
from commands.options import add_json, add_output, add_positions
from measuring.measuring_settings import MeasuringSettings

if TYPE_CHECKING:
    from files.measured_table import MeasuredPosition, MeasuredTable

__all__ = ["HELP", "add_options", "run"]

HELP = "measure the objects of a tomogram file: volume, dry mass, place, ... as a table"


def add_options(parser: ArgumentParser) -> None:
    """Add the file, the table, and how objects are found."""
    add_json(parser)
    parser.add_argument("file", type=Path, metavar="TOMOGRAMS", help="a tomogram file")
    add_output(parser, "the table to write, a CSV file")
    text = (
        "index at the surface of objects; above the medium's index denser ones, below it lighter "
        "ones are measured; default: found by Otsu's method, for each object at its half maximum"
    )
    parser.add_argument("--threshold", type=float, metavar="RI", help=text)
    default = MeasuringSettings()
    text = f"refraction increment in ml/g; default: {default.increment_ml_per_g:g}, of proteins"
    parser.add_argument(
        "--increment",
        type=float,
        default=default.increment_ml_per_g,
        metavar="ML_PER_G",
        help=text,
    )
    text = f"leave out smaller objects; default: {default.minimum_um3:g}"
    least = default.minimum_um3
    parser.add_argument("--minimum", type=float, default=least, metavar="UM3", help=text)
    text = "index above which matter is lipid; adds the column lipid_fraction"
    parser.add_argument("--lipid", type=float, metavar="RI", help=text)
    text = "volume to measure; default: the best regularized one of all time points, else raw"
    parser.add_argument("--volume", choices=("raw", *VOLUMES), help=text)
    add_positions(parser)


def run(options: Namespace) -> int:
    """Measure the file, print what was found, and return 0."""
    from commands.progress import progress_bar
    from files.measured_table import measure_tomograms

    settings = MeasuringSettings(
        options.threshold, options.increment, options.minimum, options.lipid
    )
    with progress_bar("Measuring", 1) as bar:
        table = measure_tomograms(
            options.file, options.output, settings, options.volume, options.position, bar.update
        )
    print(json.dumps(_figures(table)) if options.json else _told(options.file, table))
    return 0


def _figures(table: "MeasuredTable") -> dict[str, Any]:
    return {
        "output": str(table.output),
        "volume": table.volume,
        "rows": table.rows,
        "objects": table.objects,
        "positions": [
            {"name": one.name, "time_points": one.time_points, "objects": list(one.numbers)}
            for one in table.positions
        ],
        "warnings": list(table.warnings),
    }


def _told(file: Path, table: "MeasuredTable") -> str:
    lines = [
        f"{table.output}: {table.rows} row{'s' * (table.rows != 1)}, {table.objects} "
        f"object{'s' * (table.objects != 1)} in the {table.volume} volumes of {file}"
    ]
    if len(table.positions) > 1 or table.positions[0].name:
        lines += [f"  {_place(one)}" for one in table.positions]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in table.warnings)])


def _place(position: "MeasuredPosition") -> str:
    numbers = position.numbers
    if not numbers:
        return f"{position.name}: no objects"
    return f"{position.name}: objects {numbers[0]} to {numbers[-1]}"
