"""Frames on their way from the camera to the processor while their scan is being taken."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zmq
from numpy.typing import NDArray

from acquisition.errors import DataError, ScanError
from acquisition.illumination.angles import circular_scan, preset
from acquisition.interferograms import InterferogramStack
from acquisition.scanning.attribution import FrameReport
from acquisition.scanning.collected_frames import CollectedFrames
from pipeline.live.receiver import ArrivedFrames, ArrivedScan, Receiver
from pipeline.live.scan_in_progress import ScanInProgress
from pipeline.live.sending import Sending
from pipeline.tomograms.torch_device import torch_threads
from pipeline.wire.bound_sockets import ANY_PORT, FRAMES_QUEUE, bind
from pipeline.wire.frame_ring import SLOTS, FrameRing, RingPlace, RingReader
from pipeline.wire.messages import Stamp
from pipeline.wire.places import ViewPlace
from pipeline.wire.sockets import PipelineError
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from tests.partial_waves import sphere_fields
from tests.scans import interferograms

OPTICS = preset("cell").optics
ANGLES = circular_scan(9, 1.8)
SHAPE, BYTES = (3, 4, 5), np.dtype(np.uint8)
FRAME = (64, 64)


# --- each frame in its place ---


class Watch:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.angles: list[int] = []
        self.void = False

    def begin(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.full(shape, 99, dtype)  # what an older scan has left there

    def arrived(self, angle: int) -> None:
        self.angles.append(angle)

    def moved(self) -> None:
        self.void = True


def collected(
    counters: Sequence[int], start: int | None = 0, sink: Watch | None = None
) -> CollectedFrames:
    """Return frames of three angles; the frame with counter n holds n + 1."""
    frames = CollectedFrames(3, (4, 5), BYTES, "Camera", start, sink)
    for counter in counters:
        frames.add(np.full((4, 5), counter + 1, np.uint8), FrameReport(counter))
    return frames


def values(frames: CollectedFrames) -> list[int]:
    """Return the value that each angle's frame holds."""
    assert (frames.stack == frames.stack[:, :1, :1]).all()
    return [int(frame[0, 0]) for frame in frames.stack]


def test_frames_are_announced_as_they_arrive() -> None:
    watch = Watch()
    frames = collected([0, 2, 1, 3], sink=watch)  # the last one shows a dark picture
    assert watch.angles == [0, 2, 1]
    assert frames.settle([0, 2, 1, None]) == ()
    assert values(frames) == [1, 2, 3] and not watch.void


def test_what_is_lost_is_dark() -> None:
    frames = collected([0, 2], sink=Watch())
    assert frames.settle([0, None]) == (1, 2)  # the second was exposed at the wrong moment
    assert values(frames) == [1, 0, 0]


def test_a_counter_that_began_elsewhere_moves_the_frames() -> None:
    watch = Watch()
    frames = collected([6, 5, 7], start=None, sink=watch)
    assert watch.angles == [0, 1]
    assert frames.settle([1, 0, 2]) == ()
    assert values(frames) == [6, 7, 8] and watch.void


def test_frames_that_cannot_be_told_apart_are_all_lost() -> None:
    frames = collected([0, 1, 1], sink=Watch())
    assert frames.settle([None, None, None]) == (0, 1, 2)
    assert values(frames) == [0, 0, 0]


def test_frames_of_another_size_are_refused() -> None:
    frames = collected([])
    with pytest.raises(ScanError, match=r"must deliver \(4, 5\) uint8 frames, got \(4, 6\)"):
        frames.add(np.zeros((4, 6), np.uint8), FrameReport(0))


# --- the ring ---


@pytest.fixture
def ring() -> Any:
    with_memory = FrameRing()
    if with_memory.place(with_memory.begin(SHAPE, BYTES)) is None:
        pytest.skip("there is no shared memory with names here")
    yield with_memory
    with_memory.close()


def written(ring: FrameRing, value: int) -> RingPlace:
    frames = ring.begin(SHAPE, BYTES)
    frames[:] = value
    place = ring.place(frames)
    assert place is not None
    return place


