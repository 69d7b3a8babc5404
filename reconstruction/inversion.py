"""Fourier diffraction theorem: scattered fields onto Ewald caps, and back to an index volume.

With psi the Rytov field ln(u/u0), its 2D spectrum times (4 pi kz / i), kz in cycles/um, is the
scattering potential's 3D spectrum on the cap K = (kt, kz - k0z), kz = sqrt(k^2 - |kt + k0t|^2)
(Wolf 1969; Devaney 1981; Kak and Slaney, chapter 6). Where the sample is turned in front of the
light, the cap of each view is turned back. The lateral frequencies of the fields are those of the
volume, so without rotations samples lie between voxels along Kz only. The potential is real, so K
and -K are averaged together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.optics import Optics
from reconstruction.geometry import Views
from reconstruction.gridding import (
    Averaged,
    Sides,
    VoxelAverages,
    VoxelCounts,
    gridding_entries,
    nearest_voxels,
)
from reconstruction.kernels.hartley import hartley
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, norm
from reconstruction.volume import VolumeGrid, plan_volume
from reconstruction.wave_vectors import WaveVectors, folded_conjugates

__all__ = ["CapPlan", "contrast_of"]


_RINGS = 12  # of |Kt|, up to twice the aperture; within a ring the noise is assumed uniform


@dataclass(frozen=True, slots=True)
class _Caps:
    """The samples of all views, one after the other.

    Parameters
    ----------
    view : (n,) int64
    source : (n,) int64
        Flat index into the views' 2D spectra.
    K : (n, 3) float64
        Position of each in k-space, (z, y, x) in cycles/um.
    factor : (n,) complex
        Converts the 2D discrete transform to unitary contrast.
    """

    view: NDArray[np.int64]
    source: NDArray[np.int64]
    K: NDArray[np.float64]
    factor: NDArray[np.complexfloating]


class CapPlan:
    """The map from all views' fields to the volume's half spectrum.

    Parameters
    ----------
    views : Views
        Unusable views are left out, and samples that a folded conjugate sideband reaches.
    settings : ReconstructionSettings
    device : torch device
    grid : VolumeGrid or None
        Of the volume; None: as views and settings want it.

    Attributes
    ----------
    along_z : (n,) int64 tensor
        Kz, in FFT order, at which any voxel is measured; all of them where k-space is oversampled.

    Raises
    ------
    ConfigurationError
        If the z step does not sample the caps.
    """

    def __init__(
        self,
        views: Views,
        settings: ReconstructionSettings,
        device: torch.device,
        grid: VolumeGrid | None = None,
    ) -> None:
        self.optics = views.optics
        self.grid = grid or plan_volume(settings, views)
        self.views = len(views)
        self._geometry = views
        caps = _caps(views, self.grid)
        self.count = count = len(caps.source)
        self.device = device
        self._starts = [int(i) for i in np.searchsorted(caps.view, np.arange(self.views + 1))]
        self._source = torch.tensor(caps.source, device=device)
        self._factor = torch.tensor(caps.factor, device=device)
        self.gridding = settings.gridding or ("nearest" if views.rotations is None else "linear")
        position = caps.K * self.grid.extent_um
        spread = self.grid.spread
        entries = gridding_entries(
            position, self.grid.fine_shape, self.grid.between, self.gridding, spread
        )
        fine = math.prod(_half(self.grid.fine_shape))
        self._average = VoxelAverages(entries, count, fine, device)
        slices, in_plane = self.grid.fine_shape[0], fine // self.grid.fine_shape[0]
        voxels = self._average.voxels
        self._ring = torch.tensor(_rings(self.grid, views.optics), device=device)[voxels % in_plane]
        reached = torch.zeros(in_plane, dtype=torch.bool, device=device)
        reached[voxels % in_plane] = True
        self._columns = reached.nonzero()[:, 0]
        column = (reached.cumsum(0) - 1)[voxels % in_plane]
        along_z = torch.full((slices,), self.grid.oversampled, device=device)
        along_z[voxels // in_plane] = True
        self.along_z = along_z.nonzero()[:, 0]
        row = (along_z.cumsum(0) - 1)[voxels // in_plane]
        self._in_columns = column * len(self.along_z) + row
        self._same_voxels = self.gridding == "nearest" and not self.grid.oversampled
        if not self._same_voxels:
            coarse = position * np.array(self.grid.shape) / np.array(self.grid.fine_shape)
            entries = nearest_voxels(coarse, self.grid.shape, spread)
        self._counts = VoxelCounts(entries, math.prod(self.half_shape), device)
        self._offset = _offset(settings.offset, self.grid, views.optics)
        self._taper = _taper(settings.apodisation, self.grid, views.optics, device)
        self._complete = self._measured(None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the tomogram."""
        return self.grid.shape

    @property
    def half_shape(self) -> tuple[int, int, int]:
        """Shape of the half spectrum."""
        return _half(self.shape)

    def positions(self) -> NDArray[np.float64]:
        """Return the k-space positions of all views' samples, (n, 3) as (z, y, x), cycles/um."""
        return _caps(self._geometry, self.grid).K

    def samples(self, psi: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Return the contrast's spectrum (n,) complex64 on the caps of some views.

        Parameters
        ----------
        psi : (views, y, x) complex64
            Rytov (or Born) fields, zero of position at n//2.
        first : int
            Index of the planned view that psi[0] belongs to; the others follow it.
        """
        spectra: torch.Tensor = torch.fft.fft2(_window(psi, self.grid.crop)).reshape(-1)
        chosen = self.range_of(first, first + len(psi))
        source = self._source[chosen]
        if first:
            source = source - first * math.prod(self.grid.crop)
        return spectra.index_select(0, source).mul_(self._factor[chosen])

    def range_of(self, first: int, last: int) -> slice:
        """Return the slice of all samples that belongs to the views ``first`` to ``last - 1``."""
        return slice(self._starts[first], self._starts[last])

    def _alive(self, lost: tuple[int, ...]) -> torch.Tensor | None:
        """Return 0 for samples (n,) of the lost views, 1 for others; None if they have none."""
        ranges = [self.range_of(view, view + 1) for view in lost]
        if all(r.start == r.stop for r in ranges):
            return None  # views that the plan already leaves out cost nothing
        alive = torch.ones(self.count, device=self.device)
        for samples in ranges:
            alive[samples] = 0
        return alive

    def average(self, depths: Sequence[torch.Tensor], lost: tuple[int, ...] = ()) -> list[Averaged]:
        """Return the averages of each depth's samples in k-space voxels, without lost views."""
        return self._average(depths, self._alive(lost))

    def place(self, averaged: Averaged) -> torch.Tensor:
        """Return the half spectrum (z, y, x//2 + 1) of the computed volume."""
        values = averaged.direct.new_zeros(_half(self.grid.fine_shape))
        values.put_(self._average.voxels, averaged.mean())
        return values

    def columns(self, averaged: Averaged) -> torch.Tensor:
        """Return the columns along z that hold measured voxels, (columns, ``along_z``)."""
        values = averaged.direct.new_zeros(len(self._columns), len(self.along_z))
        values.put_(self._in_columns, averaged.mean())
        return values

    def from_columns(self, values: torch.Tensor) -> torch.Tensor:
        """Return the half spectrum (z, y, x//2 + 1) of columns (columns, ``along_z``)."""
        shape = _half(self.grid.fine_shape)
        wide = values.new_zeros(shape)
        if self.grid.oversampled:  # every voxel counts in the middle of the volume
            wide.view(shape[0], -1)[:, self._columns] = values.T
        else:
            wide.put_(self._average.voxels, values.take(self._in_columns))
        return wide

    def spectrum(self, values: torch.Tensor, sides: Sides, lost: tuple[int, ...] = ()) -> Spectrum:
        """Return the measured spectrum.

        Parameters
        ----------
        values : half spectrum of the computed volume
            May be written to, and be that of the result.
        sides : Sides
            Means from K and -K at one depth, for the noise estimate.
        lost : tuple of int
            Views that are left out.
        """
        alive = self._alive(lost)
        measured = self._complete if alive is None else self._measured(alive)
        if self.grid.oversampled:
            values = self._middle(values)
        voxels = self._counts.voxels
        kept = values.take(voxels)
        if alive is not None:
            kept.mul_(measured.take(voxels) > 0)
        if self._taper is not None:
            kept.mul_(self._taper.take(voxels))
        if not self._same_voxels:
            values = kept.new_zeros(self.half_shape)
        values.put_(voxels, kept)
        if self._offset:
            values[0, 0, 0] += self._offset
        noise = self._noise(sides, norm(values.take(voxels)))
        return Spectrum(values, measured, self.shape, self.grid.voxel_size_um, self.optics, noise)

    def _noise(self, sides: Sides, size: float) -> float | None:
        """Return the rms of the noise in the half spectrum over that of its values.

        ``size`` is the values' norm.
        """
        noise = sides.noise_power(self._ring, _RINGS)
        if noise is None or size == 0:
            return None
        # noise fills the computed volume evenly; the values are of its middle
        kept = math.prod(self.shape) / math.prod(self.grid.fine_shape)
        return math.sqrt(noise * kept) / size

    def _middle(self, values: torch.Tensor) -> torch.Tensor:
        """Return the half spectrum of the middle of the computed volume; ortho transforms."""
        pairs = zip(self.grid.fine_shape, self.shape, strict=True)
        larger = [axis for axis, (fine, kept) in enumerate(pairs) if fine != kept]
        if 2 not in larger:
            for axis in larger:
                inverse = torch.fft.ifft(values, dim=axis, norm="ortho")
                values = _kept(inverse, axis, self.shape[axis])
            middle: torch.Tensor = torch.fft.fftn(values, dim=larger, norm="ortho")
            return middle
        for axis in (0, 1):
            inverse = torch.fft.ifft(values, dim=axis, norm="ortho")
            values = _kept(inverse, axis, self.shape[axis])
        volume = torch.fft.irfft(values, n=self.grid.fine_shape[2], dim=2, norm="ortho")
        whole: torch.Tensor = torch.fft.rfftn(_kept(volume, 2, self.shape[2]), norm="ortho")
        return whole

    def _measured(self, alive: torch.Tensor | None) -> torch.Tensor:
        """Return how often each voxel was measured (z, y, x//2 + 1) float32."""
        count = torch.zeros(math.prod(self.half_shape), device=self.device)
        count[self._counts.voxels] = self._counts(alive)
        return count.reshape(self.half_shape)


def contrast_of(spectrum: Spectrum) -> torch.Tensor:
    """Return the contrast (z, y, x), zero where nothing was measured, centre at n//2."""
    values = spectrum.values
    compiled = hartley(values.device) if values.dtype == torch.complex64 else None
    if compiled is not None:
        return compiled.inverse(values, spectrum.shape)
    volume = torch.fft.irfftn(values, s=spectrum.shape, norm="ortho")
    centred: torch.Tensor = torch.fft.fftshift(volume)
    return centred


def _half(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    z, y, x = shape
    return z, y, x // 2 + 1


def _kept(values: torch.Tensor, axis: int, kept: int) -> torch.Tensor:
    """Return the ``kept`` middle elements along an axis; position 0 stays at index 0."""
    n = values.shape[axis]
    after, before = kept - kept // 2, kept // 2
    parts = values.narrow(axis, 0, after), values.narrow(axis, n - before, before)
    return torch.cat(parts, dim=axis)


def _window(fields: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Cut or pad fields (views, y, x) with zeros to the window, centre (n//2) on centre."""
    for axis, size in enumerate(window, start=1):
        n = fields.shape[axis]
        before = size // 2 - n // 2
        if before < 0:
            fields = fields.narrow(axis, -before, size)
        elif size > n:
            wide = fields.new_zeros([*fields.shape[:axis], size, *fields.shape[axis + 1 :]])
            wide.narrow(axis, before, n).copy_(fields)
            fields = wide
    return fields


def _usable(vectors: WaveVectors) -> NDArray[np.bool_]:
    usable = np.asarray(np.isfinite(vectors.k).all(axis=1))
    usable[list(vectors.unusable)] = False
    return usable


def _caps(views: Views, grid: VolumeGrid) -> _Caps:
    """Return the samples of all usable views that lie within the volume's band."""
    optics, rotations = views.optics, views.rotations
    away = folded_conjugates(views.vectors.carrier, optics)
    away = away[np.hypot(*away.T) <= 2 * optics.cutoff]  # others reach nothing in the pupil
    scale = _contrast_scale(optics, grid, views.pixel_size_um)
    parts = []
    for view in np.flatnonzero(_usable(views.vectors)):
        kx, ky = (float(component) for component in views.vectors.k[view])
        source, k_space, factor = _cap(kx, ky, optics, away, grid.crop, views.pixel_size_um)
        if rotations is not None:
            k_space = (k_space[:, ::-1] @ rotations[view])[:, ::-1]  # R^T K, (x, y, z)
        inside = (2 * np.abs(k_space) * grid.voxel_size_um < 1).all(axis=1)
        source = source[inside] + view * math.prod(grid.crop)
        factor = scale * factor[inside]
        parts.append(_Caps(np.full(len(source), view), source, k_space[inside], factor))
    if not parts:
        raise DataError(
            "at least one view must be usable, and none has a wave vector: check the background's "
            "fringes"
        )
    return _Caps(
        np.concatenate([part.view for part in parts]),
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.K for part in parts]),
        np.concatenate([part.factor for part in parts]).astype(np.complex64),
    )


def _rings(grid: VolumeGrid, optics: Optics) -> NDArray[np.int64]:
    """Return the ring of |Kt| of each column along Kz of the computed half spectrum."""
    _, y, x = grid.fine_shape
    _, dy, dx = grid.voxel_size_um
    lateral = np.hypot(np.fft.fftfreq(y, dy)[:, None], np.fft.rfftfreq(x, dx))
    ring: NDArray[np.float64] = np.minimum(lateral / (2 * optics.cutoff) * _RINGS, _RINGS - 1)
    return ring.astype(np.int64).reshape(-1)


def _contrast_scale(
    optics: Optics, grid: VolumeGrid, pixel_size_um: tuple[float, float]
) -> complex:
    """Return the factor from a sum over a field's pixels, times kz, to unitary contrast."""
    wave_number = 2 * math.pi * optics.k_medium
    voxel, pixel = math.prod(grid.voxel_size_um), math.prod(pixel_size_um)
    return 4 * math.pi / 1j / wave_number**2 * pixel / voxel / math.sqrt(math.prod(grid.fine_shape))


def _cap(
    kx: float, ky: float, optics: Optics, away: NDArray[np.float64],
    window: tuple[int, int], pixel_size_um: tuple[float, float],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.complex128]]:  # fmt: skip
    """Return index in the 2D spectrum, K (n, 3) as (z, y, x) and kz times the phase of the origin.

    Only frequencies that pass the pupil and that no conjugate sideband reaches are included.
    """
    my, mx = (_integers(n) for n in window)
    fy, fx = (m / (n * d) for m, n, d in zip((my, mx), window, pixel_size_um, strict=True))
    transverse = ((fy + ky) ** 2)[:, None] + (fx + kx) ** 2
    y, x = np.nonzero(transverse <= optics.cutoff**2)
    clear = np.ones(len(y), bool)
    for away_x, away_y in away:
        square = (fx[x] + kx - away_x) ** 2 + (fy[y] + ky - away_y) ** 2
        clear &= square > optics.cutoff**2
    y, x = y[clear], x[clear]
    kz = np.sqrt(optics.k_medium**2 - transverse[y, x])
    # the transforms have position 0 at index 0, the field at n//2
    turn_y, turn_x = (
        np.exp(2j * np.pi * (n // 2) / n * m) for m, n in zip((my, mx), window, strict=True)
    )
    k_space = np.stack([kz - optics.axial_frequency(kx, ky), fy[y], fx[x]], axis=1)
    return y * window[1] + x, k_space, kz * turn_y[y] * turn_x[x]


def _taper(
    part: float, grid: VolumeGrid, optics: Optics, device: torch.device
) -> torch.Tensor | None:
    """Return the apodisation of the half spectrum; None without one.

    It falls from 1 to 0 as a squared cosine over the outer ``part`` of the radius
    sqrt((Kt / 2 NA)^2 + (Kz / Kz_max)^2), which is 1 at the aperture's highest frequencies.
    """
    if part == 0:
        return None
    z, y, x = grid.shape
    dz, dy, dx = grid.voxel_size_um
    lateral, axial = 2 * optics.cutoff, 1 / optics.axial_resolution_um / 2
    radius = torch.sqrt(
        (torch.fft.fftfreq(z, dz, device=device)[:, None, None] / axial) ** 2
        + (torch.fft.fftfreq(y, dy, device=device)[:, None] / lateral) ** 2
        + (torch.fft.rfftfreq(x, dx, device=device) / lateral) ** 2
    )
    fall = ((radius - 1 + part) / part).clamp(0, 1)
    return torch.cos(math.pi / 2 * fall).square()


def _offset(index: float, grid: VolumeGrid, optics: Optics) -> float:
    """Return the value at K = 0 of the unitary contrast that adds ``index`` to the whole volume."""
    contrast = (1 + index / optics.medium_index) ** 2 - 1
    return contrast * math.sqrt(math.prod(grid.shape))


def _integers(n: int) -> NDArray[np.int64]:
    """Return the integer frequencies of an n-point transform, in FFT order."""
    return np.fft.ifftshift(np.arange(n) - n // 2)
