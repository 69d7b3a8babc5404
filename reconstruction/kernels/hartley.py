"""Inverse transforms of half spectra by forward ones of real volumes, for CPUs.

torch takes an inverse real transform in two steps with a copy between: twice the time of a forward
one. The Hartley transform H = Re F - Im F of a real volume is real and its own inverse (Bracewell,
J. Opt. Soc. Am. 73, 1832 (1983)). So the volume with the half spectrum S is H h, where
h = Re S - Im S, which at -K is Re S(K) + Im S(K).
"""

import ctypes
import functools
import math

import torch

from reconstruction.kernels.machine_code import compiled_for, load
from reconstruction.kernels.slabs import address, each, slabs

__all__ = ["Hartley", "hartley"]

_ADDRESS, _COUNT, _NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_FUNCTIONS = {  # of ``hartley_kernel``, and the types of their arguments
    "folded": [*[_ADDRESS] * 3, *[_COUNT] * 3, _NUMBER, *[_COUNT] * 2],
    "solved": [*[_ADDRESS] * 5, *[_COUNT] * 3, *[_NUMBER] * 2, *[_COUNT] * 2],
    "unfolded": [*[_ADDRESS] * 2, *[_COUNT] * 8],
}
Shape = tuple[int, int, int]


class Hartley:
    """Unitary inverse transforms of half spectra.

    Raises
    ------
    ImportError
        If numba is not installed.
    """

    def __init__(self) -> None:
        code = load("reconstruction.kernels.hartley_kernel", _FUNCTIONS)
        self._folded, self._solved = code["folded"], code["solved"]
        self._unfolded = code["unfolded"]

    def inverse(self, spectrum: torch.Tensor, shape: Shape) -> torch.Tensor:
        """Return the volume (z, y, x), centre at n//2, of (z, y, x//2 + 1) complex64."""
        half = torch.view_as_real(spectrum.resolve_conj().contiguous())
        whole = torch.empty(shape)
        planes, scale = slabs(shape[0], whole.numel()), 1 / math.sqrt(whole.numel())
        row = torch.empty(len(planes), shape[2])

        def fold(slab: int) -> None:
            memory = address(half), address(whole), address(row[slab])
            self._folded(*memory, *shape, scale, *planes[slab])

        each(fold, len(planes))
        z, y, x = shape
        self._transform(whole, whole, (z // 2, y // 2, x // 2))
        return whole

    def solve(
        self, right: torch.Tensor, added: torch.Tensor, weight: torch.Tensor, to: torch.Tensor
    ) -> None:
        """Write F^-1 [(F right + added) weight].

        Parameters
        ----------
        right, to : (z, y, x) float32, contiguous, on the CPU
            right is overwritten, ``to`` is written.
        added : (z, y, x//2 + 1) complex64
        weight : (z, y, x//2 + 1) float32
        """
        shape, size = right.shape, right.numel()
        planes = slabs(shape[0], size)
        row = torch.empty(len(planes), shape[2])
        half = torch.view_as_real(torch.fft.rfftn(right).contiguous())
        tensors = half, torch.view_as_real(added), weight, right

        def fold(slab: int) -> None:
            memory = *map(address, tensors), address(row[slab])
            scales = 1 / size, 1 / math.sqrt(size)  # those of both transforms
            self._solved(*memory, *shape, *scales, *planes[slab])

        each(fold, len(planes))
        self._transform(right, to, (0, 0, 0))

    def _transform(self, volume: torch.Tensor, to: torch.Tensor, by: Shape) -> None:
        """Write the Hartley transform of a volume, moved by (z, y, x) voxels."""
        half = torch.view_as_real(torch.fft.rfftn(volume).contiguous())
        planes = slabs(len(half), volume.numel())

        def unfold(slab: int) -> None:
            self._unfolded(address(half), address(to), *volume.shape, *by, *planes[slab])

        each(unfold, len(planes))


@functools.cache
def hartley(device: torch.device) -> Hartley | None:
    """Return the compiled transforms; None on a GPU, or where numba is not installed."""
    return compiled_for(device, Hartley)
