"""Sizes whose discrete Fourier transforms are fast: those without a prime factor above 11.

``scipy.fft.next_fast_len`` says the same. Importing scipy's transforms takes as long as planning a
scan does, and nothing else of them is needed here.
"""

__all__ = ["fast_size"]

_FACTORS = (2, 3, 5, 7, 11)


def fast_size(least: int) -> int:
    """Return the smallest size from ``least`` (at least 1) on without a prime factor above 11."""
    size = least
    while not _is_fast(size):
        size += 1
    return size


def _is_fast(size: int) -> bool:
    for factor in _FACTORS:
        while size % factor == 0:
            size //= factor
    return size == 1
