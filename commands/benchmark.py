"""Time each stage on this machine, or run the benchmarks that are named ("all": every one)."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

__all__ = ["FORWARDS_OPTIONS", "HELP", "add_options", "run"]

HELP = "time each stage on this machine, or run the benchmarks named; options are passed on"
FORWARDS_OPTIONS = True


def add_options(parser: ArgumentParser) -> None:
    """Add none: each benchmark has its own."""


def run(options: Namespace) -> int:
    """Run the named benchmarks."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks exist in a checkout only
    from benchmarks.__main__ import main as measure

    return measure(options.rest)
