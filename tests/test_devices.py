"""The simulated devices, driven through the core as hardware would be."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from pymmcore_plus.experimental.unicore import UniMMCore

from acquisition.devices.faults import Faults
from acquisition.devices.trigger import TriggerLine
from acquisition.errors import ConfigurationError, DeviceError
from acquisition.illumination.gratings import DmdGeometry, diffracted_order, lee_grating
from acquisition.microscope import Microscope, open_microscope
from tests.simulated import ANGLES, angle_of, faulty, small_config, small_microscope


@pytest.fixture(scope="module")
def microscope() -> Iterator[Microscope]:
    with small_microscope() as opened:
        yield opened


def grating(microscope: Microscope, angle: int) -> np.ndarray:
    dmd = microscope.config.dmd
    return dmd.bit_planes(microscope.angles.k[angle])[0]


def show_and_snap(microscope: Microscope, picture: np.ndarray) -> np.ndarray:
    core, camera = microscope.core, microscope.config.camera
    core.setSLMImage("Dmd", picture)
    core.displaySLMImage("Dmd")
    core.setProperty(camera.label, "TriggerMode", "Internal")
    core.snapImage()
    core.setProperty(camera.label, "TriggerMode", "External")
    return core.getImage()


@pytest.mark.parametrize("angle", range(ANGLES))
def test_the_camera_sees_what_the_dmd_shows(microscope: Microscope, angle: int) -> None:
    frame = show_and_snap(microscope, grating(microscope, angle))
    assert frame.shape == (64, 64)
    assert frame.dtype == np.uint8
    assert angle_of(frame, microscope) == angle


@pytest.mark.parametrize("level", [0, 1])
def test_a_blank_picture_makes_no_fringes(microscope: Microscope, level: int) -> None:
    blank = np.full(microscope.config.dmd.shape, level, dtype=np.uint8)
    assert angle_of(show_and_snap(microscope, blank), microscope) is None


def test_a_mirror_is_on_at_any_value_but_zero(microscope: Microscope) -> None:
    one = show_and_snap(microscope, grating(microscope, 3))
    full = show_and_snap(microscope, 255 * grating(microscope, 3))
    np.testing.assert_array_equal(one, full)


def test_a_picture_of_the_wrong_shape_is_refused(microscope: Microscope) -> None:
    with pytest.raises(ValueError, match="shape"):
        microscope.core.setSLMImage("Dmd", np.zeros((10, 10), np.uint8))


def test_snap_shows_the_normal_angle(microscope: Microscope) -> None:
    assert angle_of(microscope.snap(), microscope) == microscope.angles.normal
    assert microscope.scan().complete  # and the external trigger is back


def test_the_stage_moves_the_sample(microscope: Microscope) -> None:
    core = microscope.core
    here = microscope.snap()
    core.setXYPosition(1.0, 0.0)
    assert core.getXYPosition() == (1.0, 0.0)
    moved = microscope.snap()
    core.setXYPosition(0.0, 0.0)
    assert np.abs(moved.astype(int) - here).max() > 20
    np.testing.assert_array_equal(microscope.snap(), here)


def test_the_focus_moves_the_sample(microscope: Microscope) -> None:
    core = microscope.core
    here = microscope.snap()
    core.setPosition(2.0)
    assert core.getPosition() == 2.0
    moved = microscope.snap()
    core.setPosition(0.0)
    assert np.abs(moved.astype(int) - here).max() > 5


def test_origins_are_software_zeros(microscope: Microscope) -> None:
    core = microscope.core
    core.setXYPosition(3.0, 4.0)
    core.setOriginXY("XYStage")
    assert core.getXYPosition() == (0.0, 0.0)
    core.setXYPosition(-3.0, -4.0)
    assert microscope.instrument is not None
    assert microscope.instrument.stage_um == (0.0, 0.0, 0.0)
    core.setOriginXY("XYStage")


def test_dead_and_saturated_light_reach_the_camera(microscope: Microscope) -> None:
    whole = microscope.snap()
    with faulty(microscope, dead_illumination=True):
        assert not microscope.snap().any()
    with faulty(microscope, saturated_laser=True):
        assert (microscope.snap() == 255).mean() > 0.3
    np.testing.assert_array_equal(microscope.snap(), whole)
    with pytest.raises(ConfigurationError, match="must not both be set"):
        Faults(dead_illumination=True, saturated_laser=True)


def test_a_free_running_camera_streams_until_stopped(microscope: Microscope) -> None:
    core = microscope.core
    core.setProperty("Camera", "TriggerMode", "Internal")
    core.startContinuousSequenceAcquisition(0)
    while core.getRemainingImageCount() < 3:
        time.sleep(0.001)  # the core has no call that waits for a frame
    core.stopSequenceAcquisition()
    core.setProperty("Camera", "TriggerMode", "External")
    counts = [int(core.popNextImageAndMD()[1]["FrameCounter"]) for _ in range(3)]
    assert np.diff(counts).tolist() == [1, 1]
    assert not core.isSequenceRunning()


def test_an_unknown_trigger_mode_is_refused(microscope: Microscope) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        microscope.core.setProperty("Camera", "TriggerMode", "Extrenal")


def test_above_eight_bits_frames_are_uint16() -> None:
    camera = {"width": 64, "height": 64, "exposure_ms": 1.0, "bit_depth": 12}
    with small_microscope(camera=camera) as microscope:
        frame = microscope.snap()
        assert frame.dtype == np.uint16
        assert 255 < frame.max() <= 4095
        assert microscope.scan().frames.dtype == np.uint16


@pytest.mark.parametrize("preset", ["cell", "bacteria"])
def test_the_default_dmd_makes_the_planned_angles(preset: str) -> None:
    """First order strongest and inside the stop; the second order cannot pass with it."""
    config = small_config(optics={"preset": preset}, illumination={"preset": preset})
    geometry, optics = config.dmd.geometry(), config.build_optics()
    assert isinstance(geometry, DmdGeometry)
    assert optics.cutoff * geometry.mirror_pitch_um < geometry.stop_radius
    assert 3 * geometry.stop_radius < np.hypot(*geometry.carrier)
    for kx, ky in config.build_angles().k[::6]:
        order = diffracted_order(lee_grating(geometry.shape, geometry.frequency(kx, ky)), geometry)
        assert order is not None
        made = geometry.wave_vector(order.fx, order.fy)
        assert np.hypot(made[0] - kx, made[1] - ky) < 2e-3 * optics.cutoff


def test_edges_reach_only_the_input_armed_last() -> None:
    line = TriggerLine()
    line.raise_edges([0.0])  # nobody is armed: lost
    old = line.arm()
    new = line.arm()
    line.raise_edges([2.0, 1.0])
    assert (new.wait(0), new.wait(0), new.wait(0)) == (1.0, 2.0, None)
    assert (old.seen, new.seen) == (0, 2)
    line.disarm(old)  # late: the new one stays
    line.raise_edges([3.0])
    assert new.wait(0) == 3.0
    line.disarm(new)
    line.raise_edges([4.0])
    assert new.wait(0) is None


def test_edges_wait_for_their_time() -> None:
    line = TriggerLine()
    armed = line.arm()
    due = time.perf_counter() + 0.05
    line.raise_edges([due])
    assert armed.wait(0) is None
    assert armed.wait(10) == due
    assert time.perf_counter() >= due
    line.raise_edges([time.perf_counter() + 60])
    line.clear()
    assert armed.wait(0) is None


def test_edges_are_counted_when_they_come() -> None:
    line = TriggerLine()
    armed = line.arm()
    now = time.perf_counter()
    line.raise_edges([now - 2, now - 1, now + 60])
    assert (armed.received, armed.seen) == (2, 0)
    assert armed.wait(0) == now - 2
    assert (armed.received, armed.seen) == (2, 1)


def test_a_failed_opening_releases_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []

    class WatchedCore(UniMMCore):
        def unloadAllDevices(self) -> None:
            released.extend(self.getLoadedDevices())
            super().unloadAllDevices()

    monkeypatch.setattr("acquisition.microscope.UniMMCore", WatchedCore)
    config = small_config()
    camera = config.camera.model_copy(update={"properties": {"Gian": 3}})
    with pytest.raises(DeviceError, match=r"'Camera' has no property 'Gian': it has Binning"):
        open_microscope(config.model_copy(update={"camera": camera}))
    assert {"Camera", "Dmd"} <= set(released)
