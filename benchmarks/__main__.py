"""Runs benchmarks: ``python -m benchmarks [NAME ...] [options]``.

Without a name it is "stages", the table of all stages on this machine; "all" runs every one.

A benchmark is a module in this folder with a function ``main(argv) -> int``.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from acquisition.errors import ConfigurationError

__all__ = ["main", "names"]


def names() -> list[str]:
    """Return the names of the benchmarks."""
    files = Path(__file__).parent.glob("[!_]*.py")
    return sorted(file.stem for file in files if "\ndef main(" in file.read_text("utf-8"))


def main(argv: Sequence[str]) -> int:
    """Run the benchmarks named at the start of ``argv``, each with the options that follow.

    Returns
    -------
    int
        The highest of their exit statuses.
    """
    words = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    chosen, options = list(argv[:words]), list(argv[words:])
    if "all" in chosen:
        chosen = names()
    chosen = chosen or ["stages"]
    if unknown := sorted(set(chosen) - set(names())):
        raise ConfigurationError(
            f"a benchmark must be one of {', '.join(names())}, got {', '.join(unknown)}"
        )
    modules = [importlib.import_module(f"benchmarks.{name}") for name in chosen]
    return max((int(module.main(options)) for module in modules), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
