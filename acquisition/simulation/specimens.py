"""Specimens as phantoms: beads, cells, bacteria and random structures.

Typical contrasts after Kim et al., J. Biomed. Photonics Eng. 2(2), 020201 (2016) and the figures of
Ryu et al. (2021). Every specimen but the bead is drawn by a random generator: the same state gives
the same object.
"""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from acquisition.simulation.phantom import Grid, Phantom, Volume, VoxelSize

__all__ = ["SPECIMENS", "bead", "cell", "cocci"]


def bead(voxel_size_um: VoxelSize, radius_um: float = 2.0, contrast: float = 0.043) -> Phantom:
    """Return a homogeneous sphere."""
    grid = Grid.around((radius_um,) * 3, voxel_size_um)
    return Phantom(np.float32(contrast) * grid.ball((0, 0, 0), radius_um), voxel_size_um)


def _bumpy_distance(grid: Grid, radii: NDArray[np.float64], rng: np.random.Generator) -> Volume:
    """Return the signed distance (first order) to an ellipsoid with a surface wavy by some 4 %."""
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
    """Replace each voxel by ``value`` in the proportion ``fraction``, in place."""
    volume += fraction * (value - volume)


def _point_inside(
    rng: np.random.Generator, radii: NDArray[np.float64], fill: float
) -> NDArray[np.float64]:
    """Return a uniformly random point in an ellipsoid scaled by ``fill``."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    return np.asarray(direction * radii * fill * rng.uniform() ** (1 / 3))


def cell(
    voxel_size_um: VoxelSize, rng: np.random.Generator, radius_um: float | None = None
) -> Phantom:
    """Return a leukaemic-like cell: membrane, uneven cytoplasm, nucleus, nucleoli, granules."""
    radius = rng.uniform(3.4, 4.4) if radius_um is None else radius_um
    radii = radius * rng.uniform(0.9, 1.1, 3)
    grid = Grid.around(tuple(1.12 * radii), voxel_size_um)
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
    volume: Volume, grid: Grid, radii: NDArray[np.float64], rng: np.random.Generator
) -> None:
    centre = _point_inside(rng, radii, 0.25)
    size = radii.mean() * rng.uniform(0.45, 0.62) * rng.uniform(0.88, 1.12, 3)
    shifted = Grid(grid.z - np.float32(centre[0]), grid.y - np.float32(centre[1]),
                    grid.x - np.float32(centre[2]), grid.voxel_size_um)  # fmt: skip
    nucleus = grid.inside(_bumpy_distance(shifted, size, rng))
    chromatin = rng.uniform(0.026, 0.038) + 0.003 * grid.texture(rng, 0.35)
    _blend(volume, nucleus, np.asarray(chromatin, dtype=np.float32))
    for _ in range(rng.integers(1, 4)):
        spot = centre + _point_inside(rng, size, 0.6)
        _blend(volume, grid.ball(spot, rng.uniform(0.35, 0.8)), rng.uniform(0.042, 0.055))


def _add_granules(
    volume: Volume, grid: Grid, radii: NDArray[np.float64], rng: np.random.Generator
) -> None:
    for _ in range(rng.integers(10, 35)):
        spot = _point_inside(rng, radii, 0.88)
        _blend(volume, grid.ball(spot, rng.uniform(0.15, 0.4)), rng.uniform(0.035, 0.07))
    for _ in range(rng.integers(0, 4)):  # vacuoles, with nearly the medium's index
        spot = _point_inside(rng, radii, 0.75)
        _blend(volume, grid.ball(spot, rng.uniform(0.3, 0.6)), rng.uniform(0.002, 0.01))


def cocci(voxel_size_um: VoxelSize, rng: np.random.Generator, length: int | None = None) -> Phantom:
    """Return a chain of cocci (S. pyogenes: about 0.8 um across, index about 1.39)."""
    count = int(rng.integers(2, 9)) if length is None else length
    centres, radii = _chain(rng, count)
    half = np.abs(centres).max(axis=0) + radii.max() + 0.1
    grid = Grid.around((half[0], half[1], half[2]), voxel_size_um)
    volume = np.zeros(grid.shape, np.float32)
    for centre, radius in zip(centres, radii, strict=True):
        body = grid.ball(centre, radius)
        core = grid.ball(centre, 0.55 * radius)
        volume = np.maximum(volume, rng.uniform(0.035, 0.055) * (body + 0.15 * core))
    return Phantom(volume.astype(np.float32), voxel_size_um)


def _chain(rng: np.random.Generator, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres (count, 3) about their middle and radii of a gently bending chain, in um."""
    radii = rng.uniform(0.36, 0.5, count)
    heading, tilt = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.25)
    centres = [np.zeros(3)]
    for near, far in itertools.pairwise(radii):
        heading += rng.normal(0, 0.45)
        tilt = 0.7 * tilt + rng.normal(0, 0.15)
        centres.append(centres[-1] + 0.95 * (near + far) * _direction(heading, tilt))
    placed = np.array(centres)
    return placed - (placed.min(axis=0) + placed.max(axis=0)) / 2, radii


