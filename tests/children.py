"""Python code in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["said_by"]


def said_by(code: str, *arguments: str, **environment: str) -> str:
    """Return what the code prints; it is run in the repository and has to end well."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
