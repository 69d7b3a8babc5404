"""One recorded scan: a stack of off-axis interferograms, one frame per angle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.optics import Optics

__all__ = ["FULL_SCALES", "InterferogramStack", "average", "check_rotations", "full_scale"]

_SIXTEEN_BITS = 2**16 - 1
_LEFT_JUSTIFIED = {(2**bits - 1) << (16 - bits) for bits in range(8, 17)}
# Full scales of 8 to 16 bit cameras, with the bits right- or left-justified. Another highest value
# is not a sign of saturation: at low contrast many pixels share it.
FULL_SCALES = frozenset({2**bits - 1 for bits in range(8, 17)} | _LEFT_JUSTIFIED)


@dataclass(frozen=True, slots=True)
class InterferogramStack:
    """The interferograms of one angle scan, ordered by angle.

    Parameters
    ----------
    frames : (angles, y, x) uint8 or uint16
        Row i belongs to angle i of the scan. The row of a lost angle is zero.
    optics : Optics
        Optics of the microscope that recorded them.
    illumination_k : (angles, 2) float64 or None
        Planned or calibrated (kx, ky) in cycles/um; None if unknown (it is then estimated).
    timestamp : float
        Start of the scan, seconds since the epoch.
    lost : tuple of int
        Angles whose frame did not arrive or could not be attributed.
    sequence : int
        Running number of the scan in its session.
    rotations : (angles, 3, 3) float64 or None
        Rotation of the sample in each frame: its point (x, y, z) lies at R (x, y, z) in the frame
        whose z is the optical axis. None: no rotation.
    normal : int or None
        Index of the angle along the optical axis, if known while ``illumination_k`` is None.
    provenance : mapping of str
        Microscope, software version, exposure, frame numbers.

    Raises
    ------
    DataError
        If shapes, types or angle numbers do not match.
    """

    frames: NDArray[Any]
    optics: Optics
    illumination_k: NDArray[np.float64] | None = None
    timestamp: float = 0.0
    lost: tuple[int, ...] = ()
    sequence: int = 0
    rotations: NDArray[np.float64] | None = None
    normal: int | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.frames.ndim != 3 or 0 in self.frames.shape:
            raise DataError(f"frames must have shape (angles, y, x), got {self.frames.shape}")
        if self.frames.dtype not in (np.uint8, np.uint16):
            raise DataError(f"frames must be uint8 or uint16, got {self.frames.dtype}")
        if self.illumination_k is not None and self.illumination_k.shape != (len(self.frames), 2):
            raise DataError(
                f"illumination_k must have shape ({len(self.frames)}, 2), one row a frame, "
                f"got {self.illumination_k.shape}"
            )
        if any(not 0 <= angle < len(self.frames) for angle in self.lost):
            raise DataError(f"lost angles must be below {len(self.frames)}, got {self.lost}")
        if self.normal is not None and not 0 <= self.normal < len(self.frames):
            raise DataError(f"normal must be below {len(self.frames)}, got {self.normal}")
        if self.rotations is not None:
            check_rotations(self.rotations, len(self.frames))

    @property
    def complete(self) -> bool:
        """Whether every angle has its frame."""
        return not self.lost


def full_scale(frames: NDArray[Any], bit_depth: int | None = None) -> int:
    """Return the highest grey value of the camera that recorded these frames.

    Parameters
    ----------
    frames : uint8 or uint16
        A scan or a part of it; the camera's bits may be right- or left-justified.
    bit_depth : int or None
        Bit depth of the camera. None: unknown; the brightest value is then taken if it is a full
        scale of cameras.
    """
    if frames.dtype == np.uint8:
        return int(2 ** max(bit_depth or 8, 8)) - 1
    highest = int(frames.max())
    if bit_depth is None:
        return highest if highest in FULL_SCALES else _SIXTEEN_BITS
    stated = int(2**bit_depth) - 1
    if highest <= stated < _SIXTEEN_BITS:
        return stated
    return highest if highest in _LEFT_JUSTIFIED else stated << (16 - bit_depth)


def check_rotations(rotations: NDArray[np.float64], views: int) -> None:
    """Raise DataError unless there is one proper rotation matrix per view."""
    if rotations.shape != (views, 3, 3):
        raise DataError(f"rotations must have shape ({views}, 3, 3), got {rotations.shape}")
    unit = rotations @ rotations.transpose(0, 2, 1)
    wrong = ~np.isclose(unit, np.eye(3), atol=1e-6).all(axis=(1, 2))
    wrong |= np.linalg.det(rotations) < 0
    if wrong.any():
        raise DataError(
            f"rotations must be orthogonal with determinant 1, that of view "
            f"{int(np.flatnonzero(wrong)[0])} is not"
        )


def average(stacks: Sequence[InterferogramStack]) -> InterferogramStack:
    """Return the mean scan, rounded; each angle is averaged over the scans that have it."""
    first = stacks[0]
    total = np.zeros(first.frames.shape, dtype=np.float32)
    count = np.zeros(len(first.frames), dtype=np.float32)
    for stack in stacks:
        total += stack.frames  # the rows of lost angles are zero
        count += [angle not in stack.lost for angle in range(len(count))]
    mean = np.rint(total / np.maximum(count, 1)[:, None, None]).astype(first.frames.dtype)
    return InterferogramStack(
        frames=mean,
        optics=first.optics,
        illumination_k=first.illumination_k,
        timestamp=first.timestamp,
        lost=tuple(int(angle) for angle in np.flatnonzero(count == 0)),
        sequence=stacks[-1].sequence,
        provenance={**stacks[-1].provenance, "averaged_scans": str(len(stacks))},
    )
