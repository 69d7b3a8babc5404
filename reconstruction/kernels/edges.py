"""The pointwise part of ``unwrap.weighted_turns`` in one pass over memory, for CPUs."""

import ctypes
import functools
from collections.abc import Sequence

import torch

from reconstruction.kernels.machine_code import compiled_for, load
from reconstruction.kernels.slabs import address, each, slabs

__all__ = ["EdgeSteps", "edge_steps"]

_ADDRESS, _COUNT, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_FUNCTIONS = {"advance": [*[_ADDRESS] * 7, *[_COUNT] * 2, _NUMBER, *[_COUNT] * 2]}


class EdgeSteps:
    """Brings the differences of neighbours from one iteration to the next.

    Raises
    ------
    ImportError
        If numba is not installed.
    """

    def __init__(self) -> None:
        self._code = load("reconstruction.kernels.edges_kernel", _FUNCTIONS)["advance"]

    def __call__(
        self,
        turns: torch.Tensor,
        edges: Sequence[torch.Tensor],
        drawn: Sequence[torch.Tensor],
        relaxation: float,
    ) -> torch.Tensor:
        """Update r and return the divergence (frames, y, x) of the next Poisson equation.

        Parameters
        ----------
        turns : (frames, y, x) float32, on the CPU
        edges : (frames, y - 1, x, 3) and (frames, y, x - 1, 3)
            t and the limits of c, for the edges along y and those along x.
        drawn : (frames, y - 1, x) and (frames, y, x - 1)
            r, updated in place.
        relaxation : float
        """
        frames, rows, columns = turns.shape
        divergence, parts = torch.empty_like(turns), slabs(frames, turns.numel())
        row = torch.empty(len(parts), 3, columns)
        tensors = turns.contiguous(), *edges, *drawn, divergence

        def compute(part: int) -> None:
            memory = *map(address, tensors), address(row[part])
            self._code(*memory, rows, columns, relaxation, *parts[part])

        each(compute, len(parts))
        return divergence


@functools.cache
def edge_steps(device: torch.device) -> EdgeSteps | None:
    """Return the compiled pass; None on a GPU, or where numba is not installed."""
    return compiled_for(device, EdgeSteps)
