"""The contract of a scan, on every kind of device: its results, and how failures end it."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acquisition.configuration.calibration_file import CalibratedConfig
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.devices.camera import SimulatedCamera
from acquisition.devices.faults import Faults
from acquisition.devices.instrument import SimulatedInstrument
from acquisition.errors import DeviceError, ScanError, ScanStopped
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope, open_microscope
from tests.benches import NAMES, Bench, WiredDlpc900, open_bench
from tests.simulated import ANGLES, angle_of, no_patience, small_config, threads

WITH_LIGHT = ("simulated", "stepped", "dlpc900")
TRIGGERED = ("simulated", "dlpc900")


@pytest.fixture(scope="module", params=NAMES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Every bench, one after the other."""
    with open_bench(request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=WITH_LIGHT)
def lit(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Open the benches whose camera sees what the DMD shows."""
    with open_bench(request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=TRIGGERED)
def triggered(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Open the benches whose DMD triggers the camera."""
    with open_bench(request.param) as opened:
        yield opened


def assert_whole(stack: InterferogramStack, bench: Bench) -> None:
    """All angles are there and, where the camera sees the light, each shows its own."""
    assert stack.complete
    if bench.instrument is not None:
        for angle, frame in enumerate(stack.frames):
            assert shown(frame, bench) == angle
    else:
        assert stack.frames.any(axis=(1, 2)).all()


def shown(frame: NDArray[Any], bench: Bench) -> int | None:
    assert bench.instrument is not None
    return angle_of(frame, bench.microscope, bench.instrument)


def assert_at_rest(bench: Bench) -> None:
    assert not bench.microscope.core.isSequenceRunning()
    assert bench.dark


def test_scans_are_whole_and_numbered(bench: Bench) -> None:
    first, second = bench.microscope.scan(), bench.microscope.scan()
    assert_whole(first, bench)
    assert_whole(second, bench)
    assert second.sequence == first.sequence + 1
    section = bench.microscope.config.camera
    assert first.frames.shape == (ANGLES, section.height, section.width)
    assert first.frames.dtype == np.uint8
    assert_at_rest(bench)


def test_how_it_scans_is_said_where_it_is_unusual(bench: Bench) -> None:
    stepped = bench.instrument is not None and not bench.triggered
    assert ("stepped by software" in bench.microscope.remark) == stepped


def test_a_picture_between_scans_leaves_them_whole(bench: Bench) -> None:
    section = bench.microscope.config.camera
    picture = bench.microscope.snap()
    assert picture.shape == (section.height, section.width)
    if bench.instrument is not None:
        assert shown(picture, bench) == bench.microscope.angles.normal
    assert_whole(bench.microscope.scan(), bench)


def test_a_background_is_an_average(bench: Bench) -> None:
    background = bench.microscope.background(2)
    assert background.provenance["averaged_scans"] == "2"
    assert_whole(background, bench)


def test_a_stop_that_is_set_already_takes_no_scan(bench: Bench) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ScanStopped):
        bench.microscope.scan(stop)
    assert_at_rest(bench)
    assert_whole(bench.microscope.scan(), bench)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_scan_is_aborted_at_once(name: str) -> None:
    """A triggered one waits for no picture to end, the others for one exposure at most."""
    picture_s = 4.0 if name in TRIGGERED else 0.5
    with open_bench(name, picture_ms=1000 * picture_s) as bench:
        if name == "stepped":
            bench.microscope.core.setExposure(1000 * picture_s)
        aborted_after_s(bench)  # the first one uploads the pictures to the DMD before it looks
        waited = aborted_after_s(bench)
        assert_at_rest(bench)
    assert waited < (picture_s if name in TRIGGERED else ANGLES * picture_s) / 2


def aborted_after_s(bench: Bench) -> float:
    before = threads()
    stop, asked = threading.Event(), []

    def ask() -> None:
        asked.append(time.perf_counter())
        stop.set()

    timer = threading.Timer(0.06, ask)
    timer.start()
    with pytest.raises(ScanStopped):
        bench.microscope.scan(stop)
    ended = time.perf_counter()
    timer.join()
    assert threads() == before
    return ended - asked[0]


