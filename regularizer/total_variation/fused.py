"""The pointwise half of a split-Bregman iteration in one pass over memory, for CPUs.

``SplitBregman`` needs two dozen tensor operations for this. Here they are done row by row and in
place, in a third of the time at 64 x 192 x 192, where memory bandwidth is the limit. numba compiles
``fused_kernel`` at the first use (seconds); later its machine code is loaded without numba
(``machine_code``). Making ``FusedPass`` fails where numba is not installed; the tensor operations
are used instead.

The slabs of a volume are computed by an ordinary thread pool, not by numba's parallel loops. Those
synchronise at barriers, each of which costs a time slice when another process holds a core (ten
times the time for 40 iterations beside one busy process), and under the ``workqueue`` layer they
ended the process when two of its threads regularized at once.
"""

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor

import torch

from regularizer.total_variation.machine_code import load
from regularizer.total_variation.parameters import TvParameters, Weights

__all__ = ["POOL", "FusedPass"]

POOL = "split-bregman"  # prefix of the pool's thread names
_SLAB = 2**16  # voxels of the smallest slab: a third of a millisecond of work
_ROWS = 7  # of memory that a slab needs
_ADDRESS, _COUNT, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_FUNCTIONS = {  # of ``fused_kernel``, and the types of their arguments
    "before": [*[_ADDRESS] * 4, *[_COUNT] * 3, *[_NUMBER] * 5, ctypes.c_bool, _COUNT],
    "pass_": [*[_ADDRESS] * 7, *[_COUNT] * 3, *[_NUMBER] * 6, *[ctypes.c_bool] * 2, *[_COUNT] * 2],
}


class FusedPass:
    """Writes the new v and s, and tau D^T(d - b) + gamma (w - c), as ``split_bregman`` says.

    Raises
    ------
    ImportError
        If numba is not installed.
    """

    def __init__(self) -> None:
        code = load("regularizer.total_variation.fused_kernel", _FUNCTIONS)
        self._before, self._pass = code["before"], code["pass_"]

    def __call__(
        self,
        f: torch.Tensor,
        v: torch.Tensor,
        new_v: torch.Tensor,
        s: torch.Tensor,
        right: torch.Tensor,
        parameters: TvParameters,
        weights: Weights,
    ) -> None:
        """Do one iteration's pass.

        Parameters
        ----------
        f, s, right : (volumes, z, y, x) float32, contiguous, on the CPU
            f is read, s is updated in place, right is written.
        v, new_v : (volumes, 3, z, y, x)
            v is read, new_v is written. They may be the same: that saves a quarter of the traffic.
        parameters : TvParameters
        weights : (z, y, x)
            Weights of the three differences.
        """
        shape, threads = f.shape[1:], torch.get_num_threads()
        slabs = max(1, min(2 * threads, shape[0], f[0].numel() // _SLAB)) if threads > 1 else 1
        edges = [slab * shape[0] // slabs for slab in range(slabs + 1)]
        p, each = parameters, _pool(threads).map if slabs > 1 else map
        above = torch.empty(slabs, *shape[1:])
        rows = torch.empty(slabs, _ROWS, shape[2])
        for tensors in zip(f, v, new_v, s, right, strict=True):
            at = [_address(tensor) for tensor in tensors]

            def begin(slab: int, at: list[int] = at) -> None:
                memory = _address(above[slab]), _address(rows[slab])
                how = (p.tau, p.relaxation, *weights, p.isotropic)
                self._before(*at[:2], *memory, *shape, *how, edges[slab])

            def compute(slab: int, at: list[int] = at) -> None:
                memory = _address(above[slab]), _address(rows[slab])
                how = (p.tau, p.gamma, p.relaxation, *weights, p.isotropic, p.nonnegative)
                self._pass(*at, *memory, *shape, *how, edges[slab], edges[slab + 1])

            list(each(begin, range(slabs)))  # all of them before any v changes
            list(each(compute, range(slabs)))


def _address(tensor: torch.Tensor) -> int:
    """Return where a tensor's floats lie; machine code would read anything else as floats."""
    assert tensor.is_contiguous()
    assert tensor.dtype == torch.float32
    return tensor.data_ptr()


@functools.lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the thread pool for slabs; it is kept, and idle threads cost nothing."""
    return ThreadPoolExecutor(threads, thread_name_prefix=POOL)
