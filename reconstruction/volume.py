"""The grid of a tomogram, and the finer one on which its k-space is sampled.

A volume's lateral size is a whole number of the fields' pixels, so that the frequencies of a field,
cut or padded to that size, are frequencies of the volume. Along axes on which samples lie between
voxels of k-space (Kz; all that a rotation moves), ``oversampling`` makes that grid finer: the
volume is computed larger, and its middle is kept.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from reconstruction.settings import ReconstructionSettings
from reconstruction.views import Views

__all__ = ["VolumeGrid", "plan_volume"]

Shape = tuple[int, int, int]
_SLICES = 64
_ROTATED_OVERSAMPLING = 3  # docs/accuracy.md: 2 leaves 0.01 of the correlation, 4 gains 0.002


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Where a tomogram is, and how its k-space is sampled.

    Parameters
    ----------
    shape : (z, y, x)
    voxel_size_um : (dz, dy, dx)
    fine_shape : (z, y, x)
        Of the volume as computed, of which the middle ``shape`` is kept.
    window : (y, x)
        To how many pixels a field is cut or padded: the lateral size of the computed volume.
    between : (z, y, x) of bool
        Along which axes samples lie between voxels of k-space.
    """

    shape: Shape
    voxel_size_um: tuple[float, float, float]
    fine_shape: Shape
    window: tuple[int, int]
    between: tuple[bool, bool, bool]

    @property
    def extent_um(self) -> tuple[float, float, float]:
        """Size of the computed volume; its inverse is the step in k-space."""
        z, y, x = (n * d for n, d in zip(self.fine_shape, self.voxel_size_um, strict=True))
        return z, y, x

    @property
    def oversampled(self) -> bool:
        """Whether the computed volume is larger than the tomogram."""
        return self.fine_shape != self.shape


def plan_volume(settings: ReconstructionSettings, views: Views) -> VolumeGrid:
    """Choose the grid of the volume.

    Raises
    ------
    ConfigurationError
        If the z step does not sample the caps.
    """
    optics, rotations = views.optics, views.rotations
    between = _between(rotations)
    factor = settings.oversampling or (1 if rotations is None else _ROTATED_OVERSAMPLING)
    factors = [factor if off_grid else 1 for off_grid in between]
    lateral = [
        _lateral(
            settings, axis, views.field_shape[axis], views.pixel_size_um[axis], factors[axis + 1]
        )
        for axis in range(2)
    ]
    (y, dy, window_y), (x, dx, window_x) = lateral
    dz = settings.dz_um or (optics.axial_resolution_um / 2 if rotations is None else dx)
    if dz > optics.axial_resolution_um * 1.001:
        raise ConfigurationError(
            f"the z step must be at most Lauer's axial resolution "
            f"{optics.axial_resolution_um:.3f} um, got {dz:.3f} um"
        )
    z = settings.slices or (_SLICES if rotations is None else max(y, x))
    fine = (factors[0] * z, factors[1] * y, factors[2] * x)
    return VolumeGrid((z, y, x), (dz, dy, dx), fine, (window_y, window_x), between)


def _between(rotations: NDArray[np.float64] | None) -> tuple[bool, bool, bool]:
    """Return along which of z, y, x the samples leave the grid; a rotation's own axis is kept."""
    if rotations is None:
        return True, False, False
    kept = [bool(np.allclose(rotations[:, i], np.eye(3)[i], atol=1e-9)) for i in (1, 0)]
    return True, not kept[0], not kept[1]


def _lateral(
    settings: ReconstructionSettings, axis: int, pixels: int, pixel_um: float, factor: int
) -> tuple[int, float, int]:
    """Return number and size of the voxels along y (axis 0) or x, and the window in pixels."""
    wanted = settings.size_um[axis] if settings.size_um else pixels * pixel_um
    window = max(2, 2 * round(wanted / pixel_um / 2)) if settings.size_um else pixels
    if settings.voxel_um is None:
        return window, pixel_um, factor * window
    size = window * pixel_um
    count = 2 * scipy.fft.next_fast_len(max(1, math.ceil(size / settings.voxel_um / 2)))
    return count, size / count, factor * window
