"""The pointwise half of a split-Bregman iteration in one pass over memory, for CPUs.

``SplitBregman`` needs two dozen tensor operations for this. Here they are done row by row and in
place, in a third of the time at 64 x 192 x 192, where memory bandwidth is the limit. numba compiles
``fused_kernel`` at the first use (seconds); later its machine code is loaded without numba
(``reconstruction.kernels``). Making ``FusedPass`` fails where numba is not installed; the tensor
operations are used instead.
"""

import ctypes

import torch

from reconstruction.kernels.machine_code import load
from reconstruction.kernels.slabs import address, each, slabs
from regularizer.total_variation.parameters import TvParameters, Weights

__all__ = ["FusedPass"]

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
        shape, p = f.shape[1:], parameters
        planes = slabs(shape[0], shape.numel())
        above = torch.empty(len(planes), *shape[1:])
        rows = torch.empty(len(planes), _ROWS, shape[2])
        for tensors in zip(f, v, new_v, s, right, strict=True):
            at = [address(tensor) for tensor in tensors]

            def begin(slab: int, at: list[int] = at) -> None:
                memory = address(above[slab]), address(rows[slab])
                how = (p.tau, p.relaxation, *weights, p.isotropic)
                self._before(*at[:2], *memory, *shape, *how, planes[slab][0])

            def compute(slab: int, at: list[int] = at) -> None:
                memory = address(above[slab]), address(rows[slab])
                how = (p.tau, p.gamma, p.relaxation, *weights, p.isotropic, p.nonnegative)
                self._pass(*at, *memory, *shape, *how, *planes[slab])

            each(begin, len(planes))  # all of them before any v changes
            each(compute, len(planes))
