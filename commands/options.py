"""Options shared by several commands, and the packages that suffice for some of them."""

from argparse import ArgumentParser
from pathlib import Path

from acquisition.choices import REGULARIZERS

__all__ = [
    "METHODS",
    "TENSOR_PACKAGES",
    "add_device",
    "add_json",
    "add_microscope",
    "add_output",
    "add_positions",
]

# "tv-fast" is a preset of "tv" here
METHODS = tuple(name for name, choice in REGULARIZERS.items() if choice.volume in ("", name))
TENSOR_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "h5py",
    "safetensors",
    "numba",
)  # all that regularizer/ imports


def add_microscope(parser: ArgumentParser) -> None:
    """Add --microscope."""
    text = "a microscope.toml; default: the simulated microscope"
    parser.add_argument("--microscope", type=Path, metavar="FILE", help=text)


def add_device(parser: ArgumentParser) -> None:
    """Add --device."""
    text = "where to compute; default: the GPU if there is one"
    parser.add_argument("--device", choices=("cpu", "cuda"), help=text)


def add_output(parser: ArgumentParser, text: str = "the file to write") -> None:
    """Add -o, which is required."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help=text)


def add_json(parser: ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def add_positions(parser: ArgumentParser) -> None:
    """Add --position, which selects stage positions of a time-lapse."""
    text = "name or number (from 1) of a stage position; may be repeated; default: all"
    parser.add_argument("--position", action="append", metavar="NAME", default=[], help=text)
