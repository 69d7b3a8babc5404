"""Parses the command line and finds the command."""

import argparse
import importlib
import inspect
import keyword
from collections.abc import Sequence
from types import ModuleType

from commands import NAMES, first_light

__all__ = ["command", "parse"]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments.

    Returns
    -------
    Namespace
        The options of the command, and ``run`` (its function of the namespace), ``extras`` and
        ``sufficient`` (its ``EXTRAS`` and ``SUFFICIENT_PACKAGES``), and ``rest`` (arguments that it
        passes on).
    """
    own = argv
    if argv and argv[0] in NAMES and _forwards_options(command(argv[0])):
        own = argv if argv[1:2] in (["-h"], ["--help"]) else argv[:1]
    known = set(argv[:1]) <= set(NAMES)  # then the others need not be imported
    options = _parser(argv[:1] if known else NAMES).parse_args(own)
    options.rest = list(argv[len(own) :])
    return options


def command(name: str) -> ModuleType:
    """Return the module of a command."""
    own_name = f"{name}_" if keyword.iskeyword(name) else name
    return importlib.import_module(f"commands.{own_name}")


def _forwards_options(module: ModuleType) -> bool:
    return bool(getattr(module, "FORWARDS_OPTIONS", False))


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launcher.py",
        description="LiveTomo: live, regularized refractive-index tomography. Without a command: "
        f"{first_light.HELP}.",
    )
    parser.set_defaults(run=first_light.run, extras=frozenset(), sufficient=())
    subparsers = parser.add_subparsers(metavar="COMMAND")
    for name in names:
        module = command(name)
        own = subparsers.add_parser(
            name,
            help=module.HELP,
            description=inspect.getdoc(module),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(own)
        own.set_defaults(
            run=module.run,
            extras=getattr(module, "EXTRAS", frozenset()),
            sufficient=getattr(module, "SUFFICIENT_PACKAGES", ()),
        )
    return parser
