"""Volumes of objects of known size, sampled finely and blurred as an objective blurs them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tests.scans import CELL

__all__ = ["MEDIUM", "VOXEL_UM", "ball", "blurred", "sphere_um3", "together"]

VOXEL_UM = (0.178, 0.107, 0.107)
MEDIUM = CELL.optics.medium_index
_SIGMAS_UM = (0.13, 0.047, 0.047)
_FINER = 2

Field = NDArray[np.float64]
Contrast = Callable[[Field, Field, Field], Field]  # of z, y, x in um


def ball(
    radius_um: float, centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0), height: float = 0.03
) -> Contrast:
    """Return a ball; centre (z, y, x)."""
    cz, cy, cx = centre_um

    def contrast(z: Field, y: Field, x: Field) -> Field:
        return np.float64(height) * ((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius_um**2)

    return contrast


def together(*parts: Contrast) -> Contrast:
    """Return objects beside each other."""
    return lambda z, y, x: np.asarray(sum(part(z, y, x) for part in parts))


def blurred(
    contrast: Contrast, shape: tuple[int, int, int] = (40, 64, 64), noise: float = 3e-4
) -> NDArray[np.float32]:
    """Return the index (z, y, x) of objects, the centre at n//2."""
    z, y, x = (
        ((np.arange(n * _FINER) + 0.5) / _FINER - 0.5 - n // 2) * size_um
        for n, size_um in zip(shape, VOXEL_UM, strict=True)
    )
    fine = contrast(z[:, None, None], y[None, :, None], x[None, None, :])
    fine = np.broadcast_to(fine, [n * _FINER for n in shape]).astype(np.float32)
    blocks = [part for n in shape for part in (n, _FINER)]
    sampled = fine.reshape(blocks).mean((1, 3, 5))
    sigmas = [sigma / size for sigma, size in zip(_SIGMAS_UM, VOXEL_UM, strict=True)]
    seen = ndimage.gaussian_filter(sampled, sigmas)
    seen += np.random.default_rng(0).normal(0, noise, shape)
    return np.asarray(MEDIUM + seen, np.float32)


def sphere_um3(radius_um: float) -> float:
    """Return the volume of a sphere."""
    return 4 / 3 * np.pi * radius_um**3
