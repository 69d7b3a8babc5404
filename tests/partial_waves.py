"""Exactly scattered light of spheres, for all angles of a scan at once.

The partial waves are in ``acquisition.simulation.partial_waves``, which shares nothing with the
models of scattering that are tested.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.optics import Optics
from acquisition.simulation.partial_waves import sphere_field

__all__ = ["sphere_field", "sphere_fields"]


def sphere_fields(
    optics: Optics,
    k: NDArray[np.float64],
    radius_um: float,
    index: float,
    shape: tuple[int, int],
    centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> torch.Tensor:
    """Return ``sphere_field`` for each angle, (angles, y, x) complex64."""
    fields = [sphere_field(optics, (kx, ky), radius_um, index, shape, centre_um) for kx, ky in k]
    return torch.as_tensor(np.stack(fields), dtype=torch.complex64)
