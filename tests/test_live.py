"""The instrument as its processes, live: what it shows, records and survives."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import zmq

from acquisition.configuration.microscope_file import load_configuration
from acquisition.scanning.scan import pictures
from files.recording import read_recording
from files.tomograms import read_tomograms
from measuring.measuring_settings import MeasuringSettings
from pipeline.live.instrument_client import InstrumentClient
from pipeline.live.process_settings import OPTIONAL, ProcessSettings
from pipeline.live.supervisor import Instrument, _Child
from pipeline.wire.bound_sockets import bind, connect
from pipeline.wire.messages import AcquirerStatus, Inbox
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import (
    CYCLE,
    InstrumentState,
    InterferogramView,
    MeasuredView,
    MeasuringRequest,
    Phase,
    QualityView,
    RecordingState,
    RecordRequest,
    TomogramView,
)
from tests.microscopes import LIVE_SMALL, QUICK_SMALL

PATIENCE_S = 120.0  # for answers: only a hang takes so long
UNCHECKED = LIVE_SMALL.replace("[processing]", "[processing]\nquality = false")


@dataclass(frozen=True)
class Live:
    """An instrument that several tests use, since it takes seconds to start."""

    instrument: Instrument
    client: InstrumentClient
    microscope: Path  # its file


@contextlib.contextmanager
def started(
    folder: Path,
    text: str,
    regularizer: str | None = None,
    quality: bool = True,
    measuring: bool = True,
    replay: Path | None = None,
) -> Iterator[Live]:
    """Start the instrument of a microscope.toml, with its logs out of the user's folder."""
    (folder / "microscope.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
            patch.setenv(name, str(folder / "state"))
        file = folder / "microscope.toml"
        one = Instrument(
            file, regularizer=regularizer, quality=quality, measuring=measuring, replay=replay
        )
        with one as instrument, instrument.client(PATIENCE_S) as client:
            endpoints = instrument.endpoints
            yield Live(instrument, client, folder / "microscope.toml")
            assert client.malformed == 0
        assert_released([endpoints.stacks, endpoints.acquirer, endpoints.processor_commands])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with started(tmp_path_factory.mktemp("live"), LIVE_SMALL, "none") as live:
        yield live


@contextlib.contextmanager
def halted(process: int) -> Iterator[None]:
    """Halt a process, on POSIX: checking every tomogram, it would take a core."""
    if os.name == "posix":
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        if os.name == "posix":
            os.kill(process, signal.SIGCONT)


@pytest.fixture
def unchecked(shared: Live) -> Iterator[Live]:
    """Yield a live instrument whose quality check does nothing."""
    with halted(shared.instrument.pids["quality"]), at_work(shared, "none"):
        yield shared


@pytest.fixture
def checked(shared: Live) -> Iterator[Live]:
    """Yield a live instrument with all its processes."""
    with at_work(shared, "gp"):
        yield shared


@contextlib.contextmanager
def at_work(live: Live, regularizer: str) -> Iterator[None]:
    """Bring the instrument to the state that tests expect, whatever the one before has done."""
    watch(live.client, lambda s: s.state.phase in (Phase.LIVE, Phase.IDLE))
    live.client.start()
    live.client.set_regularizer(regularizer)
    watch(live.client, lambda s: is_live(s) and s.state.regularizer == regularizer)
    yield
    live.client.stop()  # idle, it leaves the cores to other tests


@dataclass
class Received:
    """All that a client has received."""

    state: InstrumentState = field(
        default_factory=lambda: InstrumentState(Phase.STARTING, "nothing heard yet")
    )
    frames: list[InterferogramView] = field(default_factory=list)
    views: list[TomogramView] = field(default_factory=list)
    checks: list[QualityView] = field(default_factory=list)
    measured: list[MeasuredView] = field(default_factory=list)


def watch(client: InstrumentClient, enough: Callable[[Received], bool]) -> Received:
    """Poll until ``enough``; the time limit of the test ends a hang."""
    seen = Received()
    while not enough(seen):
        updates = client.poll(200)
        seen.state = updates.state or seen.state
        seen.frames += [updates.interferogram] if updates.interferogram is not None else []
        seen.views += [updates.tomogram] if updates.tomogram is not None else []
        seen.checks += [updates.quality] if updates.quality is not None else []
        seen.measured += [updates.measured] if updates.measured is not None else []
    return seen


def hurry(instrument: Instrument, name: str = "quality") -> bool:
    """Give a process the priority of others: beside a busy machine it waits for ever."""
    process = instrument.pids.get(name, 0)
    if process and hasattr(os, "SCHED_IDLE"):
        for thread in Path(f"/proc/{process}/task").glob("*"):  # each has its own
            with contextlib.suppress(OSError):  # it has just ended, or this user may not
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)
    return True


