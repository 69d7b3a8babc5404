"""Messages arrive as they were sent; malformed ones are refused and counted."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zmq

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from pipeline.wire.bound_sockets import Context, bind, connect
from pipeline.wire.messages import (
    AcquirerStatus,
    Command,
    Inbox,
    InterferogramHeader,
    Message,
    StackHeader,
    Stamp,
    TomogramHeader,
    decode,
    encode,
    interferogram_message,
    interferogram_view,
    send,
    stack_from,
    stack_message,
    tomogram_message,
    tomogram_view,
)
from pipeline.wire.state import InterferogramView, Phase, TomogramView
from tests.children import output_of

OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
STAMP = Stamp("test", 7)


def scan(k: bool = True, dtype: Any = np.uint16) -> InterferogramStack:
    frames = np.random.default_rng(3).integers(0, 200, (4, 6, 5)).astype(dtype)
    directions = np.linspace(-1, 1, 8).reshape(4, 2) if k else None
    return InterferogramStack(
        frames, OPTICS, directions, 12.5, lost=(2,), sequence=9, provenance={"exposure": "1 ms"}
    )


def stack_wire(**fields: Any) -> Message:
    return stack_message(scan(**fields), STAMP, kind="stack", background=1, sent_at=13.0)


def over_the_wire(message: Message) -> Message:
    return decode([bytes(part) for part in encode(message)])


@pytest.mark.parametrize("k", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stack_round_trip(k: bool, dtype: Any) -> None:
    sent = scan(k, dtype)
    message = over_the_wire(stack_wire(k=k, dtype=dtype))
    assert isinstance(message.header, StackHeader)
    read = stack_from(message.header, message.arrays)
    np.testing.assert_array_equal(read.frames, sent.frames)
    np.testing.assert_array_equal(read.illumination_k, sent.illumination_k)
    assert (read.optics, read.lost, read.sequence) == (OPTICS, (2,), 9)
    assert (read.timestamp, read.provenance) == (12.5, {"exposure": "1 ms"})
    assert (message.header.sender, message.header.session) == ("test", 7)


@pytest.mark.parametrize(
    ("regularized", "uncertain"), [(True, True), (True, False), (False, False)]
)
def test_tomogram_round_trip(regularized: bool, uncertain: bool) -> None:
    raw = np.linspace(1.33, 1.4, 24, dtype=np.float32).reshape(2, 3, 4)
    view = TomogramView(
        raw=raw,
        regularized=raw + np.float32(0.01) if regularized else None,
        method="tv" if regularized else "none",
        voxel_size_um=(0.2, 0.1, 0.1),
        medium_index=1.337,
        sequence=3,
        timestamp=1.5,
        latency_s=0.4,
        lost_angles=(1, 2),
        stages_s={"reconstruction": 0.3},
        warnings=("two angles are missing",),
        optics=OPTICS,
        measured=np.packbits(np.arange(18) % 3 == 0),
        data_residual=0.12,
        uncertainty=0.01 * raw if uncertain else None,
        window=((1, 2, 2), (0.2, 0.1, 0.05)) if uncertain else None,
        oldest_s=0.4 if uncertain else None,
        position="control",
        correction_um=(0.5, -0.25, 0.0),
    )
    message = over_the_wire(tomogram_message(view, STAMP))
    assert isinstance(message.header, TomogramHeader)
    read = tomogram_view(message.header, message.arrays)
    np.testing.assert_array_equal(read.raw, view.raw)
    assert (read.regularized is not None) == regularized
    np.testing.assert_array_equal(read.measured, view.measured)
    np.testing.assert_array_equal(read.uncertainty, view.uncertainty)
    names = ("method", "voxel_size_um", "sequence", "stages_s", "warnings", "optics", "window")
    for name in (*names, "data_residual", "oldest_s", "position", "correction_um"):
        assert getattr(read, name) == getattr(view, name)


def test_interferogram_round_trip() -> None:
    view = InterferogramView(scan().frames[1], 1, 4, 9, 12)
    message = over_the_wire(interferogram_message(view, STAMP))
    assert isinstance(message.header, InterferogramHeader)
    read = interferogram_view(message.header, message.arrays)
    np.testing.assert_array_equal(read.frame, view.frame)
    assert (read.angle, read.angles, read.sequence, read.bit_depth) == (1, 4, 9, 12)


def _changed(**changes: Any) -> Callable[[list[bytes]], list[bytes]]:
    def change(parts: list[bytes]) -> list[bytes]:
        header = {**json.loads(parts[1]), **changes}
        return [parts[0], json.dumps(header).encode(), *parts[2:]]

    return change


MALFORMED = [
    (lambda parts: [], "topic and a header"),
    (lambda parts: parts[:1], "topic and a header"),
    (lambda parts: parts[:-1], "2 arrays that its header lists"),
    (lambda parts: [*parts, b"more"], "2 arrays that its header lists"),
    (lambda parts: [b"tomogram", *parts[1:]], "topic must be"),
    (lambda parts: [parts[0], b"\x80\x04}q\x00.", *parts[2:]], "schema"),
    (lambda parts: [parts[0], b" " * 2_000_000, *parts[2:]], "at most 1 MB"),
    (lambda parts: [*parts[:2], parts[2][:-1], parts[3]], "must have 240 bytes, got 239"),
    (_changed(kind="pickle"), "kind"),
    (_changed(schema_version=2), "schema_version"),
    (_changed(sequence=-1), "sequence"),
    (_changed(surprise=1), "surprise"),
    (_changed(timestamp="nan"), "timestamp"),
    (_changed(background=None), "background"),
    (_changed(arrays=[{"dtype": "|O", "shape": [4, 6, 5]}] * 2), "dtype"),
    (_changed(arrays=[{"dtype": "<u2", "shape": [-4, 6, 5]}] * 2), "shape"),
    (_changed(arrays=[{"dtype": "<u2", "shape": [2**62, 2**62]}] * 2), "bytes"),
    (_changed(optics={"wavelength_um": 0.5}), "optics"),
    (
        _changed(
            optics={
                "wavelength_um": 0.5,
                "numerical_aperture": 1.5,
                "medium_index": 13.3,
                "pixel_size_um": 0.1,
            }
        ),
        "medium_index must be",
    ),
]


@pytest.mark.parametrize(("change", "message"), MALFORMED)
def test_malformed_messages_are_refused(
    change: Callable[[list[bytes]], list[bytes]], message: str
) -> None:
    parts = [bytes(part) for part in encode(stack_wire())]
    with pytest.raises(DataError, match=message):
        decode(change(parts))


def test_optics_of_a_header_refuse_unknown_keys() -> None:
    parts = [bytes(part) for part in encode(stack_wire())]
    optics = {**json.loads(parts[1])["optics"], "colour": "green"}
    with pytest.raises(DataError, match="colour"):
        decode(_changed(optics=optics)(parts))


def test_arrays_that_do_not_make_a_scan_are_refused() -> None:
    message = stack_wire()
    assert isinstance(message.header, StackHeader)
    with pytest.raises(DataError, match="arrays of shapes"):
        stack_from(message.header, ())
    with pytest.raises(DataError, match="frames must have shape"):
        stack_from(message.header, (np.zeros((4, 6), np.uint8),))


def test_only_numbers_can_be_sent() -> None:
    status = AcquirerStatus(phase=Phase.IDLE, message="idle", **STAMP())
    with pytest.raises(DataError, match="cannot be sent"):
        encode(Message(status, (np.array([object()]),)))


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as created:
        yield created


def test_inbox_counts_what_is_malformed(context: Context) -> None:
    sender, endpoint = bind(context, zmq.PULL, "tcp://127.0.0.1:*")
    with sender as pull, connect(context, zmq.PUSH, endpoint) as push:
        inbox = Inbox(pull)
        assert push.poll(5000, zmq.POLLOUT)
        push.send_multipart([b"stack", b"{}"])
        assert send(push, stack_wire())
        message = inbox.receive(5000)
        assert message is not None
        np.testing.assert_array_equal(message.arrays[0], scan().frames)
        assert inbox.malformed == 1
        assert inbox.receive() is None


def test_sending_never_waits(context: Context) -> None:
    """A message is not sent if nobody is connected or the receiver does not read."""
    push, endpoint = bind(context, zmq.PUSH, "tcp://127.0.0.1:*")
    large = InterferogramStack(np.zeros((1, 2000, 2000), np.uint8), OPTICS)
    message = stack_message(large, STAMP, kind="stack", background=0, sent_at=0.0)
    with push:
        assert not send(push, message)
        with connect(context, zmq.PULL, endpoint):
            assert push.poll(5000, zmq.POLLOUT)
            sent = [send(push, message) for _ in range(40)]
    assert sent[0]
    assert not sent[-1]


def test_a_header_cannot_be_changed() -> None:
    command = Command(name="start", **STAMP())
    with pytest.raises(ValueError, match="frozen"):
        command.name = "stop"


def test_the_window_side_is_light() -> None:
    """The imports of a window must not load packages that take seconds."""
    code = (
        "import sys, pipeline.live.instrument_client, pipeline.live.supervisor; "
        "print([m for m in ('torch', 'pymmcore', 'pymmcore_plus', 'scipy', 'h5py') "
        "if m in sys.modules])"
    )
    assert output_of(code).strip() == "[]"
