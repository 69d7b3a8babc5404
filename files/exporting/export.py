"""A tomogram file in the format of other programs.

Each stage position is an image of its own: a series of the file, or a file where the format holds
one image. Everything is written under another name first, so that what has the export's name is
whole.
"""

import importlib
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acquisition.errors import ConfigurationError
from files.disk import check_output, check_space
from files.exporting.exported_image import Image, Volume, images_of, time_warnings
from files.exporting.formats import FORMATS, ExportFormat
from files.tomograms import TomogramSeries, read_tomograms

__all__ = ["ExportedFile", "export_tomograms"]

Write = Callable[[Sequence[Image], Iterator[Volume], Path], None]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file to be written, and the images that it holds."""

    path: Path
    images: tuple[Image, ...]

    @property
    def partial(self) -> Path:
        """Its name as long as it is not whole."""
        return self.path.with_name(f"{self.path.name}.partial")


def export_tomograms(
    file: Path,
    kind: str,
    output: Path | None = None,
    volumes: Sequence[str] = (),
    positions: Sequence[str] = (),
    tell: Tell = lambda what, done, total: None,
) -> tuple[list[ExportedFile], list[str]]:
    """Write a tomogram file in another format.

    Parameters
    ----------
    file : Path
        The tomogram file; it may still be growing.
    kind : str
        One of ``FORMATS``.
    output : Path or None
        New; None: beside the file, with its name and the format's ending. Where the format needs a
        file for each position, the position's name is added to it.
    volumes : sequence of str
        "raw" or regularized ones (``acquisition.choices.VOLUMES``), each becomes a channel; empty:
        the best that is complete.
    positions : sequence of str
        Names or numbers (from 1) of the stage positions; empty: all that have a scan.
    tell : callable
        Told ("writing", done, of) after every volume.

    Returns
    -------
    files : list of ExportedFile
    warnings : list of str
        What the format cannot say of these tomograms.

    Raises
    ------
    LiveTomoError
        If they cannot be exported; nothing is left behind then.
    """
    if kind not in FORMATS:
        raise ConfigurationError(f"--to must be one of {', '.join(FORMATS)}, got {kind!r}")
    made = FORMATS[kind]
    series = read_tomograms(file)
    images = images_of(series, volumes, positions)
    files = _files(made, output, images)
    for one in files:
        check_output(one.path)
    size = int(made.size * sum(image.nbytes for image in images))
    check_space(files[0].path, size, ", ".join(one.path.name for one in files))
    _write(made, files, tell)
    warnings = [*time_warnings(images), *_uneven(made, images), *_unvisited(series, positions)]
    return files, warnings


def _files(
    made: ExportFormat, output: Path | None, images: tuple[Image, ...]
) -> list[ExportedFile]:
    """Return the files that are to be written: one, or one for each position."""
    source = images[0].series
    one = output or source.path.with_name(source.path.stem + made.ending)
    own_name = source.positions.several and output is None  # of one position of several
    if made.collects or (len(images) == 1 and not own_name):
        return [ExportedFile(one, images)]
    names = _named(one, [image.label for image in images])
    return [ExportedFile(path, (image,)) for path, image in zip(names, images, strict=True)]


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


def _write(
    made: ExportFormat,
    files: Sequence[ExportedFile],
    tell: Tell,
) -> None:
    """Write under other names; keep them only if all of it went well."""
    module, _, name = made.write.partition(":")
    write: Write = getattr(importlib.import_module(module), name)
    total = sum(math.prod(image.shape[:2]) for file in files for image in file.images)
    done = 0

    def told(images: Sequence[Image]) -> Iterator[Volume]:
        nonlocal done
        for image in images:
            for volume in image.volumes():
                yield volume
                done += 1
                tell("writing", done, total)

    try:
        for file in files:
            _remove(file.partial)  # of an export that was killed
            write(file.images, told(file.images), file.partial)
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


def _uneven(made: ExportFormat, images: Sequence[Image]) -> list[str]:
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