def assert_released(endpoints: list[str]) -> None:
    """No process listens at the addresses any more, or at least not for long."""
    with zmq.Context() as context:
        for endpoint in endpoints:
            while True:
                try:
                    bind(context, zmq.REP, endpoint)[0].close()
                    break
                except PipelineError:
                    continue  # it has waited; the test's own time limit ends a wait in vain


def is_live(seen: Received) -> bool:
    """Statuses come from several processes: tomograms may arrive before "live" does."""
    state = seen.state
    known = state.phase is Phase.LIVE and state.reconstructed > 0
    return known and len(seen.views) >= 2 and bool(seen.frames)


def test_it_shows_what_the_microscope_file_describes(unchecked: Live) -> None:
    seen = watch(unchecked.client, is_live)
    state, first, second = seen.state, *seen.views[:2]
    assert (state.microscope, state.regularizer) == ("Small", "none")
    names = {"acquirer", "processor", "measuring", "quality"}
    assert set(unchecked.instrument.pids) == names
    # nothing is measured until somebody asks for it
    assert state.measuring is not None and not state.measuring.on
    assert first.raw.shape[0] == 16
    assert first.regularized is None
    assert first.optics is not None
    assert {"scan", "wait", "reconstruction"} <= set(first.stages_s)
    assert second.sequence > first.sequence
    frame = seen.frames[-1]
    assert frame.frame.shape == (64, 64)
    assert (frame.angle, frame.angles, frame.bit_depth) == (0, 9, 8)


def test_any_angle_is_shown_with_its_picture_and_its_light(unchecked: Live) -> None:
    client = unchecked.client
    config = load_configuration(unchecked.microscope)
    k = config.build_angles().k
    client.show_angle(5)
    seen = watch(client, lambda s: bool(s.frames) and s.frames[-1].angle == 5 and bool(s.views))
    picture = seen.frames[-1].picture
    assert picture is not None
    np.testing.assert_array_equal(picture, pictures(config, k[5])[0] != 0)
    light = seen.views[-1].light
    assert light is not None and not light.reasons
    np.testing.assert_allclose(light.planned, k)
    client.show_angle(CYCLE)
    watch(client, lambda s: len({frame.angle for frame in s.frames}) >= 3)
    with pytest.raises(PipelineError, match="must be the number of an angle"):
        client.show_angle(-2)
    client.show_angle(None)
    watch(client, lambda s: bool(s.frames) and s.frames[-1].picture is None)


def test_it_stops_and_starts_and_keeps_its_settings(unchecked: Live) -> None:
    client = unchecked.client
    client.set_regularizer("tv-fast")
    watch(client, lambda s: s.state.regularizer == "tv-fast" and bool(s.views))
    with pytest.raises(PipelineError, match="regularizer must be one of"):
        client.set_regularizer("magic")
    client.stop()
    watch(client, lambda s: s.state.phase is Phase.IDLE)
    client.retake_background()
    client.start()
    watch(client, lambda s: s.state.phase is Phase.LIVE and bool(s.views))


