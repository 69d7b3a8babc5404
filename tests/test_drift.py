"""Keeping an object in the middle: the controller, time-lapses that drift, live scans."""

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import TypeAdapter
from useq import MDASequence

from acquisition.configuration.sections import DriftSection, StageSection
from acquisition.devices.stages import SimulatedFocus, SimulatedXYStage
from acquisition.errors import ConfigurationError, DeviceError
from acquisition.microscope import Microscope
from commands.record_session import run_record
from files.drift_log import DriftLog
from files.recording import read_recording
from files.series import ScanLocation
from measuring.sighting import ObjectPlace, Sighting
from pipeline.live.live_centring import LiveCentring
from pipeline.live.stage_control import StageControl
from pipeline.timelapse import focus_drive
from pipeline.timelapse.drift_control import DriftControl
from pipeline.timelapse.object_keeper import ObjectKeeper
from pipeline.timelapse.plan import TimelapsePlan, interval_plan
from pipeline.timelapse.run import TimelapseRun
from pipeline.wire.places import StagePlace
from pipeline.wire.sockets import PipelineError
from tests.simulated import small_microscope

Xyz = tuple[float, float, float]

# ---- The controller ------------------------------------------------------------------------------


def at(x: float, y: float = 0.0, z: float = 0.0) -> Sighting:
    return Sighting(ObjectPlace((z, y, x), 7.0))


def control(**settings: Any) -> DriftControl:
    return DriftControl(DriftSection(**settings))


@pytest.mark.parametrize(
    ("place", "move"),
    [
        ((0.5, -0.3, 0.2), (0.4, -0.24, 0.16)),
        ((0.05, -0.09, 0.2), (0.0, 0.0, 0.16)),
        ((-30.0, 0.0, 40.0), (-1.2, 0.0, 1.6)),
    ],
)
def test_it_corrects_a_share_beyond_the_dead_band_up_to_a_step(place: Xyz, move: Xyz) -> None:
    one = control(gain=0.8, dead_band_um=0.1, step_um=2.0)
    assert one.see(at(*place)) == pytest.approx(move)
    assert one.offset_um == pytest.approx(move)
    assert one.expected is not None
    left = [p - m for p, m in zip(place, move, strict=True)]
    assert one.expected.centre_um == pytest.approx(left[::-1])


def test_axes_without_a_device_are_left_alone() -> None:
    one = DriftControl(DriftSection(), (True, True, False))
    assert one.see(at(1.0, 0.0, 1.0)) == pytest.approx((0.8, 0.0, 0.0))


def test_it_goes_no_farther_than_the_limit_in_total_and_comes_back() -> None:
    one = control(gain=1.0, step_um=2.0, total_um=5.0)
    for _ in range(4):
        one.see(at(2.0))
    assert one.offset_um == pytest.approx((4.0, 0, 0))
    assert "[drift] total_um lets the stages follow 5 um" in one.problem
    one.see(at(-1.5))
    assert one.offset_um == pytest.approx((2.5, 0, 0)) and not one.problem


def test_an_object_that_is_gone_is_remembered_for_a_while() -> None:
    one = control()
    one.see(at(0.5))
    for missed in range(1, 6):
        assert one.see(Sighting(None, "nothing there")) == (0.0, 0.0, 0.0)
        assert one.problem == "not corrected: nothing there"
        assert (one.expected is None) == (missed == 5)
    assert one.offset_um == pytest.approx((0.4, 0, 0))
    one.see(at(0.5))
    assert not one.problem and one.expected is not None


def test_a_stage_that_goes_the_wrong_way_is_left_alone() -> None:
    one, x = control(), 0.5
    for _ in range(6):
        x += one.see(at(x, 0.0, 0.3))[0]  # it goes away by what it should come nearer
    assert x < 2.0
    assert "the sample stage is left alone" in one.problem and "[stage] axes" in one.problem
    assert one.see(at(x, 0.0, 0.3))[2] == pytest.approx(0.24)  # the focus still works


# ---- Time-lapses ---------------------------------------------------------------------------------

WIDE = {"width": 128, "height": 128, "exposure_ms": 1.0}
VELOCITY: Xyz = (0.3, -0.2, 0.15)  # um a scan


@pytest.fixture(scope="module")
def instrument() -> Iterator[Microscope]:
    with small_microscope(background={"scans": 1}, camera=WIDE) as opened:
        yield opened


