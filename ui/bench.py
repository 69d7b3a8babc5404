"""The instrument under the window, where it runs on this machine and was started for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Bench"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What only the program that started the instrument can do.

    The callables block until it is done: call them through ``Experiment.submit``.

    Parameters
    ----------
    microscope : Path or None
        Its microscope.toml; None: the simulated microscope.
    release, take_back : callable
        Close the microscope for another program, and open it again.
    restart : callable
        Start the whole instrument again, with its file as it is now.
    """

    microscope: Path | None
    release: Callable[[], None]
    take_back: Callable[[], None]
    restart: Callable[[], None]
