"""Spots on a DMD that is conjugate to the pupil: a spot's position gives the angle of its light.

A spot of mirrors at p makes a plane wave with k = C (p - centre) / mirrors_per_k in the sample, C
as for gratings. A spot of radius a is a small cone of waves: across the field their sum has the
amplitude 2 J1(q r) / (q r) with q = 2 pi a / mirrors_per_k, so that small spots light the field
evenly and large ones bring more light.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import AngleSet
from acquisition.illumination.gratings import UNCHANGED, Light, Matrix, apply_matrix, inverse_matrix

__all__ = ["PupilGeometry"]

_ONE_SPOT = 2.0  # spot radii; mirrors farther apart (rms) are not a single spot


@dataclass(frozen=True, slots=True)
class PupilGeometry:
    """Maps positions on the DMD to illumination wave vectors.

    Parameters
    ----------
    shape : (rows, columns) of mirrors
    mirrors_per_k : float
        Mirrors that tilt the light by one cycle/um.
    spot_radius : float
        Radius of a spot, in mirrors.
    centre : (x, y) or None
        Position of normal illumination, in mirrors from the first; None: the middle of the DMD.
    correction : ((xx, xy), (yx, yy))
        The matrix C.
    """

    shape: tuple[int, int]
    mirrors_per_k: float
    spot_radius: float
    centre: tuple[float, float] | None = None
    correction: Matrix = UNCHANGED

    def __post_init__(self) -> None:
        inverse_matrix(self.correction)  # raises if it is singular

    @property
    def _middle(self) -> tuple[float, float]:
        rows, columns = self.shape
        return self.centre or ((columns - 1) / 2, (rows - 1) / 2)

    def place(self, kx: float, ky: float) -> tuple[float, float]:
        """Return the spot's position (x, y), in mirrors, for light of (kx, ky) in cycles/um."""
        x, y = apply_matrix(inverse_matrix(self.correction), kx, ky)
        middle = self._middle
        return middle[0] + self.mirrors_per_k * x, middle[1] + self.mirrors_per_k * y

    def wave_vector(self, x: float, y: float) -> tuple[float, float]:
        """Return (kx, ky) in cycles/um of the light from the mirror at (x, y)."""
        middle = self._middle
        tilt_x, tilt_y = (x - middle[0]) / self.mirrors_per_k, (y - middle[1]) / self.mirrors_per_k
        return apply_matrix(self.correction, tilt_x, tilt_y)

    def spot(self, kx: float, ky: float) -> NDArray[np.uint8]:
        """Return the bit plane (rows, columns) of the spot for (kx, ky) in cycles/um."""
        place_x, place_y = self.place(kx, ky)
        rows, columns = self.shape
        y, x = np.arange(rows) - place_y, np.arange(columns) - place_x
        return np.asarray(np.hypot(y[:, None], x) <= self.spot_radius, dtype=np.uint8)

    def light(self, bit_plane: NDArray[np.uint8]) -> Light | None:
        """Return the light of a picture; None if it is dark or shows more than one spot."""
        y, x = np.nonzero(bit_plane)
        if len(x) == 0:
            return None
        across = math.sqrt(float(x.var() + y.var()))
        if across > _ONE_SPOT * self.spot_radius:
            return None
        k = self.wave_vector(float(x.mean()), float(y.mean()))
        radius = math.sqrt(len(x) / math.pi)
        amplitude = len(x) / (math.pi * self.spot_radius**2)
        return Light(k, amplitude, radius / self.mirrors_per_k)

    def check(self, angles: AngleSet) -> None:
        """Raise ConfigurationError if a spot is not entirely on the DMD."""
        rows, columns = self.shape
        for number, (kx, ky) in enumerate(angles.k.tolist()):
            x, y = self.place(kx, ky)
            inside = min(x, y, columns - 1 - x, rows - 1 - y) - self.spot_radius
            if inside < 0:
                raise ConfigurationError(
                    f"the spot of angle {number} must lie on the {rows} x {columns} mirrors of "
                    f"[dmd], its middle is at ({x:.1f}, {y:.1f}) and its radius {self.spot_radius}:"
                    " correct mirrors_per_k or centre, or reduce the scan's angles"
                )