@contextmanager
def keeping(
    instrument: Microscope, *, on: bool, stage: dict[str, Any] | None = None
) -> Iterator[Microscope]:
    """Switch it on or off, with the specimen and the stages in the middle."""
    before = instrument.config
    drift = before.drift.model_copy(update={"keep_in_middle": on})
    turned = StageSection(**(stage or {}))
    instrument.config = before.model_copy(update={"drift": drift, "stage": turned})
    instrument.stage.move_to(0.0, 0.0, 0.0)
    put(instrument, 0.0, 0.0, 0.0)
    try:
        yield instrument
    finally:
        instrument.config = before


def put(microscope: Microscope, *place: float) -> None:
    """Put the specimen there, whatever the clock says."""
    assert microscope.instrument is not None
    scene = microscope.instrument.bench.scene
    x, y, z = place
    scene.objects = (replace(scene.objects[0], position_um=(x, y, z)),)


def away_um(microscope: Microscope) -> float:
    """Return how far the specimen is from the middle and the focus in truth."""
    assert microscope.instrument is not None
    specimen = microscope.instrument.bench.scene.objects[0].position(0.0)
    return math.dist(specimen, microscope.instrument.stage_um)


def drifting(
    microscope: Microscope, run: TimelapseRun, velocity: Xyz = VELOCITY
) -> Iterator[float]:
    """Take the scans of a specimen that drifts from one to the next; yield how far it is away."""
    while not run.finished:
        scan = run.progress().done
        put(microscope, *(scan * along for along in velocity))
        if run.step() is not None:
            yield away_um(microscope)


def recorded(microscope: Microscope, path: Path, scans: int = 8) -> tuple[list[float], DriftLog]:
    with TimelapseRun(microscope, interval_plan(scans, 0.0), path) as run:
        run.start()
        away = list(drifting(microscope, run))
    return away, read_recording(path).drift()


class Mirrored(SimulatedXYStage):
    """A stage whose x is the camera's y, and whose y runs against the camera's x."""

    def set_position_um(self, x: float, y: float) -> None:
        super().set_position_um(-y, x)

    def get_position_um(self) -> tuple[float, float]:
        x, y = super().get_position_um()
        return y, -x


class UpsideDown(SimulatedFocus):
    """A focus drive that counts downwards."""

    def set_position_um(self, val: float) -> None:
        super().set_position_um(-val)

    def get_position_um(self) -> float:
        return -super().get_position_um()


@contextmanager
def other_stages(microscope: Microscope) -> Iterator[None]:
    core = microscope.core
    assert microscope.instrument is not None
    before = core.getXYStageDevice(), core.getFocusDevice()
    core.loadPyDevice("Mirrored", Mirrored(microscope.instrument))
    core.loadPyDevice("Objective", UpsideDown(microscope.instrument))
    for label in ("Mirrored", "Objective"):
        core.initializeDevice(label)
    core.setXYStageDevice("Mirrored")
    core.setFocusDevice("Objective")
    try:
        yield
    finally:
        core.setXYStageDevice(before[0])
        core.setFocusDevice(before[1])


@pytest.mark.parametrize("mounting", ["straight", "turned"])
def test_a_drifting_specimen_stays_and_its_way_is_known(
    instrument: Microscope, tmp_path: Path, mounting: str
) -> None:
    turned = {"axes": [[0.0, -1.0], [1.0, 0.0]], "focus_direction": -1}
    stage: dict[str, Any] = turned if mounting == "turned" else {}
    with ExitStack() as held:
        microscope = held.enter_context(keeping(instrument, on=True, stage=stage))
        if mounting == "turned":
            held.enter_context(other_stages(microscope))
        away, log = recorded(microscope, tmp_path / "scan.h5")
    assert max(away) < 0.55  # a drift of 0.39 um a scan settles at 0.39/0.8
    truth = np.arange(8)[:, None] * np.array(VELOCITY)
    np.testing.assert_allclose(log.track_um - log.track_um[0], truth, atol=0.05)
    assert not any(log.notes)


def test_without_it_the_specimen_leaves(instrument: Microscope, tmp_path: Path) -> None:
    with keeping(instrument, on=False) as microscope:
        away, log = recorded(microscope, tmp_path / "scan.h5")
    assert away[-1] > 2.5
    assert not log.correction_um.any() and np.isnan(log.object_um).all()


