"""The files of a batch, from names, folders and patterns, and where the result of each goes.

Folders that a pattern or a folder leads through are kept below the folder of results, so that
``day*/scan.h5`` gives ``day1/scan_tomograms.h5``, ``day2/scan_tomograms.h5``.
"""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acquisition.errors import ConfigurationError, DataError

__all__ = ["BatchFile", "batch_files", "is_batch"]


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file and the tomogram file to be made from it, both absolute."""

    source: Path
    output: Path


def is_batch(inputs: Sequence[Path], output: Path) -> bool:
    """Return whether more than one file with one result is meant."""
    return len(inputs) > 1 or output.is_dir() or _is_folder(inputs[0]) or _is_pattern(inputs[0])


def batch_files(
    inputs: Sequence[Path], folder: Path, ending: str, accepts: Callable[[Path], bool]
) -> list[BatchFile]:
    """Return the files that are meant, each once, in the order of ``inputs``.

    Parameters
    ----------
    inputs : sequence of Path
        Files, folders (of which the files are taken that ``accepts``), and patterns with ``*``,
        ``?`` or ``**``.
    folder : Path
        For the results.
    ending : str
        Of a result: "cells.h5" becomes "cells" + ending.
    accepts : callable
        Whether a file of a folder is one of the kind that is meant.

    Raises
    ------
    DataError
        If an input does not exist, or none is left.
    ConfigurationError
        If the results would lie among the files, or two would have the same name.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(
            f"the results of several files go into a folder, but {folder} is a file: give a folder "
            "with -o"
        )
    found: dict[Path, Path] = {}
    for given in inputs:
        for source, below in _meant(given, folder, accepts):
            found.setdefault(source.resolve(), below)
    if not found:
        raise DataError(
            f"there must be at least one file to work on, found none in "
            f"{', '.join(map(str, inputs))}: check the names"
        )
    outputs: dict[Path, Path] = {}
    for source, below in found.items():
        output = (folder / below.with_name(f"{below.stem}{ending}")).resolve()
        if output in outputs:
            remedy = "give the pattern in quotes (their folders are then kept)"
            if outputs[output].parent == source.parent:  # cells.tif and cells.TCF
                remedy = "choose one of them by a pattern in quotes"
            raise ConfigurationError(
                f"{outputs[output]} and {source} would both become {output}: {remedy}, or a folder "
                "of results for each"
            )
        outputs[output] = source
    return [BatchFile(source, output) for output, source in outputs.items()]


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() != ".zarr"


def _meant(
    given: Path, results: Path, accepts: Callable[[Path], bool]
) -> Iterator[tuple[Path, Path]]:
    """Yield files, and their paths below the folder that the search began in."""
    inside = results.resolve()
    if _is_folder(given):
        _check_apart(given, inside)
        own = (path for path in sorted(given.iterdir()) if not _is_folder(path) and accepts(path))
        yield from ((path, Path(path.name)) for path in own)
    elif _is_pattern(given):
        root = _root(given)
        _check_apart(root, inside)
        matches = sorted(map(Path, glob.glob(str(given), recursive=True)))
        if not matches:
            raise DataError(f"{given} must match at least one file, found none: check the pattern")
        for path in matches:
            if not _is_folder(path) and not path.resolve().is_relative_to(inside):
                yield path, path.relative_to(root)
    elif given.exists():
        yield given, Path(given.name)
    else:
        raise DataError(f"{given} must exist, found nothing: check the name")


def _check_apart(folder: Path, results: Path) -> None:
    if folder.resolve() == results:
        raise ConfigurationError(
            f"the results must not lie among the files they are made from, but both are in "
            f"{results}: give another folder with -o"
        )


def _root(pattern: Path) -> Path:
    """Return the folder above the first part with a wildcard."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])
