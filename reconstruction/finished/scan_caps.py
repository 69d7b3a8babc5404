"""The part of k-space that a scan measures, from the optics alone.

Illumination (k0t, k0z), |k0| = k = n_m / wavelength, measures the cap |K + k0| = k, K_z > -k0z,
whose transverse frequencies pass the objective: |K_t + k0t| <= NA / wavelength (Wolf 1969). A scan
on a circle |k0t| = r has such a cap for every direction. Written in K_t = |(K_x, K_y)| and K_z,

    cos = -(K_t^2 + K_z^2 + 2 K_z k0z) / (2 K_t r)         between -1 and 1
    |K_t + k0t|^2 = r^2 - K_z^2 - 2 K_z k0z                at most (NA / wavelength)^2

and the same for -K, since the contrast is real. What is left out is the missing cone about the K_z
axis. A circle at 0.9 of the aperture covers 87 % of what a spiral of 71 angles measures, one at the
aperture's rim all of it.
"""

import itertools
import math

import torch

from acquisition.errors import ConfigurationError
from acquisition.optics import Optics

__all__ = ["ILLUMINATION_SHARE", "circle_caps", "lateral_frequencies"]

ILLUMINATION_SHARE = 0.9  # of the objective's NA: the circle of DMD scans and of the presets
_OFFSETS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # of a voxel: one that a cap touches is measured

Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


def circle_caps(
    shape: Shape, voxel_size_um: VoxelSize, optics: Optics, illumination_aperture: float | None
) -> torch.Tensor:
    """Return which voxels of a half spectrum a scan on a circle measures.

    Parameters
    ----------
    shape : (z, y, x)
        Shape of the real volume.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    illumination_aperture : float or None
        n_m times the sine of the light's angle to the axis; None: 0.9 of the objective's NA.

    Returns
    -------
    (z, y, x//2 + 1) bool tensor

    Raises
    ------
    ConfigurationError
        If the illumination is steeper than the objective accepts.
    """
    aperture = illumination_aperture or ILLUMINATION_SHARE * optics.aperture
    if not 0 < aperture <= optics.aperture * (1 + 1e-9):
        raise ConfigurationError(
            f"the illumination's aperture must be above 0 and at most the objective's, "
            f"{optics.aperture:g}, got {aperture:g}: leave it out for "
            f"{ILLUMINATION_SHARE * optics.aperture:.3g}"
        )
    radius = aperture / optics.wavelength_um
    axial = torch.fft.fftfreq(shape[0], voxel_size_um[0], dtype=torch.float64)
    table, step = _by_radius(axial, shape, voxel_size_um, radius, optics)
    at = (lateral_frequencies(shape, voxel_size_um) / step).round().long()
    return table[:, at]


def lateral_frequencies(shape: Shape, voxel_size_um: VoxelSize) -> torch.Tensor:
    """Return |K_t| of the columns of a half spectrum, (y, x//2 + 1) float64, in cycles/um."""
    ky = torch.fft.fftfreq(shape[1], voxel_size_um[1], dtype=torch.float64)
    kx = torch.fft.rfftfreq(shape[2], voxel_size_um[2], dtype=torch.float64)
    return torch.hypot(ky[:, None], kx)


def _by_radius(
    axial: torch.Tensor, shape: Shape, voxel_size_um: VoxelSize, radius: float, optics: Optics
) -> tuple[torch.Tensor, float]:
    """Return what is measured by K_z and steps of |K_t|, (z, steps) bool, and the step."""
    extents = [n * d for n, d in zip(shape, voxel_size_um, strict=True)]
    voxel = 1 / max(extents[1:])
    step = voxel / 4
    highest = math.hypot(0.5 / voxel_size_um[1], 0.5 / voxel_size_um[2])
    lateral = torch.arange(math.ceil(highest / step) + 2, dtype=torch.float64) * step
    found = torch.zeros((len(axial), len(lateral)), dtype=torch.bool)
    for up, out, sign in itertools.product(_OFFSETS, _OFFSETS, (1, -1)):
        kz = sign * (axial[:, None] + up / extents[0])
        found |= _on_cap((lateral + out * voxel).clamp_min(0), kz, radius, optics)
    return found, step


def _on_cap(kt: torch.Tensor, kz: torch.Tensor, radius: float, optics: Optics) -> torch.Tensor:
    k0z = optics.axial_frequency(radius, 0.0)
    passed = radius**2 - kz**2 - 2 * kz * k0z
    touched = (kt**2 + kz**2 + 2 * kz * k0z).abs() <= 2 * kt * radius
    return touched & (passed <= optics.cutoff**2) & (kz > -k0z)
