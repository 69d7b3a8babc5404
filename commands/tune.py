"""Draw the results of a grid of total-variation parameters, on one scan or a simulated sample.

Like figure S1 of the paper: rows are outer iterations, columns mu. Each volume of a simulated
sample is compared with the known truth.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from commands.options import add_device, add_json, add_output

__all__ = ["HELP", "add_options", "run"]

HELP = "draw the results of a grid of total-variation parameters"


def add_options(parser: ArgumentParser) -> None:
    """Add the sample and the grid of parameters."""
    add_device(parser)
    add_output(parser, "the image to write, a PNG")
    add_json(parser)
    text = "default: a simulated sample, whose truth is known"
    parser.add_argument("recording", type=Path, nargs="?", metavar="RECORDING", help=text)
    parser.add_argument(
        "--scan", type=int, default=0, metavar="N", help="which scan, counted from 0; default: 0"
    )
    parser.add_argument(
        "--simulate",
        metavar="KIND",
        default="cell",
        help="kind of simulated sample: cell, cocci, rods, ...",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated sample")
    mus = [2.0, 10.0, 50.0, 150.0]
    parser.add_argument(
        "--mu", type=float, nargs="+", default=mus, help="values of mu, one column each"
    )
    parser.add_argument(
        "--outer",
        type=int,
        nargs="+",
        default=[1, 2, 5],
        help="numbers of outer iterations, one row each",
    )
    parser.add_argument("--inner", type=int, default=100, help="inner iterations in each outer one")


def run(options: Namespace) -> int:
    """Draw the grid."""
    from commands.tune_grid import run_tune

    names = ("simulate", "seed", "scan", "inner", "device")
    chosen = {name: getattr(options, name) for name in names}
    grid = {"mus": options.mu, "outers": options.outer, "as_json": options.json}
    return run_tune(options.recording, options.output, **chosen, **grid)
