"""The logarithm of complex fields in one pass over memory, for CPUs.

torch needs ten operations for ln|u| and arg u, and its arctangent and logarithm are exact to the
last bit. Polynomials, exact to three of them, take a fifth of the time.
"""

import ctypes
import functools

import torch

from reconstruction.kernels.machine_code import compiled_for, load
from reconstruction.kernels.slabs import address, each, slabs

__all__ = ["FieldLogarithm", "field_logarithm"]

_ADDRESS, _COUNT, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_FUNCTIONS = {"logarithm": [*[_ADDRESS] * 4, *[_COUNT] * 2, _NUMBER, *[_COUNT] * 2]}


class FieldLogarithm:
    """Computes ln u, with the phase between -pi and pi.

    Raises
    ------
    ImportError
        If numba is not installed.
    """

    def __init__(self) -> None:
        self._code = load("reconstruction.kernels.logarithms_kernel", _FUNCTIONS)["logarithm"]

    def __call__(self, fields: torch.Tensor, faintest: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ln u (views, y, x) complex64, and the range of each view's phase (views,), rad.

        Parameters
        ----------
        fields : (views, y, x) complex64, on the CPU
        faintest : float
            Smallest |u|^2; darker pixels count as that.
        """
        views, rows, columns = fields.shape
        u = torch.view_as_real(fields.contiguous())
        logarithm, extremes = torch.empty_like(u), torch.empty(views, 2)
        parts = slabs(views, fields.numel())
        row = torch.empty(len(parts), columns)

        def compute(part: int) -> None:
            memory = address(u), address(logarithm), address(extremes), address(row[part])
            self._code(*memory, rows, columns, faintest, *parts[part])

        each(compute, len(parts))
        return torch.view_as_complex(logarithm), extremes[:, 1] - extremes[:, 0]


@functools.cache
def field_logarithm(device: torch.device) -> FieldLogarithm | None:
    """Return the compiled logarithm; None on a GPU, or where numba is not installed."""
    return compiled_for(device, FieldLogarithm)
