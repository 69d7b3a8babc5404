"""Volumes cut out of larger ones, and their spectra on another grid of the same extent.

A volume is periodic to a Fourier transform. One that was cut out of a larger field is not the same
on opposite faces, and the jump would show as power along the axes. An apron fades it out.

Networks and parameters of total variation are made for voxels of wavelength / (4 NA) by half of the
axial resolution. A grid of the same extent in k-space with more or fewer voxels is a matter of
cutting or padding the spectrum, without interpolation.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from acquisition.optics import Optics
from reconstruction.finished.scan_caps import Shape, VoxelSize
from reconstruction.transform_sizes import fast_size

__all__ = ["apron_of", "computed_shape", "resampled", "with_apron"]

_APRON_UM = 2.0
_JUMP = 3.0  # opposite faces differ by so much more than neighbouring planes
_WIDTH = 0.2475  # in wavelengths over NA: the voxels that networks were trained on
_NEAR = 0.1  # a grid this near to the wanted one is kept
_FEWEST = 16  # voxels along an axis
_COARSEST = 10.0  # of a voxel, over that of the grid: more is a wrong unit
_MOST = 64.0  # of the grid's voxels, over those of the volume


def apron_of(contrast: NDArray[np.float64], voxel_size_um: VoxelSize) -> tuple[int, int, int]:
    """Return how many voxels to add on both sides of each axis; 0 where opposite faces agree."""
    found = []
    for axis, size in enumerate(voxel_size_um):
        planes = np.moveaxis(contrast, axis, 0)
        jump = _rms(planes[-1] - planes[0])
        steps = max(_rms(planes[1] - planes[0]), _rms(planes[-1] - planes[-2]), 1e-9)
        found.append(math.ceil(_APRON_UM / size) if jump > _JUMP * steps else 0)
    z, y, x = found
    return z, y, x


def with_apron(contrast: NDArray[np.float64], apron: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the contrast with aprons that fall linearly to zero; the centre stays at n//2."""
    if not any(apron):
        return contrast
    return np.pad(contrast, [(n, n) for n in apron], mode="linear_ramp", end_values=0)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def computed_shape(shape: Shape, voxel_size_um: VoxelSize, optics: Optics) -> Shape:
    """Return the shape of the grid that a volume is regularized on, of the same extent.

    Raises
    ------
    ConfigurationError
        If the voxels are far too coarse for the optics.
    """
    width = _WIDTH * optics.wavelength_um / optics.aperture
    wanted = (optics.axial_resolution_um / 2, width, width)
    ratios = [size / goal for size, goal in zip(voxel_size_um, wanted, strict=True)]
    if max(ratios) > _COARSEST or math.prod(ratios) > _MOST:
        size = " x ".join(f"{length:g}" for length in voxel_size_um)
        raise ConfigurationError(
            f"a scan with NA {optics.numerical_aperture:.3g} and {optics.wavelength_um:g} um must "
            f"be sampled about every {width:.2g} um across and {wanted[0]:.2g} um along z, "
            f"got voxels of {size} um: check --volume-um, in micrometres, and the optics"
        )
    z, y, x = (
        n if abs(size / goal - 1) <= _NEAR and n >= _FEWEST else _even(n * size / goal)
        for n, size, goal in zip(shape, voxel_size_um, wanted, strict=True)
    )
    return z, y, x


def _even(count: float) -> int:
    return max(_FEWEST, 2 * fast_size(max(1, math.ceil(count / 2 - 1e-6))))


def resampled(values: torch.Tensor, held: Shape, wanted: Shape) -> torch.Tensor:
    """Return a half spectrum of a volume of shape ``held`` for one of shape ``wanted``.

    Works on values and, as float, on a mask. Frequencies that both grids have on both sides of zero
    are kept; that of an even number of voxels which stands for both signs is not.
    """
    if held == wanted:
        return values
    made = values.new_zeros((wanted[0], wanted[1], wanted[2] // 2 + 1))
    (z, y), x = (_shared(held[a], wanted[a]) for a in (0, 1)), _shared(held[2], wanted[2]) + 1
    for rows in _sides(z):
        for columns in _sides(y):
            made[rows, columns, :x] = values[rows, columns, :x]
    return made


def _shared(held: int, wanted: int) -> int:
    """Return the highest frequency that both grids have with both signs."""
    return (min(held, wanted) - 1) // 2


def _sides(highest: int) -> tuple[slice, ...]:
    """Return the indices of the frequencies from 0 up, and of the negative ones."""
    return (slice(0, highest + 1), slice(-highest, None)) if highest else (slice(0, 1),)
