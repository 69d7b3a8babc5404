"""Shares the work of compiled loops out to threads.

That is done by an ordinary thread pool, not by numba's parallel loops. Those synchronise at
barriers, each of which costs a time slice when another process holds a core (ten times the time for
40 iterations of total variation beside one busy process), and under the ``workqueue`` layer they
ended the process when two of its threads regularized at once.
"""

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["address", "each", "slabs"]

_LEAST = 2**16  # voxels or pixels of a slab: a third of a millisecond of work


def slabs(count: int, size: int) -> list[tuple[int, int]]:
    """Return the slabs (first, end) of ``count`` planes that hold ``size`` numbers together."""
    threads = torch.get_num_threads()
    parts = max(1, min(2 * threads, count, size // _LEAST)) if threads > 1 else 1
    edges = [part * count // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def each(compute: Callable[[int], None], parts: int) -> None:
    """Call ``compute`` with every number below ``parts``, in threads if there are several."""
    run = _pool(torch.get_num_threads()).map if parts > 1 else map
    list(run(compute, range(parts)))


def address(tensor: torch.Tensor) -> int:
    """Return where a tensor's floats lie; machine code would read anything else as floats."""
    assert tensor.is_contiguous()
    assert tensor.dtype == torch.float32
    return tensor.data_ptr()


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the thread pool for slabs; it is kept, and idle threads cost nothing."""
    return ThreadPoolExecutor(threads, thread_name_prefix="slabs")
