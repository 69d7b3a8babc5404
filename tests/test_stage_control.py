"""Stage, single scans and forecasts: commands to an acquirer that runs in a thread of the test."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
from pydantic import TypeAdapter

from acquisition.devices.stages import SimulatedXYStage
from files.recording import read_recording
from files.sample_notes import SampleNotes
from pipeline.live.acquirer import Acquirer
from pipeline.live.instrument_client import merge
from pipeline.live.process_settings import ProcessSettings
from pipeline.live.sending import Sending
from pipeline.live.service import Publisher
from pipeline.wire.bound_sockets import ANY_PORT, Context, bind, connect
from pipeline.wire.messages import AcquirerStatus, Inbox, Message, StackHeader, Stamp
from pipeline.wire.places import SnapRequest, StagePlace
from pipeline.wire.sockets import PipelineError, command, request
from pipeline.wire.state import (
    ForecastRequest,
    Phase,
    RecordingForecast,
    RecordingState,
    RecordRequest,
)
from tests.microscopes import QUICK_SMALL

STAMP = Stamp("test", 1)
PLACE = TypeAdapter(StagePlace)


class Listening(Publisher):
    """A publisher that keeps the last status and says when there is a new one."""

    def __init__(self, context: Context) -> None:
        super().__init__(bind(context, zmq.PUB, ANY_PORT)[0])
        self.changed = threading.Condition()
        self.status: AcquirerStatus | None = None

    def publish(self, message: Message) -> None:
        if isinstance(message.header, AcquirerStatus):
            with self.changed:
                self.status = message.header
                self.changed.notify_all()


class RunningAcquirer:
    """An acquirer on a small simulated microscope, whose live imaging is stopped."""

    def __init__(self, context: Context, settings: ProcessSettings) -> None:
        self._context = context
        stacks, where = bind(context, zmq.PUSH, ANY_PORT)
        frames, _ = bind(context, zmq.PUSH, ANY_PORT)
        commands, self._commands = bind(context, zmq.REP, ANY_PORT)
        self.listening = Listening(context)
        self.inbox = Inbox(connect(context, zmq.PULL, where))
        kept: Callable[..., None] = lambda *_: None  # noqa: E731
        stamp = Stamp("acquirer", 2)
        sending = Sending(stacks, frames, stamp)
        self._acquirer = Acquirer(settings, sending, commands, self.listening, stamp, kept)
        self._sockets = (stacks, frames)

    def run(self, ending: threading.Event) -> None:
        try:
            self._acquirer.run(ending)
        finally:
            for socket in self._sockets:
                socket.close()

    def ask(self, name: str, argument: str = "") -> str:
        return request(self._context, self._commands, command(name, argument, stamp=STAMP), 60.0)

    def wait(self, holds: Callable[[AcquirerStatus], bool]) -> AcquirerStatus:
        listening = self.listening
        with listening.changed:
            listening.changed.wait_for(lambda: listening.status and holds(listening.status))
            assert listening.status is not None
            return listening.status


@pytest.fixture(scope="module")
def acquirer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAcquirer]:
    file = tmp_path_factory.mktemp("stage") / "small.toml"
    file.write_text(QUICK_SMALL)
    ending = threading.Event()
    settings = ProcessSettings(name="acquirer", microscope_file=file, live=False)
    patch = pytest.MonkeyPatch.context()
    with patch as now, zmq.Context() as context, ThreadPoolExecutor(1) as pool:
        now.setattr("pipeline.live.service.HEARTBEAT_S", 0.02)  # tests wait for what it says
        running = RunningAcquirer(context, settings)
        ran: Future[None] = pool.submit(running.run, ending)
        try:
            running.wait(lambda s: s.phase is Phase.IDLE)
            yield running
        finally:
            ending.set()
            ran.result()
            running.listening.close()
            running.inbox.socket.close()


def taken(acquirer: RunningAcquirer) -> list[StackHeader]:
    """Return the scans that have arrived since the last call."""
    found = []
    while (message := acquirer.inbox.receive()) is not None:
        assert isinstance(message.header, StackHeader)
        found += [message.header] if message.header.kind == "stack" else []
    return found


def snapped(acquirer: RunningAcquirer) -> StackHeader:
    """Take one scan and return its message."""
    taken(acquirer)
    before = acquirer.wait(lambda s: True).scans
    acquirer.ask("snap")
    acquirer.wait(lambda s: s.scans > before and s.phase is Phase.IDLE)
    scans: list[StackHeader] = []
    while not scans:
        scans = taken(acquirer)
    return scans[-1]


def place(acquirer: RunningAcquirer) -> StagePlace:
    return PLACE.validate_json(acquirer.ask("where"))


def move(acquirer: RunningAcquirer, wanted: StagePlace) -> AcquirerStatus:
    acquirer.ask("move", PLACE.dump_json(wanted).decode())

    def there(status: AcquirerStatus) -> bool:
        if status.stage is None or status.stage.moving:
            return False
        here = status.stage.place
        axes = ((wanted.x_um, here.x_um), (wanted.y_um, here.y_um), (wanted.z_um, here.z_um))
        return all(want in (None, um) for want, um in axes)  # not the status before the command

    return acquirer.wait(there)


def test_the_stage_goes_where_it_is_sent(acquirer: RunningAcquirer) -> None:
    status = move(acquirer, StagePlace(5.0, -3.5, 1.25))
    assert status.stage is not None and status.stage.problem == ""
    assert status.stage.place == place(acquirer) == StagePlace(5.0, -3.5, 1.25)
    move(acquirer, StagePlace(z_um=2.0))  # the other axes stay
    assert place(acquirer) == StagePlace(5.0, -3.5, 2.0)
    assert status.stage.sideways and status.stage.focus


@pytest.mark.parametrize("wanted", ["{}", '{"x_um": "left"}', "no JSON", '{"u_um": 1}'])
def test_a_place_that_is_none_is_refused(acquirer: RunningAcquirer, wanted: str) -> None:
    before = place(acquirer)
    with pytest.raises(PipelineError, match="move: "):
        acquirer.ask("move", wanted)
    assert place(acquirer) == before


def test_a_snap_is_one_scan_and_knows_how_far_the_stage_has_gone(acquirer: RunningAcquirer) -> None:
    move(acquirer, StagePlace(5.0, -3.5, 2.0))
    before = acquirer.wait(lambda s: True).scans
    scan = snapped(acquirer)
    assert acquirer.wait(lambda s: s.phase is Phase.IDLE).scans == before + 1
    assert scan.position == "" and scan.correction_um == pytest.approx((5.0, -3.5, 2.0))


def test_each_position_that_the_stage_is_sent_to_has_an_origin_of_its_own(
    acquirer: RunningAcquirer,
) -> None:
    left, right = StagePlace(0.5, 0.25, 0.0, "left"), StagePlace(-2.0, 0.25, name="right")
    for wanted in (left, right):
        status = move(acquirer, wanted)
        assert status.stage is not None and status.stage.text.startswith(f"{wanted.name}: x ")
        scan = snapped(acquirer)
        assert (scan.position, scan.correction_um) == (wanted.name, (0.0, 0.0, 0.0))
    move(acquirer, replace(left, x_um=0.75))  # it was noted anew under the same name
    assert snapped(acquirer).correction_um == (0.0, 0.0, 0.0)
    move(acquirer, StagePlace(0.0, 0.0, 0.0))  # where the microscope was opened
    scan = snapped(acquirer)
    assert (scan.position, scan.correction_um) == ("", (0.0, 0.0, 0.0))


def test_a_stage_that_falls_silent_is_asked_again_beside_the_scans(
    acquirer: RunningAcquirer, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(acquirer, StagePlace(3.0, 0.0, 0.0))
    snapped(acquirer)
    monkeypatch.setattr("pipeline.live.stage_control._FIRST_WAIT_S", 0.01)
    asked: list[str] = []
    again = threading.Event()

    def refuse(_: object) -> tuple[float, float]:
        asked.append(threading.current_thread().name)
        if asked.count("silent stage") == 2:
            again.set()
        raise OSError("cable unplugged")

    with monkeypatch.context() as broken:
        broken.setattr(SimulatedXYStage, "get_position_um", refuse)
        scans = [snapped(acquirer) for _ in range(3)]
        assert [scan.correction_um for scan in scans] == [(3.0, 0.0, 0.0)] * 3  # where it was
        again.wait()
        assert len([name for name in asked if name != "silent stage"]) == 1  # one scan waited
        status = acquirer.wait(lambda s: s.stage is not None and s.stage.silent_since_s is not None)
        said = merge(None, status, None).message
        assert "the stage has not answered since" in said and "cable unplugged" in said
    acquirer.wait(lambda s: s.stage is not None and s.stage.silent_since_s is None)
    move(acquirer, StagePlace(4.0, 0.0, 0.0))
    assert snapped(acquirer).correction_um == (4.0, 0.0, 0.0)


def test_the_last_snap_is_saved_with_notes_and_place(
    acquirer: RunningAcquirer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(acquirer, StagePlace(1.0, 2.0, -0.5))
    before = acquirer.wait(lambda s: True).scans
    acquirer.ask("snap")
    assert acquirer.wait(lambda s: s.snapped == before).scans == before + 1
    move(acquirer, StagePlace(9.0, 9.0, 9.0))
    output = tmp_path / "snap.h5"
    wanted = SnapRequest(str(output), "HL60", "one is dividing", "corner")
    text = TypeAdapter(SnapRequest).dump_json(wanted).decode()
    assert acquirer.ask("save snap", text) == f"saved {output}"
    recording = read_recording(output)
    assert recording.sample == SampleNotes("HL60", "one is dividing")
    (scan,) = recording.scans()
    assert (scan.position_name, scan.stage_um) == ("corner", (1.0, 2.0, -0.5))
    assert scan.stack.complete and scan.stack.frames.std() > 5  # fringes
    with pytest.raises(PipelineError, match="exists"):
        acquirer.ask("save snap", text)
    with monkeypatch.context() as full:  # as h5py says it, and the answers go on

        def refuse(*_: object) -> None:
            raise OSError("No space left on device")

        full.setattr("pipeline.live.kept_snap._write", refuse)
        with pytest.raises(PipelineError, match="could not be written: No space left"):
            acquirer.ask("save snap", text.replace("snap.h5", "more.h5"))
    with pytest.raises(PipelineError, match="save snap: "):
        acquirer.ask("save snap", "{}")


def test_a_time_lapse_at_positions_keeps_the_stage_to_itself(
    acquirer: RunningAcquirer, tmp_path: Path
) -> None:
    move(acquirer, StagePlace(0.0, 0.0, 0.0))
    taken(acquirer)
    output = tmp_path / "cells.h5"
    wanted = RecordRequest(
        str(output), stacks=2, interval_s=1000.0,
        positions=(StagePlace(0.5, 0.25, 0.0, "left"), StagePlace(-0.5, 0.25, name="right")),
        sample_name="HL60, dish 3", notes="37 °C\nfixed",
    )  # fmt: skip
    acquirer.ask("record", TypeAdapter(RecordRequest).dump_json(wanted).decode())
    with pytest.raises(PipelineError, match="move: a time-lapse is running and moves the stage"):
        acquirer.ask("move", PLACE.dump_json(StagePlace(1.0, 1.0)).decode())
    with pytest.raises(PipelineError, match="snap: scans are being taken"):
        acquirer.ask("snap")
    with pytest.raises(PipelineError, match="background: a time-lapse is running"):
        acquirer.ask("background")

    def state(status: AcquirerStatus) -> RecordingState:
        return status.recording or RecordingState("", "", running=False)

    scans: list[StackHeader] = []

    def recorded(status: AcquirerStatus) -> bool:
        scans.extend(taken(acquirer))  # the queue is short
        return state(status).done == 2 and len(scans) == 2

    status = acquirer.wait(recorded)
    assert status.stage is not None and status.stage.position == "right"
    found = [(scan.position, scan.correction_um) for scan in scans]
    assert found == [("left", (0.0, 0.0, 0.0)), ("right", (0.0, 0.0, 0.0))]
    acquirer.ask("finish")
    acquirer.wait(lambda s: state(s).output == str(output) and not state(s).running)
    recording = read_recording(output)
    assert recording.sample == SampleNotes("HL60, dish 3", "37 °C\nfixed")
    assert recording.attributes == {}
    kept = list(recording.scans())
    assert [scan.position_name for scan in kept] == ["left", "right"]
    assert [scan.stage_um[:2] for scan in kept] == [(0.5, 0.25), (-0.5, 0.25)]


def test_a_forecast_is_answered_without_starting(acquirer: RunningAcquirer, tmp_path: Path) -> None:
    output = tmp_path / "later.h5"
    wanted = RecordRequest(str(output), stacks=11, interval_s=60.0, tomograms=str(output) + "t")
    asked = TypeAdapter(ForecastRequest).dump_json(ForecastRequest(wanted, (16, 20, 24))).decode()
    answer = TypeAdapter(RecordingForecast).validate_json(acquirer.ask("forecast", asked))
    assert answer.problems == {} and answer.scans == 11
    assert answer.recording_bytes == 12 * 9 * 64 * 64  # with the background; 8 bit
    assert answer.tomogram_bytes == 11 * 2 * 4 * 16 * 20 * 24  # raw and regularized
    assert 600 <= answer.seconds < 660 and answer.free_bytes
    assert not output.exists()
