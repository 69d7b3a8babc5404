"""Messages between processes: multipart, with a topic, a JSON header and arrays.

    [kind, header as JSON, array, array, ...]

The header is checked by its schema: unknown keys, wrong types and another schema version are
refused, and every array part must have exactly the size given by its dtype and shape. Nothing is
unpickled. ``session`` identifies one run of the sending process; ``sequence`` counts within it: the
scan number for stacks, interferograms and tomograms, the message number for all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import zmq
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from acquisition.errors import DataError, LiveTomoError
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from pipeline.wire.bound_sockets import Socket
from pipeline.wire.frame_ring import RingPlace
from pipeline.wire.header import ArraySpec, Header, expect_arrays
from pipeline.wire.measured_light import LightPlan, MeasuredLight
from pipeline.wire.measuring_messages import MeasuredHeader, MeasuringStatus
from pipeline.wire.places import HERE, StageState, ViewPlace
from pipeline.wire.scan_messages import FramesHeader, StackHeader, stack_from
from pipeline.wire.state import (
    DriftState,
    InterferogramView,
    LightPath,
    Phase,
    ProcessState,
    QualityView,
    RecordingState,
    TomogramView,
)
from regularizer.quality_report import QualityReport

__all__ = [
    "AcquirerStatus",
    "Command",
    "FramesHeader",
    "Header",
    "Inbox",
    "InterferogramHeader",
    "MeasuredHeader",
    "MeasuringStatus",
    "Message",
    "ProcessorStatus",
    "QualityHeader",
    "QualityStatus",
    "Reply",
    "StackHeader",
    "Stamp",
    "SupervisorStatus",
    "TomogramHeader",
    "decode",
    "encode",
    "interferogram_message",
    "interferogram_view",
    "quality_message",
    "quality_view",
    "send",
    "stack_from",
    "stack_message",
    "tomogram_message",
    "tomogram_view",
]

HEADER_LIMIT = 1_000_000  # bytes; a header is a few hundred


class InterferogramHeader(Header):
    """The latest interferogram of one angle; arrays: frame (y, x), and the DMD's picture if asked.

    The picture has one packed bit a mirror, (rows, columns / 8) uint8; ``mirrors`` is the number of
    columns.
    """

    kind: Literal["interferogram"] = "interferogram"
    angle: NonNegativeInt
    angles: int
    bit_depth: int
    mirrors: NonNegativeInt = 0


class TomogramHeader(Header):
    """A tomogram; arrays: raw, regularized unless the method is "none", uncertainty, mask, fields.

    Volumes are (z, y, x). Uncertainty and mask are optional. The mask has one packed bit for each
    voxel of the half spectrum, set where it was measured. The measured fields (angles, y, x)
    complex64 are in the answer to "newest with fields" only.
    """

    kind: Literal["tomogram"] = "tomogram"
    method: str
    voxel_size_um: tuple[float, float, float]
    medium_index: float
    optics: Optics | None = None
    timestamp: float
    latency_s: float
    lost_angles: tuple[NonNegativeInt, ...] = ()
    stages_s: dict[str, float] = {}  # noqa: RUF012  # pydantic copies it
    warnings: tuple[str, ...] = ()
    data_residual: float | None = None
    constraint: str = "auto"
    window: tuple[tuple[int, int, int], tuple[float, float, float]] | None = None
    light: LightPath | None = None
    oldest_s: float | None = None
    position: str = ""
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fields: LightPlan | None = None


class QualityHeader(Header):
    """How a tomogram compares with a reference; arrays: reference and error, (z, y, x)."""

    kind: Literal["quality"] = "quality"
    report: QualityReport
    voxel_size_um: tuple[float, float, float]
    timestamp: float
    seconds: float
    position: str = ""


class AcquirerStatus(Header):
    """The state of the acquirer.

    ``life`` counts its restarts; ``unsent`` counts scans dropped because the queue to the processor
    was full. ``stage`` is null where there is no stage, ``snapped`` (the scan of the last snap)
    where there is no snap; ``replay`` says that a recording takes the place of the microscope.
    """

    kind: Literal["acquirer"] = "acquirer"
    life: NonNegativeInt = 0
    phase: Phase
    message: str
    microscope: str = ""
    scans: NonNegativeInt = 0
    incomplete: NonNegativeInt = 0
    unsent: NonNegativeInt = 0
    scan_rate_hz: float = 0.0
    recording: RecordingState | None = None
    stage: StageState | None = None
    drift: DriftState = DriftState()
    snapped: NonNegativeInt | None = None
    replay: bool = False


class ProcessorStatus(Header):
    """The state of the processor.

    ``life`` counts its restarts; ``skipped`` scans were replaced by newer ones, ``failed`` ones
    could not be reconstructed.
    """

    kind: Literal["processor"] = "processor"
    life: NonNegativeInt = 0
    message: str
    device: str = ""
    regularizer: str
    constraint: str = "auto"
    reconstructed: NonNegativeInt = 0
    skipped: NonNegativeInt = 0
    failed: NonNegativeInt = 0
    malformed: NonNegativeInt = 0
    tomogram_rate_hz: float = 0.0
    latency_s: float = 0.0


class QualityStatus(Header):
    """The state of the quality check; ``life`` counts its restarts."""

    kind: Literal["checking"] = "checking"
    life: NonNegativeInt = 0
    message: str


class SupervisorStatus(Header):
    """The state of the processes; ``failure`` says why one is no longer restarted, else empty."""

    kind: Literal["supervisor"] = "supervisor"
    processes: tuple[ProcessState, ...]
    failure: str = ""


class Command(Header):
    """A request; answered by a Reply.

    The argument of "record" is a ``RecordRequest``, that of "forecast" a ``ForecastRequest``, that
    of "measure" a ``MeasuringRequest``, that of "save snap" a ``SnapRequest`` and that of "move" a
    ``StagePlace``, as JSON; that of "keep" (the object in the middle) is "on" or "off". The answer
    to "forecast" is a ``RecordingForecast`` and that to "where" a ``StagePlace``, as JSON.
    """

    kind: Literal["command"] = "command"
    name: Literal[
        "start", "stop", "background", "resend", "angle", "regularizer", "constraint", "newest",
        "newest with fields", "record", "pause", "continue", "finish", "measure", "keep", "snap",
        "save snap", "where", "move", "forecast",
    ]  # fmt: skip
    argument: str = ""


class Reply(Header):
    """The answer to a Command: done, or refused with the reason."""

    kind: Literal["reply"] = "reply"
    ok: bool
    detail: str = ""


AnyHeader = (
    StackHeader
    | FramesHeader
    | InterferogramHeader
    | TomogramHeader
    | QualityHeader
    | MeasuredHeader
    | AcquirerStatus
    | ProcessorStatus
    | QualityStatus
    | MeasuringStatus
    | SupervisorStatus
    | Command
    | Reply
)
_HEADERS: TypeAdapter[AnyHeader] = TypeAdapter(Annotated[AnyHeader, Field(discriminator="kind")])


class Stamp:
    """Numbers the messages of one sender."""

    def __init__(self, sender: str, session: int) -> None:
        self.sender = sender
        self.session = session
        self._sequence = 0

    def __call__(self, sequence: int | None = None) -> dict[str, Any]:
        """Return the header fields of the next message, or of the message ``sequence``."""
        if sequence is None:
            sequence, self._sequence = self._sequence, self._sequence + 1
        return {"sender": self.sender, "session": self.session, "sequence": sequence}


@dataclass(frozen=True, slots=True)
class Message:
    """A header and its arrays."""

    header: AnyHeader
    arrays: tuple[NDArray[Any], ...] = ()

    @property
    def identity(self) -> str:
        """A unique name among messages of its kind: session and sequence."""
        return f"{self.header.session}-{self.header.sequence}"


def encode(message: Message) -> list[Any]:
    """Return the parts of a message. Array parts share the memory of the arrays."""
    arrays = [np.ascontiguousarray(array) for array in message.arrays]
    specs = tuple(ArraySpec.of(array) for array in arrays)
    header = message.header.model_copy(update={"arrays": specs})
    return [header.kind.encode(), header.model_dump_json().encode(), *(a.data for a in arrays)]


def decode(parts: Sequence[Any]) -> Message:
    """Check and return a message. Its arrays share the memory of the parts.

    Raises
    ------
    DataError
        If the parts are not a message of this schema.
    """
    if len(parts) < 2 or len(memoryview(parts[1])) > HEADER_LIMIT:
        raise DataError(
            f"a message must have a topic and a header of at most 1 MB, got {len(parts)} parts"
        )
    header = _header(bytes(parts[1]))
    if bytes(parts[0]) != header.kind.encode():
        raise DataError(f"the topic must be the kind {header.kind!r}, got {bytes(parts[0])[:40]!r}")
    if len(header.arrays) != len(parts) - 2:
        raise DataError(
            f"a message must have the {len(header.arrays)} arrays that its header lists, got "
            f"{len(parts) - 2}"
        )
    arrays = zip(parts[2:], header.arrays, strict=True)
    return Message(header, tuple(_array(part, spec) for part, spec in arrays))


def _header(text: bytes) -> AnyHeader:
    try:
        return _HEADERS.validate_json(text)
    except (ValidationError, LiveTomoError) as error:
        raise DataError(f"a message header must follow its schema: {error}") from error


def _array(part: Any, spec: ArraySpec) -> NDArray[Any]:
    data = memoryview(part)
    if data.nbytes != spec.nbytes:
        raise DataError(
            f"an array {spec.shape} {spec.dtype} must have {spec.nbytes} bytes, got {data.nbytes}"
        )
    return np.frombuffer(data, spec.dtype).reshape(spec.shape)


def send(socket: Socket, message: Message) -> bool:
    """Send without waiting; return False if the queue is full or nobody is connected.

    Arrays are not copied: do not write to them afterwards.
    """
    try:
        socket.send_multipart(encode(message), flags=zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return False
    return True


class Inbox:
    """Receives well-formed messages from a socket and counts the others."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.malformed = 0

    def receive(self, timeout_ms: int = 0) -> Message | None:
        """Return the next well-formed message; None if there is none within the time."""
        while self.socket.poll(timeout_ms):
            try:
                return decode(self.socket.recv_multipart(copy=False))
            except DataError:
                self.malformed += 1
        return None


