"""Print the speed figures: all of them, or those that are named."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

__all__ = ["FORWARDS", "HELP", "add_options", "run"]

HELP = "print the speed figures: all, or those named; options go to them"
FORWARDS = True


def add_options(parser: ArgumentParser) -> None:
    """Add none: each benchmark has its own."""


def run(options: Namespace) -> int:
    """Run the benchmarks that the words name."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # they belong to the checkout
    from benchmarks.__main__ import main as measure

    return measure(options.rest)
