"""What a set of fields was taken with: the geometry that every plan starts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acquisition.optics import Optics
from reconstruction.fields import FieldStack
from reconstruction.wave_vectors import WaveVectors

__all__ = ["Views"]

_NO_CARRIER = (np.inf, np.inf)  # whose conjugate could reach the sideband


@dataclass(frozen=True, slots=True)
class Views:
    """The geometry of the fields of one scan.

    Parameters
    ----------
    vectors : WaveVectors
        Illumination wave vectors; unusable views are left out.
    optics : Optics
    field_shape : (y, x)
    pixel_size_um : (dy, dx) of the fields
    rotations : (views, 3, 3) float64 or None
        How each view is turned: a point (x, y, z) of the sample lies at R (x, y, z) in the frame of
        the view, whose z is the optical axis.
    """

    vectors: WaveVectors
    optics: Optics
    field_shape: tuple[int, int]
    pixel_size_um: tuple[float, float]
    rotations: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, stack: FieldStack) -> "Views":
        """Return the geometry of fields that no camera of ours has interfered."""
        shape = (stack.values.shape[1], stack.values.shape[2])
        vectors = WaveVectors(_NO_CARRIER, stack.k, ())
        return cls(vectors, stack.optics, shape, stack.pixel_size_um, stack.rotations)

    def __len__(self) -> int:
        return len(self.vectors.k)
