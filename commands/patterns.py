"""Write the patterns of the DMD as images, and check which light passes the stop."""

from argparse import ArgumentParser, Namespace

from commands.options import add_json, add_microscope, add_output

__all__ = ["HELP", "add_options", "run"]

HELP = "write the patterns of the DMD as images, and check which light passes the stop"


def add_options(parser: ArgumentParser) -> None:
    """Add the microscope and the folder of the images."""
    add_microscope(parser)
    add_output(parser, "a new folder for the images")
    add_json(parser)


def run(options: Namespace) -> int:
    """Write and check the microscope's patterns."""
    from commands.patterns_check import run_patterns

    return run_patterns(options.microscope, options.output, as_json=options.json)
