"""What the benchmarks say about a process and its memory."""

from tests.children import output_of


def test_the_peak_of_memory_stays_when_the_memory_is_gone() -> None:
    code = (
        "from benchmarks.machine import peak_mb, resident_mb\n"
        "held = b'x' * 300_000_000\n"
        "full = resident_mb()\n"
        "del held\n"
        "print(full, resident_mb(), peak_mb())"
    )
    full, after, peak = map(float, output_of(code).split())
    assert after < 300 < full < 1.05 * peak


def test_the_peak_of_memory_is_not_that_of_the_parent() -> None:
    held = b"x" * 300_000_000
    peak = float(output_of("from benchmarks.machine import peak_mb; print(peak_mb())"))
    assert 1 < peak < len(held) / 1e6
