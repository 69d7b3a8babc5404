"""Reads tables of illumination wave vectors: kx, ky in cycles/um.

Values are separated by commas, semicolons, tabs or spaces. If the separator is not a comma, a comma
in a number is a decimal comma. The first line may name the columns; ``kx`` and ``ky`` are then
used and other columns ignored. ``#`` begins a comment.
"""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.configuration.text_files import read_text
from acquisition.errors import ConfigurationError

__all__ = ["read_wave_vectors"]

Line = tuple[int, str]  # line number in the file, text
_NAMES = tuple(re.compile(rf"\W*k_?{axis}(?![a-z])", re.IGNORECASE) for axis in "xy")


def read_wave_vectors(path: Path) -> NDArray[np.float64]:
    """Return (angles, 2) float64 kx, ky in cycles/um of a ``.npy`` file or a table of text.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a line is not two numbers; the message names the line.
    """
    if path.suffix.lower() == ".npy":
        return _array(path)
    lines = _lines(read_text(path))
    if not lines:
        raise ConfigurationError(f"{path} must hold one kx, ky a line, got no line")
    separator = _separator([text for _, text in lines])
    rows = [(number, _cells(text, separator)) for number, text in lines]
    columns = None
    if all(_value(cell) is None for cell in rows[0][1]):  # names, some with units
        names = re.sub(r"\(.*?\)|\[.*?\]", "", lines[0][1])
        columns, rows = _columns(_cells(names, separator)), rows[1:]
    return np.array([_pair(path, row, columns) for row in rows], np.float64).reshape(-1, 2)


def _array(path: Path) -> NDArray[np.float64]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as an array of numbers: {error}"
        ) from error
    if found.ndim != 2 or found.shape[1] != 2 or found.dtype.kind not in "iuf":
        raise ConfigurationError(
            f"{path} must hold real numbers of shape (angles, 2), kx and ky, got {found.dtype} "
            f"{found.shape}"
        )
    return np.asarray(found, np.float64)


def _lines(text: str) -> list[Line]:
    """Return the lines without comments, empty lines and Excel's ``sep=;``."""
    bare = [re.split(r"[#%]|//", line)[0].strip() for line in text.splitlines()]
    return [
        (number, line)
        for number, line in enumerate(bare, 1)
        if line.strip(",; \t") and not re.fullmatch(r"sep=.", line, re.IGNORECASE)
    ]


def _separator(lines: list[str]) -> str:
    """Return the regular expression between two numbers of a line."""
    for separator in ("\t", ";"):
        if any(separator in line for line in lines):
            return separator
    # "1,5 2,5" has decimal commas and "1.5, 2.5" has not: no number holds a space
    last = lines[-1].strip(", ")
    spaced = any(len(cell.split()) > 1 for cell in last.split(","))
    return r"\s+" if spaced or "," not in last else ","


def _cells(line: str, separator: str) -> list[str]:
    cells = [cell.strip().strip("\"'") for cell in re.split(separator, line)]
    while cells and not cells[-1]:  # a separator at the end of the line
        del cells[-1]
    return cells if separator == "," else [cell.replace(",", ".") for cell in cells]


def _columns(names: list[str]) -> tuple[int, int] | None:
    """Return the indices of the columns named kx and ky; None if there are none."""
    found = [[i for i, name in enumerate(names) if known.match(name)] for known in _NAMES]
    return (found[0][0], found[1][0]) if all(found) else None


def _pair(
    path: Path, row: tuple[int, list[str]], columns: tuple[int, int] | None
) -> tuple[float, float]:
    number, cells = row
    values = [_value(cell) for cell in cells]
    if columns is not None and max(columns) < len(values):
        values = [values[i] for i in columns]
    match values:
        case [float(kx), float(ky)] if math.isfinite(kx) and math.isfinite(ky):
            return kx, ky
    raise ConfigurationError(
        f"{path} must hold two numbers a line, kx and ky in cycles/um, got {', '.join(cells)!r} "
        f"in line {number}: separate them by a comma, semicolon, tab or space, or name the columns "
        "kx and ky in the first line"
    )


def _value(text: str) -> float | None:
    """Return the number that a text holds; None if it is not a number."""
    try:
        return float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return None
