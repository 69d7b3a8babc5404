"""The part of k-space that a volume holds above its noise floor, found in the volume alone.

A raw tomogram is zero outside what was measured, up to the rounding of its file (1e-4 of index in a
TCF). The floor is the power of the weakest fifth of all voxels. The support is every voxel well
above it, in rings about the K_z axis that are above it as a whole: a chance value in the missing
cone would tie the cone to zero there (30 of 100,000 voxels lowered the index of a sphere by 0.004).

A volume that was cut out of a larger one has power about the axes, because its opposite faces do
not meet. A Hann window takes that away, but widens the band by two voxels, into the cone. So of
such a volume only the ends of the band are taken from its spectrum, and the support is the caps of
the optics that they give.

A regularized or clipped volume has power everywhere, and no floor. The missing cone is the check:
what was measured leaves it empty, so a support that reaches into the cone about the K_z axis, or
covers most of k-space, is none.

The band gives the optics back: it reaches K_t = 2 NA / wavelength at K_z = 0, and K_z = (n_m -
sqrt(n_m^2 - NA^2)) / wavelength at half of that.
"""

import math
from dataclasses import dataclass, replace

import torch

from acquisition.errors import ConfigurationError
from acquisition.optics import Optics
from reconstruction.finished.scan_caps import Shape, VoxelSize, lateral_frequencies

__all__ = ["FloorSupport", "support_above_floor", "support_of_a_part", "without_gaps"]

_WEAKEST = 0.2  # share of the voxels, by whose power the floor is found
_ABOVE = 30.0  # times the floor: Gaussian noise exceeds it in 1e-13 of the voxels
_ROUNDING = 2e-12  # power of the rounding of a float32 index where it is highest, not white
_RING_ABOVE = 6.0  # times the floor, of a ring's mean
_MOST = 0.6  # share of k-space; a circle scan measures 0.1 to 0.4 of a well-sampled volume
_LEAST = 0.002
_CONE = 0.5  # of the cone's slope near the axis, which must be empty
_IN_CONE = 0.02  # share of the cone's voxels that may be above the floor
_IN_CONE_OF_A_PART = 0.2  # the window reaches into it
_GAP = 0.1  # of the mean power of its ring
_EDGE = 0.02  # share of the K_t rings at a K_z that must be in the support to be its end


@dataclass(frozen=True, slots=True)
class FloorSupport:
    """What a volume shows of its support.

    Parameters
    ----------
    voxels : (z, y, x//2 + 1) bool tensor
    floor : float
        Mean power of a voxel without signal.
    lateral, axial : float
        Highest K_t at K_z = 0 and highest K_z of the band, cycles/um.
    doubt : str
        Why it cannot be what was measured; "" where it can.
    """

    voxels: torch.Tensor
    floor: float
    lateral: float
    axial: float
    doubt: str

    def optics(self, medium_index: float, voxel_um: float) -> Optics:
        """Return the optics that measure such a band in that medium.

        Raises
        ------
        ConfigurationError
            If there are none: the band is cut off by the voxels, or is not that of a scan.
        """
        cutoff, axial = self.lateral / 2, self.axial
        # k - sqrt(k^2 - c^2) = a, so k = (a^2 + c^2) / (2 a)
        k = (axial**2 + cutoff**2) / (2 * axial) if axial > 0 else 0.0
        if not cutoff < k:
            raise ConfigurationError(
                f"the band of a scan must be lower along z than half of its width, got "
                f"{axial:.2f} and {self.lateral:.2f} cycles/um: give --wavelength-um and "
                "--numerical-aperture"
            )
        wavelength = medium_index / k
        aperture = cutoff * wavelength
        return Optics(wavelength, aperture, medium_index, min(voxel_um, 0.5 / cutoff))


def support_above_floor(
    values: torch.Tensor, shape: Shape, voxel_size_um: VoxelSize, in_cone: float = _IN_CONE
) -> FloorSupport:
    """Find which voxels of a half spectrum hold more than noise.

    Parameters
    ----------
    values : (z, y, x//2 + 1) complex tensor
        Half spectrum of a contrast.
    shape : (z, y, x)
        Shape of the real volume.
    voxel_size_um : (dz, dy, dx)
    in_cone : float
        Share of the missing cone that may be above the floor.

    Returns
    -------
    FloorSupport
    """
    power = values.abs().square()
    floor = _floor(power)
    ring, rings = _rings(shape, voxel_size_um)
    means = _ring_means(power, ring, rings)
    strong = means > _RING_ABOVE * floor  # (z, rings)
    voxels = (power > _ABOVE * floor) & strong[:, ring]
    filled = _ring_means(voxels.to(power.dtype), ring, rings) > _EDGE
    lateral, axial = _extents(filled, shape, voxel_size_um)
    doubt = _doubt(voxels, lateral, axial, shape, voxel_size_um, in_cone)
    return FloorSupport(voxels, floor, lateral, axial, doubt)


