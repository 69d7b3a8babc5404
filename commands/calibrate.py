"""Measure a microscope's angles, fringes, exposure and timing on the empty field."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from commands.options import add_json, add_microscope

__all__ = ["HELP", "add_options", "run"]

HELP = "measure a microscope's angles, fringes, exposure and timing on the empty field"


def add_options(parser: ArgumentParser) -> None:
    """Add the microscope and the folder of the report."""
    add_microscope(parser)
    add_json(parser)
    text = "a new folder for the report; default: one named with date and time"
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help=text)
    text = "print each step on standard error as a line, such as [2/5] background"
    parser.add_argument("--progress", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Calibrate the microscope."""
    from commands.calibrate_measurement import run_calibrate

    return run_calibrate(
        options.microscope, options.output, as_json=options.json, lines=options.progress
    )
