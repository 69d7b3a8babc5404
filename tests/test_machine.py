"""What the benchmarks say about a process and its memory."""

import subprocess
import sys
from pathlib import Path


def test_the_peak_of_memory_stays_when_the_memory_is_gone() -> None:
    code = (
        "from benchmarks.machine import peak_mb, resident_mb\n"
        "held = b'x' * 300_000_000\n"
        "full = resident_mb()\n"
        "del held\n"
        "print(full, resident_mb(), peak_mb())"
    )
    full, after, peak = map(float, said_by(code).split())
    assert after < 300 < full < 1.05 * peak


def test_the_peak_of_memory_is_not_that_of_the_parent() -> None:
    held = b"x" * 300_000_000
    peak = float(said_by("from benchmarks.machine import peak_mb; print(peak_mb())"))
    assert 1 < peak < len(held) / 1e6


def said_by(code: str) -> str:
    """Return what a process of its own prints."""
    root = Path(__file__).parents[1]
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    return child.stdout
