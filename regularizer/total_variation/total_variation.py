"""Total variation as a regularizer: named parameters, and warm starts from the last tomogram."""

import math
import threading
from dataclasses import replace

import torch

from reconstruction.tomogram import Spectrum, Tomogram, norm
from regularizer.interface import Progress, SignedRegularizer, with_checked_contrast
from regularizer.total_variation.automatic import automatic_parameters, quick_parameters
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman, fused_pass

__all__ = ["TotalVariation", "make"]

# Relative changes of the spectrum from scan to scan, with the noise subtracted. Measured on a
# moving cell (docs/explanation/regularizer.md): 20 iterations from the last tomogram are better
# than 20 from zero up to a change of 0.55, and 10 are as good up to 0.2.
_SIMILAR, _SAME = 0.5, 0.2
# Relaxed, a network gets by with fewer from the last tomogram: its error with 4 is that with 10
# plain ones, give or take 1 % (docs/explanation/decisions/0019-the-live-path.md).
_QUICK_SAME, _QUICK_SIMILAR, _QUICK_RELAXATION = 4, 10, 1.6
_SAME_SCALE = 0.1  # largest relative change of the maximum, by which the solver divides


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return the regularizer ``name`` (``regularizer.registry``); only "tv-fast" starts warm."""
    return TotalVariation(name, device, warm=warm and name == "tv-fast")


class TotalVariation:
    """Split Bregman with a named parameter set.

    Parameters
    ----------
    name : str
        A name in ``PARAMETERS``, or parameters chosen from each scan's noise: "auto", or "quick",
        the few iterations that networks start from.
    device : str or torch.device
    warm : bool
        Whether to start from the last tomogram where the spectrum is similar, with half of the
        iterations where it is nearly the same: for scans that follow each other in time.
    """

    def __init__(
        self, name: str, device: str | torch.device = "cpu", *, warm: bool = False
    ) -> None:
        self.name = name
        self._warm = warm
        self._last: tuple[SplitBregman, Spectrum] | None = None
        fused_pass(torch.device(device))  # compile now, not at the first tomogram

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        """Return the tomogram of least total variation that fits the measured spectrum.

        Where ``unconstrained``, its contrast may be negative.
        """
        contrast, parameters = self.solve(
            tomogram.contrast, spectrum, progress, stop, unconstrained=unconstrained
        )
        return with_checked_contrast(tomogram, contrast, spectrum, f"{self.name}: {parameters}")

    def solve(
        self,
        raw: torch.Tensor,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> tuple[torch.Tensor, TvParameters]:
        """Return the contrast (z, y, x) of least total variation, and the parameters used.

        ``raw`` is the contrast of the raw tomogram.
        """
        parameters = replace(self._parameters_for(spectrum, raw), nonnegative=not unconstrained)
        solver = self._warm_solver(raw, spectrum, parameters)
        contrast = solver.run(progress, stop)
        if self._warm:
            self._last = (solver, spectrum)
        return contrast, solver.parameters

    def _parameters_for(self, spectrum: Spectrum, raw: torch.Tensor) -> TvParameters:
        if self.name == "auto":
            return automatic_parameters(spectrum, raw)
        return quick_parameters(spectrum, raw) if self.name == "quick" else PARAMETERS[self.name]

    def _warm_solver(
        self, raw: torch.Tensor, spectrum: Spectrum, parameters: TvParameters
    ) -> SplitBregman:
        """Return a solver for the scan: the last scan's where it can start warm, else a new one.

        ``raw`` is the raw contrast.
        """
        last, self._last = self._last, None  # there is no warm start after a stopped run
        highest = float(raw.max() if parameters.nonnegative else raw.abs().max())
        change = math.inf if last is None else _change(last, highest, spectrum)
        if last is not None and last[0].parameters.nonnegative != parameters.nonnegative:
            change = math.inf
        if last is None or change > _SIMILAR:
            return SplitBregman(spectrum, parameters, scale=highest if highest > 0 else 1.0)
        solver = last[0]
        solver.parameters = self._going_on(parameters, same=change < _SAME)
        solver.update_data(spectrum)
        return solver

    def _going_on(self, parameters: TvParameters, *, same: bool) -> TvParameters:
        """Return the parameters to go on with; ``same``: the sample is nearly as it was."""
        if self.name == "quick":
            inner = _QUICK_SAME if same else _QUICK_SIMILAR
            return replace(parameters, inner=inner, relaxation=_QUICK_RELAXATION)
        return replace(parameters, inner=max(1, parameters.inner // 2)) if same else parameters


def _change(last: tuple[SplitBregman, Spectrum], highest: float, spectrum: Spectrum) -> float:
    """Return the relative change of the spectrum since the last scan, with the noise subtracted.

    Infinite where the voxels or the scale (``highest``, the raw contrast's maximum) differ, so that
    a warm start is not possible.
    """
    solver, before = last
    if (before.shape, before.voxel_size_um, before.values.device) != (
        spectrum.shape,
        spectrum.voxel_size_um,
        spectrum.values.device,
    ):
        return math.inf
    if abs(highest / float(solver.scale) - 1) > _SAME_SCALE:
        return math.inf
    now, then = spectrum.values, before.values
    if before.measured is spectrum.measured:  # all others are zero
        now, then = now.take(spectrum.voxels), then.take(spectrum.voxels)
    change = norm(now - then) / max(norm(now), 1e-30)
    noise = math.hypot(before.noise or 0.0, spectrum.noise or 0.0)
    return math.sqrt(max(change**2 - noise**2, 0.0))
