"""Export tomograms to the format of another program, or as a movie of their sections.

docs/how-to/exporting.md describes what each format keeps, and which programs read it.
"""

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acquisition.choices import VOLUMES
from commands.options import add_json, add_positions
from files.exporting.formats import FORMATS

if TYPE_CHECKING:
    from files.exporting.export_tomograms import ExportedFile
    from files.exporting.exported_image import ExportedImage

__all__ = ["HELP", "add_options", "run", "run_export"]

HELP = f"export tomograms in another format: {', '.join(how.title for how in FORMATS.values())}"


def add_options(parser: ArgumentParser) -> None:
    """Add the file, the format, and what is exported."""
    add_json(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="a tomogram file")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True, help="format")
    text = "default: beside FILE, with its name"
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=text)
    text = "volumes, each a channel; default: the regularized ones if complete, else raw"
    volumes = ("raw", *VOLUMES)
    parser.add_argument("--volume", nargs="+", choices=volumes, default=[], help=text)
    text = "RI of the surfaces in an STL (one) or PLY; default: one, half way to the object's"
    parser.add_argument("--level", nargs="+", type=float, metavar="RI", default=[], help=text)
    add_positions(parser)


def run(options: Namespace) -> int:
    """Export the tomograms."""
    return run_export(
        options.file,
        options.to,
        options.output,
        options.volume,
        options.json,
        options.position,
        options.level,
    )


def run_export(
    file: Path,
    kind: str,
    output: Path | None = None,
    volumes: Sequence[str] = (),
    as_json: bool = False,
    positions: Sequence[str] = (),
    levels: Sequence[float] = (),
) -> int:
    """Export a tomogram file and print what was written; return 0."""
    from commands.progress import progress_bar
    from files.exporting.export_tomograms import export_tomograms

    with progress_bar("Exporting", 1) as bar:
        files, warnings = export_tomograms(
            file, kind, output, volumes, positions, bar.update, levels
        )
    if as_json:
        print(json.dumps(_figures(kind, files, warnings)))
    else:
        _tell(files, warnings)
    return 0


def _figures(kind: str, files: "Sequence[ExportedFile]", warnings: Sequence[str]) -> dict[str, Any]:
    first = files[0].images[0]
    return {
        "output": str(files[0].path),
        "format": kind,
        "volumes": list(first.channels),
        "shape": list(first.shape),
        "voxel_size_um": list(first.series.voxel_size_um),
        "images": [_image(file.path, image) for file in files for image in file.images],
        "warnings": list(warnings),
    }


def _image(path: Path, image: "ExportedImage") -> dict[str, Any]:
    seconds, place = image.seconds, image.stage_um[0]
    return {
        "output": str(path),
        "name": image.name,
        "position": image.label,
        "stage_um": [value if math.isfinite(value) else None for value in place],
        "shape": list(image.shape),
        "begun": None if image.begun is None else image.begun.isoformat(),
        "times_s": None if seconds is None else seconds.tolist(),
        "interval_s": image.interval_s,
    }


def _tell(files: "Sequence[ExportedFile]", warnings: Sequence[str]) -> None:
    for file in files:
        for image in file.images:
            t, _, *shape = image.shape
            times = f"{t} time point{'s' if t > 1 else ''} of {' x '.join(map(str, shape))}"
            at = f" at {image.label}" if image.label else ""
            print(f"{file.path}: {', '.join(image.channels)}, {times}{at}")
    for warning in warnings:
        print(f"warning: {warning}")
