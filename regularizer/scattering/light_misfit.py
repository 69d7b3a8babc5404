"""How far the light of a contrast is from the measured light, and the gradient of that.

    1/2 sum over angles |P W (c (1 + S(f)) - u/u0)|^2,    P the pupil, S the multi-slice model

W fades light out at the frame's rim, where light that runs out of the frame has made the measured
fields ring (``MeasuredFields.faded``).

c is a plane wave near 1 for each angle, the best one for each f: the power, phase and tilt of the
light, which are uncertain where an object leaves little of the field empty. It multiplies the whole
field and is decided by the empty part, so that it does not compensate a contrast that is too weak.

Misfits are given relative to the measured scattered light: |P W (...)| / |P W (u/u0 - 1)|. That of
the truth is the noise, which is known from the rim of the retrieved band: no light of the sample
reaches it.
"""

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import Stopped
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.scattering.slice_model import Box

__all__ = ["Light", "LightMisfit"]

_LARGEST_CHANGE = 0.8  # of c from 1; a cell that fills much of the field needs 0.5
_LARGEST_TILT = 0.8  # rad from the centre of the frame to its border; such a cell needs 0.3
_ROUNDS = 3  # of Gauss-Newton, for both

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a contrast, its difference from the measured one, and the relative misfit.

    Both are transforms (views in use, y, x); the difference is faded out at the frame's rim.
    ``wave`` is c (views in use, y, x), the zero of position at index 0.
    """

    scattered: torch.Tensor
    difference: torch.Tensor
    misfit: float
    wave: torch.Tensor


class LightMisfit:
    """The misfit of contrasts in a box.

    Parameters
    ----------
    fields : MeasuredFields
    box : Box
        Contrast outside it is zero.
    stop : Event or None
        Ends a computation with Stopped.
    k : (views, 2) float64 or None
        Other wave vectors than those of the fields' plan.
    compared : (views in use, y, x) bool tensor or None
        The frequencies that count; None: all that pass the pupil.
    tilts : bool
        Whether c has a tilt. Where wave vectors are unknown, too, it takes part of their change.

    Attributes
    ----------
    noise : float
        Relative misfit that noise alone makes.
    at_rim : float
        Mean power of the scattered light at the frame's rim over that in the whole frame, without
        that of the noise. 1: light fills the frame, and nothing says how much of it is lost.
    measured : float
        Norm of the measured scattered light, over pixels and views in use.

    Raises
    ------
    DataError
        If the sample was rotated in front of the light.
    """

    def __init__(
        self,
        fields: MeasuredFields,
        box: Box,
        stop: threading.Event | None = None,
        *,
        k: NDArray[np.float64] | None = None,
        compared: torch.Tensor | None = None,
        tilts: bool = True,
    ) -> None:
        self._stop, self._compared = stop, compared
        self.box, self.model, self._sign = box, fields.model(box, k), fields.sign
        self._fields = fields
        self._pixels = math.prod(self.model.field_shape)
        self._mask: dict[int, torch.Tensor] = {}
        self._fade = fields.fade
        y, x = (_line(n, fields.values.device) for n in self.model.field_shape)
        one = torch.ones_like(self._fade)
        across = [one, one * y[:, None], one * x]
        self._across = torch.stack(across if tilts else across[:1])  # (3 or 1, y, x)
        products = self._across[:, None] * self._across * self._fade.square()
        self._products = products.flatten(2)  # (3 or 1, 3 or 1, pixels)
        power, noise = (sum(part) for part in zip(*self._each(self._take), strict=True))
        self.measured = math.sqrt(power / self._pixels)
        self.noise = math.sqrt(noise / max(power, 1e-30))
        pixels = float(self._fade.square().sum()) * len(self.model)
        self.at_rim = fields.at_rim(noise / self._pixels / pixels)

    def _take(self, angles: slice) -> tuple[float, float]:
        """Keep the measured light of a batch; return its power, and the noise's share of that."""
        light = self._fields.light(self._fields.used[angles])
        pupil, rim = self.model.pupil(angles), self.model.rim(angles)
        if self._compared is not None:
            pupil = pupil & self._compared[angles]
        power = torch.where(rim, light.abs().square(), torch.nan).flatten(1)
        # the median of squares of complex noise is ln 2 of their mean; strays do not move it
        density = power.nanmedian(dim=1).values.nan_to_num() / math.log(2)
        noise = float((density * pupil.sum(dim=(1, 2))).sum())
        light = light * pupil
        self._mask[angles.start] = pupil
        return float(light.abs().square().sum()), noise

    def light(self, contrast: torch.Tensor) -> Light:
        """Return the light that a contrast (z, y, x) in the box scatters, and its misfit."""

        def batch(angles: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
            scattered = self.model.scatter(self._sign * contrast, angles)
            return scattered, *self._difference(scattered, angles)

        scattered, waves, differences, squares = zip(*self._each(batch), strict=True)
        misfit = self._relative(squares)
        return Light(torch.cat(scattered), torch.cat(differences), misfit, torch.cat(waves))

    def gradient(self, contrast: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Return the relative misfit, and the gradient (z, y, x) of half its square.

        That of half the sum of squares is ``measured`` squared times it.
        """

        def batch(angles: slice) -> tuple[torch.Tensor, float]:
            signed = self._sign * contrast
            scattered, tape = self.model.record(signed, angles)
            wave, difference, value = self._difference(scattered, angles)
            back = torch.fft.fft2(torch.fft.ifft2(difference) * self._fade * wave.conj())
            return self.model.pull_back(signed, angles, tape, back), value

        parts = self._each(batch)
        scale = self._sign / (self._pixels * self.measured**2)
        total = torch.stack([one for one, _ in parts]).sum(dim=0)
        return self._relative(value for _, value in parts), total * scale

    def point_response(self) -> torch.Tensor:
        """Return J^T J of a unit contrast in the middle voxel of an empty box, (z, y, x).

        J is the derivative of the scattered light over ``measured``, at no contrast.
        """
        tiny = 1e-3  # the model is linear there to a part in 1e4
        point = torch.zeros(self.box.shape, device=self.model.device)
        point[tuple(n // 2 for n in self.box.shape)] = tiny
        empty = torch.zeros_like(point)

        def batch(angles: slice) -> torch.Tensor:
            _, tape = self.model.record(empty, angles)
            return self.model.pull_back(empty, angles, tape, self.model.scatter(point, angles))

        total = torch.stack(self._each(batch)).sum(dim=0)
        return total / (tiny * self._pixels * self.measured**2)

    def _each(self, work: Callable[[slice], _Result]) -> list[_Result]:
        """Return ``model.each``, which ends soon after ``stop`` is set."""

        def checked(angles: slice) -> _Result:
            if self._stop is not None and self._stop.is_set():
                raise Stopped("the scattering was stopped before its end")
            return work(angles)

        return self.model.each(checked)

    def _relative(self, squares: Iterable[float]) -> float:
        return math.sqrt(sum(squares) / self._pixels) / max(self.measured, 1e-30)

    def _difference(
        self, scattered: torch.Tensor, angles: slice
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Return c (angles, y, x), P W (c (1 + S) - u/u0), and the sum of its squares."""
        made = torch.fft.ifft2(scattered) + 1
        seen = self._fields.values[torch.as_tensor(self._fields.used[angles])]
        seen = torch.fft.ifftshift(seen, dim=(1, 2))
        wave = self._plane_wave(made, seen)
        # in space: in the transform the empty field would cancel, at frequency zero, in large part
        difference = torch.fft.fft2((wave * made - seen) * self._fade) * self._mask[angles.start]
        return wave, difference, float(difference.abs().square().sum())

    def _plane_wave(self, made: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Return the plane wave that takes computed to measured fields, (angles, y, x).

        By Gauss-Newton steps in the logarithm of its amplitude, its phase and its tilt.
        """
        across = self._across
        plane = made.real.new_zeros((len(made), len(across)))  # phase, along y, along x
        growth = made.real.new_zeros(len(made))
        wave = torch.ones_like(made)
        for _ in range(_ROUNDS):
            here = wave * made
            power = here.abs().square().flatten(1)
            towards = here.conj() * (seen - here) * self._fade.square()
            normal = torch.einsum("ap,ijp->aij", power, self._products)
            wanted = torch.einsum("ayx,iyx->ai", towards.imag, across)
            plane = plane + torch.linalg.solve(normal, wanted)
            growth = growth + towards.real.sum(dim=(1, 2)) / normal[:, 0, 0]
            plane[:, 1:].clamp_(-_LARGEST_TILT, _LARGEST_TILT)
            plane[:, 0].clamp_(-_LARGEST_CHANGE, _LARGEST_CHANGE)
            growth.clamp_(-_LARGEST_CHANGE, _LARGEST_CHANGE)
            turn = torch.einsum("ai,iyx->ayx", plane, across)
            wave = torch.polar(growth.exp()[:, None, None].expand_as(turn).contiguous(), turn)
        return wave


def _line(n: int, device: torch.device) -> torch.Tensor:
    """Return n positions from -1 to just below 1, the zero at index 0."""
    line: torch.Tensor = torch.fft.ifftshift((torch.arange(n, device=device) - n // 2) / (n / 2))
    return line