def rods(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return one to four rod-shaped bacteria, lying nearly flat, some of them touching."""
    count = int(rng.integers(1, 5))
    ends, radii = [], []
    for _ in range(count):
        half = rng.uniform(0.3, 1.6)
        heading, tilt = rng.uniform(0, np.pi), rng.normal(0, 0.2)
        along = half * _direction(heading, tilt)
        middle = rng.uniform(-1, 1, 3) * (0.5, 1.6, 1.6) if count > 1 else np.zeros(3)
        ends.append((middle - along, middle + along))
        radii.append(rng.uniform(0.3, 0.5))
    half_um = np.abs(np.array(ends)).max(axis=(0, 1)) + max(radii) + 0.1
    grid = Grid.around((half_um[0], half_um[1], half_um[2]), voxel_size_um)
    volume = np.zeros(grid.shape, np.float32)
    for (first, last), radius in zip(ends, radii, strict=True):
        body = grid.inside(grid.distance_to_segment(first, last) - np.float32(radius))
        volume = np.maximum(volume, np.float32(rng.uniform(0.03, 0.055)) * body)
    return Phantom(volume, voxel_size_um)


def _direction(heading: float, tilt: float) -> NDArray[np.float64]:
    """Return the unit vector (z, y, x) with a heading in the plane and a tilt out of it, rad."""
    return np.array([np.sin(tilt), np.cos(tilt) * np.sin(heading), np.cos(tilt) * np.cos(heading)])


def fatty(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return a cell with lipid droplets, whose index is far above that of the rest."""
    phantom = cell(voxel_size_um, rng)
    volume = phantom.contrast
    grid = Grid.of_shape(volume.shape, voxel_size_um)
    radii = np.array(phantom.extent_um) / 2 * 0.8
    inside = volume > 0
    for _ in range(int(rng.integers(2, 14))):
        drop = grid.ball(_point_inside(rng, radii, 0.85), rng.uniform(0.15, 0.6)) * inside
        _blend(volume, drop, rng.uniform(0.08, 0.12))
    return Phantom(volume, voxel_size_um)


def adherent(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return a cell that has spread on the glass: a thin sheet, thicker around its nucleus."""
    radius, height = rng.uniform(3.0, 4.6), rng.uniform(0.8, 2.2)
    sheet = rng.uniform(0.25, 0.6)
    grid = Grid.around((height / 2 + 0.2, 1.3 * radius, 1.3 * radius), voxel_size_um)
    angle = np.arctan2(grid.y, grid.x)
    lobes = sum(
        rng.uniform(0, 0.16) / (n - 1) * np.cos(n * angle + rng.uniform(0, 2 * np.pi))
        for n in range(2, 6)
    )
    distance = np.hypot(grid.y, grid.x) / (radius * (1 + lobes))  # 1 at the rim
    centre = rng.uniform(-0.25, 0.25, 2) * radius
    bulge = np.hypot(grid.y - centre[0], grid.x - centre[1]) / (0.45 * radius)
    thickness = sheet + (height - sheet) * np.exp(-(bulge**2))
    thickness = thickness * np.sqrt(np.clip(1 - distance**4, 0, 1))
    above = grid.z + np.float32(height / 2)  # the glass is at the bottom
    body = grid.inside(np.maximum(above - thickness, -above)) * (thickness > 0)
    volume = rng.uniform(0.018, 0.03) + 0.003 * grid.texture(rng, 0.4)
    nucleus = np.array([0.0, *centre])
    size = np.array([0.33 * height, *(radius * rng.uniform(0.25, 0.4, 2))])
    _blend(volume, _ellipsoid(grid, nucleus, size), rng.uniform(0.028, 0.04))
    for _ in range(int(rng.integers(5, 30))):
        spot = _point_inside(rng, np.array([0.4 * height, radius, radius]), 0.8)
        _blend(volume, grid.ball(spot, rng.uniform(0.12, 0.35)), rng.uniform(0.035, 0.07))
    return Phantom(np.asarray(volume * body, dtype=np.float32), voxel_size_um)


def debris(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return small fragments of various shapes and widely varying contrast."""
    half = (rng.uniform(0.6, 2.0), rng.uniform(1.5, 3.5), rng.uniform(1.5, 3.5))
    grid = Grid.around((half[0] + 0.7, half[1] + 0.7, half[2] + 0.7), voxel_size_um)
    volume = np.zeros(grid.shape, np.float32)
    for _ in range(int(rng.integers(3, 25))):
        centre, size = rng.uniform(-1, 1, 3) * half, rng.uniform(0.1, 0.6, 3)
        _blend(volume, _ellipsoid(grid, centre, size), float(np.exp(rng.uniform(-5.0, -2.8))))
    return Phantom(volume, voxel_size_um)


def random_field(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return random structure within a random outline, unlike any other specimen."""
    radii = rng.uniform(1.2, 4.2, 3) * (rng.uniform(0.4, 1.0), 1.0, 1.0)
    grid = Grid.around(tuple(1.25 * radii), voxel_size_um)
    outline = _bumpy_distance(grid, radii, rng) + np.float32(
        0.25 * radii.min() * rng.uniform(0, 1)
    ) * grid.texture(rng, rng.uniform(0.4, 1.2))
    pattern = grid.texture(rng, float(np.exp(rng.uniform(np.log(0.15), np.log(1.2)))))
    if rng.uniform() < 0.5:  # two phases with a sharp boundary instead of a smooth one
        pattern = np.tanh(np.float32(rng.uniform(2, 8)) * (pattern - rng.normal(0, 0.5)))
    spread = rng.uniform(0.1, 0.6)
    volume = np.float32(rng.uniform(0.01, 0.045)) * np.clip(1 + spread * pattern, 0, None)
    return Phantom(np.asarray(volume * grid.inside(outline), dtype=np.float32), voxel_size_um)


def several(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return two to four small objects beside and above each other."""
    grid = Grid.around((3.2, 4.6, 4.6), voxel_size_um)
    volume = np.zeros(grid.shape, np.float32)
    for _ in range(int(rng.integers(2, 5))):
        kind = int(rng.integers(4))
        if kind == 0:
            part = bead(voxel_size_um, rng.uniform(0.4, 1.5), rng.uniform(0.01, 0.06))
        elif kind == 1:
            part = cell(voxel_size_um, rng, rng.uniform(1.2, 2.0))
        elif kind == 2:
            part = cocci(voxel_size_um, rng, int(rng.integers(1, 4)))
        else:
            part = rods(voxel_size_um, rng)
        _place(volume, part.contrast, rng)
    return Phantom(volume, voxel_size_um)


def _place(volume: Volume, part: Volume, rng: np.random.Generator) -> None:
    """Insert a volume at a random place of a larger one, in place; the higher contrast is kept."""
    cut_part, cut = [], []
    for n, m in zip(volume.shape, part.shape, strict=True):
        size = min(n, m)
        start, first = int(rng.integers(n - size + 1)), (m - size) // 2
        cut.append(slice(start, start + size))
        cut_part.append(slice(first, first + size))
    there = volume[tuple(cut)]
    np.maximum(there, part[tuple(cut_part)], out=there)


def _ellipsoid(grid: Grid, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> Volume:
    """Return the filled fraction of each voxel by an ellipsoid (distance of first order)."""
    z, y, x = (
        (axis - np.float32(c)) / np.float32(r)
        for axis, c, r in zip((grid.z, grid.y, grid.x), centre, radii, strict=True)
    )
    length = np.sqrt(z * z + y * y + x * x)
    return grid.inside((length - 1) * np.float32(radii.min()))


def crystal(voxel_size_um: VoxelSize, rng: np.random.Generator) -> Phantom:
    """Return a homogeneous body with 7 to 12 flat faces, of 2.6 to 4.4 um and a high contrast."""
    radius = rng.uniform(1.3, 2.2)
    grid = Grid.around((1.3 * radius,) * 3, voxel_size_um)
    outside = np.sqrt(grid.z**2 + grid.y**2 + grid.x**2) - np.float32(1.25 * radius)
    for _ in range(int(rng.integers(7, 13))):
        z, y, x = (normal := rng.standard_normal(3)) / np.linalg.norm(normal)
        face = z * grid.z + y * grid.y + x * grid.x - radius * rng.uniform(0.7, 1.0)
        outside = np.maximum(outside, face)
    body = grid.inside(np.asarray(outside, np.float32))
    return Phantom(np.asarray(rng.uniform(0.035, 0.06) * body, np.float32), voxel_size_um)


SPECIMENS: dict[str, Callable[[VoxelSize, np.random.Generator], Phantom]] = {
    "bead": lambda voxel, rng: bead(voxel),
    "cell": cell,
    "cocci": cocci,
    "rods": rods,
    "fatty": fatty,
    "adherent": adherent,
    "debris": debris,
    "random": random_field,
    "several": several,
    "crystal": crystal,
}
