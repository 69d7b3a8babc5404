"""Where the light wants the wave vector of each angle, for a contrast that is known.

With r the difference of computed and measured light of an angle, and J its derivative by kx, ky, a
tilt of the field along x and y, and the factor c,

    step = -(J^H J)^-1 J^H r,      covariance  C = (s^2 + m^2 / w) (J^H J)^-1

(Gauss-Newton with the real parts of the products). Tilt and c are unknowns since the empty part of
a field leaves them uncertain; of the step, only that of k is used. s^2 is the variance of the noise
at a frequency, from the rim of the band. What else is in r is the contrast's and the model's error:
m^2 at a frequency after the step, and at its neighbours the same, since it comes from the box,
which is the share w of the field. A step is as much as its accuracy deserves: with T^2 the variance
that the steps of all angles have beyond C, it becomes T^2 (T^2 + C)^-1 step (empirical Bayes).
"""

import math
import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import Stopped
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.scattering.slice_model import Box

__all__ = ["AngleSteps", "angle_steps"]

_DIFFERENCE = 2e-3  # NA/wavelength, over which light is differentiated
_CLEAR = 4.0  # of a squared step over its variance
_FLOOR = 5e-4  # NA/wavelength: what is not known better on noise-free exact spheres


@dataclass(frozen=True, slots=True)
class AngleSteps:
    """The steps of the angles in use and their covariances, (n, 2) and (n, 2, 2), cycles/um."""

    raw: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def common(self) -> NDArray[np.float64]:
        """The mean step (2,); zero where it is not known better than by half."""
        mean = self.raw.mean(axis=0)
        known = float(mean @ mean) > _CLEAR * self._uncertain / len(self.raw)
        return mean if known else np.zeros(2)

    @property
    def single(self) -> NDArray[np.float64]:
        """The steps beside the mean, as far as they are known, (n, 2).

        Zero where they are less than twice what they are uncertain by, all together.
        """
        beside = self.raw - self.raw.mean(axis=0)
        square = float((beside**2).sum(axis=1).mean())
        if square < _CLEAR * self._uncertain:
            return np.zeros_like(beside)
        variance = (square - self._uncertain) / 2
        total = variance * np.eye(2) + self.covariance
        return variance * np.linalg.solve(total, beside[..., None])[..., 0]

    @property
    def _uncertain(self) -> float:
        return float(np.trace(self.covariance, axis1=1, axis2=2).mean())


def angle_steps(
    fields: MeasuredFields,
    box: Box,
    contrast: torch.Tensor,
    k: NDArray[np.float64],
    compared: torch.Tensor,
    stop: threading.Event | None = None,
) -> AngleSteps:
    """Return the steps of the angles in use.

    Parameters
    ----------
    fields : MeasuredFields
    box : Box
    contrast : (z, y, x)
        In the box; of the sign that regularizers are given.
    k : (views, 2) float64
        Wave vectors to start from, cycles/um.
    compared : (views in use, y, x) bool tensor
        Frequencies that count; they must pass the pupil for all k that are tried.
    stop : Event or None

    Raises
    ------
    Stopped
        Soon after ``stop`` is set.
    """
    step = _DIFFERENCE * fields.optics.cutoff
    here = fields.model(box, k)
    beside = [fields.model(box, k + np.array(d), here.grid) for d in ((step, 0.0), (0.0, step))]
    signed, used = fields.sign * contrast, fields.used
    pixels = math.prod(here.field_shape)
    share = math.prod(box.shape[1:]) / pixels
    wave = fields.faded_wave()
    lines = [_line(n, fields.values.device) for n in here.field_shape]
    lines = [lines[1][None, :], lines[0][:, None]]

    def batch(angles: slice) -> tuple[torch.Tensor, ...]:
        if stop is not None and stop.is_set():
            raise Stopped("the refinement was stopped before its end")
        mask = compared[angles]
        made = fields.faded(here.scatter(signed, angles)) * mask
        ahead = [fields.faded(one.scatter(signed, angles)) * mask for one in beside]
        slopes = [(one - made) / step for one in ahead]
        light = fields.light(used[angles])
        rim = torch.where(here.rim(angles), light.abs().square(), torch.nan).flatten(1)
        noise = rim.nanmedian(dim=1).values.nan_to_num() / math.log(2)
        seen = light * mask
        made, seen = made + wave * mask, seen + wave * mask
        factor = (made.conj() * seen).sum(dim=(1, 2)) / made.abs().square().sum(dim=(1, 2))
        made = factor[:, None, None] * made
        rest = (made - seen).flatten(1)
        field = torch.fft.ifft2(made)
        tilts = [1j * torch.fft.fft2(field * line) * mask for line in lines]
        columns = [slope * factor[:, None, None] for slope in slopes]
        columns += [*tilts, made, 1j * made]
        design = torch.stack(columns, dim=1).flatten(2)  # (angles, unknowns, pixels)
        products = torch.einsum("aip,ajp->aij", design.conj(), design).real
        against = torch.einsum("aip,ap->ai", design.conj(), rest).real
        power = rest.abs().square().sum(dim=1)
        return products, against, power, mask.sum(dim=(1, 2)), noise

    parts = (torch.cat(part).double().cpu().numpy() for part in zip(*here.each(batch), strict=True))
    products, against, power, count, noise = parts
    size = np.sqrt(np.einsum("aii->ai", products))
    scaled = products / (size[:, :, None] * size[:, None, :]) + 1e-9 * np.eye(6)
    inverse = np.linalg.inv(scaled) / (size[:, :, None] * size[:, None, :])
    raw = -(inverse @ against[..., None])[:, :, 0]
    left = (power + (against * raw).sum(axis=1)).clip(0) / count  # after the step
    variance = (noise + (left - noise).clip(0) / share) / 2
    floor = (_FLOOR * fields.optics.cutoff) ** 2 / 2 * np.eye(2)
    return AngleSteps(raw[:, :2], variance[:, None, None] * inverse[:, :2, :2] + floor)


def _line(n: int, device: torch.device) -> torch.Tensor:
    """Return n positions from -1 to just below 1, the zero at index 0."""
    line: torch.Tensor = torch.fft.ifftshift((torch.arange(n, device=device) - n // 2) / (n / 2))
    return line