def test_a_specimen_that_leaves_does_not_end_it(instrument: Microscope, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with keeping(instrument, on=True) as microscope:
        with TimelapseRun(microscope, interval_plan(5, 0.0), path) as run:
            run.start()
            for scan in range(5):
                put(microscope, 0.4 if scan < 2 else 60.0, 0.0, 0.0)
                run.step()
            progress = run.progress()
        corrected = microscope.stage.position_um()
    assert progress.done == 5
    assert progress.drift.startswith("not corrected: nothing in the field")
    assert progress.warning.startswith("scan 5: not corrected: nothing in the field")
    log = read_recording(path).drift()
    assert np.isfinite(log.object_um).all(axis=1).tolist() == [True] * 2 + [False] * 3
    assert [bool(note) for note in log.notes] == [False] * 2 + [True] * 3
    assert corrected[0] == pytest.approx(0.4, abs=0.1)  # where it was seen last


@pytest.mark.parametrize(
    ("device", "method"),
    [(SimulatedXYStage, "set_position_um"), (SimulatedFocus, "set_position_um")],
)
def test_a_stage_that_fails_does_not_end_it(
    instrument: Microscope,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: type,
    method: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cable unplugged")

    path = tmp_path / "scan.h5"
    with (
        keeping(instrument, on=True) as microscope,
        TimelapseRun(microscope, _plan(6), path) as run,
    ):
        run.start()
        put(microscope, 0.6, 0.0, 0.6)
        run.step()
        with monkeypatch.context() as broken:
            broken.setattr(device, method, refuse)
            for _ in range(2):
                run.step()
        assert run.progress().done == 3
        for _ in range(3):
            run.step()
        assert away_um(microscope) < 0.2  # the plug is in again
    log = read_recording(path).drift()
    truth = np.tile((0.6, 0.0, 0.6), (6, 1))
    np.testing.assert_allclose(log.track_um[:, :2], truth[:, :2], atol=0.05)


def _plan(scans: int) -> TimelapsePlan:
    return interval_plan(scans, 0.0)


def test_a_failed_autofocus_does_not_end_it(
    instrument: Microscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DeviceError("the drive is stuck")

    monkeypatch.setattr(focus_drive.Autofocus, "__call__", refuse)
    plan = TimelapsePlan(
        MDASequence.model_validate(
            {"stage_positions": [(0.0, 0.0, 0.3)], "autofocus_plan": {"axes": ("p",)}}
        )
    )
    path = tmp_path / "scan.h5"
    with keeping(instrument, on=False) as microscope, TimelapseRun(microscope, plan, path) as run:
        run.start()
        run.step()
        assert run.progress().warning == "focus at position 1: the drive is stuck"
    (scan,) = read_recording(path).scans()
    assert scan.stage_um == (0.0, 0.0, 0.3)


def test_each_position_has_its_own_offset_and_keeps_it_when_resumed(
    instrument: Microscope, tmp_path: Path
) -> None:
    places = {"left": (0.0, 0.0), "right": (30.0, 0.0)}
    plan = TimelapsePlan(
        MDASequence.model_validate(
            {
                "time_plan": {"interval": 0, "loops": 4},
                "stage_positions": [
                    {"x": x, "y": y, "name": name} for name, (x, y) in places.items()
                ],
            }
        )
    )
    specimens = ((0.6, 0.0, 0.4), (29.5, 0.3, -0.4))
    path = tmp_path / "scan.h5"
    with keeping(instrument, on=True) as microscope:
        with TimelapseRun(microscope, plan, path) as run:
            run.start()
            for scan in range(5):
                put(microscope, *specimens[scan % 2])
                run.step()
        with TimelapseRun(microscope, plan, path) as run:
            run.resume()
            while not run.finished:
                put(microscope, *specimens[run.progress().done % 2])
                if run.step() is not None:
                    assert away_um(microscope) < 0.25
    where = read_recording(path).log().positions
    for number, specimen in enumerate(specimens):
        stage = where.stage_um[where.scans_at(number)]
        home = (*tuple(places.values())[number], 0.0)
        np.testing.assert_allclose(stage[0], home)
        np.testing.assert_allclose(stage[-1], specimen, atol=0.2)
        corrected = where.correction_um[where.scans_at(number)]
        np.testing.assert_allclose(corrected, stage - stage[0], atol=1e-9)


def test_a_recording_without_drift_is_read_and_resumed(
    instrument: Microscope, tmp_path: Path
) -> None:
    """Those of older versions have none of its datasets."""
    path = tmp_path / "scan.h5"
    with keeping(instrument, on=False) as microscope:
        with TimelapseRun(microscope, _plan(3), path) as run:
            run.start()
            run.step()
        with h5py.File(path, "r+") as file:
            for name in ("correction_um", "object_um", "drift_note"):
                del file["sample"][name]
        with TimelapseRun(microscope, _plan(3), path) as run:
            run.resume()
            list(drifting(microscope, run))
    log = read_recording(path).drift()
    assert log.notes == ("",) * 3 and not log.correction_um.any()
    assert next(read_recording(path).scans()).location == ScanLocation(0, (0.0, 0.0, 0.0))


def test_it_needs_something_that_moves(
    instrument: Microscope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keeping(instrument, on=True) as microscope:
        for device in ("getXYStageDevice", "getFocusDevice"):
            monkeypatch.setattr(microscope.core, device, lambda: "")
        with pytest.raises(ConfigurationError, match="name them in"):
            TimelapseRun(microscope, _plan(1), tmp_path / "scan.h5")
        centring = LiveCentring(on=True)
        centring.open(microscope)
        assert not centring.state(None).possible and not centring.state(None).on
        with pytest.raises(PipelineError, match="this microscope has neither"):
            centring.switch("on")


def test_live_scans_are_kept_in_the_middle_too(instrument: Microscope) -> None:
    with keeping(instrument, on=False) as microscope:
        background = microscope.background()
        centring, control = LiveCentring(on=False), StageControl()
        centring.open(microscope)
        control.open(microscope.stage, StageSection(axes=((0.0, -1.0), (1.0, 0.0))))
        put(microscope, 0.5, -0.4, 0.3)
        centring.after_scan(microscope.scan(), background)
        assert microscope.stage.position_um() == (0.0, 0.0, 0.0)
        centring.switch("on")
        centring.after_scan(microscope.scan(), background)
        assert away_um(microscope) < 0.25
        x, y, z = microscope.stage.position_um()
        at = control.locate()
        assert at.correction_um == pytest.approx((-y, x, z))  # along the tomogram's axes
        assert "corrected by" in centring.state(None).message
        assert centring.state("of the time-lapse").message == "of the time-lapse"
        centring.switch("off")
        assert centring.state(None).message == ""


def test_a_live_position_keeps_its_own_object(
    instrument: Microscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.live_centring._SHARE", 1.0)  # look at every scan
    left, right = StagePlace(0.0, 0.0, 0.0, "left"), StagePlace(30.0, 0.0, 0.0, "right")
    with keeping(instrument, on=False) as microscope:
        background = microscope.background()
        centring, control = LiveCentring(on=True), StageControl()
        centring.open(microscope)
        control.open(microscope.stage, StageSection())

        def go(to: StagePlace) -> None:
            control.request(TypeAdapter(StagePlace).dump_json(to).decode())
            assert control.carry_out()
            centring.enter(control.position)

        for to, specimen in ((left, (0.5, -0.4, 0.3)), (right, (29.6, 0.3, -0.4))):
            go(to)
            put(microscope, *specimen)
            centring.after_scan(microscope.scan(), background)
            assert away_um(microscope) < 0.25
            assert control.locate().position == to.name
        put(microscope, 0.5, -0.4, 0.3)
        go(left)  # goes to where its object was, without looking
        assert away_um(microscope) < 0.25
        assert control.locate().correction_um == pytest.approx(microscope.stage.position_um())
        go(StagePlace(5.0, 5.0, 0.0))  # another object, at no position by name
        assert microscope.stage.position_um() == (5.0, 5.0, 0.0)


def test_moves_by_hand_are_kept(instrument: Microscope) -> None:
    """An axis that the plan says nothing on goes from where it is."""
    with keeping(instrument, on=True) as microscope:
        keeper = ObjectKeeper(microscope)
        keeper.restore(0, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), newest=True)
        keeper.go_to(0, (None, None, None))
        assert microscope.stage.position_um() == (1.0, 0.0, 0.0)
        microscope.stage.move_to(4.0, 1.0)
        keeper.go_to(0, (None, None, None))
        assert microscope.stage.position_um() == (4.0, 1.0, 0.0)
        keeper.go_to(0, (10.0, 0.0, 2.0))
        assert microscope.stage.position_um() == (11.0, 0.0, 2.0)


def test_the_command_keeps_it_in_the_middle_and_says_so(
    instrument: Microscope, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with keeping(instrument, on=False) as microscope:
        text = microscope.config.model_dump(mode="json", exclude_defaults=True)
    toml = tmp_path / "microscope.toml"
    lines = (
        line
        for name, section in text.items()
        for line in (f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in section.items()))
    )
    toml.write_text("\n".join(lines))
    output = tmp_path / "scan.h5"
    assert run_record(toml, 2, 0.0, output, as_json=True, keep_in_middle=True) == 0
    said = json.loads(capsys.readouterr().out)["drift"]
    assert (said["found"], said["not_found"]) == (2, [])
    assert said["farthest_um"] < 0.2
    series = read_recording(output).series
    assert series is not None and json.loads(series.microscope)["drift"]["keep_in_middle"]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)
