"""Import interferograms of another program as a recording.

docs/how-to/importing.md describes the accepted files and the checks.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.options import add_json, add_output

if TYPE_CHECKING:
    from files.importing.import_interferograms import ImportResult

__all__ = ["HELP", "add_options", "run", "run_import"]

HELP = "import interferograms of another program as a recording"


def add_options(parser: ArgumentParser) -> None:
    """Add samples, background and optics."""
    add_output(parser, "the new recording")
    add_json(parser)
    text = "TIFF, PNG, BMP, a folder of these, .npy or .npz[:ARRAY]; several in order of time"
    parser.add_argument("samples", nargs="+", metavar="SAMPLE", help=text)
    text = "the empty field, in one of the same forms"
    parser.add_argument("--background", metavar="BACKGROUND", required=True, help=text)
    text = "optics and number of angles; example: docs/examples/import.toml"
    parser.add_argument("--optics", type=Path, metavar="TOML", required=True, help=text)


def run(options: Namespace) -> int:
    """Import the interferograms."""
    return run_import(
        options.samples, options.background, options.optics, options.output, options.json
    )


def run_import(
    samples: Sequence[str],
    background: str,
    description: Path,
    output: Path,
    as_json: bool = False,
) -> int:
    """Import frames of another program and print what was written; return 0."""
    from commands.progress import progress_bar
    from files.importing.import_interferograms import import_interferograms

    with progress_bar("Importing", 1) as bar:
        made = import_interferograms(samples, background, description, output, bar.update)
    if as_json:
        print(json.dumps(_figures(made)))
        return 0
    angles, height, width = made.shape
    print(f"{made.scans} scans of {angles} angles, {height} x {width} {made.dtype}: {output}")
    for warning in made.warnings:
        print(f"warning: {warning}")
    return 0


def _figures(made: "ImportResult") -> dict[str, object]:
    return {
        "output": str(made.output),
        "scans": made.scans,
        "shape": made.shape,
        "dtype": made.dtype,
        "background_scans": made.background_scans,
        "warnings": made.warnings,
    }
