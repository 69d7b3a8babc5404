"""Angle scans: every frame belongs to its angle or is reported as lost."""

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from useq import MDAEvent, MDASequence

from acquisition.devices.instrument import SimulatedInstrument
from acquisition.errors import ScanError, ScanStopped
from acquisition.interferograms import InterferogramStack, average
from acquisition.microscope import Microscope
from acquisition.scanning.attribution import FrameReport, attribute
from tests.simulated import ANGLES, angle_of, faulty, small_microscope

ALL = tuple(range(ANGLES))


@pytest.fixture(scope="module")
def microscope() -> Iterator[Microscope]:
    with small_microscope() as opened:
        yield opened


def assert_rows_show_their_angles(stack: InterferogramStack, microscope: Microscope) -> None:
    for angle, frame in enumerate(stack.frames):
        if angle in stack.lost:
            assert not frame.any()
        else:
            assert angle_of(frame, microscope) == angle


def test_one_scan_is_one_whole_stack(microscope: Microscope) -> None:
    before = time.time()
    stack = microscope.scan()
    assert stack.complete
    assert stack.frames.shape == (ANGLES, 64, 64)
    assert before <= stack.timestamp <= time.time()
    assert stack.illumination_k is not None
    np.testing.assert_array_equal(stack.illumination_k, microscope.angles.k)
    assert stack.provenance["frames_received"] == str(ANGLES)
    assert stack.provenance["frame_order"] == "as shown"
    assert_rows_show_their_angles(stack, microscope)


def test_scans_are_numbered(microscope: Microscope) -> None:
    first, second = microscope.scan(), microscope.scan()
    assert second.sequence == first.sequence + 1
    assert second.timestamp > first.timestamp


@pytest.mark.parametrize(
    ("faults", "lost"),
    [
        ({"lost_frames": (4,)}, (4,)),
        ({"lost_frames": (0, 5)}, (0, 5)),
        ({"lost_frames": (ANGLES - 1,)}, (ANGLES - 1,)),
        ({"swapped_frames": (3,)}, ()),
        # late, still the right picture; late into the next picture; late at either end
        ({"late_triggers": (5,), "late_by": 0.5}, (5,)),
        ({"late_triggers": (5,), "late_by": 1.1}, (5,)),
        ({"late_triggers": (0,), "late_by": 0.5}, (0,)),
        ({"late_triggers": (ANGLES - 1,), "late_by": 0.5}, (ANGLES - 1,)),
        # an edge that the camera overlooked shifts its count: which one cannot be told
        ({"missed_triggers": (0,)}, ALL),
        ({"missed_triggers": (4,)}, ALL),
        ({"missed_triggers": (ANGLES - 1,)}, ALL),
        ({"missed_triggers": (2,), "lost_frames": (5,)}, ALL),
    ],
)
def test_faults_cost_the_angles_they_touch(
    microscope: Microscope, faults: dict[str, Any], lost: tuple[int, ...]
) -> None:
    with faulty(microscope, **faults):
        stack = microscope.scan()
    assert stack.lost == lost
    assert_rows_show_their_angles(stack, microscope)
    assert microscope.scan().complete


@pytest.mark.parametrize(
    ("faults", "lost"),
    [
        ({}, ()),
        ({"lost_frames": (4,)}, (4,)),  # the camera then takes a dark picture for its ninth frame
        ({"lost_frames": (0, 5, ANGLES - 1)}, (0, 5, ANGLES - 1)),
        ({"missed_triggers": (4,)}, ALL),
    ],
)
def test_dark_pictures_end_a_scan_and_are_none_of_its_angles(
    faults: dict[str, Any], lost: tuple[int, ...]
) -> None:
    with small_microscope(dmd={"picture_ms": 4.0, "dark_pictures": 2}) as microscope:
        with faulty(microscope, **faults) as instrument:
            stack = microscope.scan()
            assert len(instrument.display.sequence) == 0
        assert stack.lost == lost
        assert_rows_show_their_angles(stack, microscope)
        assert microscope.scan().complete


