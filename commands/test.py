"""Install what the tests need and run all of them.

Options are passed on to pytest. If they select tests (a file, a test ID, -k, -m) or how tests run
(-n, --pdb), pytest runs once with exactly these options.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

__all__ = ["EXTRAS", "FORWARDS_OPTIONS", "HELP", "add_options", "run"]

HELP = "install what the tests need and run them; options are passed on to pytest"
EXTRAS = frozenset({"test"})
FORWARDS_OPTIONS = True

_ROOT = Path(__file__).resolve().parents[1]


def add_options(parser: ArgumentParser) -> None:
    """Add none: they are pytest's."""


def run(options: Namespace) -> int:
    """Run the sessions of ``tests.sessions``, with a virtual display where there is none."""
    sys.path.insert(0, str(_ROOT))  # tests exist in a checkout only
    from commands.run_program import run_program
    from tests.sessions import run as run_sessions
    from ui.display import install_libraries, virtual_display

    install_libraries()
    with virtual_display() as environment:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start Python a hundred times
        pytest = (sys.executable, "-m", "pytest")
        return run_sessions(
            options.rest, lambda own: run_program([*pytest, *own], cwd=_ROOT, env=environment)
        )
