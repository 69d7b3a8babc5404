"""Times work on a device, and computes the minimum time that the device would need.

The floor of a piece of work is the larger of two times: its bytes over the rate of a copy, and its
operations over the rate of a matrix product, both measured on the same device. Transfers between
host and device, over their rate, are added.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Limits", "Timed", "Work", "measure_limits", "timed"]

_UNCOUNTED = 2  # first runs, in which kernels are compiled or chosen and memory is allocated


@dataclass(frozen=True, slots=True)
class Timed:
    """Median time of the warm runs, their number, and the peak memory."""

    median_s: float
    turns: int
    peak_mb: float | None


def timed(work: Callable[[], object], device: torch.device, limit_s: float, turns: int) -> Timed:
    """Call ``work`` up to ``turns`` times within ``limit_s`` seconds, at least once, and time it.

    On CUDA each run is timed between two events, and starts when the one before has ended.
    """
    begin = time.perf_counter()
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    for _ in range(min(_UNCOUNTED, turns)):
        work()
        _settle(device)
        if time.perf_counter() - begin > limit_s / 2:
            break
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    turn = _turn_cuda if device.type == "cuda" else _turn
    times = [turn(work)]
    while len(times) < turns and time.perf_counter() - begin < limit_s:
        times.append(turn(work))
    peak_mb = None
    if device.type == "cuda":
        peak_mb = (torch.cuda.max_memory_allocated(device) - before) / 1e6
    return Timed(statistics.median(times), len(times), peak_mb)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _turn(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _turn_cuda(work: Callable[[], object]) -> float:
    event = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's gap
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


@dataclass(frozen=True, slots=True)
class Work:
    """The minimum of a computation: bytes moved, operations, bytes from and to the host."""

    bytes: float = 0.0
    operations: float = 0.0
    uploaded: float = 0.0
    downloaded: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.bytes + other.bytes,
            self.operations + other.operations,
            self.uploaded + other.uploaded,
            self.downloaded + other.downloaded,
        )

    def times(self, count: float) -> "Work":
        """Return ``count`` times this work."""
        return Work(
            self.bytes * count,
            self.operations * count,
            self.uploaded * count,
            self.downloaded * count,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The device's highest rates per second; ``half`` and ``single`` count operations."""

    copied: float
    half: float
    single: float
    uploaded: float
    downloaded: float

    def floor_s(self, work: Work) -> float:
        """Return the minimum time of a piece of work in seconds, operations in half precision."""
        here = max(work.bytes / self.copied, work.operations / self.half)
        return here + work.uploaded / self.uploaded + work.downloaded / self.downloaded


def measure_limits(
    device: torch.device, megabytes: int, edge: int, limit_s: float, turns: int
) -> Limits:
    """Measure a copy on the device, products of square matrices, and copies from and to the host.

    Parameters
    ----------
    device : torch.device
    megabytes : int
        Size of the copy; more than fits into a cache.
    edge : int
        Edge of the matrices.
    limit_s : float
        Time for all measurements, in seconds.
    turns : int
        Largest number of runs of each.
    """

    def median_s(work: Callable[[], object]) -> float:
        return timed(work, device, limit_s / 5, turns).median_s

    size = megabytes * 10**6
    one, other = (torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2))
    copied = 2 * size / median_s(lambda: other.copy_(one))
    rates = []
    for kind in (torch.bfloat16 if device.type == "cuda" else torch.float32, torch.float32):
        matrix = torch.rand((edge, edge), device=device).to(kind)
        seconds = median_s(lambda: matrix @ matrix)  # noqa: B023  # at once
        rates.append(2 * edge**3 / seconds)
    there = torch.zeros(size // 8, dtype=torch.uint8)  # not pinned, like an arriving scan
    up = len(there) / median_s(lambda: there.to(device, copy=True))
    part = one[: size // 8]
    down = len(there) / median_s(lambda: part.to("cpu", copy=True))
    return Limits(copied, rates[0], rates[1], up, down)
