"""How far the sample is out of focus, from one scan, by the sharpness of the refocused field.

What lies in the plane in focus is seen at the same place from every angle; what lies above or below
it moves sideways from angle to angle. So the scattered fields of all angles, propagated to a depth
z, add up there, and only there:

    S(z) = sum_K |sum_j (u_j/u0_j - 1)^(K) exp(2 pi i z (kz - k0z))|^2 / (n sum_K sum_j |...|^2)

is 1 where they all agree and 1/n for noise; propagation keeps the denominator. A phase object,
which in focus has no amplitude to be sharp, is as clear as any other. One transform an angle, then
a multiplication a depth.
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

RANGE_UM = 12.0  # a cell that is farther out has left a field of 20 um at the steepest angles
_LEAST_PEAK = 2.0  # over the median of the curve; measured 4 to 11 on a cell, bead and cocci


@dataclass(frozen=True, slots=True)
class Focus:
    """Where the sample is sharpest.

    Parameters
    ----------
    distance_um : float
        z of that plane over the plane in focus; the stage has to bring it down by as much.
    depths_um, sharpness : (n,) float64
        The curve S(z).
    """

    distance_um: float
    depths_um: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    @property
    def found(self) -> bool:
        """Whether there is a peak: an empty or overcrowded field has none."""
        return bool(self.sharpness.max() >= _LEAST_PEAK * np.median(self.sharpness))


def find_focus(stack: FieldStack, range_um: float = RANGE_UM) -> Focus:
    """Return the plane in which the fields of all angles agree best.

    Parameters
    ----------
    stack : FieldStack
        u/u0 of one scan.
    range_um : float
        The farthest that is looked at, above and below.

    Raises
    ------
    DataError
        If there are fewer than two angles, which always agree.
    """
    if len(stack.values) < 2:
        raise DataError(f"a focus is found with at least 2 angles, got {len(stack.values)}")
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
    """Return where the parabola through the highest sample and its neighbours is highest."""
    i = int(curve.argmax())
    if i in (0, len(curve) - 1):
        return float(depths[i])
    before, here, after = curve[i - 1 : i + 2]
    bend = before - 2 * here + after
    return float(depths[i] + (depths[1] - depths[0]) * (before - after) / (2 * bend))
