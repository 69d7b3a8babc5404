"""Runs another program in place of this one, passing signals and exit status through."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["run_program"]


def run_program(command: Sequence[str | Path], **options: Any) -> int:
    """Run ``command`` to its end and return its exit status; Ctrl-C is left to the command."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to both
    try:
        with subprocess.Popen(command, **options) as process:
            try:
                status = process.wait()
            except SystemExit:
                process.terminate()
                raise
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status  # ended by a signal, as shells report it