def stack_message(
    stack: InterferogramStack,
    stamp: Stamp,
    *,
    kind: Literal["stack", "background"],
    background: int,
    sent_at: float,
    place: RingPlace | None = None,
    moved: bool = False,
    view: ViewPlace = HERE,
) -> Message:
    """Return the message of a scan, or of the background with number ``background``.

    It carries the frames unless they have a ``place`` in shared memory.
    """
    header = StackHeader(
        kind=kind,
        optics=stack.optics,
        timestamp=stack.timestamp,
        lost=stack.lost,
        provenance=dict(stack.provenance),
        background=background,
        sent_at=sent_at,
        place=place,
        moved=moved,
        position=view.position,
        correction_um=view.correction_um,
        **stamp(stack.sequence),
    )
    k = stack.illumination_k
    frames = () if place is not None else (stack.frames,)
    return Message(header, frames if k is None else (*frames, k))


def interferogram_message(view: InterferogramView, stamp: Stamp) -> Message:
    """Return the message that carries the latest interferogram."""
    picture = view.picture
    header = InterferogramHeader(
        angle=view.angle,
        angles=view.angles,
        bit_depth=view.bit_depth,
        mirrors=0 if picture is None else picture.shape[1],
        **stamp(view.sequence),
    )
    packed = () if picture is None else (np.packbits(picture, axis=1),)
    return Message(header, (view.frame, *packed))