def test_it_survives_the_death_of_its_processor(unchecked: Live) -> None:
    instrument, client = unchecked.instrument, unchecked.client
    client.set_regularizer("tv-fast")
    os.kill(instrument.pids["processor"], signal.SIGTERM)
    watch(client, lambda s: any(p.name == "processor" and p.restarts for p in s.state.processes))
    before = watch(client, lambda s: s.state.scans > 0).state.scans
    watch(client, lambda s: len(s.views) >= 2 and s.views[-1].sequence > before)
    watch(client, lambda s: s.state.regularizer == "tv-fast" and bool(s.views))


@pytest.mark.skipif(os.name != "posix", reason="needs signals that stop a process")
def test_a_processor_that_hangs_is_named_until_it_goes_on(
    unchecked: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.instrument_client.SILENT_S", 1.0)
    processor = unchecked.instrument.pids["processor"]
    os.kill(processor, signal.SIGSTOP)
    try:
        watch(unchecked.client, lambda s: "the processor does not answer" in s.state.message)
    finally:
        os.kill(processor, signal.SIGCONT)
    watch(unchecked.client, lambda s: is_live(s) and "answer" not in s.state.message)


def recording(state: InstrumentState, output: Path) -> RecordingState:
    """Return what is known of the time-lapse in that file."""
    known = state.recording
    if known is None or known.output != str(output):
        return RecordingState(str(output), "", running=True)
    return known


def test_it_is_recorded_whole_while_the_live_view_goes_on(unchecked: Live, tmp_path: Path) -> None:
    output, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    request = RecordRequest(
        str(output),
        4,
        0.8,
        background_every_scans=2,
        tomograms=str(tomograms),
        regularizer="none",
    )
    client = unchecked.client
    before = watch(client, lambda s: bool(s.views)).state.scans
    client.record(request)
    with pytest.raises(PipelineError, match="a time-lapse is running"):
        client.record(request)
    seen = watch(client, lambda s: recording(s.state, output).done >= 1)
    assert "of 4" in recording(seen.state, output).summary
    client.pause_recording()
    paused = watch(client, lambda s: recording(s.state, output).paused).state
    scans = paused.scans
    watch(client, lambda s: s.state.scans > scans + 5 and bool(s.views))  # live goes on
    assert len(read_recording(output)) <= 2
    client.continue_recording()
    done = watch(
        client,
        lambda s: recording(s.state, output).done == 4 and not recording(s.state, output).running,
    )
    watch(client, lambda s: recording(s.state, output).tomograms == 4)
    assert done.state.scans > before + 4
    with pytest.raises(PipelineError, match="not overwritten"):
        client.record(request)
    with pytest.raises(PipelineError, match="no time-lapse is running"):
        client.finish_recording()
    scans_read = list(read_recording(output).scans())
    assert [scan.background_number for scan in scans_read] == [0, 0, 1, 1]
    assert all(scan.stack.complete for scan in scans_read)
    gaps = np.diff([scan.stack.timestamp for scan in scans_read])
    assert np.median(gaps) > 0.4  # a scan takes a quarter of a second, and one may be late
    assert read_tomograms(tomograms).scans.tolist() == [0, 1, 2, 3]


def test_it_goes_on_in_its_file_after_the_acquirer_died_and_ends_when_told(
    unchecked: Live, tmp_path: Path
) -> None:
    output, instrument, client = tmp_path / "scan.h5", unchecked.instrument, unchecked.client
    watch(client, lambda s: bool(s.views))
    client.record(RecordRequest(str(output), 1000, 0.2))
    watch(client, lambda s: recording(s.state, output).done >= 3)
    os.kill(instrument.pids["acquirer"], getattr(signal, "SIGKILL", signal.SIGTERM))
    killed_after = len(read_recording(output))
    watch(client, lambda s: recording(s.state, output).done >= killed_after + 2)
    client.finish_recording()
    ended = watch(client, lambda s: not recording(s.state, output).running)
    assert recording(ended.state, output).error == ""
    scans = list(read_recording(output).scans())
    assert len(scans) >= killed_after + 2
    assert [scan.background_number for scan in scans] == [0] * killed_after + [1] * (
        len(scans) - killed_after
    )


def is_of_gp(check: QualityView) -> bool:
    """Tell from checks of tomograms that came before the regularizer was chosen."""
    return check.report.method == "gp"


def others(seen: Received) -> dict[str, int]:
    """Return how often the processes that the instrument needs were started again."""
    return {p.name: p.restarts for p in seen.state.processes if p.name not in OPTIONAL}


def test_live_tomograms_go_on_without_their_checks_which_start_again(checked: Live) -> None:
    instrument, client = checked.instrument, checked.client
    before = others(watch(client, is_live))
    os.kill(instrument.pids["quality"], signal.SIGTERM)
    watch(client, lambda s: any(p.name == "quality" and p.restarts for p in s.state.processes))
    seen = watch(client, lambda s: hurry(instrument) and bool(s.views) and bool(s.checks))
    assert seen.state.phase in (Phase.LIVE, Phase.STARTING)
    assert len(before) == 2 and others(seen) == before


def test_live_tomograms_are_checked_and_nothing_waits_for_that(checked: Live) -> None:
    instrument, client = checked.instrument, checked.client
    seen = watch(
        client, lambda s: hurry(instrument) and bool(s.views) and any(map(is_of_gp, s.checks))
    )
    first = next(filter(is_of_gp, seen.checks))
    assert 0 < first.report.residual < 1
    assert first.error.shape == seen.views[0].raw.shape
    shown = [view for view in seen.views if view.sequence == first.sequence]
    assert all(view.timestamp == first.timestamp for view in shown)
    assert all(view.data_residual is not None for view in seen.views)

    client.stop()  # the last one is on display for long: it is checked, too

    def last_is_checked(seen: Received) -> bool:
        done = {check.sequence for check in (first, *seen.checks)}
        return seen.state.phase is Phase.IDLE and seen.state.scans - 1 in done

    watch(client, last_is_checked)


@contextlib.contextmanager
def measuring(client: InstrumentClient) -> Iterator[MeasuringRequest]:
    """Measure objects of at least 1.345, so that a bead that fills the field is one, too."""
    request = MeasuringRequest(True, MeasuringSettings(1.345, increment_ml_per_g=0.2))
    client.set_measuring(request)
    yield request
    client.set_measuring(MeasuringRequest(False))
    watch(client, lambda s: s.state.measuring is not None and not s.state.measuring.on)


def test_objects_are_measured_once_somebody_asks_for_it(unchecked: Live) -> None:
    instrument, client = unchecked.instrument, unchecked.client
    with measuring(client) as request:
        seen = watch(
            client,
            lambda s: hurry(instrument, "measuring") and len(s.measured) >= 2 and bool(s.views),
        )
        first, second = seen.measured[:2]
        assert second.sequence > first.sequence  # it goes on; those between were skipped
        assert first.settings == request.settings
        assert (first.method, first.threshold) == ("none", 1.345)
        assert first.labels.shape == seen.views[0].raw.shape
        assert first.objects[0].dry_mass_pg > 0
        assert first.labels.max() == len(first.objects)
        client.stop()  # the last one is on display for long: it is measured, too
        done = {view.sequence for view in seen.measured}

        def last_is_measured(seen: Received) -> bool:
            done.update(view.sequence for view in seen.measured)
            return seen.state.phase is Phase.IDLE and seen.state.scans - 1 in done

        watch(client, last_is_measured)
        client.set_measuring(MeasuringRequest(True, MeasuringSettings(1.35)))
        again = watch(client, lambda s: bool(s.measured)).measured[0]
        assert (again.sequence, again.threshold) == (max(done), 1.35)


def test_live_tomograms_go_on_without_measuring_which_starts_again(unchecked: Live) -> None:
    instrument, client = unchecked.instrument, unchecked.client
    with measuring(client) as request:
        watch(client, lambda s: hurry(instrument, "measuring") and bool(s.measured))
        os.kill(instrument.pids["measuring"], signal.SIGTERM)
        watch(
            client, lambda s: any(p.name == "measuring" and p.restarts for p in s.state.processes)
        )
        seen = watch(
            client,
            lambda s: hurry(instrument, "measuring") and bool(s.views) and bool(s.measured),
        )
        assert seen.measured[-1].settings == request.settings  # on, as before
        assert seen.state.phase is Phase.LIVE


def test_the_microscope_is_released_to_another_program_and_taken_back(unchecked: Live) -> None:
    instrument, client, file = unchecked.instrument, unchecked.client, unchecked.microscope
    client.stop()
    watch(client, lambda s: s.state.phase is Phase.IDLE)
    before = instrument.pids
    instrument.release()
    released = "the microscope is released to another program"
    gone = watch(client, lambda s: any(p.held and not p.alive for p in s.state.processes))
    assert (gone.state.phase, gone.state.message) == (Phase.STOPPED, released)
    held = {process.name: (process.alive, process.held) for process in gone.state.processes}
    assert held["acquirer"] == (False, True)
    assert all(known == (True, False) for name, known in held.items() if name != "acquirer")
    file.write_text(LIVE_SMALL.replace('"Small"', '"Small and changed"'))
    instrument.take_back()
    state = watch(client, lambda s: s.state.phase is Phase.IDLE).state  # as it was before
    assert state.microscope == "Small and changed"
    file.write_text(LIVE_SMALL)
    changed = {name for name, process in instrument.pids.items() if process != before[name]}
    assert changed == {"acquirer"}


def test_a_microscope_that_fails_is_tried_again_before_its_devices_are_opened_anew(
    tmp_path: Path,
) -> None:
    file = tmp_path / "microscope.toml"
    impatient = QUICK_SMALL.replace("patience_s = 20.0", "patience_s = 0.1")
    file.write_text(impatient + "[faults]\ntrigger_cable_cut = true\n")
    child = _Child(ProcessSettings(name="acquirer", microscope_file=file), tmp_path / "log.txt")
    lacking, said, details = "camera 'Camera' must deliver 9 frames", "", set()
    with zmq.Context() as context:
        child.start()
        child.bound.wait()
        inbox = Inbox(connect(context, zmq.SUB, child.endpoints["acquirer"]))
        while "retrying" not in said:
            message = inbox.receive(1000)
            if message is not None and isinstance(message.header, AcquirerStatus):
                said = message.header.message
        inbox.socket.close()
        assert lacking in said and child.alive
        while not child.restarts:
            assert child.restart_if_due() == ""
            details.add(child.detail)
            time.sleep(0.02)
        child.ask_to_end()
        child.end(time.monotonic() + PATIENCE_S)
    assert any(lacking in detail for detail in details)


def test_a_wrong_microscope_file_is_reported_and_not_retried(tmp_path: Path) -> None:
    with started(tmp_path, "[camera]\nwidht = 128\n", quality=False, measuring=False) as live:
        state = watch(live.client, lambda s: s.state.phase is Phase.FAILED).state
    assert "did you mean width" in state.message
    assert all(process.restarts == 0 for process in state.processes)


ORPHAN = """
import os, sys
from pathlib import Path
from pipeline.live.supervisor import Instrument
instrument = Instrument(Path(sys.argv[1]))
instrument.__enter__()
e = instrument.endpoints
print(*instrument.pids)
print(e.stacks, e.acquirer_commands, e.processor_commands, flush=True)
os._exit(1)
"""


def test_processes_end_when_their_parent_dies(tmp_path: Path) -> None:
    microscope = tmp_path / "microscope.toml"
    microscope.write_text(UNCHECKED)
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN, str(microscope)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert len(done.stdout.splitlines()) == 2, done.stderr
    names, endpoints = (line.split() for line in done.stdout.splitlines())
    assert set(names) == {"acquirer", "processor", "measuring"}  # unchecked, as its file asks for
    assert len(endpoints) == 3
    assert_released(endpoints)
