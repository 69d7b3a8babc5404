"""Set up what the tests need and run them all.

Options go to pytest. With a choice of tests (a file, a test's id, -k, -m) or of how they run (-n,
--pdb) it is one plain session.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

__all__ = ["EXTRAS", "FORWARDS", "HELP", "add_options", "run"]

HELP = "set up what the tests need and run them; options go to pytest"
EXTRAS = frozenset({"test"})
FORWARDS = True

_ROOT = Path(__file__).resolve().parents[1]


def add_options(parser: ArgumentParser) -> None:
    """Add none: they are pytest's."""


def run(options: Namespace) -> int:
    """Run the sessions of ``tests.sessions``, with a virtual display where there is none."""
    sys.path.insert(0, str(_ROOT))  # tests belong to the checkout, not to the package
    from commands.passed_through import passed_through
    from tests.sessions import run as run_sessions
    from ui.display import install_libraries, virtual_display

    install_libraries()
    with virtual_display() as environment:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start Python a hundred times
        pytest = (sys.executable, "-m", "pytest")
        return run_sessions(
            options.rest, lambda own: passed_through([*pytest, *own], cwd=_ROOT, env=environment)
        )
