"""Options that several commands have, and the packages that some can do with."""

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
TENSOR_PACKAGES = ("torch", "numpy", "scipy", "h5py", "safetensors", "numba")  # of regularizer/


def add_microscope(parser: ArgumentParser) -> None:
    """Add --microscope."""
    text = "its microscope.toml; the simulated microscope if not given"
    parser.add_argument("--microscope", type=Path, metavar="FILE", help=text)


def add_device(parser: ArgumentParser) -> None:
    """Add --device."""
    text = "where to compute; the GPU if there is one, if not given"
    parser.add_argument("--device", choices=("cpu", "cuda"), help=text)


def add_output(parser: ArgumentParser, text: str = "the file to write") -> None:
    """Add -o, which has to be given."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=True, help=text)


def add_json(parser: ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print figures as JSON")


def add_positions(parser: ArgumentParser) -> None:
    """Add which stage positions of a time-lapse are taken."""
    text = "name or number (from 1) of a stage position; may be repeated; all if not given"
    parser.add_argument("--position", action="append", metavar="NAME", default=[], help=text)
