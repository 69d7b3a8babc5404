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
    *,
    cut: bool = False,
) -> torch.Tensor:
    """Return ``sphere_field`` for each angle, (angles, y, x) complex64.

    It is periodic: light that leaves the frame comes back on the other side. With ``cut`` it is
    lost, as in a camera.
    """
    rows, columns = shape
    size = (2 * rows, 2 * columns) if cut else shape
    fields = [sphere_field(optics, (kx, ky), radius_um, index, size, centre_um) for kx, ky in k]
    top, left = (whole // 2 - n // 2 for whole, n in zip(size, shape, strict=True))
    seen = np.stack(fields)[:, top : top + rows, left : left + columns]
    return torch.as_tensor(seen, dtype=torch.complex64)
