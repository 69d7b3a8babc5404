"""The measured fields of a tomogram on their way to the quality check.

A regularizer that knows the scattering needs the fields that a tomogram was made from, and the plan
that made it. The plan is large and follows from little: wave vectors, pixel size, settings. These
are sent, and the receiver makes the plan anew. Imports numpy only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reconstruction.settings import ReconstructionSettings

__all__ = ["LightPlan", "MeasuredLight"]


@dataclass(frozen=True, slots=True)
class LightPlan:
    """What the plan of a reconstruction follows from, beside the optics and the fields' shape.

    Parameters
    ----------
    carrier : (kx, ky)
        Carrier of the reference wave, cycles/um.
    k : tuple of (kx, ky) or None
        Illumination wave vectors, cycles/um; None where there is none.
    unusable, outside, overlapping : tuple of int
        Angles that are not used, as in ``reconstruction.wave_vectors.WaveVectors``.
    left_out : tuple of int
        Angles that this scan was reconstructed without.
    pixel_size_um : (dy, dx)
        Of the fields.
    settings : ReconstructionSettings
    """

    carrier: tuple[float, float]
    k: tuple[tuple[float, float] | None, ...]
    unusable: tuple[int, ...]
    outside: tuple[int, ...]
    overlapping: tuple[int, ...]
    left_out: tuple[int, ...]
    pixel_size_um: tuple[float, float]
    settings: ReconstructionSettings


@dataclass(frozen=True, slots=True)
class MeasuredLight:
    """The fields u/u0 (angles, y, x) complex64 of a tomogram, and its plan."""

    plan: LightPlan
    values: NDArray[np.complex64]
