"""Total variation with a data term that weights each voxel of k-space: a proximal step.

    minimise  lambda |D f|_1 + [f >= 0] + 1/2 (f - z)^T H (f - z),     H = F^-1 h F

by the split Bregman of ``regularizer.total_variation.split_bregman``, whose measured voxels (1 or
0) become weights h >= 0. v and s are kept from one step to the next, which changes little.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from acquisition.optics import Optics
from reconstruction.tomogram import Spectrum
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = ["WeightedTv"]

# mu is in the weights; the others as in regularizer.total_variation.automatic
_PARAMETERS = TvParameters(1, 1, 1.0, 10.0, 1.0, gradient="micrometres")


class WeightedTv(SplitBregman):
    """The proximal step of total variation in the metric h, in a box.

    Parameters
    ----------
    weight : (z, y, x//2 + 1) float32
        h over lambda times ``scale``, on the half spectrum of the box.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    scale : float
        Contrast is divided by it.
    nonnegative : bool
    start : (z, y, x)
        The contrast to start from.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        voxel_size_um: tuple[float, float, float],
        optics: Optics,
        scale: float,
        *,
        nonnegative: bool,
        start: torch.Tensor,
    ) -> None:
        self.weight, self.voxel_size_um = weight, voxel_size_um
        shape = (start.shape[0], start.shape[1], start.shape[2])
        self._like = Spectrum(weight.to(torch.complex64), weight, shape, voxel_size_um, optics)
        parameters = replace(_PARAMETERS, nonnegative=nonnegative)
        # the compiled pass of GPUs would be compiled anew for each size of a box
        super().__init__(self._like, parameters, scale, fused=weight.device.type == "cpu")
        self.start_from(start)

    def _take(self, spectra: Sequence[Spectrum]) -> None:
        super()._take(spectra)
        self._fidelity = self.weight * self._data
        # 1 / (M + tau |D|^2 + gamma) with M = 1 where the weight is positive, which it is
        rest = 1 / self._weight - self._measured
        self._weight = 1 / (self.weight + rest)

    def step(self, target: torch.Tensor, iterations: int) -> torch.Tensor:
        """Return f (z, y, x) for the target z (z, y, x), after so many more iterations."""
        values = torch.fft.rfftn(torch.fft.ifftshift(target), norm="ortho")
        self.parameters = replace(self.parameters, inner=iterations)
        self.update_data(replace(self._like, values=values))
        return self.run()
