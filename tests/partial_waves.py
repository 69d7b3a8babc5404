"""Exactly scattered light of spheres, for all angles of a scan at once.

The partial waves are in ``acquisition.simulation.partial_waves``, which shares nothing with the
models of scattering that are tested.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.optics import Optics
from acquisition.simulation.partial_waves import sphere_field

__all__ = ["cut_sphere_fields", "sphere_field", "sphere_fields"]


def cut_sphere_fields(
    optics: Optics,
    k: NDArray[np.float64],
    radius_um: float,
    index: float,
    shape: tuple[int, int],
    centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> torch.Tensor:
    """Return fields as a camera sees them: light that leaves the frame is lost.

    ``sphere_fields`` are periodic: there it comes back on the other side.
    """
    rows, columns = shape
    wide = sphere_fields(optics, k, radius_um, index, (2 * rows, 2 * columns), centre_um)
    top, left = rows - rows // 2, columns - columns // 2
    return wide[:, top : top + rows, left : left + columns]


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
