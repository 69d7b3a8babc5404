"""The recording geometry of a set of fields, from which every plan is made."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from reconstruction.fields import FieldPlan, FieldStack
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors

__all__ = ["Views"]

_NO_CARRIER = (np.inf, np.inf)  # so far away that no conjugate reaches the sideband


@dataclass(frozen=True, slots=True)
class Views:
    """The geometry of the fields of one scan.

    Parameters
    ----------
    vectors : WaveVectors
        Illumination wave vectors; views marked unusable are left out of plans.
    optics : Optics
    field_shape : (y, x)
    pixel_size_um : (dy, dx) of the fields
    rotations : (views, 3, 3) float64 or None
        Rotation of the sample in each view: its point (x, y, z) lies at R (x, y, z) in the frame
        whose z is the optical axis. None: no rotation.
    """

    vectors: WaveVectors
    optics: Optics
    field_shape: tuple[int, int]
    pixel_size_um: tuple[float, float]
    rotations: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, stack: FieldStack) -> "Views":
        """Return the geometry of fields retrieved elsewhere, which have no carrier.

        Without a carrier no folded conjugate sideband overlaps them, and all views are usable.
        """
        shape = (stack.values.shape[1], stack.values.shape[2])
        vectors = WaveVectors(_NO_CARRIER, stack.k, ())
        return cls(vectors, stack.optics, shape, stack.pixel_size_um, stack.rotations)

    @classmethod
    def of_background(cls, background: InterferogramStack) -> "Views":
        """Return the geometry of scans over a background; plans nothing else.

        Raises
        ------
        DataError
            If it shows no fringes.
        """
        vectors, optics = find_wave_vectors(background), background.optics
        rows, columns = background.frames.shape[1:]
        fields = FieldPlan((rows, columns), optics, vectors.carrier, torch.device("cpu"))
        return cls(vectors, optics, fields.shape, fields.pixel_size_um, background.rotations)

    def __len__(self) -> int:
        return len(self.vectors.k)