def support_of_a_part(
    centred: torch.Tensor, shape: Shape, voxel_size_um: VoxelSize
) -> FloorSupport:
    """Find the support of a contrast that was cut out of a larger one.

    Parameters
    ----------
    centred : (z, y, x) tensor
        Centre at index 0.
    shape, voxel_size_um : (z, y, x)
    """
    seen = centred.clone()
    for axis, n in enumerate(shape):
        window = torch.hann_window(n, periodic=True, dtype=centred.dtype).roll(-(n // 2))
        seen *= window.reshape([-1 if a == axis else 1 for a in range(3)])
    values = torch.fft.rfftn(seen, norm="ortho")
    found = support_above_floor(values, shape, voxel_size_um, _IN_CONE_OF_A_PART)
    z, y, x = (2 / (n * d) for n, d in zip(shape, voxel_size_um, strict=True))  # two voxels
    return replace(found, lateral=found.lateral - max(y, x), axial=found.axial - z)


def without_gaps(
    values: torch.Tensor, caps: torch.Tensor, shape: Shape, voxel_size_um: VoxelSize
) -> torch.Tensor:
    """Return the caps without the gaps between the caps of single angles.

    A scan of few angles measures the caps of a circle in part, and what it has not measured must
    not be taken for a measured zero: on a sphere that lowers the index by 0.002. In a gap is at
    most what leaks into it. A tenth of the measured voxels is as weak by chance and left out, too.

    Parameters
    ----------
    values : (z, y, x//2 + 1) complex tensor
    caps : (z, y, x//2 + 1) bool tensor
    shape : (z, y, x)
        Shape of the real volume.
    voxel_size_um : (dz, dy, dx)
    """
    power = values.abs().square() * caps
    ring, rings = _rings(shape, voxel_size_um)
    held = _ring_means(caps.to(power.dtype), ring, rings)
    means = _ring_means(power, ring, rings) / held.clamp_min(1e-9)
    return caps & (power > _GAP * means[:, ring])


def _floor(power: torch.Tensor) -> float:
    """Return the mean of exponentially distributed powers from their weakest fifth."""
    flat = power.flatten()
    rank = max(1, int(_WEAKEST * flat.numel()))
    weakest = float(flat.kthvalue(rank).values)
    return max(weakest / -math.log(1 - _WEAKEST), _ROUNDING)


def _rings(shape: Shape, voxel_size_um: VoxelSize) -> tuple[torch.Tensor, int]:
    """Return the ring of |K_t| of each column, one voxel wide, and their number."""
    step = 1 / min(n * d for n, d in zip(shape[1:], voxel_size_um[1:], strict=True))
    ring = (lateral_frequencies(shape, voxel_size_um) / step).round().long()
    return ring, int(ring.max()) + 1


def _ring_means(values: torch.Tensor, ring: torch.Tensor, rings: int) -> torch.Tensor:
    """Return the mean of each ring of each plane, (z, rings)."""
    flat = ring.flatten()
    sums = values.new_zeros((len(values), rings)).index_add_(1, flat, values.flatten(1))
    means: torch.Tensor = sums / torch.bincount(flat, minlength=rings).clamp_min(1).to(values)
    return means


def _extents(filled: torch.Tensor, shape: Shape, voxel_size_um: VoxelSize) -> tuple[float, float]:
    """Return the highest K_t at K_z = 0, and the highest K_z, in cycles/um."""
    step = 1 / min(n * d for n, d in zip(shape[1:], voxel_size_um[1:], strict=True))
    row = filled[0].nonzero()
    lateral = float(row.max()) * step if len(row) else 0.0
    planes = filled.sum(dim=1) >= 2  # one ring may be leakage along the axis
    axial = torch.fft.fftfreq(shape[0], voxel_size_um[0]).abs()[planes]
    return lateral, float(axial.max()) if len(axial) else 0.0


def _doubt(
    voxels: torch.Tensor,
    lateral: float,
    axial: float,
    shape: Shape,
    voxel_size_um: VoxelSize,
    in_cone: float,
) -> str:
    share = float(voxels.float().mean())
    if not _LEAST <= share <= _MOST:
        return (
            f"{100 * share:.1f} % of k-space is above the noise floor, and a scan measures "
            f"{100 * _LEAST:g} to {100 * _MOST:g} %"
        )
    if axial == 0 or lateral == 0:
        return "nothing is above the noise floor along z"
    inside = _cone(lateral, axial, shape, voxel_size_um)
    held = float(voxels[inside].float().mean()) if bool(inside.any()) else 0.0
    if held > in_cone:
        return (
            f"{100 * held:.0f} % of the missing cone is above the noise floor, which a scan "
            "leaves empty"
        )
    return ""


def _cone(lateral: float, axial: float, shape: Shape, voxel_size_um: VoxelSize) -> torch.Tensor:
    """Return the inner half of the missing cone, (z, y, x//2 + 1) bool.

    The band is highest at half of its width, so the cone rises by ``axial`` over ``lateral / 2``
    at least.
    """
    kt = lateral_frequencies(shape, voxel_size_um)
    kz = torch.fft.fftfreq(shape[0], voxel_size_um[0], dtype=torch.float64).abs()[:, None, None]
    step = 1 / (shape[0] * voxel_size_um[0])
    inside: torch.Tensor = (kt / (lateral / 2) < _CONE * (kz - 2 * step) / axial) & (kz <= axial)
    return inside
