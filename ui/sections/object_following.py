"""Keeps the cursor on an object that moves from scan to scan; without Qt.

Mean shift (Comaniciu and Meer, IEEE PAMI 24, 603, 2002): the centre of a box moves to the centre of
mass of the contrast in it until it rests.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ui.sections.voxel_grid import Position, VoxelGrid

__all__ = ["Followed", "follow", "start_following"]

_HALF_UM = (3.0, 3.0, 3.0)  # of the box, z, y, x
_ROUNDS = 30
_AT_REST_UM = 1e-3
_FAINT = 0.25  # of the largest contrast in the box: below it is noise and halo

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Followed:
    """The object under the cursor: its centre, and the cursor's place from there; (z, y, x) um.

    ``position`` is the label of the stage position that it is at.
    """

    centre_um: Position
    offset_um: Position
    position: str = ""

    @property
    def cursor_um(self) -> Position:
        """Where the cursor belongs."""
        z, y, x = (c + o for c, o in zip(self.centre_um, self.offset_um, strict=True))
        return z, y, x


def start_following(
    volume: Volume, medium_index: float, grid: VoxelGrid, cursor_um: Position
) -> Followed | None:
    """Return the object at a position; None where there is no contrast."""
    centre = _centre(volume, medium_index, grid, cursor_um)
    if centre is None:
        return None
    z, y, x = (at - c for at, c in zip(cursor_um, centre, strict=True))
    return Followed(centre, (z, y, x))


def follow(volume: Volume, medium_index: float, grid: VoxelGrid, known: Followed) -> Followed:
    """Return the object in the next scan; where it has vanished, it stays where it was."""
    centre = _centre(volume, medium_index, grid, known.centre_um)
    return known if centre is None else replace(known, centre_um=centre)


def _centre(
    volume: Volume, medium_index: float, grid: VoxelGrid, start_um: Position
) -> Position | None:
    at = start_um
    for _ in range(_ROUNDS):
        found = _mass(volume, medium_index, grid, at)
        if found is None:
            return None
        moved = max(abs(new - old) for new, old in zip(found, at, strict=True))
        at = found
        if moved < _AT_REST_UM:
            break
    return at


def _mass(
    volume: Volume, medium_index: float, grid: VoxelGrid, centre_um: Position
) -> Position | None:
    """Return the centre of mass of the contrast in the box around a position."""
    bounds, axes = [], []
    for axis, half in enumerate(_HALF_UM):
        size, middle, count = grid.voxel_size_um[axis], grid.centre[axis], grid.shape[axis]
        first = max(int(np.floor((centre_um[axis] - half) / size)) + middle, 0)
        last = min(int(np.ceil((centre_um[axis] + half) / size)) + middle, count - 1)
        bounds.append(slice(first, last + 1))
        axes.append((np.arange(first, last + 1) - middle) * size)
    box = np.abs(volume[tuple(bounds)] - np.float32(medium_index))
    if box.size == 0 or not np.isfinite(box).all() or not box.any():
        return None
    weight = np.where(box > _FAINT * box.max(), box, 0).astype(np.float64)
    mass = weight.sum()
    z, y, x = (
        float((weight.sum(axis=tuple({0, 1, 2} - {axis})) * axes[axis]).sum() / mass)
        for axis in range(3)
    )
    return z, y, x
