"""Total variation as a regularizer: named parameters, and going on from the last tomogram."""

import math
import threading
from dataclasses import replace

import torch

from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.interface import Progress, SignedRegularizer, checked
from regularizer.total_variation.automatic import automatic_parameters, quick_parameters
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman, fused_pass

__all__ = ["TotalVariation", "make"]

# Relative changes of the spectrum from scan to scan, noise taken off. Measured on a moving cell
# (docs/explanation/regularizer.md): 20 iterations that go on from the last tomogram are better than
# 20 from nothing up to 0.55, 10 are as good up to 0.2.
_SIMILAR, _SAME = 0.5, 0.2
_SAME_SCALE = 0.1  # of the maximum, which mu, tau and gamma refer to


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return it as ``regularizer.registry`` asks for it; only "tv-fast" goes on while live."""
    return TotalVariation(name, device, warm=warm and name == "tv-fast")


class TotalVariation:
    """Split Bregman with a named parameter set.

    Parameters
    ----------
    name : str
        In ``PARAMETERS``, or chosen for each scan by its noise: "auto", or "quick", the few
        iterations that networks start from.
    device : str or torch.device
    warm : bool
        Go on from the last tomogram where the sample is similar, with half of the iterations where
        it is nearly the same: for scans that follow each other in time.
    """

    def __init__(
        self, name: str, device: str | torch.device = "cpu", *, warm: bool = False
    ) -> None:
        self.name = name
        self._warm = warm
        self._last: tuple[SplitBregman, Spectrum] | None = None
        fused_pass(torch.device(device))  # compiled while loading, not with the first tomogram

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> Tomogram:
        """Return the tomogram of least total variation that fits the measured spectrum.

        ``free`` contrast may be negative, too.
        """
        contrast, parameters = self.solved(tomogram, spectrum, progress, stop, free=free)
        return checked(tomogram, contrast, spectrum, f"{self.name}: {parameters}")

    def solved(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> tuple[torch.Tensor, TvParameters]:
        """Return its contrast (z, y, x), and the parameters that were taken."""
        parameters = replace(self._chosen(spectrum), nonnegative=not free)
        solver = self._following(tomogram, spectrum, parameters)
        contrast = solver.run(progress, stop)
        if self._warm:
            self._last = (solver, spectrum)
        return contrast, solver.parameters

    def _chosen(self, spectrum: Spectrum) -> TvParameters:
        if self.name == "auto":
            return automatic_parameters(spectrum)
        return quick_parameters(spectrum) if self.name == "quick" else PARAMETERS[self.name]

    def _following(
        self, tomogram: Tomogram, spectrum: Spectrum, parameters: TvParameters
    ) -> SplitBregman:
        """Return a solver for the scan: the last one's, if it may go on from there."""
        last, self._last = self._last, None  # a run that is stopped leaves nothing to go on from
        change = math.inf if last is None else _change(last, tomogram, spectrum)
        if last is not None and last[0].parameters.nonnegative != parameters.nonnegative:
            change = math.inf
        if last is None or change > _SIMILAR:
            return SplitBregman(spectrum, parameters)
        solver = last[0]
        half = max(1, parameters.inner // 2)
        solver.parameters = replace(parameters, inner=half if change < _SAME else parameters.inner)
        solver.follow(spectrum)
        return solver


def _change(last: tuple[SplitBregman, Spectrum], tomogram: Tomogram, spectrum: Spectrum) -> float:
    """Return the relative change of the spectrum since the last scan, less that of its noise.

    Infinite where nothing can go on from the last one: other voxels, or another scale.
    """
    solver, before = last
    if (before.shape, before.voxel_size_um, before.values.device) != (
        spectrum.shape,
        spectrum.voxel_size_um,
        spectrum.values.device,
    ):
        return math.inf
    highest = tomogram.contrast if solver.parameters.nonnegative else tomogram.contrast.abs()
    if abs(float(highest.max()) / float(solver.scale) - 1) > _SAME_SCALE:
        return math.inf
    size = torch.linalg.vector_norm(spectrum.values).clamp_min(1e-30)
    change = float(torch.linalg.vector_norm(spectrum.values - before.values) / size)
    noise = math.hypot(before.noise or 0.0, spectrum.noise or 0.0)
    return math.sqrt(max(change**2 - noise**2, 0.0))
