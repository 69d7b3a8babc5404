"""A volume as the graphics card gets it: 16-bit steps of RI, and the range of every brick.

Rays skip bricks in which nothing is drawn. 16 bits of the volume's own range are finer than 1e-5
RI, are sampled twice as fast as float32 where the processor draws, and take half of the memory.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ui.sections.displayed import Volume

__all__ = ["BRICK", "PreparedVolume", "prepare", "shrunk"]

BRICK = 8  # voxels along an edge
STEPS = 65535
COARSER = 4
NARROWEST = 1e-4  # RI: of a volume that is the same everywhere

Steps = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class PreparedVolume:
    """Voxels and bricks for the graphics card.

    Parameters
    ----------
    voxels : (z, y, x) uint16
    bricks : (z, y, x, 2) uint16
        Lowest and highest voxel of each brick and of its neighbours' outermost layer, between which
        a sample in the brick is interpolated.
    low, high : float
        RI of the steps 0 and 65535.
    """

    voxels: Steps
    bricks: Steps
    low: float
    high: float

    def share(self, index: float) -> float:
        """Return an RI as the graphics card sees it: 0 for ``low``, 1 for ``high``."""
        return (index - self.low) / (self.high - self.low)


def prepare(volume: Volume, largest: int) -> tuple[PreparedVolume, PreparedVolume]:
    """Return a volume (z, y, x) of RI for the graphics card, and one of a quarter of its voxels.

    Parameters
    ----------
    volume : (z, y, x) float32
        Voxels without an index (NaN) become the lowest.
    largest : int
        Voxels; a larger volume is shrunk by means of its voxels.
    """
    full = shrunk(volume, largest)
    return _prepared(full), _prepared(shrunk(full, full.size // COARSER))


def _prepared(volume: Volume) -> PreparedVolume:
    low, high = _limits(volume)
    voxels = np.empty(volume.shape, np.uint16)
    for image, out in zip(volume, voxels, strict=True):  # a section at a time stays in the cache
        scaled = (image - np.float32(low)) * np.float32(STEPS / (high - low))
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=STEPS, neginf=0.0)
        out[:] = np.clip(scaled + np.float32(0.5), 0, STEPS)
    return PreparedVolume(voxels, brick_ranges(voxels), low, high)


def _limits(volume: Volume) -> tuple[float, float]:
    low, high = float(volume.min()), float(volume.max())
    if not np.isfinite(low + high):
        finite = volume[np.isfinite(volume)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 1.0)
    return low, max(high, low + NARROWEST)


def shrunk(volume: Volume, largest: int) -> Volume:
    """Return a volume of at most ``largest`` voxels, by means over whole blocks of voxels.

    The longest edge in voxels is halved first; what does not fill a block at an end is repeated, so
    that the volume keeps its extent to within a block.
    """
    while volume.size > largest and max(volume.shape) > 1:
        axis = int(np.argmax(volume.shape))
        if volume.shape[axis] % 2:
            volume = np.concatenate((volume, volume.take([-1], axis)), axis)
        first, second = (volume.take(range(n, volume.shape[axis], 2), axis) for n in (0, 1))
        volume = (first + second) / np.float32(2)
    return volume


def brick_ranges(voxels: Steps) -> Steps:
    """Return the range of every brick, one voxel beyond its faces included: (z, y, x, 2)."""
    low = high = voxels
    for axis in range(3):
        low, high = _along(low, axis, np.minimum), _along(high, axis, np.maximum)
    return np.ascontiguousarray(np.stack((low, high), axis=-1))


def _along(values: Steps, axis: int, extreme: np.ufunc) -> Steps:
    """Return the extreme of each brick along one axis."""
    count = values.shape[axis]
    starts = range(0, count, BRICK)
    slabs = [
        extreme.reduce(
            values[(slice(None),) * axis + (slice(max(s - 1, 0), min(s + BRICK + 1, count)),)],
            axis=axis,
        )
        for s in starts
    ]
    return np.stack(slabs, axis=axis)
