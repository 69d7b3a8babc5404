"""Draw a grid of total-variation parameters on one scan, or on a simulated sample.

The paper's figure S1: rows are outer iterations, columns mu. Where the sample is simulated, its
truth is known and each volume is compared with it.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from commands.options import add_device, add_json, add_output

__all__ = ["HELP", "add_options", "run"]

HELP = "draw a grid of total-variation parameters on one scan, or on a simulated sample"


def add_options(parser: ArgumentParser) -> None:
    """Add the sample and the grid of parameters."""
    add_device(parser)
    add_output(parser, "the picture, a PNG")
    add_json(parser)
    text = "leave it out for a simulated sample, whose truth is known"
    parser.add_argument("recording", type=Path, nargs="?", metavar="RECORDING", help=text)
    parser.add_argument("--scan", type=int, default=0, metavar="N", help="of the recording")
    parser.add_argument("--simulate", metavar="KIND", default="cell", help="cell, cocci, rods, ...")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated sample")
    mus = [2.0, 10.0, 50.0, 150.0]
    parser.add_argument("--mu", type=float, nargs="+", default=mus, help="columns")
    parser.add_argument("--outer", type=int, nargs="+", default=[1, 2, 5], help="rows")
    parser.add_argument("--inner", type=int, default=100, help="iterations of each outer one")


def run(options: Namespace) -> int:
    """Draw the grid that the options say."""
    from commands.tune_grid import run_tune

    names = ("simulate", "seed", "scan", "inner", "device")
    chosen = {name: getattr(options, name) for name in names}
    grid = {"mus": options.mu, "outers": options.outer, "as_json": options.json}
    return run_tune(options.recording, options.output, **chosen, **grid)
