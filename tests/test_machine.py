"""What the benchmarks say about a process and its memory."""

import subprocess
import sys
from pathlib import Path

from benchmarks.machine import peak_mb, resident_mb


def test_the_peak_of_memory_stays_when_the_memory_is_gone() -> None:
    before = peak_mb()
    held = b"x" * 300_000_000
    assert resident_mb() > len(held) / 1e6
    held = b""
    assert resident_mb() < 300 < peak_mb()
    assert peak_mb() >= before


def test_the_peak_of_memory_is_not_that_of_the_parent() -> None:
    held = b"x" * 300_000_000
    code = "from benchmarks.machine import peak_mb; print(peak_mb())"
    root = Path(__file__).parents[1]
    child = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert 1 < float(child.stdout) < len(held) / 1e6
