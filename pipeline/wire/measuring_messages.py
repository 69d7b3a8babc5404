"""Messages of the measuring process: the objects of one tomogram, and its status."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from pipeline.wire.header import Header, expect_arrays
from pipeline.wire.state import MeasuredView

if TYPE_CHECKING:
    from pipeline.wire.messages import Message, Stamp

__all__ = ["MeasuredHeader", "MeasuringStatus", "measured_message", "measured_view"]


class MeasuredHeader(Header):
    """The objects of a tomogram; array: labels (z, y, x), ``i + 1`` where ``objects[i]`` is.

    ``method`` is the regularizer of the measured volume, "none" of a raw one. ``threshold`` is the
    index that found the objects, null where there was only noise.
    """

    kind: Literal["measured"] = "measured"
    objects: tuple[MeasuredObject, ...] = ()
    voxel_size_um: tuple[float, float, float]
    medium_index: float
    method: str
    threshold: float | None = None
    settings: MeasuringSettings
    timestamp: float
    seconds: float
    position: str = ""
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)


class MeasuringStatus(Header):
    """The state of the measuring process; ``life`` counts its restarts."""

    kind: Literal["measuring"] = "measuring"
    life: NonNegativeInt = 0
    message: str
    on: bool = False
    settings: MeasuringSettings = MeasuringSettings()


def measured_message(view: MeasuredView, stamp: "Stamp") -> "Message":
    """Return the message that carries the objects of a tomogram."""
    from pipeline.wire.messages import Message  # which knows all headers, this one too

    header = MeasuredHeader(
        objects=view.objects,
        voxel_size_um=view.voxel_size_um,
        medium_index=view.medium_index,
        method=view.method,
        threshold=view.threshold,
        settings=view.settings,
        timestamp=view.timestamp,
        seconds=view.seconds,
        position=view.position,
        correction_um=view.correction_um,
        **stamp(view.sequence),
    )
    return Message(header, (view.labels,))


def measured_view(header: MeasuredHeader, arrays: Sequence[NDArray[Any]]) -> MeasuredView:
    """Return the objects that a message carries."""
    fits = len(arrays) == 1 and arrays[0].ndim == 3 and arrays[0].dtype in (np.uint8, np.uint16)
    expect_arrays(fits, header, arrays)
    return MeasuredView(
        objects=header.objects,
        labels=arrays[0],
        voxel_size_um=header.voxel_size_um,
        medium_index=header.medium_index,
        method=header.method,
        threshold=header.threshold,
        settings=header.settings,
        sequence=header.sequence,
        timestamp=header.timestamp,
        seconds=header.seconds,
        position=header.position,
        correction_um=header.correction_um,
    )
