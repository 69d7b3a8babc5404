"""Show a microscope live in the window."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from acquisition.errors import LiveTomoError
from commands.open_window import open_live_window, prepare_window
from commands.options import add_device, add_microscope

__all__ = ["HELP", "add_options", "run"]

HELP = "show a microscope live in the window"


def add_options(parser: ArgumentParser) -> None:
    """Add the microscope and the device."""
    add_microscope(parser)
    add_device(parser)
    text = "play a recording through the live path, as if it were measured now; --microscope then "
    text += "says how its scans are processed"
    parser.add_argument("--replay", type=Path, metavar="RECORDING", help=text)


def run(options: Namespace) -> int:
    """Show the microscope in the window.

    Raises
    ------
    LiveTomoError
        If no window can open here, or the microscope cannot be started.
    """
    if problem := prepare_window():
        raise LiveTomoError(f"live needs a window, but {problem}; record works without one")
    return open_live_window(options.microscope, options.device, options.replay)
