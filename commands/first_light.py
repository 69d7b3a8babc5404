"""Without a command: the simulated microscope, in a window or, without a display, headless."""

from argparse import Namespace
from pathlib import Path

from commands.open_window import make_ready, show

__all__ = ["HELP", "run"]

HELP = "the live window on the simulated microscope, or a headless run where there is no display"


def run(options: Namespace) -> int:
    """Show the simulated microscope; where no window can open, say so and run it headless."""
    problem = make_ready()
    if problem is None:
        return show(None, None)
    print(f"No window can open here: {problem}.", flush=True)
    from commands.headless import run_headless

    return run_headless(Path("output"))
