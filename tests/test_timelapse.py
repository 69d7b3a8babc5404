"""Time-lapses on the small simulated microscope: positions, backgrounds, focus, failures."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from useq import MDASequence

from acquisition.devices.camera import SimulatedCamera
from acquisition.devices.stages import SimulatedFocus, SimulatedXYStage
from acquisition.errors import ConfigurationError, DataError, DeviceError, ScanError, ScanStopped
from acquisition.microscope import Microscope
from acquisition.scanning.scan import pictures
from files.recording import read_recording
from files.series import RecordedScan
from pipeline.timelapse.focus_drive import Autofocus
from pipeline.timelapse.plan import BackgroundPlan, TimelapsePlan, interval_plan
from pipeline.timelapse.run import Activity, TimelapseRun
from tests.simulated import faulty, small_microscope

WIDE = {"width": 128, "height": 128, "exposure_ms": 1.0}


@pytest.fixture(scope="module")
def microscope() -> Iterator[Microscope]:
    """Yield a microscope without noise or motion: two scans are equal."""
    with small_microscope(background={"scans": 1}, camera=WIDE) as opened:
        yield opened


@pytest.fixture(autouse=True)
def at_rest(microscope: Microscope) -> None:
    microscope.stage.move_to(0.0, 0.0, 0.0)


def planned(**sequence: Any) -> TimelapsePlan:
    return TimelapsePlan(MDASequence.model_validate(sequence))


def finish(run: TimelapseRun) -> None:
    while not run.finished:
        if run.due_s == 0:
            run.step()
        else:
            time.sleep(min(run.due_s, 0.01))


def recorded(microscope: Microscope, plan: TimelapsePlan, path: Path) -> list[RecordedScan]:
    with TimelapseRun(microscope, plan, path) as run:
        run.start()
        finish(run)
        assert run.progress().activity is Activity.DONE
    return list(read_recording(path).scans())


def seen_at(microscope: Microscope, x: float, y: float, z: float) -> NDArray[Any]:
    """Return the frames at a stage position that is set by hand."""
    microscope.stage.move_to(x, y, z)
    return microscope.scan().frames


def test_every_position_is_visited_in_turn(microscope: Microscope, tmp_path: Path) -> None:
    places = ((0.5, -0.3, 0.2), (-0.4, 0.6, -0.5))
    plan = planned(
        time_plan={"interval": 0.4, "loops": 2},
        stage_positions=[
            dict(zip("xyz", place, strict=True), name=f"{place[0]}") for place in places
        ],
    )
    scans = recorded(microscope, plan, tmp_path / "scan.h5")
    assert [scan.position for scan in scans] == [0, 1, 0, 1]
    assert [scan.position_name for scan in scans] == ["0.5", "-0.4"] * 2
    for scan in scans:
        place = places[scan.position]
        assert scan.stage_um == place
        np.testing.assert_array_equal(scan.stack.frames, seen_at(microscope, *place))
    starts = [scan.stack.timestamp for scan in scans]
    assert starts[2] - starts[0] > 0.35  # a busy machine makes it late, nothing makes it early
    assert starts == sorted(starts)
    assert not np.array_equal(scans[0].stack.frames, scans[1].stack.frames)


def test_a_position_without_z_leaves_the_focus_alone(
    microscope: Microscope, tmp_path: Path
) -> None:
    microscope.stage.move_to(z_um=0.7)
    plan = planned(stage_positions=[(0.1, 0.0), (0.0, 0.2)])
    scans = recorded(microscope, plan, tmp_path / "scan.h5")
    assert [scan.stage_um for scan in scans] == [(0.1, 0.0, 0.7), (0.0, 0.2, 0.7)]


def test_each_scan_belongs_to_the_background_before_it(
    microscope: Microscope, tmp_path: Path
) -> None:
    """The laser dims from scan to scan: a background tells by its light when it was taken."""
    instrument = microscope.instrument
    assert instrument is not None
    plan = interval_plan(5, 0.0, BackgroundPlan(background_every_scans=2))
    powers = [1.0, 0.9, 0.8, 0.7, 0.6]
    path = tmp_path / "scan.h5"
    microscope.core.setXYPosition(0.3, 0.1)
    with TimelapseRun(microscope, plan, path) as run:
        run.start()
        while not run.finished:
            instrument.bench.laser_power = powers[run.progress().done]
            run.step()
    instrument.bench.laser_power = 1.0
    scans = list(read_recording(path).scans())
    assert [scan.background_number for scan in scans] == [0, 0, 1, 1, 2]
    assert {scan.stage_um[:2] for scan in scans} == {(0.3, 0.1)}  # it came back each time
    for scan, power in zip(scans, (1.0, 1.0, 0.8, 0.8, 0.6), strict=True):
        instrument.bench.laser_power = power
        expected = microscope.background().frames
        np.testing.assert_array_equal(scan.background.frames, expected)
    instrument.bench.laser_power = 1.0


def test_a_background_that_is_too_old_by_the_clock_is_retaken_before_the_scan(
    microscope: Microscope, tmp_path: Path
) -> None:
    plan = interval_plan(3, 0.6, BackgroundPlan(background_every_min=0.5 / 60))
    scans = recorded(microscope, plan, tmp_path / "scan.h5")
    assert [scan.background_number for scan in scans] == [0, 1, 2]
    for number, scan in enumerate(scans[1:], 1):
        due = scans[0].stack.timestamp + 0.6 * number
        # begun before the scan was due, which is all that keeps a busy machine's scans in time
        assert due - 0.6 < scan.background.timestamp < due - 0.02
        assert scan.stack.timestamp > due - 0.06


@pytest.mark.parametrize("defocus_um", [3.0, -2.0])
def test_autofocus_brings_a_defocused_specimen_back(
    microscope: Microscope, tmp_path: Path, defocus_um: float
) -> None:
    microscope.stage.move_to(z_um=defocus_um)  # the bead's centre is at 0
    plan = planned(
        time_plan={"interval": 0, "loops": 2},
        stage_positions=[(0.0, 0.0), (0.2, 0.0)],
        autofocus_plan={"axes": ("t",)},
    )
    scans = recorded(microscope, plan, tmp_path / "scan.h5")
    assert [scan.position for scan in scans] == [0, 1, 0, 1]
    for scan in scans:
        assert abs(scan.stage_um[2]) < 0.25
    sharp = seen_at(microscope, 0.0, 0.0, 0.0).astype(float)
    blurred = seen_at(microscope, 0.0, 0.0, defocus_um).astype(float)
    found = scans[0].stack.frames.astype(float)
    assert np.abs(found - sharp).mean() < 0.2 * np.abs(blurred - sharp).mean()


class UpsideDown(SimulatedFocus):
    """A focus drive that counts downwards, as those that move the objective do."""

    def set_position_um(self, val: float) -> None:
        super().set_position_um(-val)

    def get_position_um(self) -> float:
        return -super().get_position_um()


def test_autofocus_finds_out_which_way_the_drive_counts() -> None:
    with small_microscope(background={"scans": 1}, camera=WIDE) as microscope:
        assert microscope.instrument is not None
        microscope.core.loadPyDevice("Objective", UpsideDown(microscope.instrument))
        microscope.core.initializeDevice("Objective")
        microscope.core.setFocusDevice("Objective")
        background = microscope.background()
        search = Autofocus(microscope)
        for start in (2.5, -1.5):
            microscope.stage.move_to(z_um=start)
            assert search(background).problem == ""
            assert abs(microscope.instrument.stage_um[2]) < 0.25


def test_an_empty_field_has_no_focus_and_the_drive_stays(
    microscope: Microscope, tmp_path: Path
) -> None:
    plan = planned(stage_positions=[(-150.0, 80.0, 1.5)], autofocus_plan={"axes": ("p",)})
    with TimelapseRun(microscope, plan, tmp_path / "scan.h5") as run:
        run.start()
        finish(run)
        assert "nothing in the field is sharper" in run.progress().warning
    (scan,) = read_recording(tmp_path / "scan.h5").scans()
    assert scan.stage_um == (-150.0, 80.0, 1.5)


def is_dark(microscope: Microscope) -> bool:
    assert microscope.instrument is not None
    return microscope.instrument.display.at(time.perf_counter()).k is None


@pytest.mark.parametrize("device", ["XYStage", "Camera", "Focus"])
def test_a_device_that_fails_is_named_the_light_goes_off_and_it_can_go_on(
    microscope: Microscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cable unplugged")

    methods = {
        "XYStage": (SimulatedXYStage, "set_position_um"),
        "Focus": (SimulatedFocus, "set_position_um"),
        "Camera": (SimulatedCamera, "start_sequence"),
    }
    plan = planned(
        time_plan={"interval": 0, "loops": 3},
        stage_positions=[(0.5, 0.0, 0.1), (0.0, 0.5, 0.2)],
    )
    path = tmp_path / "scan.h5"
    dmd = microscope.config.dmd.label
    microscope.core.setSLMImage(dmd, pictures(microscope.config, microscope.angles.k[0])[0])
    microscope.core.displaySLMImage(dmd)
    assert not is_dark(microscope)
    with TimelapseRun(microscope, plan, path) as run:
        run.start()
        for _ in range(3):
            run.step()
        with monkeypatch.context() as broken:
            broken.setattr(*methods[device], refuse)
            with pytest.raises(DeviceError, match=f"'{device}' must .*cable unplugged"):
                run.step()
        assert is_dark(microscope)
        assert (run.progress().done, len(read_recording(path))) == (3, 3)
        finish(run)  # the plug is in again
    scans = list(read_recording(path).scans())
    assert [scan.position for scan in scans] == [0, 1] * 3
    assert all(scan.stack.complete for scan in scans)


def test_a_camera_without_triggers_ends_it_with_the_scans_so_far(
    microscope: Microscope, tmp_path: Path
) -> None:
    with TimelapseRun(microscope, interval_plan(3, 0.0), tmp_path / "scan.h5") as run:
        run.start()
        run.step()
        with (
            faulty(microscope, trigger_cable_cut=True),
            pytest.raises(ScanError, match="'Camera' must deliver 9 frames, got none"),
        ):
            run.step()
        with faulty(microscope, lost_frames=(4,)):
            run.step()
        assert run.lost_angles == {1: (4,)}
        assert "1 of its angles were lost" in run.progress().warning
    assert len(read_recording(tmp_path / "scan.h5")) == 2


def test_a_pause_stops_the_clock_and_a_stop_cuts_a_scan_short(
    microscope: Microscope, tmp_path: Path
) -> None:
    path = tmp_path / "scan.h5"
    with TimelapseRun(microscope, interval_plan(3, 0.3), path) as run:
        begun = (
            time.time()
        )  # a first scan may start late on a busy machine, the second one not early
        run.start()
        run.step()
        before_s, asked = run.due_s, time.monotonic()
        run.pause()
        stands = time.monotonic()
        assert run.due_s == float("inf")
        assert run.progress().summary.startswith("paused after 1 of 3 scans")
        time.sleep(0.5)
        stood_s, goes = time.monotonic() - stands, time.monotonic()
        run.unpause()
        after_s = run.due_s
        lost_s = stands - asked + time.monotonic() - goes  # in which the clock went, here and there
        assert max(before_s - lost_s, 0) <= after_s <= before_s <= 0.3
        while run.due_s > 0:
            time.sleep(0.01)
        run.step()
        stop = threading.Event()
        stop.set()
        with pytest.raises(ScanStopped):
            run.step(stop)
    starts = read_recording(path).timestamps
    assert len(starts) == 2
    assert starts[1] - begun > 0.3 + stood_s - 0.02  # two clocks


def test_a_time_lapse_goes_on_in_its_file_with_a_new_background(
    microscope: Microscope, tmp_path: Path
) -> None:
    plan = planned(
        time_plan={"interval": 0, "loops": 2},
        stage_positions=[(0.5, 0.0), (0.0, 0.5)],
        autofocus_plan={"axes": ("p",)},
    )
    path = tmp_path / "scan.h5"
    microscope.stage.move_to(z_um=2.0)
    with TimelapseRun(microscope, plan, path) as run:
        run.start()
        for _ in range(2):
            run.step()
    microscope.stage.move_to(0.0, 0.0, -4.0)  # as somebody left it
    with TimelapseRun(microscope, plan, path) as run:
        run.resume()
        assert run.progress().done == 2
        finish(run)
    scans = list(read_recording(path).scans())
    assert [scan.background_number for scan in scans] == [0, 0, 1, 1]
    assert [scan.position for scan in scans] == [0, 1, 0, 1]
    assert max(abs(scan.stage_um[2]) for scan in scans) < 0.25
    with TimelapseRun(microscope, plan, path) as run:
        run.resume()  # there is nothing left
        assert run.finished
    assert len(read_recording(path)) == 4


def test_only_the_same_plan_and_microscope_may_go_on(
    microscope: Microscope, tmp_path: Path
) -> None:
    path = tmp_path / "scan.h5"
    recorded(microscope, interval_plan(1, 0.0), path)
    with (
        TimelapseRun(microscope, interval_plan(2, 0.0), path) as other_plan,
        pytest.raises(DataError, match="with the plan that it was started with"),
    ):
        other_plan.resume()
    with (
        small_microscope() as smaller,
        TimelapseRun(smaller, interval_plan(1, 0.0), path) as other_camera,
        pytest.raises(DataError, match="on the microscope that it was started on"),
    ):
        other_camera.resume()
    assert len(read_recording(path)) == 1


def test_what_the_microscope_cannot_do_is_refused_before_it_starts(tmp_path: Path) -> None:
    with small_microscope() as microscope:
        microscope.core.unloadDevice("XYStage")
        microscope.core.unloadDevice("Focus")
        for plan, missing in (
            (planned(stage_positions=[(1, 2)]), "a sample stage"),
            (planned(stage_positions=[{"z": 2.0}]), "a focus drive"),
            (
                planned(time_plan={"interval": 0, "loops": 2}, autofocus_plan={"axes": ("t",)}),
                "a focus drive",
            ),
        ):
            with pytest.raises(DeviceError, match=f"needs {missing}, got none"):
                TimelapseRun(microscope, plan, tmp_path / "scan.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_retaken_background_needs_an_empty_field_to_go_to(
    microscope: Microscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = type(microscope.config)
    monkeypatch.setattr(config, "background_position_um", lambda _: None)  # as without the key
    plan = interval_plan(5, 0.0, BackgroundPlan(background_every_scans=2))
    with pytest.raises(ConfigurationError, match=r"set \[background\] position_um"):
        TimelapseRun(microscope, plan, tmp_path / "scan.h5")


def test_a_disk_that_will_fill_up_is_said_and_one_that_is_full_ends_it(
    microscope: Microscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan_bytes, spare = microscope.config.scan_bytes(), 256 * 2**20
    free = iter([spare + 5 * scan_bytes, spare + 2 * scan_bytes, spare + scan_bytes - 1])
    usage = shutil.disk_usage(tmp_path)
    path = tmp_path / "scan.h5"
    with TimelapseRun(microscope, interval_plan(5, 0.0), path) as run:
        run.start()
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
        run.step()
        assert run.progress().warning == ""
        run.step()
        assert run.progress().warning == "the disk has room for only 2 of the 4 scans left"
        with pytest.raises(DataError, match="scan 3 of 5 needs"):
            run.step()
    assert len(read_recording(path)) == 2


def test_a_background_that_is_at_hand_is_not_taken_again(
    microscope: Microscope, tmp_path: Path
) -> None:
    own = microscope.background()
    with TimelapseRun(microscope, interval_plan(1, 0.0), tmp_path / "scan.h5") as run:
        run.start(background=own)
        assert run.background is own
        run.step()
    np.testing.assert_array_equal(
        read_recording(tmp_path / "scan.h5").background.frames, own.frames
    )
