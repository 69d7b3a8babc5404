"""Exports a tomogram file to the format of another program.

Each stage position becomes an image: a series in one file, or a file of its own where the format
holds one image only. Files are written under a temporary name and renamed when complete.
"""

import importlib
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from acquisition.errors import ConfigurationError
from files.disk import check_output, check_space
from files.exporting.exported_image import ExportedImage, Volume, select_images, time_warnings
from files.exporting.formats import FORMATS, ExportFormat, of_scan
from files.tomograms import TomogramSeries, read_tomograms

__all__ = ["ExportedFile", "export_tomograms"]

Write = Callable[[Sequence[ExportedImage], Iterator[Volume], Path], None]
ProgressCallback = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file to be written, and the images that it holds."""

    path: Path
    images: tuple[ExportedImage, ...]

    @property
    def partial(self) -> Path:
        """Its temporary name until it is complete."""
        return self.path.with_name(f"{self.path.name}.partial")


def export_tomograms(
    file: Path,
    kind: str,
    output: Path | None = None,
    volumes: Sequence[str] = (),
    positions: Sequence[str] = (),
    progress: ProgressCallback = lambda what, done, total: None,
    levels: Sequence[float] = (),
) -> tuple[list[ExportedFile], list[str]]:
    """Write a tomogram file in another format.

    Parameters
    ----------
    file : Path
        The tomogram file; it may still be growing.
    kind : str
        One of ``FORMATS``.
    output : Path or None
        A new file; None: beside the tomogram file, with its name and the format's suffix. Where the
        format needs a file for each position, the position's label is added.
    volumes : sequence of str
        "raw" or names in ``acquisition.choices.VOLUMES``; each becomes a channel. Empty: the
        regularized volume if complete, else raw.
    positions : sequence of str
        Names or numbers (from 1) of stage positions; empty: all that have a scan.
    progress : callable
        Called with ("writing", done, total) after every volume.
    levels : sequence of float
        RI of the surfaces, for the formats that hold surfaces. Empty: one, found in each volume.

    Returns
    -------
    files : list of ExportedFile
    warnings : list of str
        What the format cannot represent.

    Raises
    ------
    LiveTomoError
        If they cannot be exported. No partial file is left.
    """
    if kind not in FORMATS:
        raise ConfigurationError(f"--to must be one of {', '.join(FORMATS)}, got {kind!r}")
    chosen = FORMATS[kind]
    if levels and not chosen.surfaces:
        raise ConfigurationError(
            f"--level is for surfaces ({', '.join(k for k, f in FORMATS.items() if f.surfaces)}), "
            f"and {kind} holds voxels: leave it out"
        )
    series = read_tomograms(file)
    images = select_images(series, volumes, positions)
    files = _files(chosen, output, images)
    for one in files:
        check_output(one.path)
    size = int(chosen.relative_size * sum(image.nbytes for image in images))
    check_space(files[0].path, size, ", ".join(one.path.name for one in files))
    found: list[str] = []
    _write(chosen, files, progress, levels, found.append)
    warnings = [*time_warnings(images), *_uneven(chosen, images), *_unvisited(series, positions)]
    return files, [*warnings, *found]


def _files(
    chosen: ExportFormat, output: Path | None, images: tuple[ExportedImage, ...]
) -> list[ExportedFile]:
    """Return the files that are to be written: one, or one for each position."""
    source = images[0].series
    one = output or source.path.with_name(source.path.stem + chosen.suffix)
    own_name = source.positions.multiple and output is None  # one of several positions
    if chosen.holds_several_images or (len(images) == 1 and not own_name):
        files = [ExportedFile(one, images)]
    else:
        names = _named(one, [image.label for image in images])
        files = [ExportedFile(path, (image,)) for path, image in zip(names, images, strict=True)]
    return [part for file in files for part in _by_scan(file)] if chosen.one_scan else files


def _by_scan(file: ExportedFile) -> list[ExportedFile]:
    """Return a file for each scan of a file: ``cells_0007.stl`` for the scan number 7."""
    (image,) = file.images
    if len(image.times) == 1:
        return [file]
    names = (of_scan(file.path, time) for time in image.times.tolist())
    return [
        ExportedFile(path, (replace(image, times=image.times[number : number + 1], whole=image),))
        for number, path in enumerate(names)
    ]


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
    chosen: ExportFormat,
    files: Sequence[ExportedFile],
    progress: ProgressCallback,
    levels: Sequence[float],
    tell: Callable[[str], None],
) -> None:
    """Write under temporary names; rename them only if all of it succeeds."""
    module, _, name = chosen.write.partition(":")
    write: Write = getattr(importlib.import_module(module), name)
    if chosen.surfaces:
        with_levels: Callable[..., None] = write
        write = partial(with_levels, levels=levels, tell=tell)
    total = sum(math.prod(image.shape[:2]) for file in files for image in file.images)
    done = 0

    def told(images: Sequence[ExportedImage]) -> Iterator[Volume]:
        nonlocal done
        for image in images:
            for volume in image.volumes(by_channel=chosen.by_channel):
                yield volume
                done += 1
                progress("writing", done, total)

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


def _uneven(chosen: ExportFormat, images: Sequence[ExportedImage]) -> list[str]:
    """Return warnings about times that are not evenly spaced."""
    several = [image for image in images if image.seconds is not None and len(image.times) > 1]
    return [
        f"the scans{image.of_position} were not taken at even intervals: {chosen.uneven_times}"
        for image in several
        if image.interval_s is None and chosen.uneven_times
    ]


def _unvisited(series: TomogramSeries, wanted: Sequence[str]) -> list[str]:
    """Return a warning about positions without a tomogram, unless positions were chosen."""
    where = series.positions
    absent = [label for n, label in enumerate(where.labels) if n not in where.visited]
    if wanted or not absent:
        return []
    return [f"no tomogram was made at {', '.join(absent)}"]
