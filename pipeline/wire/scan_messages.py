"""Headers of the messages from the acquirer to the processor, and the scan that one carries."""

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import NonNegativeInt

from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from pipeline.wire.frame_ring import RingPlace
from pipeline.wire.header import Header, expect_arrays

__all__ = ["FramesHeader", "StackHeader", "stack_from"]


class StackHeader(Header):
    """A scan; arrays: frames (angles, y, x) and, if known, k (angles, 2).

    ``background`` is the number of the background that applies; ``sent_at`` is in seconds since
    the epoch. With a ``place`` the frames lie there instead of among the arrays; ``moved`` says
    that frames which were announced before (``FramesHeader``) are in other places now.
    ``position`` is the label of the stage position, and ``correction_um`` how far the field of view
    has been moved there, as in ``TomogramView``.
    """

    kind: Literal["stack", "background"]
    optics: Optics
    timestamp: float
    lost: tuple[NonNegativeInt, ...] = ()
    provenance: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it
    background: NonNegativeInt
    sent_at: float
    place: RingPlace | None = None
    moved: bool = False
    position: str = ""
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


class FramesHeader(Header):
    """Frames of a scan that is being taken: their angles, and where they lie. There are no arrays.

    ``background`` and ``sequence`` are those that the scan will have; only its own message says
    which frames are lost.
    """

    kind: Literal["frames"] = "frames"
    place: RingPlace
    angles: tuple[NonNegativeInt, ...]
    background: NonNegativeInt
    position: str = ""
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


def stack_from(
    header: StackHeader,
    arrays: Sequence[NDArray[Any]],
    frames: NDArray[Any] | None = None,
) -> InterferogramStack:
    """Return the scan of a message; ``frames`` are those at its place, if it has one."""
    expect_arrays((header.place is None) == (frames is None), header, arrays)
    if frames is not None:
        arrays = (frames, *arrays)
    expect_arrays(1 <= len(arrays) <= 2, header, arrays)
    return InterferogramStack(
        arrays[0],
        header.optics,
        arrays[1] if len(arrays) == 2 else None,
        timestamp=header.timestamp,
        lost=header.lost,
        sequence=header.sequence,
        provenance=header.provenance,
    )
