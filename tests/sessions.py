"""How ``python launcher.py test`` runs the tests: two at a time, then those that must be alone.

A test with the marker ``alone`` measures times. Each session runs in workers of pytest-xdist, the
second in one only: a test that ends its process, or is ended with it since it hangs outside of
Python, fails by itself, and the others go on in a new worker.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["run", "sessions"]

_ROOT = Path(__file__).resolve().parents[1]
# Neighbours stay together, for what fixtures make once a module; unlike "loadfile" it goes on when
# the worker of a file is lost for a second time.
_SHARED = ("-n", "2", "--dist", "worksteal", "-m", "not alone")
_ALONE = ("-n", "1", "-m", "alone")
_MARK = "@pytest.mark.alone"
_SHORT = ("-h", "-k", "-m", "-n")  # with their value in the same word, too
_LONG = (
    "--co", "--collect-only", "--collectonly", "--failed-first", "--ff", "--fixtures", "--help",
    "--junit-xml", "--junitxml", "--last-failed", "--lf", "--markers", "--new-first", "--nf",
    "--numprocesses", "--pdb", "--stepwise", "--sw", "--trace", "--version",
)  # fmt: skip
_STOPPING = ("-x", "--exitfirst", "--maxfail")
_FAILED = 1  # pytest's status: all ran, some failed


def sessions(options: Sequence[str]) -> list[list[str]]:
    """Return pytest's arguments, one list a session.

    Options that say which tests run, or how, or where results go, are for one session that does
    nothing else; all others, such as ``-x`` or ``--durations=10``, are for both.
    """
    if any(_decides(option) for option in options):
        return [list(options)]
    return [[*_SHARED, *options], [*_ALONE, *_with_measured_times(), *options]]


def run(options: Sequence[str], pytest: Callable[[Sequence[str]], int]) -> int:
    """Run the sessions one after the other; return the status of the first that failed, or 0.

    A session that was interrupted, or whose options are wrong, is the last.
    """
    stops = any(option.partition("=")[0] in _STOPPING for option in options)
    failed = 0
    for arguments in sessions(options):
        status = pytest(arguments)
        if status not in (0, _FAILED) or (status and stops):
            return status
        failed = failed or status
    return failed


def _with_measured_times() -> list[str]:
    """Return the files that have tests to run alone: to read all of them takes ten seconds."""
    files = sorted((_ROOT / "tests").glob("test_*.py"))
    return [f"tests/{file.name}" for file in files if _MARK in file.read_text("utf-8")]


def _decides(option: str) -> bool:
    if option.startswith("--"):
        return option.partition("=")[0] in _LONG
    if option.startswith("-"):
        return option[:2] in _SHORT
    return (_ROOT / option.partition("::")[0]).exists()  # else an option's value