def test_a_dmd_that_does_not_start_is_named_and_dark(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("USB link lost")

    stepped = "stepped" in bench.microscope.remark
    monkeypatch.setattr(type(bench.dmd), "set_image" if stepped else "start_sequence", refuse)
    before = threads()
    with pytest.raises(DeviceError, match=r"'Dmd' must .*USB link lost"):
        bench.microscope.scan()
    assert threads() == before
    monkeypatch.undo()
    assert_at_rest(bench)
    assert_whole(bench.microscope.scan(), bench)


def test_a_camera_that_is_not_armed_is_named(lit: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no bandwidth")

    lit.microscope.snap()  # its picture stays on the DMD
    monkeypatch.setattr(SimulatedCamera, "start_sequence", refuse)
    with pytest.raises(DeviceError, match=r"'Camera' must .*no bandwidth"):
        lit.microscope.scan()
    monkeypatch.undo()
    assert_at_rest(lit)
    assert_whole(lit.microscope.scan(), lit)


def at_the_fourth_exposure(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let something happen in the middle of a scan, on the thread that exposes."""
    expose = SimulatedInstrument.expose
    exposures = 0

    def watched(self: SimulatedInstrument, start_s: float, exposure_ms: float) -> NDArray[Any]:
        nonlocal exposures
        exposures += 1
        if exposures == 4:
            act()
        return expose(self, start_s, exposure_ms)

    monkeypatch.setattr(SimulatedInstrument, "expose", watched)


def test_a_scan_stopped_in_the_middle_leaves_nothing_behind(
    lit: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threads()
    stop = threading.Event()
    at_the_fourth_exposure(monkeypatch, stop.set)
    with pytest.raises(ScanStopped):
        lit.microscope.scan(stop)
    assert threads() == before
    monkeypatch.undo()
    assert not lit.microscope.core.isSequenceRunning()
    assert_whole(lit.microscope.scan(threading.Event()), lit)


# the core lets a Python camera's exception end its thread, and says nothing
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_camera_that_breaks_in_the_middle_is_named(
    lit: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("sensor overheated")

    at_the_fourth_exposure(monkeypatch, fail)
    with pytest.raises(DeviceError, match=r"[cC]amera'.*(stopped by itself after 3|overheated)"):
        lit.microscope.scan()
    monkeypatch.undo()
    assert_at_rest(lit)
    assert_whole(lit.microscope.scan(), lit)


def test_a_controller_that_is_unplugged_in_the_middle_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_bench("dlpc900") as bench:
        assert isinstance(bench.dmd, WiredDlpc900)
        emulator, instrument = bench.dmd.emulator, bench.instrument
        assert instrument is not None

        def unplug() -> None:
            emulator.unplugged = True
            instrument.line.clear()

        at_the_fourth_exposure(monkeypatch, unplug)
        unplugged = r"'Dmd'|DLPC900.*unplugged"
        with no_patience(), pytest.raises(DeviceError, match=unplugged):
            bench.microscope.scan()
        monkeypatch.undo()
        assert not bench.microscope.core.isSequenceRunning()
        emulator.unplugged = False
        assert_whole(bench.microscope.scan(), bench)


def test_no_trigger_ends_in_time_and_names_the_camera(triggered: Bench) -> None:
    assert triggered.instrument is not None
    before = threads()
    triggered.instrument.faults = Faults(trigger_cable_cut=True)
    try:
        silent = r"'Camera' must deliver 9 frames, got none within"
        with no_patience(), pytest.raises(ScanError, match=silent):
            triggered.microscope.scan()
    finally:
        triggered.instrument.faults = Faults()
    assert threads() == before
    assert_at_rest(triggered)
    assert_whole(triggered.microscope.scan(), triggered)


def test_lost_frames_cost_their_angles_alone(triggered: Bench) -> None:
    assert triggered.instrument is not None
    triggered.instrument.faults = Faults(lost_frames=(2, 7))
    try:
        with no_patience():
            stack = triggered.microscope.scan()
    finally:
        triggered.instrument.faults = Faults()
    assert stack.lost == (2, 7)
    for angle in set(range(ANGLES)) - {2, 7}:
        assert shown(stack.frames[angle], triggered) == angle


@pytest.mark.parametrize("name", TRIGGERED)
def test_several_planes_are_one_angle(name: str) -> None:
    """One trigger, one frame and one light for the four gratings of an angle."""
    with open_bench(name, picture_ms=8.0, planes=4) as bench:
        assert bench.instrument is not None
        bench.instrument.bench.laser_power = 1 / 8  # for an exposure that is so much longer
        stack = bench.microscope.scan()
        assert_whole(stack, bench)
        received = bench.microscope.core.getProperty("Camera", "TriggersReceived")
        assert int(received) == ANGLES
        optical = bench.instrument.bench
        planes = bench.microscope.config.dmd.bit_planes(bench.microscope.angles.k[1])
        lights = [optical.illuminate(plane) for plane in planes]
        assert len({light.amplitude for light in lights}) > 1
        mean = replace(lights[0], amplitude=float(np.mean([one.amplitude for one in lights])))
        expected = optical.expose(mean, 0.0, bench.instrument.stage_um, 8.0).astype(int)
        assert np.abs(expected - stack.frames[1]).max() <= 1


def demo_camera(**changes: Any) -> AcquisitionConfig:
    pytest.importorskip("mm_test_adapters", reason="no Micro-Manager adapters here")
    with open_bench("demo") as bench:
        config = bench.microscope.config
    dmd = {"adapter": "tests.benches", "device": "FreeRunningDmd"}
    return config.model_copy(
        update={
            "camera": config.camera.model_copy(update=changes),
            "dmd": config.dmd.model_copy(update=dmd),
        }
    )


def test_a_camera_gets_its_properties_binning_region_and_exposure() -> None:
    config = demo_camera(
        binning=2, width=64, height=80, bit_depth=16, properties={"PixelType": "16bit", "Gain": 3}
    )
    with open_microscope(config) as microscope:
        core = microscope.core
        assert core.getROI("Camera") == [8, 16, 64, 80]
        assert core.getProperty("Camera", "Binning") == "2"
        assert core.getProperty("Camera", "Gain") == "3"
        assert core.getExposure("Camera") == config.camera.exposure_ms
        stack = microscope.scan()
    assert stack.frames.shape == (ANGLES, 80, 64)
    assert stack.frames.dtype == np.uint16
    assert stack.provenance["exposure_ms"] == f"{config.camera.exposure_ms:g}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": None, "label": "Senosr"}, "'Senosr' must be loaded"),
        ({"origin": None}, r"must deliver 96 x 128 pixels .* give 512 x 512 of 1"),
        ({"bit_depth": 12}, r"of 2 bytes, its settings give 96 x 128 of 1"),
        ({"properties": {"Gian": 2}}, r"no property 'Gian': did you mean 'Gain'"),
        ({"properties": {"PixelType": "9bit"}}, r"PixelType = 9bit \(it takes .*16bit"),
        ({"binning": 3}, r"Binning = 3 \(it takes 1, 2, 4, 8\)"),
    ],
)
def test_what_a_camera_cannot_do_is_said_when_it_is_opened(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        open_microscope(demo_camera(**changes))


def test_a_tag_that_frames_lack_is_named_with_those_they_have() -> None:
    config = demo_camera()
    tags = config.frame_tags().model_copy(update={"counter": "FrameNo"})
    with (
        open_microscope(demo_camera(frame_tags=tags)) as microscope,
        pytest.raises(ScanError, match=r"must carry the tag 'FrameNo', got .*ImageNumber"),
    ):
        microscope.scan()


def test_a_camera_that_rounds_its_exposure_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small difference is accepted and recorded, a large one is an error."""
    config = small_config()
    monkeypatch.setattr(SimulatedCamera, "get_exposure", lambda _: 1.004)
    with open_microscope(config) as microscope:
        assert microscope.scan().provenance["exposure_ms"] == "1.004"
    monkeypatch.setattr(SimulatedCamera, "get_exposure", lambda _: 12.0)
    with pytest.raises(DeviceError, match="must expose for 1 ms, it set 12 ms"):
        open_microscope(config)


def test_a_dmd_may_be_required_to_take_a_sequence() -> None:
    with open_bench("stepped") as bench:
        config, core = bench.microscope.config, bench.microscope.core
        dmd = config.dmd.model_copy(update={"stepping": "hardware"})
        strict = Microscope(
            core, CalibratedConfig(config.model_copy(update={"dmd": dmd})), None, 1.0
        )
        with pytest.raises(DeviceError, match="must take a sequence of 9 pictures, its longest is"):
            strict.upload()
