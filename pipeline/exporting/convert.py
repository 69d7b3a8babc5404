"""The command ``export``: a tomogram file in the format of other programs.

Each stage position is an image of its own: a series of the file, or a file where the format holds
one image. Everything is written under another name first, so that what has the export's name is
whole.
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acquisition.errors import ConfigurationError
from pipeline.archive.tomograms import TomogramSeries, read_tomograms
from pipeline.disk import check_output, check_space
from pipeline.exporting.image import Image, Volume, images_of, time_warnings
from pipeline.exporting.ome_tiff import write_ome_tiff
from pipeline.exporting.ome_zarr import write_ome_zarr
from pipeline.exporting.tcf import write_tcf
from pipeline.progress import Bar, progress_bar

__all__ = ["run_export"]

Write = Callable[[Sequence[Image], Iterator[Volume], Path], None]


@dataclass(frozen=True, slots=True)
class _Format:
    """How a format is written, how its files end, and its size over that of float32.

    ``collects`` says whether one file holds several images, ``uneven`` what becomes of times
    without an interval.
    """

    write: Write
    ending: str
    size: float
    collects: bool = True
    uneven: str = ""


_FORMATS = {
    "ome-tiff": _Format(write_ome_tiff, ".ome.tiff", 1.0),
    "ome-zarr": _Format(
        write_ome_zarr,
        ".ome.zarr",
        1.15,  # an eighth for the halved copies
        uneven="the time axis of an OME-Zarr counts time points then, and their times in s are in "
        "its attribute livetomo.times_s",
    ),
    "tcf": _Format(
        lambda images, volumes, path: write_tcf(images[0], volumes, path),
        ".TCF",
        0.5,
        collects=False,
        uneven="TimeInterval is 0 then, and each time is in RecordingTime of its dataset",
    ),
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file to be written, and the images that it holds."""

    path: Path
    images: tuple[Image, ...]

    @property
    def partial(self) -> Path:
        """Its name as long as it is not whole."""
        return self.path.with_name(f"{self.path.name}.partial")


def run_export(
    file: Path,
    kind: str,
    output: Path | None = None,
    volumes: Sequence[str] = (),
    as_json: bool = False,
    positions: Sequence[str] = (),
) -> int:
    """Write a tomogram file in another format.

    Parameters
    ----------
    file : Path
        The tomogram file; it may still be growing.
    kind : str
        "ome-tiff", "ome-zarr", "tcf".
    output : Path or None
        New; None: beside the file, with its name and the format's ending. Where the format needs a
        file for each position, the position's name is added to it.
    volumes : sequence of str
        "raw", "deep", "tv", "gp", each becomes a channel; empty: the best that is complete.
    as_json : bool
        Print the result as JSON.
    positions : sequence of str
        Names or numbers (from 1) of the stage positions; empty: all that have a scan.

    Returns
    -------
    int
        0; what cannot be exported raises LiveTomoError and leaves nothing behind.
    """
    if kind not in _FORMATS:
        raise ConfigurationError(f"--to must be one of {', '.join(_FORMATS)}, got {kind!r}")
    made = _FORMATS[kind]
    series = read_tomograms(file)
    images = images_of(series, volumes, positions)
    files = _files(made, output, images)
    for one in files:
        check_output(one.path)
    size = int(made.size * sum(image.nbytes for image in images))
    check_space(files[0].path, size, ", ".join(one.path.name for one in files))
    with progress_bar("Exporting", sum(math.prod(image.shape[:2]) for image in images)) as bar:
        _write(made, files, bar)
    warnings = [*time_warnings(images), *_uneven(made, images), *_unvisited(series, positions)]
    if as_json:
        print(json.dumps(_figures(kind, files, warnings)))
    else:
        _tell(files, warnings)
    return 0


def _files(made: _Format, output: Path | None, images: tuple[Image, ...]) -> list[_File]:
    """Return the files that are to be written: one, or one for each position."""
    source = images[0].series
    one = output or source.path.with_name(source.path.stem + made.ending)
    own_name = source.positions.several and output is None  # of one position of several
    if made.collects or (len(images) == 1 and not own_name):
        return [_File(one, images)]
    names = _named(one, [image.label for image in images])
    return [_File(path, (image,)) for path, image in zip(names, images, strict=True)]


def _named(output: Path, labels: Sequence[str]) -> list[Path]:
    """Return a file name for each position: ``cells_control.TCF``."""
    ending = output.suffix
    stem = output.name.removesuffix(ending)
    names: list[str] = []
    for number, label in enumerate(labels, 1):
        plain = re.sub(r"[^\w.+-]+", "-", label).strip("-.") or f"position-{number}"
        spare = (f"{plain}-{n}" for n in range(2, len(labels) + 2))
        taken = {name.casefold() for name in names}  # as on Windows and macOS
        names.append(next(name for name in (plain, *spare) if name.casefold() not in taken))
    return [output.with_name(f"{stem}_{name}{ending}") for name in names]


def _write(made: _Format, files: Sequence[_File], bar: Bar) -> None:
    """Write under other names; keep them only if all of it went well."""
    done = 0

    def told(images: Sequence[Image]) -> Iterator[Volume]:
        nonlocal done
        for image in images:
            for volume in image.volumes():
                yield volume
                done += 1
                bar.advance_to(done)

    try:
        for file in files:
            _remove(file.partial)  # of an export that was killed
            made.write(file.images, told(file.images), file.partial)
        for file in files:
            file.partial.rename(file.path)
    finally:
        for file in files:
            _remove(file.partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _uneven(made: _Format, images: Sequence[Image]) -> list[str]:
    """Return what is to be known of times that have no interval."""
    several = [image for image in images if image.seconds is not None and len(image.times) > 1]
    return [
        f"the scans{image.of} were not taken at even intervals: {made.uneven}"
        for image in several
        if image.interval_s is None and made.uneven
    ]


def _unvisited(series: TomogramSeries, wanted: Sequence[str]) -> list[str]:
    """Return which positions have no tomogram, where all were wanted."""
    where = series.positions
    absent = [label for n, label in enumerate(where.labels) if n not in where.visited]
    if wanted or not absent:
        return []
    return [f"no tomogram was made at {', '.join(absent)}"]


def _figures(kind: str, files: Sequence[_File], warnings: Sequence[str]) -> dict[str, Any]:
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


def _image(path: Path, image: Image) -> dict[str, Any]:
    seconds, place = image.seconds, image.places_um[0]
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


def _tell(files: Sequence[_File], warnings: Sequence[str]) -> None:
    for file in files:
        for image in file.images:
            t, _, *shape = image.shape
            times = f"{t} time point{'s' if t > 1 else ''} of {' x '.join(map(str, shape))}"
            at = f" at {image.label}" if image.label else ""
            print(f"{file.path}: {', '.join(image.channels)}, {times}{at}")
    for warning in warnings:
        print(f"warning: {warning}")
