"""Runs Python code in its own process."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["output_of"]


def output_of(code: str, *arguments: str, **environment: str) -> str:
    """Run the code in the repository; return what it prints. It must exit with status 0."""
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
