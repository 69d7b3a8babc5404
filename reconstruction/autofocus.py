"""Autofocus from one scan, by the sharpness of the numerically refocused field.

An object in the plane in focus appears at the same position from every angle; one above or below it
shifts sideways from angle to angle. So the scattered fields of all angles, propagated to a depth z,
add up only if the object is there:

    S(z) = sum_K |sum_j (u_j/u0_j - 1)^(K) exp(2 pi i z (kz - k0z))|^2 / (n sum_K sum_j |...|^2)

is 1 where all agree and 1/n for noise; propagation does not change the denominator. It works for
phase objects, which have no amplitude contrast in focus. The cost is one transform per angle and
one multiplication per depth.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from reconstruction.fields import FieldStack
from reconstruction.focus import axial_frequencies
from reconstruction.geometry import Views

__all__ = ["RANGE_UM", "Focus", "find_focus"]

RANGE_UM = 12.0  # farther out, a cell leaves a field of 20 um at the steepest angles
_LEAST_PEAK = 2.0  # over the median of the curve; measured 4 to 11 on a cell, bead and cocci


@dataclass(frozen=True, slots=True)
class Focus:
    """The depth at which the sample is sharpest.

    Parameters
    ----------
    distance_um : float
        z of that plane relative to the plane in focus; the stage must lower the sample by this.
    depths_um, sharpness : (n,) float64
        The curve S(z).
    """

    distance_um: float
    depths_um: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    @property
    def found(self) -> bool:
        """Whether the curve has a clear peak; an empty or overcrowded field has none."""
        return bool(self.sharpness.max() >= _LEAST_PEAK * np.median(self.sharpness))


def find_focus(stack: FieldStack, range_um: float = RANGE_UM) -> Focus:
    """Return the plane in which the fields of all angles agree best.

    Parameters
    ----------
    stack : FieldStack
        u/u0 of one scan.
    range_um : float
        Range searched above and below the plane in focus.

    Raises
    ------
    DataError
        If there are fewer than two angles.
    """
    if len(stack.values) < 2:
        raise DataError(f"autofocus needs at least 2 angles, got {len(stack.values)}")
    axial, passed = axial_frequencies(Views.of(stack))
    device = stack.values.device
    step = stack.optics.axial_resolution_um
    steps = math.ceil(range_um / step)
    depths = np.arange(-steps, steps + 1, dtype=np.float64) * step
    turns = torch.tensor(axial * step, dtype=torch.float32, device=device)
    turn = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    light = torch.fft.fft2(stack.values - 1) * torch.tensor(passed, device=device)
    energy = float(light.abs().square().sum()) * len(light)
    light *= torch.polar(torch.ones_like(turns), -2 * math.pi * steps * turns)
    sharpness = []
    for _ in depths:
        sharpness.append(float(light.sum(dim=0).abs().square().sum()) / max(energy, 1e-30))
        light *= turn
    curve = np.array(sharpness, dtype=np.float64)
    return Focus(_peak(depths, curve), depths, curve)


def _peak(depths: NDArray[np.float64], curve: NDArray[np.float64]) -> float:
    """Return the depth of the vertex of the parabola through the highest sample and neighbours."""
    i = int(curve.argmax())
    if i in (0, len(curve) - 1):
        return float(depths[i])
    before, here, after = curve[i - 1 : i + 2]
    bend = before - 2 * here + after
    return float(depths[i] + (depths[1] - depths[0]) * (before - after) / (2 * bend))
