"""Illumination angles as data: transverse wave vectors (kx, ky) in cycles/um, in scan order.

|k_t| <= NA / wavelength. No code may assume that a particular frame is the normal one; if a set has
a normal angle, ``AngleSet.normal`` is its index.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from acquisition.illumination.angle_files import read_wave_vectors
from acquisition.optics import Optics

__all__ = [
    "PRESETS",
    "AngleSet",
    "Preset",
    "angles_from_file",
    "check_wave_vectors",
    "circular_scan",
    "grid_scan",
    "preset",
    "spiral_scan",
]

_ALONG_AXIS = 1e-6  # cycles/um; smaller |k| is rounding
_PUPIL_MARGIN = 1.05  # measured wave vectors may lie slightly outside
_TOO_MANY = 0.25  # of the wave vectors; with more outside the pupil, the unit is probably wrong


@dataclass(frozen=True, slots=True)
class AngleSet:
    """Planned illumination wave vectors of one scan.

    Parameters
    ----------
    k : (angles, 2) float64
        kx, ky in cycles/um, in scan order.
    normal : int or None
        Index of the angle along the optical axis, if the set has one.
    """

    k: NDArray[np.float64]
    normal: int | None = None

    def __post_init__(self) -> None:
        k = np.array(self.k, dtype=np.float64)  # own copy, made read-only below
        if k.ndim != 2 or k.shape[1] != 2 or len(k) == 0 or not np.isfinite(k).all():
            raise ConfigurationError(
                f"an angle set must have finite (kx, ky) rows, shape (angles, 2), got {k.shape}"
            )
        if self.normal is not None and not 0 <= self.normal < len(k):
            raise ConfigurationError(
                f"normal must name one of the {len(k)} angles (from 0), got {self.normal}"
            )
        k.setflags(write=False)
        object.__setattr__(self, "k", k)

    def __len__(self) -> int:
        return len(self.k)

    def check_within(self, optics: Optics) -> None:
        """Raise ConfigurationError if an angle is steeper than the objective accepts."""
        radius = np.hypot(*self.k.T)
        steepest = int(np.argmax(radius))
        if radius[steepest] > optics.cutoff * (1 + 1e-9):
            raise ConfigurationError(
                f"|k| of every angle must be at most NA/wavelength = {optics.cutoff:.4f} cycles/um,"
                f" angle {steepest} has {radius[steepest]:.4f}: choose a smaller scan radius"
            )


def check_wave_vectors(k: NDArray[np.float64], optics: Optics) -> None:
    """Refuse wave vectors (angles, 2) from a file that cannot have passed the objective.

    Single ones outside the pupil are accepted: the fringes show where their light really is.

    Raises
    ------
    ConfigurationError
        If a quarter of them or more are outside; the message suggests the unit.
    """
    length = np.hypot(*AngleSet(k).k.T)
    outside = length > _PUPIL_MARGIN * optics.cutoff
    if outside.mean() < _TOO_MANY:
        return
    longest = float(length.max())
    if longest <= 2 * math.pi * _PUPIL_MARGIN * optics.cutoff and longest > 1.5 * optics.cutoff:
        hint = "give k in cycles/um, not rad/um (divide by 2 pi)"
    elif longest <= optics.k_medium:
        hint = f"with them numerical_aperture is at least {longest * optics.wavelength_um:.2f}"
    else:
        hint = "give k in cycles/um, not in degrees or 1/m, and check wavelength and NA"
    raise ConfigurationError(
        f"|k| must be within NA/wavelength = {optics.cutoff:.3f} cycles/um, got {longest:.3f} and "
        f"{outside.sum()} of {len(k)} outside: {hint}"
    )


def circular_scan(angles: int, radius: float) -> AngleSet:
    """Return the normal angle and ``angles - 1`` on a circle of |k| = radius (cycles/um)."""
    turn = 2 * math.pi * np.arange(angles - 1) / (angles - 1)
    ring = radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return AngleSet(np.concatenate([np.zeros((1, 2)), ring]), normal=0)


def spiral_scan(angles: int, radius: float) -> AngleSet:
    """Return a Fermat spiral from the axis out to |k| = radius, of even density in the pupil."""
    index = np.arange(angles)
    turn = index * math.pi * (3 - math.sqrt(5))
    length = radius * np.sqrt(index / max(angles - 1, 1))
    return AngleSet(np.stack([length * np.cos(turn), length * np.sin(turn)], axis=1), normal=0)


def grid_scan(across: int, radius: float) -> AngleSet:
    """Return a square grid of ``across`` points along kx and ky, within |k| = radius (cycles/um).

    Every other row is reversed, so that neighbours in the scan are neighbours in the pupil.
    """
    line = np.linspace(-radius, radius, across)
    rows = [np.stack([line[:: 1 - 2 * (i % 2)], np.full(across, ky)], axis=1)
            for i, ky in enumerate(line)]  # fmt: skip
    k = np.concatenate(rows)
    return _with_normal(k[np.hypot(*k.T) <= radius * (1 + 1e-9)])


def angles_from_file(path: Path) -> AngleSet:
    """Return the angles in a file of kx, ky in cycles/um (``illumination.angle_files``).

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a line is not two numbers.
    """
    return _with_normal(read_wave_vectors(path))


def _with_normal(k: NDArray[np.float64]) -> AngleSet:
    """Return the angle set with the angle along the axis marked as normal, if there is one."""
    along = [i for i, (kx, ky) in enumerate(k) if math.hypot(kx, ky) < _ALONG_AXIS]
    return AngleSet(k, along[0] if along else None)


@dataclass(frozen=True, slots=True)
class Preset:
    """A named optical configuration: optics and matching angles."""

    optics: Optics
    angles: AngleSet


def _cell() -> Preset:
    optics = Optics(0.532, 1.2, 1.337, 0.08)
    return Preset(optics, circular_scan(49, 0.9 * optics.cutoff))


def _bacteria() -> Preset:
    optics = Optics(0.532, 0.8, 1.337, 0.12)
    return Preset(optics, spiral_scan(71, 0.95 * optics.cutoff))


PRESETS: dict[str, Callable[[], Preset]] = {"cell": _cell, "bacteria": _bacteria}


def preset(name: str) -> Preset:
    """Return the preset ``cell`` (the paper's HT-2H, NA 1.2) or ``bacteria`` (NA 0.8)."""
    if name not in PRESETS:
        raise ConfigurationError(f"preset must be one of {sorted(PRESETS)}, got {name!r}")
    return PRESETS[name]()