def test_a_late_camera_costs_the_frames_that_it_did_not_deliver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has counted all triggers, so the frames before are those of their angles."""
    expose, exposed = SimulatedInstrument.expose, itertools.count()

    def held(self: SimulatedInstrument, start_s: float, exposure_ms: float) -> NDArray[Any]:
        if next(exposed) == 6:
            threading.current_thread().stop_event.wait()  # type: ignore[attr-defined]  # the core's
        return expose(self, start_s, exposure_ms)

    with small_microscope(scan={"patience_s": 0.2}) as microscope:
        monkeypatch.setattr(SimulatedInstrument, "expose", held)
        assert microscope.scan().lost == (6, 7, 8)


class _Starved:
    """Stands for the module ``time`` where the computer is busy: a short sleep takes 10 s."""

    def __init__(self) -> None:
        self._slept_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def perf_counter(self) -> float:
        return time.perf_counter() + self._slept_s

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        self._slept_s += 10.0


def test_a_camera_is_not_silent_while_the_computer_is_busy(
    microscope: Microscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acquisition.scanning.scan.time", _Starved())
    assert microscope.scan().complete


def test_a_shuffled_scan_is_put_in_order_and_says_so(microscope: Microscope) -> None:
    with faulty(microscope, swapped_frames=(1, 6)):
        stack = microscope.scan()
    assert stack.provenance["frame_order"] == "shuffled"
    assert_rows_show_their_angles(stack, microscope)


def test_dead_light_gives_whole_but_black_scans(microscope: Microscope) -> None:
    with faulty(microscope, dead_illumination=True):
        stack = microscope.scan()
    assert stack.complete
    assert not stack.frames.any()


def test_background_is_taken_on_the_empty_field(microscope: Microscope) -> None:
    microscope.core.setXYPosition(0.5, -0.25)
    background = microscope.background(2)
    assert microscope.core.getXYPosition() == (0.5, -0.25)
    microscope.core.setXYPosition(0.0, 0.0)
    assert background.complete
    assert background.provenance["averaged_scans"] == "2"
    assert_rows_show_their_angles(background, microscope)
    # without the bead, dust and drift, fringes of an empty field are as strong everywhere
    empty = background.frames[0].astype(float)
    sample = microscope.scan().frames[0].astype(float)
    assert np.abs(sample - empty).max() > 20
    assert microscope.instrument is not None
    microscope.instrument.stage_um = (-150.0, 80.0, 0.0)
    elsewhere = microscope.scan().frames[0]
    microscope.instrument.stage_um = (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(elsewhere, background.frames[0])


def test_background_returns_the_stage_when_it_fails(microscope: Microscope) -> None:
    with faulty(microscope, trigger_cable_cut=True), pytest.raises(ScanError):
        microscope.background(1)
    assert microscope.core.getXYPosition() == (0.0, 0.0)


def test_averages_round_and_use_what_is_there(microscope: Microscope) -> None:
    def stack(grey: Sequence[int], lost: tuple[int, ...] = ()) -> InterferogramStack:
        frames = np.array(grey, np.uint8).reshape(3, 1, 1)
        return InterferogramStack(frames, microscope.optics, lost=lost)

    mean = average([stack([10, 20, 0], (2,)), stack([11, 0, 0], (1, 2)), stack([11, 23, 0], (2,))])
    assert mean.frames.dtype == np.uint8
    assert mean.frames.ravel().tolist() == [11, 22, 0]  # 10.67, 21.5 to even, nothing
    assert mean.lost == (2,)


def test_one_event_of_an_acquisition_is_one_scan(microscope: Microscope) -> None:
    """A useq time-lapse over two positions: a scan at each, frames in angle order."""
    core = microscope.core
    seen: list[tuple[int, int, int | None]] = []

    def remember(frame: NDArray[Any], event: MDAEvent) -> None:
        seen.append((event.index["p"], event.index["angle"], angle_of(frame, microscope)))

    core.mda.events.frameReady.connect(remember)
    plan = MDASequence.model_validate({"stage_positions": [(0.0, 0.0), (0.5, 0.5)]})
    try:
        core.mda.run(list(plan))
    finally:
        core.mda.events.frameReady.disconnect(remember)
    assert core.getXYPosition() == (0.5, 0.5)
    core.setXYPosition(0.0, 0.0)
    assert seen == [(p, angle, angle) for p in range(2) for angle in range(ANGLES)]


def test_scans_keep_their_least_period() -> None:
    with small_microscope(scan={"minimum_period_s": 0.25}) as microscope:
        begin = time.perf_counter()
        for _ in range(3):
            microscope.scan()
        assert time.perf_counter() - begin > 2 * 0.25  # without it they take 0.2 s in all
        stop = threading.Event()
        threading.Timer(0.01, stop.set).start()
        with pytest.raises(ScanStopped):
            microscope.scan(stop)


def test_scans_of_a_background_follow_each_other_at_once() -> None:
    period_s = 60.0
    with small_microscope(scan={"minimum_period_s": period_s}) as microscope:
        begin = time.perf_counter()
        assert microscope.background(3).provenance["averaged_scans"] == "3"
        assert time.perf_counter() - begin < period_s
        stop = threading.Event()
        threading.Timer(0.01, stop.set).start()
        with pytest.raises(ScanStopped):
            microscope.scan(stop)  # one of a sample waits


def test_a_closed_microscope_is_gone() -> None:
    with small_microscope() as microscope:
        core = weakref.ref(microscope.core)
    del microscope
    gc.collect()
    assert core() is None  # and its threads, which Python does not see


def test_repeated_scans_keep_no_memory(microscope: Microscope) -> None:
    """Live mode repeats scans for hours: 20 scans must not leave frames or events behind."""
    for _ in range(5):
        microscope.scan()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(20):
        microscope.scan()
    gc.collect()
    assert len(gc.get_objects()) - before < 20


PERIOD_S = 0.005
SHUFFLED = [0, 1, 3, 2, 4, 5, 6, 7]
ONE_LOST = [0, 1, 2, 3, 4, 5, 7]


def reports(counters: Sequence[int], late: dict[int, float] | None = None) -> list[FrameReport]:
    """Return reports whose clock times follow the counters, except for delays in picture times."""
    delays = late or {}
    return [FrameReport(c, 7.0 + PERIOD_S * (c + delays.get(c, 0.0))) for c in counters]


def slipped(step_at: int, by: float) -> dict[int, float]:
    return dict.fromkeys(range(step_at, 8), by)


@pytest.mark.parametrize(
    ("given", "start", "triggers", "expected"),
    [
        pytest.param(reports(range(8)), 0, None, list(range(8)), id="whole"),
        pytest.param(reports(range(1, 9)), 1, None, list(range(8)), id="counts from one"),
        pytest.param(reports(range(40, 48)), None, None, list(range(8)), id="never restarts"),
        pytest.param(reports(SHUFFLED), 0, None, SHUFFLED, id="shuffled"),
        pytest.param(reports([0, 1, 2, 4, 5, 6, 7]), 0, None, [0, 1, 2, 4, 5, 6, 7], id="gap"),
        pytest.param(reports(range(1, 8)), 0, None, list(range(1, 8)), id="first lost"),
        pytest.param(reports(range(7)), 0, None, [None] * 7, id="short, unproven"),
        pytest.param(reports(range(7)), 0, 8, list(range(7)), id="last lost, proven"),
        pytest.param(reports(range(7)), 0, 7, [None] * 7, id="edge missed, proven"),
        pytest.param(reports(range(40, 47)), None, 8, [None] * 7, id="never restarts, short"),
        pytest.param(reports([0, 1, 2, 2, 4, 5, 6, 7]), 0, None, [None] * 8, id="twice"),
        pytest.param(reports(range(1, 9)), 0, None, [None] * 8, id="out of range"),
        pytest.param(reports(range(8), {3: 0.4}), 0, None, [0, 1, 2, None, 4, 5, 6, 7], id="late"),
        pytest.param(reports(range(8), {0: 0.4}), 0, None, [None, *range(1, 8)], id="first late"),
        pytest.param(reports(range(8), {3: 0.1}), 0, None, list(range(8)), id="jitter"),
        pytest.param(reports(range(8), slipped(4, -1.0)), 0, None, [None] * 8, id="extra edge"),
        pytest.param(reports(range(8), slipped(1, -1.0)), 0, None, [None] * 8, id="extra, early"),
        pytest.param(reports(ONE_LOST, slipped(3, 1.0)), 0, None, [None] * 7, id="missed and lost"),
        pytest.param([FrameReport(c) for c in range(8)], 0, None, list(range(8)), id="no clock"),
    ],
)
def test_attribution(
    given: list[FrameReport], start: int | None, triggers: int | None, expected: list[int | None]
) -> None:
    found = attribute(given, 8, PERIOD_S, start, triggers)
    assert list(found.angles) == expected
    assert bool(found.note) == (None in expected)
