"""Phantoms: refractive-index volumes of beads, cells and bacteria, with their truth known.

A phantom is the index above the medium, sampled on voxels (dz, dy, dx) in micrometres with the
centre at index n//2 on every axis. Boundaries are anti-aliased over one voxel (partial volume), so
that a phantom's scattering hardly depends on its sampling. Typical contrasts after Kim et al.,
J. Biomed. Photonics Eng. 2(2), 020201 (2016) and the paper's figures.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError

__all__ = ["PHANTOMS", "Phantom", "bead", "cell", "cocci", "index_file", "make_phantom"]

Volume = NDArray[np.float32]
VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Phantom:
    """One object: index above the medium, (z, y, x) float32, and its voxel size in um."""

    contrast: Volume
    voxel_size_um: VoxelSize

    @property
    def extent_um(self) -> tuple[float, float, float]:
        """Edge lengths of the volume (z, y, x)."""
        z, y, x = (n * d for n, d in zip(self.contrast.shape, self.voxel_size_um, strict=True))
        return z, y, x


@dataclass(frozen=True, slots=True)
class _Grid:
    """Voxel centres of a phantom's box, as three broadcastable axes in um."""

    z: Volume
    y: Volume
    x: Volume
    voxel_size_um: VoxelSize

    @classmethod
    def around(cls, half_um: tuple[float, float, float], voxel_size_um: VoxelSize) -> "_Grid":
        """Make the smallest even grid that holds +-half_um and a margin of two voxels."""
        axes = []
        for half, step in zip(half_um, voxel_size_um, strict=True):
            n = 2 * (int(np.ceil(half / step)) + 2)
            axes.append(((np.arange(n) - n // 2) * step).astype(np.float32))
        z, y, x = axes
        return cls(z[:, None, None], y[None, :, None], x[None, None, :], voxel_size_um)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z.size, self.y.size, self.x.size

    def inside(self, signed_distance: Volume) -> Volume:
        """Return the filled fraction of each voxel, from the distance to a surface (< 0 inside)."""
        width = np.float32(np.mean(self.voxel_size_um))
        return np.asarray(np.clip(0.5 - signed_distance / width, 0, 1), dtype=np.float32)

    def ball(self, centre: Iterable[float], radius: float) -> Volume:
        z, y, x = (np.float32(c) for c in centre)
        return self.inside(
            np.sqrt((self.z - z) ** 2 + (self.y - y) ** 2 + (self.x - x) ** 2) - np.float32(radius)
        )

    def texture(self, rng: np.random.Generator, length_um: float) -> Volume:
        """Return a random field of unit variance and the given correlation length."""
        noise = rng.standard_normal(self.shape, dtype=np.float32)
        sigma = [length_um / step for step in self.voxel_size_um]
        smooth = scipy.ndimage.gaussian_filter(noise, sigma, mode="wrap")
        return np.asarray(smooth / (smooth.std() + 1e-12), dtype=np.float32)


def bead(voxel_size_um: VoxelSize, radius_um: float = 2.0, contrast: float = 0.043) -> Phantom:
    """Return a homogeneous sphere."""
    grid = _Grid.around((radius_um,) * 3, voxel_size_um)
    return Phantom(np.float32(contrast) * grid.ball((0, 0, 0), radius_um), voxel_size_um)


def _bumpy_distance(grid: _Grid, radii: NDArray[np.float64], rng: np.random.Generator) -> Volume:
    """Signed distance (first order) to an ellipsoid whose surface undulates by some 4 %."""
    z, y, x = (
        axis / np.float32(r) for axis, r in zip((grid.z, grid.y, grid.x), radii, strict=True)
    )
    length = np.sqrt(z * z + y * y + x * x)
    bumps = np.zeros(grid.shape, np.float32)
    for _ in range(6):
        direction = rng.standard_normal(3)
        direction *= rng.uniform(1.5, 3.5) / np.linalg.norm(direction)
        phase = direction[0] * z + direction[1] * y + direction[2] * x
        bumps += np.sin(phase + rng.uniform(0, 2 * np.pi), dtype=np.float32)
    return np.asarray((length - 1 - 0.016 * bumps) * np.float32(radii.mean()), dtype=np.float32)


def _blend(volume: Volume, fraction: Volume, value: Volume | float) -> None:
    """Replace ``value`` for what is there, in place, where ``fraction`` says so."""
    volume += fraction * (value - volume)


def _point_inside(
    rng: np.random.Generator, radii: NDArray[np.float64], fill: float
) -> NDArray[np.float64]:
    """Draw a point evenly from an ellipsoid shrunk by ``fill``."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    return np.asarray(direction * radii * fill * rng.uniform() ** (1 / 3))


def cell(
    voxel_size_um: VoxelSize, rng: np.random.Generator, radius_um: float | None = None
) -> Phantom:
    """Return a leukaemic-like cell: membrane, uneven cytoplasm, nucleus, nucleoli, granules."""
    radius = rng.uniform(3.4, 4.4) if radius_um is None else radius_um
    radii = radius * rng.uniform(0.9, 1.1, 3)
    grid = _Grid.around(tuple(1.12 * radii), voxel_size_um)
    distance = _bumpy_distance(grid, radii, rng)
    body = grid.inside(distance)
    cytoplasm = rng.uniform(0.018, 0.028)
    volume = cytoplasm + 0.0025 * grid.texture(rng, 0.5)
    _add_nucleus(volume, grid, radii, rng)
    _add_granules(volume, grid, radii, rng)
    membrane = np.exp(-(((distance + 0.12) / 0.12) ** 2), dtype=np.float32)
    volume += np.float32(rng.uniform(0.004, 0.01)) * membrane
    return Phantom(np.asarray(volume * body, dtype=np.float32), voxel_size_um)


def _add_nucleus(
    volume: Volume, grid: _Grid, radii: NDArray[np.float64], rng: np.random.Generator
) -> None:
    centre = _point_inside(rng, radii, 0.25)
    size = radii.mean() * rng.uniform(0.45, 0.62) * rng.uniform(0.88, 1.12, 3)
    shifted = _Grid(grid.z - np.float32(centre[0]), grid.y - np.float32(centre[1]),
                    grid.x - np.float32(centre[2]), grid.voxel_size_um)  # fmt: skip
    nucleus = grid.inside(_bumpy_distance(shifted, size, rng))
    chromatin = rng.uniform(0.026, 0.038) + 0.003 * grid.texture(rng, 0.35)
    _blend(volume, nucleus, np.asarray(chromatin, dtype=np.float32))
    for _ in range(rng.integers(1, 4)):
        spot = centre + _point_inside(rng, size, 0.6)
        _blend(volume, grid.ball(spot, rng.uniform(0.35, 0.8)), rng.uniform(0.042, 0.055))


def _add_granules(
    volume: Volume, grid: _Grid, radii: NDArray[np.float64], rng: np.random.Generator
) -> None:
    for _ in range(rng.integers(10, 35)):
        spot = _point_inside(rng, radii, 0.88)
        _blend(volume, grid.ball(spot, rng.uniform(0.15, 0.4)), rng.uniform(0.035, 0.07))
    for _ in range(rng.integers(0, 4)):  # vacuoles: nearly the medium
        spot = _point_inside(rng, radii, 0.75)
        _blend(volume, grid.ball(spot, rng.uniform(0.3, 0.6)), rng.uniform(0.002, 0.01))


def cocci(voxel_size_um: VoxelSize, rng: np.random.Generator, length: int | None = None) -> Phantom:
    """Return a chain of cocci (S. pyogenes: about 0.8 um across, index about 1.39)."""
    count = int(rng.integers(2, 9)) if length is None else length
    centres, radii = _chain(rng, count)
    half = np.abs(centres).max(axis=0) + radii.max() + 0.1
    grid = _Grid.around((half[0], half[1], half[2]), voxel_size_um)
    volume = np.zeros(grid.shape, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        body = grid.ball(centre, radius)
        core = grid.ball(centre, 0.55 * radius)
        volume = np.maximum(volume, rng.uniform(0.035, 0.055) * (body + 0.15 * core))
    return Phantom(volume.astype(np.float32), voxel_size_um)


def _chain(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres (count, 3) in um about their middle and radii of a gently bending chain."""
    radii = rng.uniform(0.36, 0.5, count)
    heading, tilt = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25)
    centres = [np.zeros(3)]
    for near, far in itertools.pairwise(radii):
        heading += rng.normal(0, 0.45)
        tilt = 0.7 * tilt + rng.normal(0, 0.15)
        step = np.array(
            [np.sin(tilt), np.cos(tilt) * np.sin(heading), np.cos(tilt) * np.cos(heading)]
        )
        centres.append(centres[-1] + 0.95 * (near + far) * step)
    placed = np.array(centres)
    return placed - (placed.min(axis=0) + placed.max(axis=0)) / 2, radii


def index_file(path: Path, medium_index: float, voxel_size_um: VoxelSize) -> Phantom:
    """Read an RI volume, a tomogram file's first raw time point, and resample it to the voxels.

    A ``.npz`` with arrays ``ri`` (z, y, x) and ``voxel_size_um`` (3,) is read as well.

    Raises
    ------
    DataError
        If the file holds neither.
    """
    index, source = _read_index(path)
    scale = [s / v for s, v in zip(source, voxel_size_um, strict=True)]
    contrast = scipy.ndimage.zoom(index - np.float32(medium_index), scale, order=1, mode="nearest")
    return Phantom(np.ascontiguousarray(contrast, dtype=np.float32), voxel_size_um)


def _read_index(path: Path) -> tuple[Volume, NDArray[np.float64]]:
    if path.suffix == ".npz":
        with np.load(path) as data:
            if not {"ri", "voxel_size_um"} <= set(data.files):
                raise DataError(f"{path} must hold arrays ri and voxel_size_um, has {data.files}")
            return data["ri"].astype(np.float32), data["voxel_size_um"].astype(np.float64)
    if not h5py.is_hdf5(path):
        raise DataError(f"{path} must be a tomogram file (HDF5) or an .npz with ri, voxel_size_um")
    with h5py.File(path) as file:
        group = file.get("tomograms")
        if group is None or "raw" not in group:
            raise DataError(f"{path} has no /tomograms/raw: give a livetomo.tomogram file")
        return group["raw"][0], np.asarray(group.attrs["voxel_size_um"], dtype=np.float64)


PHANTOMS: dict[str, Callable[[VoxelSize, np.random.Generator], Phantom]] = {
    "bead": lambda voxel, rng: bead(voxel),
    "cell": cell,
    "cocci": cocci,
}


def make_phantom(
    name: str, voxel_size_um: VoxelSize, medium_index: float, rng: np.random.Generator
) -> Phantom:
    """Return the phantom of that name, or the RI volume in the file of that name."""
    if name in PHANTOMS:
        return PHANTOMS[name](voxel_size_um, rng)
    if Path(name).is_file():
        return index_file(Path(name), medium_index, voxel_size_um)
    raise ConfigurationError(
        f"phantom must be one of {sorted(PHANTOMS)} or an existing RI file, got {name!r}"
    )
