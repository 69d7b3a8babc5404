"""The default command: the simulated microscope in a window or, without a display, headless."""

from argparse import Namespace
from pathlib import Path

from commands.open_window import open_live_window, prepare_window

__all__ = ["HELP", "run"]

HELP = "show the simulated microscope live, or run it headless if there is no display"


def run(options: Namespace) -> int:
    """Show the simulated microscope; if no window can open, print why and run it headless."""
    problem = prepare_window()
    if problem is None:
        return open_live_window(None, None)
    print(f"No window can open here: {problem}.", flush=True)
    from commands.headless import run_headless

    return run_headless(Path("output"))
