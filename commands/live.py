"""Open the live window on a microscope."""

from argparse import ArgumentParser, Namespace

from acquisition.errors import LiveTomoError
from commands.open_window import make_ready, show
from commands.options import add_device, add_microscope

__all__ = ["HELP", "add_options", "run"]

HELP = "the live window on a microscope"


def add_options(parser: ArgumentParser) -> None:
    """Add the microscope and the device."""
    add_microscope(parser)
    add_device(parser)


def run(options: Namespace) -> int:
    """Show the microscope of a file.

    Raises
    ------
    LiveTomoError
        If no window can open here, or the microscope cannot be started.
    """
    if problem := make_ready():
        raise LiveTomoError(f"live needs a window, but {problem}; record works without one")
    return show(options.microscope, options.device)
