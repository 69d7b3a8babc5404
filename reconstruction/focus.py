"""Fields refocused to several depths, and the volume blended from their reconstructions.

Rytov's logarithm is nearly linear in the scattering potential in focus, and less so farther away,
where light that crossed different parts of the sample interferes in one pixel. So the fields are
propagated to several depths (exact in the medium), the logarithm is taken at each, and each depth
of the volume is built from the nearest plane (extended depth of focus; Kostencka et al., Biomed.
Opt. Express 7, 4086 (2016)). Between two planes the two reconstructions are blended linearly. A cap
sample rounded to a voxel of k-space is exact at its reference plane, so this reduces rounding
errors as well.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.volume import VolumeGrid, steepest_tangent

__all__ = ["Blend", "FocusPlan", "axial_frequencies"]

# Largest sideways shift of the steepest light from plane to plane. Half of it, with twice the
# planes, raises the correlation with a sphere of 2 um radius by 0.004 to 0.006
# (docs/explanation/accuracy.md).
_WALK_UM = 5.3
# The same in a volume so deep that samples are spread along Kz: slices far from a plane then fade.
_DEEP_WALK_UM = 2.7
_PASSED = 1.05  # of the aperture: the width of the retrieved band


class FocusPlan:
    """Depths and the propagation between them.

    Parameters
    ----------
    views : Views
        Rotated views take one plane, because their depths are not slices of the volume.
    grid : VolumeGrid
    settings : ReconstructionSettings
    device : torch device

    Attributes
    ----------
    steps : tuple of int
        z of the planes relative to the volume's centre, in slices.
    """

    def __init__(
        self,
        views: Views,
        grid: VolumeGrid,
        settings: ReconstructionSettings,
        device: torch.device,
    ) -> None:
        dz = grid.voxel_size_um[0]
        planes = settings.planes or planes_needed(views, grid)
        self.steps = depths(planes if views.rotations is None else 1, grid.shape[0])
        self._in_focus = self.steps == (0,) and settings.refocus_um == 0
        if self._in_focus:
            return
        axial, passed = axial_frequencies(views)
        there = torch.from_numpy(passed.astype(np.float32))

        def propagator(distance_um: float) -> torch.Tensor:
            turns = distance_um * axial
            turns -= np.rint(turns)  # so that single precision is enough
            phase = torch.from_numpy((2 * np.pi * turns).astype(np.float32))
            return torch.complex(phase.cos() * there, phase.sin() * there).to(device)

        positions = [step * dz + settings.refocus_um for step in self.steps]
        moves = [b - a for a, b in zip([0.0, *positions], positions, strict=False)]
        made = {move: propagator(move) for move in set(moves)}
        self._steps = [made[move] for move in moves]

    def planes(self, fields: torch.Tensor, first: int = 0) -> Iterator[torch.Tensor]:
        """Yield u/u0 (views, y, x) complex64 at each depth, from the fields in the plane in focus.

        The fields belong to the planned views ``first``, first + 1, ...
        """
        if self._in_focus:
            yield fields
            return
        spectrum = torch.fft.fft2(fields)
        for step in self._steps:
            spectrum *= step[first : first + len(fields)]
            yield torch.fft.ifft2(spectrum)


def planes_needed(views: Views, grid: VolumeGrid) -> int:
    """Return the odd number of planes that limits the steepest light's sideways shift."""
    walk_um = grid.shape[0] * grid.voxel_size_um[0] * steepest_tangent(views)
    needed = math.ceil(walk_um / (_WALK_UM if grid.spread == 1 else _DEEP_WALK_UM))
    return needed + 1 - needed % 2


def depths(planes: int, slices: int) -> tuple[int, ...]:
    """Return the middles of ``planes`` equal slabs of a volume, in slices from its centre."""
    if planes > slices:
        raise ConfigurationError(
            f"planes must be at most the number of slices, {slices}, got {planes}"
        )
    middles = (np.arange(planes) + 0.5) * slices / planes - slices / 2
    return tuple(int(m) for m in np.rint(middles))


class Blend:
    """Blends a volume from the reconstructions at each depth.

    Weights are linear in z between planes and constant beyond. A product with z is a sum over Kz,
    and caps reach half of the Kz only: one small matrix a depth takes the place of transforms
    along z and back.

    Parameters
    ----------
    steps : tuple of int
        Depths of the planes, in slices from the centre.
    slices : int
    along_z : (n,) int64 tensor
        Kz of the voxels of a column, in FFT order.
    device : torch device
    """

    def __init__(
        self, steps: tuple[int, ...], slices: int, along_z: torch.Tensor, device: torch.device
    ) -> None:
        kz = 2 * np.pi / slices * along_z.cpu().numpy()
        z = np.arange(slices) - slices // 2
        waves = np.exp(1j * np.outer(z, kz))  # (z, Kz)
        shares = np.array([np.interp(z, steps, one) for one in np.eye(len(steps))])
        self._weights = [
            torch.tensor(
                np.exp(-1j * step * kz)[:, None] * ((waves.T * share) @ waves.conj()) / slices,
                dtype=torch.complex64,
                device=device,
            )
            for step, share in zip(steps, shares, strict=True)
        ]

    def __call__(self, parts: Iterator[torch.Tensor]) -> torch.Tensor:
        """Return the columns of the blended volume's spectrum, (columns, Kz).

        Parameters
        ----------
        parts : iterator of (columns, Kz) complex64
            Spectrum of each depth's reconstruction, its plane at z = 0.
        """
        weighted = (part @ weights for part, weights in zip(parts, self._weights, strict=True))
        total = next(weighted)
        for part in weighted:
            total += part
        return total


def axial_frequencies(views: Views) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return kz - k0z (views, y, x) of u/u0's frequencies, cycles/um, and a mask of the pupil."""
    sizes = zip(views.field_shape, views.pixel_size_um, strict=True)
    fy, fx = (np.fft.fftfreq(n, d) for n, d in sizes)
    known = np.nan_to_num(views.vectors.k)
    transverse = (fx + known[:, :1, None]) ** 2 + (fy[:, None] + known[:, 1:, None]) ** 2
    radius = views.optics.k_medium
    passed = transverse <= min(_PASSED * views.optics.cutoff, 0.999 * radius) ** 2
    k0z = np.sqrt(np.maximum(radius**2 - (known**2).sum(axis=1), 0.0))[:, None, None]
    return np.where(passed, np.sqrt(np.where(passed, radius**2 - transverse, 1.0)) - k0z, 0), passed
