"""Run the benchmarks: all of them, or those that are named."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

__all__ = ["FORWARDS_OPTIONS", "HELP", "add_options", "run"]

HELP = "run the benchmarks: all, or those named; options are passed on to them"
FORWARDS_OPTIONS = True


def add_options(parser: ArgumentParser) -> None:
    """Add none: each benchmark has its own."""


def run(options: Namespace) -> int:
    """Run the named benchmarks."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks exist in a checkout only
    from benchmarks.__main__ import main as measure

    return measure(options.rest)
