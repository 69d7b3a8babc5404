"""The inverse of multi-slice scattering: total variation on the measured light itself.

    minimise  1/2 sum over angles |P (c (1 + S(f)) - u/u0)|^2  +  lambda TV(f),    f >= 0

without Born or Rytov, by proximal quasi-Newton steps with momentum (Beck and Teboulle, SIAM J.
Imaging Sci. 2, 183 (2009); the metric as in Lee, Sun and Saunders, SIAM J. Optim. 24, 1420 (2014)):

    z = f - H^-1 gradient,     f <- argmin  1/2 (f - z)^T H (f - z) + lambda TV(f),    f >= 0

H is J^T J at no contrast, where J is the derivative of the scattered light: a convolution, so that
one forward and one adjoint run of a point give it. Contrast changes the paths of light, which
spreads its transfer function; the largest value within a radius bounds that.

lambda falls with the variance of the noise, so that texture which the light shows is kept.

A step that raises the objective is undone, without momentum, and H is doubled. The steps end where
the misfit is that of the noise, or where they no longer lower the objective.
"""

import math
import threading
from dataclasses import dataclass

import torch
from torch.nn import functional

from acquisition.errors import Stopped
from acquisition.optics import Optics
from regularizer.interface import Progress
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.weighted_tv import WeightedTv

__all__ = ["INNER", "MODEL", "STEPS", "Inverted", "ProximalStep", "invert"]

_SPREAD = 0.12  # cycles/um: radius of the largest value of H's transfer function
_FLOOR = 3e-3  # of its maximum: added where nothing is measured
_TV = 3e-3  # lambda, over the maximum of H and the highest contrast, where there is much noise
_MUCH, _LEAST_TV = 0.045, 0.3  # noise as a misfit; share of lambda that is left where there is none
STEPS = 12  # at most
INNER = 25  # split-Bregman iterations a step
MODEL = 0.015  # relative misfit of the slice model itself to an exact sphere
_SETTLED = 5e-3  # relative decrease of the objective in a step below which it has settled
_STEEPEST = 16.0  # of H: a step that must be smaller does not help


@dataclass(frozen=True, slots=True)
class Inverted:
    """The contrast (z, y, x) in the box, its misfit and the start's, and the number of steps."""

    contrast: torch.Tensor
    misfit: float
    begin: float
    steps: int


def invert(
    light: LightMisfit,
    start: torch.Tensor,
    voxel_size_um: tuple[float, float, float],
    optics: Optics,
    *,
    nonnegative: bool = True,
    steps: int = STEPS,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Inverted:
    """Return the contrast whose light fits best, from a start (z, y, x) in the box of ``light``.

    Its objective is never above the start's.

    Raises
    ------
    Stopped
        Soon after ``stop`` is set.
    """
    proximal = ProximalStep(light, start, voxel_size_um, optics, nonnegative=nonnegative)
    goal = math.hypot(light.noise, MODEL)
    at = before = start
    best: _Point | None = None
    begin, steepness, momentum = math.inf, 1.0, 1.0
    for step in range(steps + 1):
        if stop is not None and stop.is_set():
            raise Stopped("the inversion was stopped before its end")
        misfit, gradient = light.gradient(at)
        if progress is not None:
            progress(step, steps)
        begin = misfit if best is None else begin
        here = _Point(at, gradient, misfit, misfit**2 / 2 + proximal.penalty(at))
        settled = False
        if best is not None and here.objective >= best.objective:
            steepness, momentum = 2 * steepness, 1.0
            if steepness > _STEEPEST:
                break
        else:
            settled = best is not None and here.objective > (1 - _SETTLED) * best.objective
            best = here
        if settled or best.misfit <= goal:
            break
        after = proximal(best.contrast, best.gradient, steepness)
        grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        pushed = after + (momentum - 1) / grown * (after - before)
        at = pushed.clamp_min(0) if nonnegative else pushed
        before, momentum = after, grown
    assert best is not None
    if progress is not None:
        progress(steps, steps)
    return Inverted(best.contrast, best.misfit, begin, step)


@dataclass(frozen=True, slots=True)
class _Point:
    contrast: torch.Tensor
    gradient: torch.Tensor
    misfit: float
    objective: float


class ProximalStep:
    """A proximal quasi-Newton step: down the gradient in the metric H, then total variation.

    Parameters
    ----------
    light : LightMisfit
    start : (z, y, x)
        In the box; its highest contrast decides how much total variation counts.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    nonnegative : bool
    """

    def __init__(
        self,
        light: LightMisfit,
        start: torch.Tensor,
        voxel_size_um: tuple[float, float, float],
        optics: Optics,
        *,
        nonnegative: bool = True,
    ) -> None:
        self._transfer = _metric(light, voxel_size_um)
        scale = float(start.abs().max())
        share = (light.noise**2 + MODEL**2) / _MUCH**2  # as the variance of what is measured
        strength = _TV * min(max(share, _LEAST_TV), 1.0)
        self._weight = strength * float(self._transfer.max()) * scale  # lambda
        self._ratio = self._transfer * scale / self._weight
        self._tv = WeightedTv(
            self._ratio, voxel_size_um, optics, scale, nonnegative=nonnegative, start=start
        )

    def __call__(
        self, contrast: torch.Tensor, gradient: torch.Tensor, steepness: float = 1.0
    ) -> torch.Tensor:
        """Return the contrast (z, y, x) after a step in ``steepness`` times H."""
        self._tv.weight = steepness * self._ratio
        target = contrast - _divided(gradient, steepness * self._transfer)
        return self._tv.step(target, INNER)

    def penalty(self, contrast: torch.Tensor) -> float:
        """Return lambda times the total variation of a contrast (z, y, x)."""
        weights = self._tv.parameters.weights(self._tv.voxel_size_um)
        squares = sum(
            (weight * (torch.roll(contrast, -1, axis) - contrast)).square()
            for axis, weight in enumerate(weights)
        )
        return self._weight * float(torch.as_tensor(squares).sqrt().sum())


def _metric(light: LightMisfit, voxel_size_um: tuple[float, float, float]) -> torch.Tensor:
    """Return the transfer function of H on the half spectrum of the box, (z, y, x//2 + 1)."""
    response = light.point_response()
    spectrum = torch.fft.fftn(torch.fft.ifftshift(response)).real.clamp_min(0)
    spread = spectrum[None, None]
    for axis, (n, step) in enumerate(zip(response.shape, voxel_size_um, strict=True)):
        reach = max(1, round(_SPREAD * n * step))
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = reach
        window = [2 * reach + 1 if a == axis else 1 for a in range(3)]
        spread = functional.max_pool3d(functional.pad(spread, pad, mode="circular"), window, 1)
    whole: torch.Tensor = spread[0, 0] + _FLOOR * float(spread.max())
    return whole[:, :, : response.shape[2] // 2 + 1].clone()


def _divided(gradient: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
    """Return H^-1 times a gradient (z, y, x)."""
    spectrum = torch.fft.rfftn(gradient) / transfer
    divided: torch.Tensor = torch.fft.irfftn(spectrum, s=gradient.shape)
    return divided