def test_another_process_reads_what_was_written(ring: FrameRing) -> None:
    place = written(ring, 7)
    code = (
        "import sys; from pipeline.wire.frame_ring import *\n"
        "place = RingPlace.model_validate_json(sys.argv[1])\n"
        "with RingReader().frames(place) as frames: print(frames.sum())"
    )
    for _ in range(2):  # a reader takes nothing away with it
        command = [sys.executable, "-c", code, place.model_dump_json()]
        root = Path(__file__).parents[1]
        assert subprocess.run(command, capture_output=True, text=True, cwd=root).stdout == "420\n"


def test_what_is_read_is_not_written(ring: FrameRing) -> None:
    reader, place = RingReader(), written(ring, 7)
    with reader.frames(place) as frames:
        others = {written(ring, value).slot for value in range(3 * SLOTS)}
        assert frames is not None and (frames == 7).all()
        assert place.slot not in others and len(others) == SLOTS - 1


def test_a_slot_that_was_used_again_is_refused(ring: FrameRing) -> None:
    reader, place = RingReader(), written(ring, 7)
    for value in range(SLOTS - 1):
        written(ring, value)
        with reader.frames(place) as frames:
            assert frames is not None and (frames == 7).all()
    written(ring, 0)
    with reader.frames(place) as frames:
        assert frames is None


def test_a_ring_grows_with_its_scans_and_goes_with_its_writer(ring: FrameRing) -> None:
    reader, small = RingReader(), written(ring, 1)
    large = ring.begin((3, 40, 50), np.dtype(np.uint16))
    large[:] = 500
    place = ring.place(large)
    assert place is not None and place.ring != small.ring
    with reader.frames(place) as frames:
        assert frames is not None and frames.dtype == np.uint16 and (frames == 500).all()
    ring.close()
    with RingReader().frames(place) as frames:
        assert frames is None


def test_a_forged_place_is_refused(ring: FrameRing) -> None:
    place = written(ring, 7).model_copy(update={"shape": (3, 4000, 5000)})
    with pytest.raises(DataError, match="must fit into a slot"), RingReader().frames(place):
        pass


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no shared memory as files")
def test_what_a_killed_writer_leaves_is_removed(ring: FrameRing) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = Path(f"/dev/shm/livetomo-{dead.pid}-00000000")
    left.touch()
    ring.begin((3, 40, 50), BYTES)  # makes a larger ring
    assert not left.exists()
    assert list(Path("/dev/shm").glob(f"livetomo-{os.getpid()}-*"))  # its own stays


# --- a scan that is reconstructed while it is taken ---


@pytest.fixture(scope="module")
def scans() -> list[InterferogramStack]:
    """Return an empty field and scans of two spheres."""
    found = [interferograms(OPTICS, ANGLES.k, frame=FRAME)]
    for index in (1.36, 1.35):
        fields = sphere_fields(OPTICS, ANGLES.k, 0.7, index, FRAME).numpy()
        found.append(interferograms(OPTICS, ANGLES.k, fields, FRAME))
    return found


@pytest.fixture(scope="module")
def reconstructor(scans: list[InterferogramStack]) -> Reconstructor:
    return Reconstructor(scans[0], settings=ReconstructionSettings(slices=16, planes=3))


PLACE = RingPlace(ring="livetomo-1-00000000", slot=0, turn=1, shape=(9, *FRAME), dtype="<u2")


@pytest.mark.parametrize("early", [[], [0, 1, 2], [3, 8, 1], range(9)])
@pytest.mark.parametrize("lost", [(), (2, 8)])
def test_it_is_the_tomogram_of_the_whole_scan(
    scans: list[InterferogramStack],
    reconstructor: Reconstructor,
    early: Sequence[int],
    lost: tuple[int, ...],
) -> None:
    empty, before, now = scans
    now = replace(now, lost=lost, timestamp=5.0, sequence=17, provenance={"bit_depth": "16"})
    progress = ScanInProgress(reconstructor)
    progress.finish(before, None, moved=False)
    progress.announce(PLACE)
    progress.add(now.frames, early, replace(empty, frames=now.frames))
    made, expected = progress.finish(now, PLACE, moved=False), reconstructor(now)
    difference = made.tomogram.index - expected.tomogram.index
    assert float(difference.abs().max()) < 1e-6  # of an index: float32 rounding
    assert made.report.reasons == expected.report.reasons == dict.fromkeys(lost, "no frame")
    assert (made.tomogram.timestamp, made.tomogram.sequence) == (5.0, 17)
    assert made.tomogram.provenance == expected.tomogram.provenance


