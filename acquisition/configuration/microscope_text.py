"""Checks the text of a microscope.toml that is being edited: what is wrong, and in which line."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from acquisition.configuration.microscope_file import ConfigurationProblem, find_problems

__all__ = ["TextProblem", "check_text", "line_of"]

_HEADER = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.\-\"\s]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\-\"]+)\s*=")
_AT = re.compile(r"\(at line (\d+), column \d+\)")

_GIVEN = re.compile(r"got ['\"]([^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class TextProblem:
    """What is wrong in a text, and the number of its line, from 1."""

    line: int
    text: str


def check_text(text: str, path: Path) -> tuple[TextProblem, ...]:
    """Return all that is wrong with the text of the microscope.toml ``path``, in order of lines.

    It is read as ``load_configuration`` reads the file. A text that is not TOML has one problem.
    """
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found else max(len(text.splitlines()), 1)
        return (TextProblem(line, f"not TOML: {error}"),)
    problems = find_problems(settings, path.parent)
    placed = [TextProblem(_place(text, problem), problem.text) for problem in problems]
    return tuple(sorted(placed, key=lambda problem: problem.line))


def _place(text: str, problem: ConfigurationProblem) -> int:
    """Return the line of a problem; one that names no key is at the value that it was given."""
    given = None if problem.keys else _GIVEN.search(problem.text)
    if given is None:
        return line_of(text, problem.keys)
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if given[1] in line.partition("=")[2]), 1)


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """Return the line of a key, or of the section nearest to it, from 1."""
    section: tuple[str, ...] = ()
    best, depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _parts(header[1])
            here = section
        elif key := _KEY.match(line):
            here = (*section, *_parts(key[1]))
        else:
            continue
        shared = _shared(here, keys)
        if shared == len(here) and shared > depth:
            best, depth = number, shared
    return best


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip('"') for part in name.split("."))


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Return how many parts two paths have in common from the start."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
