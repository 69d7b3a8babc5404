"""The rounds of ``empty_field.fit_empty_field`` in compiled loops, for CPUs.

A round is some fifty operations on a few thousand numbers: for torch the calls take most of the
time.
"""

import ctypes
import functools

import torch

from reconstruction.kernels.machine_code import compiled_for, load
from reconstruction.kernels.slabs import address, each, slabs

__all__ = ["PlaneWaves", "plane_waves"]

_ADDRESS, _COUNT, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_FUNCTIONS = {"fitted": [*[_ADDRESS] * 6, *[_COUNT] * 5, _NUMBER, *[_COUNT] * 2]}


class PlaneWaves:
    """Fits plane waves to the empty parts of fields.

    Parameters
    ----------
    rounds, without_tilt : int
        Number of rounds, and of those at the start that leave the tilt as it is.
    every : int
        Medians are of every N-th pixel.
    least_share : float
        Smallest empty share of a frame from which its tilt is found.

    Raises
    ------
    ImportError
        If numba is not installed.
    """

    def __init__(self, rounds: int, without_tilt: int, every: int, least_share: float) -> None:
        self._how = rounds, without_tilt, every, least_share
        self._code = load("reconstruction.kernels.plane_waves_kernel", _FUNCTIONS)["fitted"]

    def __call__(
        self,
        relative: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
        offset: torch.Tensor,
        tilt: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Fit; return offset, tilt, empty share and median distance, and divide by the wave.

        Parameters
        ----------
        relative : (frames, y, x) complex64, contiguous, on the CPU
            Fields over the plane wave so far; changed in place.
        rows, columns : (y,) and (x,) float32
            Positions.
        offset : (frames,) complex64
        tilt : (frames, 2) float32
            Those of the plane wave so far.
        """
        frames, height, width = relative.shape
        field = torch.view_as_real(relative)
        found = torch.cat([torch.view_as_real(offset), tilt, torch.zeros(frames, 2)], dim=1)
        y, x = rows.contiguous(), columns.contiguous()
        parts = slabs(frames, relative.numel())
        work = torch.empty(len(parts), 3, height, width)
        turns = torch.empty(len(parts), width, 2)

        def fit(part: int) -> None:
            memory = (field, y, x, found, work[part], turns[part])
            self._code(*map(address, memory), height, width, *self._how, *parts[part])

        each(fit, len(parts))
        offset = torch.view_as_complex(found[:, :2].contiguous())
        return offset, found[:, 2:4], found[:, 4], found[:, 5:].sqrt()


@functools.cache
def plane_waves(
    device: torch.device, rounds: int, without_tilt: int, every: int, least_share: float
) -> PlaneWaves | None:
    """Return the compiled fit; None on a GPU, or where numba is not installed."""
    return compiled_for(device, lambda: PlaneWaves(rounds, without_tilt, every, least_share))