def interferogram_view(
    header: InterferogramHeader, arrays: Sequence[NDArray[Any]]
) -> InterferogramView:
    """Return the interferogram that a message carries."""
    expect_arrays(1 <= len(arrays) <= 2 and all(a.ndim == 2 for a in arrays), header, arrays)
    picture = None
    if len(arrays) == 2:
        packed = arrays[1]
        fits = packed.dtype == np.uint8 and (header.mirrors + 7) // 8 == packed.shape[1]
        expect_arrays(fits, header, arrays)
        picture = np.unpackbits(packed, axis=1, count=header.mirrors)
    return InterferogramView(
        arrays[0], header.angle, header.angles, header.sequence, header.bit_depth, picture
    )


def tomogram_message(view: TomogramView, stamp: Stamp) -> Message:
    """Return the message that carries a tomogram."""
    header = TomogramHeader(
        method=view.method,
        voxel_size_um=view.voxel_size_um,
        medium_index=view.medium_index,
        optics=view.optics,
        timestamp=view.timestamp,
        latency_s=view.latency_s,
        lost_angles=view.lost_angles,
        stages_s=view.stages_s,
        warnings=view.warnings,
        data_residual=view.data_residual,
        constraint=view.constraint,
        window=view.window,
        light=view.light,
        oldest_s=view.oldest_s,
        position=view.position,
        correction_um=view.correction_um,
        fields=None if view.fields is None else view.fields.plan,
        **stamp(view.sequence),
    )
    values = None if view.fields is None else view.fields.values
    arrays = (view.raw, view.regularized, view.uncertainty, view.measured, values)
    return Message(header, tuple(array for array in arrays if array is not None))