@pytest.mark.parametrize("why", ["another scan", "moved"])
def test_frames_of_another_scan_or_place_are_not_used(
    scans: list[InterferogramStack], reconstructor: Reconstructor, why: str
) -> None:
    empty, before, now = scans
    progress = ScanInProgress(reconstructor)
    progress.announce(PLACE)
    progress.add(before.frames, range(5), replace(empty, frames=before.frames))
    place = PLACE.model_copy(update={"turn": 2}) if why == "another scan" else PLACE
    made = progress.finish(now, place, moved=why == "moved")
    difference = made.tomogram.index - reconstructor(now).tomogram.index
    assert float(difference.abs().max()) < 1e-6


def halfway(progress: ScanInProgress) -> bool:
    return progress.halfway


def test_between_two_scans_there_is_a_tomogram_of_the_newest_frames(
    scans: list[InterferogramStack], reconstructor: Reconstructor
) -> None:
    empty, before, now = scans
    progress = ScanInProgress(reconstructor)
    progress.announce(PLACE)
    progress.add(before.frames, range(8), replace(empty, frames=before.frames))
    assert not halfway(progress)  # there is no frame of the last angle yet
    progress.finish(before, PLACE, moved=False)
    progress.announce(PLACE.model_copy(update={"turn": 2}))
    scan = replace(empty, frames=now.frames, sequence=8, timestamp=5.0)
    progress.add(now.frames, range(4), scan)
    assert halfway(progress)
    made, oldest_s = progress.now()
    mixed = np.concatenate([now.frames[:4], before.frames[4:]])
    expected = reconstructor(replace(now, frames=mixed)).tomogram.index
    assert float((made.tomogram.index - expected).abs().max()) < 1e-6
    assert (made.tomogram.sequence, made.tomogram.timestamp) == (8, 5.0)
    assert oldest_s > 0
    progress.add(now.frames, range(4, 9), scan)
    assert not halfway(progress)  # the message of the whole scan is what counts
    progress.announce(PLACE.model_copy(update={"turn": 3}), "another position")
    progress.add(before.frames, range(4), scan)
    assert not halfway(progress)  # the other frames show what is at the position before


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(DataError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise DataError("frames that do not fit")
    assert torch.get_num_threads() == before


# --- over the wire ---


class Line:
    """An acquirer's sending and a processor's receiver, connected."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.stacks, stacks = bind(context, zmq.PUSH, ANY_PORT)
        self.frames, frames = bind(context, zmq.PUSH, ANY_PORT, queue=FRAMES_QUEUE)
        self.sending = Sending(self.stacks, self.frames, Stamp("acquirer", 1))
        self.receiver = Receiver(context, stacks, frames)
        self.receiver.start()

    def write(self, stack: InterferogramStack, number: int) -> InterferogramStack:
        """Write a scan as the camera does; return it as it lies in the ring."""
        self.sending.next_scan(number, background=4)
        frames = self.sending.begin(stack.frames.shape, stack.frames.dtype)
        for angle, frame in enumerate(stack.frames):
            frames[angle] = frame
            self.sending.arrived(angle)
        return replace(stack, frames=frames, sequence=number)

    def send(self, stack: InterferogramStack) -> None:
        """Send a whole scan, as soon as the receiver is connected."""
        while not self.sending.send(stack, "stack", 4):
            self.stacks.poll(50, zmq.POLLOUT)

    def settle(self) -> None:
        """Wait until everything that was sent has been received."""
        for socket in (self.stacks, self.frames):
            before = self.receiver.malformed
            socket.send(b"a malformed message after all others")
            while self.receiver.malformed == before:
                time.sleep(0.005)

    def next(self) -> ArrivedScan | ArrivedFrames:
        """Wait for the next that arrives."""
        while True:
            if (arrived := self.receiver.take(0.05)) is not None:
                return arrived


@pytest.fixture
def line() -> Any:
    with zmq.Context() as context:
        made = Line(context)
        yield made
        made.receiver.end()
        made.sending.close()
        made.stacks.close()
        made.frames.close()


def test_frames_come_before_their_scan(line: Line, scans: list[InterferogramStack]) -> None:
    line.send(scans[1])  # so that both sides are connected
    assert isinstance(line.next(), ArrivedScan)
    line.sending.locate = lambda: ViewPlace("left", (1.0, 2.0, -3.0))
    placed = line.write(scans[1], 7)
    early = line.next()
    if not isinstance(early, ArrivedFrames):
        pytest.skip("there is no shared memory with names here")
    assert (early.angles, early.sequence, early.key) == (list(range(7)), 7, (1, 4))
    assert early.view == ViewPlace("left", (1.0, 2.0, -3.0))
    with line.receiver.frames(early) as frames:
        assert frames is not None
        np.testing.assert_array_equal(frames[:7], scans[1].frames[:7])
    line.send(placed)
    whole = line.next()
    assert isinstance(whole, ArrivedScan) and whole.header.place == early.place
    with line.receiver.stack(whole) as stack:
        np.testing.assert_array_equal(stack.frames, scans[1].frames)
        np.testing.assert_array_equal(stack.illumination_k, scans[1].illumination_k)
    assert line.receiver.skipped == 6 and line.receiver.malformed == 0


def test_news_that_come_after_their_scan_are_no_news(
    line: Line, scans: list[InterferogramStack]
) -> None:
    line.send(scans[1])
    assert isinstance(line.next(), ArrivedScan)
    placed = line.write(scans[1], 0)
    early = line.next()
    if not isinstance(early, ArrivedFrames):
        pytest.skip("there is no shared memory with names here")
    line.send(placed)
    assert isinstance(line.next(), ArrivedScan)
    for angle in range(7):  # as if they had been held up on their socket
        line.sending.arrived(angle)
    assert line.receiver.take(0.5) is None
    line.write(scans[2], 1)
    later = line.next()
    assert isinstance(later, ArrivedFrames) and later.place != early.place


def test_a_scan_in_progress_comes_before_older_ones(
    line: Line, scans: list[InterferogramStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.receiver._AWAITED_S", 1e6)
    line.settle()  # both sides are connected
    line.send(line.write(scans[1], 0))
    line.settle()
    assert isinstance(line.receiver.take(0.0, follow=True), ArrivedScan)
    line.send(line.write(scans[1], 1))
    placed = line.write(scans[2], 2)
    line.settle()
    early = line.receiver.take(0.0, follow=True)
    if not isinstance(early, ArrivedFrames):
        pytest.skip("there is no shared memory with names here")
    assert early.sequence == 2
    assert line.receiver.take(0.0, follow=True) is None  # it is awaited, not the older one
    line.send(placed)
    line.send(line.write(scans[1], 3))
    line.settle()
    for number in (2, 3):
        whole = line.receiver.take(0.0, follow=True)
        assert isinstance(whole, ArrivedScan) and whole.header.sequence == number
    assert line.receiver.take(0.0, follow=True) is None
    assert line.receiver.skipped == 1


def test_a_scan_that_was_cut_short_is_not_awaited(
    line: Line, scans: list[InterferogramStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.receiver._AWAITED_S", 0.0)
    line.settle()
    line.send(line.write(scans[1], 0))
    line.write(scans[2], 1)
    line.settle()
    if not isinstance(line.receiver.take(0.0, follow=True), ArrivedFrames):
        pytest.skip("there is no shared memory with names here")
    whole = line.receiver.take(0.0, follow=True)
    assert isinstance(whole, ArrivedScan) and whole.header.sequence == 0


def test_a_scan_that_was_overwritten_says_so(line: Line, scans: list[InterferogramStack]) -> None:
    line.send(line.write(scans[1], 0))
    whole = line.next()
    while not isinstance(whole, ArrivedScan):
        whole = line.next()
    if whole.header.place is None:
        pytest.skip("there is no shared memory with names here")
    for number in range(1, 1 + SLOTS):
        line.write(scans[2], number)
    with pytest.raises(PipelineError, match="overwritten"), line.receiver.stack(whole):
        pass


def test_a_scan_from_elsewhere_carries_its_frames(
    line: Line, scans: list[InterferogramStack]
) -> None:
    line.send(scans[2])
    whole = line.next()
    assert isinstance(whole, ArrivedScan) and whole.header.place is None
    with line.receiver.stack(whole) as stack:
        np.testing.assert_array_equal(stack.frames, scans[2].frames)
        assert torch.from_numpy(stack.frames.astype(np.float32)).shape == (9, *FRAME)
