"""Install what the tests need and run all of them.

Options are passed on to pytest. If they select tests (a file, a test ID, -k, -m) or how tests run
(-n, --pdb), pytest runs with exactly these options; otherwise the tests run two at a time.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

__all__ = ["EXTRAS", "FORWARDS_OPTIONS", "HELP", "add_options", "arguments", "run"]

HELP = "install what the tests need and run them; options are passed on to pytest"
EXTRAS = frozenset({"test"})
FORWARDS_OPTIONS = True

_ROOT = Path(__file__).resolve().parents[1]
# In workers of pytest-xdist: a test that ends its process, or is ended with it since it hangs
# outside of Python, fails by itself, and the others go on in a new worker. Neighbours stay
# together, for what fixtures make once a module; unlike "loadfile" it goes on when the worker of a
# file is lost for a second time.
_TWO_AT_A_TIME = ("-n", "2", "--dist", "worksteal")
_SHORT = ("-h", "-k", "-m", "-n")  # with their value in the same word, too
_LONG = (
    "--co", "--collect-only", "--collectonly", "--failed-first", "--ff", "--fixtures", "--help",
    "--last-failed", "--lf", "--markers", "--new-first", "--nf", "--numprocesses", "--pdb",
    "--stepwise", "--sw", "--trace", "--version",
)  # fmt: skip


def add_options(parser: ArgumentParser) -> None:
    """Add none: they are pytest's."""


def run(options: Namespace) -> int:
    """Run the tests, with a virtual display where there is none; return pytest's status."""
    sys.path.insert(0, str(_ROOT))  # tests exist in a checkout only
    from commands.run_program import run_program
    from ui.display import install_libraries, virtual_display

    install_libraries()
    with virtual_display() as environment:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start Python a hundred times
        pytest = (sys.executable, "-m", "pytest", *arguments(options.rest))
        return run_program(pytest, cwd=_ROOT, env=environment)


def arguments(options: Sequence[str]) -> list[str]:
    """Return pytest's arguments: the user's, after ours unless they say which tests run, or how."""
    if any(_decides(option) for option in options):
        return list(options)
    return [*_TWO_AT_A_TIME, *options]


def _decides(option: str) -> bool:
    if option.startswith("--"):
        return option.partition("=")[0] in _LONG
    if option.startswith("-"):
        return option[:2] in _SHORT
    return (_ROOT / option.partition("::")[0]).exists()  # else an option's value