def tomogram_view(header: TomogramHeader, arrays: Sequence[NDArray[Any]]) -> TomogramView:
    """Return the tomogram that a message carries."""
    fields = [array for array in arrays if array.ndim == 3 and array.dtype == np.complex64]
    volumes = [array for array in arrays if array.ndim == 3 and array.dtype != np.complex64]
    masks = [array for array in arrays if array.ndim == 1 and array.dtype == np.uint8]
    fits = 1 <= len(volumes) <= 3 and len(masks) <= 1
    planned = 0 if header.fields is None else 1
    fits &= len(fields) == planned and len(volumes) + len(masks) + planned == len(arrays)
    expect_arrays(fits, header, arrays)
    return TomogramView(
        raw=volumes[0],
        regularized=volumes[1] if len(volumes) > 1 else None,
        method=header.method,
        voxel_size_um=header.voxel_size_um,
        medium_index=header.medium_index,
        sequence=header.sequence,
        timestamp=header.timestamp,
        latency_s=header.latency_s,
        lost_angles=header.lost_angles,
        stages_s=dict(header.stages_s),
        warnings=header.warnings,
        optics=header.optics,
        measured=masks[0] if masks else None,
        data_residual=header.data_residual,
        constraint=header.constraint,
        window=header.window,
        light=header.light,
        oldest_s=header.oldest_s,
        position=header.position,
        correction_um=header.correction_um,
        uncertainty=volumes[2] if len(volumes) > 2 else None,
        fields=None if header.fields is None else MeasuredLight(header.fields, fields[0]),
    )


def quality_message(view: QualityView, stamp: Stamp) -> Message:
    """Return the message that carries the result of a quality check."""
    header = QualityHeader(
        report=view.report,
        voxel_size_um=view.voxel_size_um,
        timestamp=view.timestamp,
        seconds=view.seconds,
        position=view.position,
        **stamp(view.sequence),
    )
    return Message(header, (view.reference, view.error))


def quality_view(header: QualityHeader, arrays: Sequence[NDArray[Any]]) -> QualityView:
    """Return the result of a quality check that a message carries."""
    expect_arrays(len(arrays) == 2 and all(a.ndim == 3 for a in arrays), header, arrays)
    return QualityView(
        report=header.report,
        reference=arrays[0],
        error=arrays[1],
        voxel_size_um=header.voxel_size_um,
        sequence=header.sequence,
        timestamp=header.timestamp,
        seconds=header.seconds,
        position=header.position,
    )
