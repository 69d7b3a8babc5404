"""The live pipeline as processes, and the work behind the command line, on a small microscope."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from commands.headless import run_headless
from commands.reconstruct import run_reconstruct
from commands.record_session import run_record
from files.pictures import draw_grid, draw_tomograms, write_png
from files.recording import read_recording
from files.tomograms import read_tomograms
from pipeline.live.instrument_client import InstrumentClient, merge
from pipeline.live.supervisor import Instrument
from pipeline.wire.messages import AcquirerStatus, ProcessorStatus, Stamp, SupervisorStatus
from pipeline.wire.sockets import PipelineError, bind
from pipeline.wire.state import (
    InstrumentState,
    InterferogramView,
    Phase,
    ProcessState,
    QualityView,
    TomogramView,
)
from tests.processors import process
from tests.scans import CELL, interferograms

pytestmark = pytest.mark.usefixtures("logs")

STAMP = Stamp("test", 1)
SMALL = """
[microscope]
name = "Small"
[optics]
preset = "cell"
pixel_size_um = 0.07
[camera]
width = 96
height = 96
[illumination.circle]
angles = 9
[background]
scans = 1
[scan]
patience_s = 20.0
[reconstruction]
slices = 32
[processing]
device = "cpu"
regularizer = "none"
"""
# Two scans a second, of few pixels and mirrors: more would only keep the processes busy while a
# test waits for something else.
SLOW = SMALL.replace(" 96", " 64").replace("slices = 32", "slices = 16")
LIVE_SMALL = (
    SLOW
    + """
[dmd]
picture_ms = 60.0
shape = [480, 480]
carrier = [0.22, 0.385]
mirror_pitch_um = 0.05
stop_radius = 0.118
[simulation]
phantom = "bead"
"""
)


@pytest.fixture
def microscope(tmp_path: Path) -> Path:
    path = tmp_path / "microscope.toml"
    path.write_text(LIVE_SMALL)
    return path


@dataclass
class Received:
    """All that a client has received."""

    state: InstrumentState = field(
        default_factory=lambda: InstrumentState(Phase.STARTING, "nothing heard yet")
    )
    frames: list[InterferogramView] = field(default_factory=list)
    views: list[TomogramView] = field(default_factory=list)
    checks: list[QualityView] = field(default_factory=list)


def watch(client: InstrumentClient, enough: Callable[[Received], bool]) -> Received:
    """Poll until ``enough``; the time limit of the test ends a hang."""
    seen = Received()
    while not enough(seen):
        updates = client.poll(200)
        seen.state = updates.state or seen.state
        seen.frames += [updates.interferogram] if updates.interferogram is not None else []
        seen.views += [updates.tomogram] if updates.tomogram is not None else []
        seen.checks += [updates.quality] if updates.quality is not None else []
    return seen


def hurry(instrument: Instrument) -> bool:
    """Give the quality check the priority of others: beside a busy machine it waits for ever."""
    process = instrument.pids.get("quality", 0)
    if process and hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # it has just ended, or this user may not
            os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, process, 0)
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


def test_live_pipeline_survives_the_death_of_its_processor(microscope: Path) -> None:
    unchecked = Instrument(microscope, quality=False)
    with unchecked as instrument, instrument.client() as client:
        endpoints = instrument.endpoints
        assert_live(watch(client, is_live))

        client.set_regularizer("tv-fast")
        os.kill(instrument.pids["processor"], signal.SIGTERM)
        watch(client, lambda s: any(p.restarts for p in s.state.processes))
        before = watch(client, lambda s: s.state.scans > 0).state.scans
        watch(client, lambda s: len(s.views) >= 2 and s.views[-1].sequence > before)
        watch(client, lambda s: s.state.regularizer == "tv-fast" and bool(s.views))

        with pytest.raises(PipelineError, match="regularizer must be one of"):
            client.set_regularizer("magic")
        client.stop()
        watch(client, lambda s: s.state.phase is Phase.IDLE)
        client.retake_background()
        client.start()
        watch(client, lambda s: s.state.phase is Phase.LIVE and bool(s.views))
        assert client.malformed == 0
    assert_released([endpoints.stacks, endpoints.acquirer, endpoints.processor_commands])


def test_a_microscope_that_fails_is_tried_again_before_its_devices_are_opened_anew(
    microscope: Path,
) -> None:
    impatient = LIVE_SMALL.replace("patience_s = 20.0", "patience_s = 0.3")
    microscope.write_text(impatient + "[faults]\ntrigger_cable_cut = true\n")
    with Instrument(microscope, quality=False) as instrument, instrument.client() as client:
        seen = watch(client, lambda s: "retrying" in s.state.message)
        assert "camera 'Camera' must deliver 9 frames" in seen.state.message
        assert all(process.restarts == 0 for process in seen.state.processes)
        watch(client, lambda s: any(p.restarts for p in s.state.processes))


def test_live_tomograms_are_checked_and_nothing_waits_for_that(microscope: Path) -> None:
    with Instrument(microscope, regularizer="gp") as instrument, instrument.client() as client:
        seen = watch(client, lambda s: hurry(instrument) and bool(s.checks) and bool(s.views))
        first = seen.checks[0]
        assert first.report.method == "gp"
        assert 0 < first.report.residual < 1
        assert first.error.shape == seen.views[0].raw.shape
        shown = [view for view in seen.views if view.sequence == first.sequence]
        assert all(view.timestamp == first.timestamp for view in shown)
        assert all(view.data_residual is not None for view in seen.views)

        client.stop()  # the last one is on display for long: it is checked, too

        def last_is_checked(seen: Received) -> bool:
            checked = {check.sequence for check in (first, *seen.checks)}
            return seen.state.phase is Phase.IDLE and seen.state.scans - 1 in checked

        watch(client, last_is_checked)
        assert client.malformed == 0


def test_live_tomograms_go_on_without_their_checks_which_start_again(microscope: Path) -> None:
    with Instrument(microscope) as instrument, instrument.client() as client:
        watch(client, lambda s: all(process.alive for process in s.state.processes))
        os.kill(instrument.pids["quality"], signal.SIGTERM)
        watch(client, lambda s: any(p.name == "quality" and p.restarts for p in s.state.processes))
        seen = watch(client, lambda s: hurry(instrument) and bool(s.views) and bool(s.checks))
        assert seen.state.phase in (Phase.LIVE, Phase.STARTING)
        others = [p for p in seen.state.processes if p.name != "quality"]
        assert len(others) == 2 and not any(process.restarts for process in others)


def test_a_microscope_file_can_do_without_the_quality_check(microscope: Path) -> None:
    microscope.write_text(LIVE_SMALL.replace("[processing]", "[processing]\nquality = false"))
    with Instrument(microscope) as instrument, instrument.client() as client:
        seen = watch(client, lambda s: len(s.views) >= 2)
        assert set(instrument.pids) == {"acquirer", "processor"}
        assert seen.state.quality == ""


def is_live(seen: Received) -> bool:
    """Statuses come from several processes: tomograms may arrive before "live" does."""
    state = seen.state
    known = state.phase is Phase.LIVE and state.reconstructed > 0
    return known and len(seen.views) >= 2 and bool(seen.frames)


def assert_live(seen: Received) -> None:
    state, first, second = seen.state, *seen.views[:2]
    assert (state.microscope, state.regularizer) == ("Small", "none")
    assert first.raw.shape[0] == 16
    assert first.regularized is None
    assert first.optics is not None
    assert {"scan", "wait", "reconstruction"} <= set(first.stages_s)
    assert second.sequence > first.sequence
    frame = seen.frames[-1]
    assert frame.frame.shape == (64, 64)
    assert (frame.angle, frame.angles, frame.bit_depth) == (0, 9, 8)


def test_a_wrong_microscope_file_is_reported_and_not_retried(microscope: Path) -> None:
    microscope.write_text("[camera]\nwidht = 128\n")
    with Instrument(microscope) as instrument, instrument.client() as client:
        state = watch(client, lambda s: s.state.phase is Phase.FAILED).state
    assert "did you mean width" in state.message
    assert all(process.restarts == 0 for process in state.processes)


def test_what_cannot_be_started_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must exist"):
        Instrument(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="regularizer must be one of"):
        Instrument(regularizer="magic")


ORPHAN = """
import os, sys
from pathlib import Path
from pipeline.live.supervisor import Instrument
instrument = Instrument(Path(sys.argv[1]))
instrument.__enter__()
e = instrument.endpoints
print(e.stacks, e.acquirer_commands, e.processor_commands, flush=True)
os._exit(1)
"""


def test_processes_end_when_their_parent_dies(microscope: Path) -> None:
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN, str(microscope)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    endpoints = done.stdout.split()
    assert len(endpoints) == 3, done.stderr
    assert_released(endpoints)


def acquirer(phase: Phase, message: str) -> AcquirerStatus:
    return AcquirerStatus(phase=phase, message=message, scans=4, **STAMP())


def processor(message: str = "", life: int = 1) -> ProcessorStatus:
    return ProcessorStatus(
        message=message,
        regularizer="tv",
        skipped=3,
        tomogram_rate_hz=2.13,
        latency_s=0.6,
        life=life,
        **STAMP(),
    )


def supervisor(alive: bool = True, failure: str = "") -> SupervisorStatus:
    process = ProcessState("processor", alive, 1, "" if alive else "it ended with status -9")
    return SupervisorStatus(processes=(process,), failure=failure, **STAMP())


LIVE = acquirer(Phase.LIVE, "live")


@pytest.mark.parametrize(
    ("parts", "phase", "message"),
    [
        ((None, None, None), Phase.STARTING, "starting the acquirer"),
        (
            (supervisor(), acquirer(Phase.BACKGROUND, "taking the background"), processor("x")),
            Phase.BACKGROUND,
            "taking the background",
        ),
        ((supervisor(), LIVE, None), Phase.LIVE, "live: starting the processor"),
        (
            (supervisor(), LIVE, processor("of a former life", life=0)),
            Phase.LIVE,
            "live: starting the processor",
        ),
        ((supervisor(), LIVE, processor("planning")), Phase.LIVE, "live: planning"),
        (
            (supervisor(), LIVE, processor()),
            Phase.LIVE,
            "live: 2.1 tomograms/s, latency 0.60 s, 3 skipped",
        ),
        (
            (supervisor(alive=False), LIVE, processor()),
            Phase.LIVE,
            "restarting the processor: it ended with status -9",
        ),
        ((supervisor(failure="no camera"), LIVE, processor()), Phase.FAILED, "no camera"),
    ],
)
def test_the_status_line_says_what_the_instrument_does(
    parts: tuple[SupervisorStatus | None, AcquirerStatus | None, ProcessorStatus | None],
    phase: Phase,
    message: str,
) -> None:
    state = merge(*parts)
    assert (state.phase, state.message) == (phase, message)


def test_the_processor_counts_what_it_cannot_read(microscope: Path) -> None:
    empty = interferograms(CELL.optics, CELL.angles.k[::6], frame=(96, 96))
    views, status = process(microscope, empty, [empty], rubbish=[b"stack", b"nonsense"])
    assert len(views) == 1
    assert status.malformed == 1


def test_record_and_reconstruct(
    microscope: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    begin = time.time()
    assert run_record(microscope, 2, 0.3, recording, as_json=True) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["stacks"], figures["short"]) == (2, {})
    recorded = read_recording(recording)
    assert len(recorded) == 2
    assert recorded.illumination_k is not None
    assert begin < recorded.timestamps[0] < time.time()
    assert recorded.timestamps[1] - recorded.timestamps[0] >= 0.29

    arguments = (recording, tomograms, "tv-fast", "cpu")
    assert run_reconstruct(*arguments, as_json=True, check_every=2) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [scan["check"] is None for scan in figures["scans"]] == [False, True]
    assert figures["scans"][0]["check"]["ssim"] > 0.9
    assert [scan["time"] for scan in figures["scans"]] == [0, 1]
    series = read_tomograms(tomograms)
    assert len(series) == 2
    assert series.quality["time"].tolist() == [0]
    assert series.indices["tv"].tolist() == [0, 1]
    assert series.provenance["regularizer"] == "tv-fast"
    regularized = series.regularized("tv", 1)
    assert regularized is not None
    assert float(regularized.index.max()) > 1.34
    np.testing.assert_array_equal(series.timestamps, recorded.timestamps)


def test_short_scans_are_marked_and_reported(
    microscope: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impatient = LIVE_SMALL.replace("patience_s = 20.0", "patience_s = 2.0")
    microscope.write_text(impatient + "[faults]\nlost_frames = [4]\n")
    recording = tmp_path / "scan.h5"
    assert run_record(microscope, 1, 0.0, recording) == 1
    assert "scan 0 is incomplete, lost angles: 4" in capsys.readouterr().out
    recorded = read_recording(recording)
    assert [scan.lost for scan in recorded.stacks()] == [(4,)]
    assert recorded.background.lost == (4,)
    assert run_reconstruct(recording, tmp_path / "tomograms.h5", "none", "cpu") == 1
    assert "left out, no background frame: angles 4" in capsys.readouterr().out


def test_a_recording_that_does_not_fit_is_refused_before_it_starts(
    microscope: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new.h5"
    with pytest.raises(DataError, match=r"a recording of 100000000 scans needs .* GB"):
        run_record(microscope, 100_000_000, 0.0, output)
    assert not output.exists()


def test_a_disk_that_fills_up_ends_the_recording_with_the_scans_so_far(
    microscope: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([2**40, 2**40, 0])  # before the start, before the first scan, before the second
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(DataError, match="scan 2 of 3 needs"):
        run_record(microscope, 3, 0.0, tmp_path / "new.h5")
    assert len(read_recording(tmp_path / "new.h5")) == 1


def test_impossible_requests_are_refused_before_work(microscope: Path, tmp_path: Path) -> None:
    existing = tmp_path / "existing.h5"
    existing.write_text("precious")
    with pytest.raises(DataError, match="not overwritten"):
        run_record(microscope, 1, 0.0, existing)
    with pytest.raises(ConfigurationError, match="at least 1"):
        run_record(microscope, 0, 0.0, tmp_path / "new.h5")
    with pytest.raises(DataError, match="folder"):
        run_record(microscope, 1, 0.0, tmp_path / "absent" / "new.h5")
    with pytest.raises(ConfigurationError, match="regularizer"):
        run_reconstruct(existing, tmp_path / "new.h5", "magic")
    assert existing.read_text() == "precious"


def test_headless_run_writes_tomograms_and_a_picture(
    microscope: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_headless(tmp_path / "output", microscope, scans=2) == 0
    said = capsys.readouterr().out
    (file,) = (tmp_path / "output").glob("*.h5")
    (picture,) = (tmp_path / "output").glob("*.png")
    assert str(file) in said
    assert str(picture) in said
    series = read_tomograms(file)
    assert len(series) == 2
    assert len(series.quality["ssim"]) == 1
    assert series.indices["tv"].tolist() == series.quality["time"].tolist()
    assert "against total variation: SSIM" in said


def test_picture_is_a_png_of_what_was_drawn(tmp_path: Path) -> None:
    volume = np.full((8, 20, 24), 1.337, np.float32)
    volume[3:5, 8:12, 8:16] = 1.38
    rows = [("raw", volume), ("deep", volume)]
    picture = draw_tomograms(rows, (0.2, 0.1, 0.1), 1.337, 100)
    write_png(tmp_path / "tomogram.png", picture)
    data = (tmp_path / "tomogram.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    begin = data.index(b"IDAT") + 4
    lines = np.frombuffer(zlib.decompress(data[begin:-16]), np.uint8)
    height, width, _ = picture.shape
    lines = lines.reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    np.testing.assert_array_equal(lines[:, 1:].reshape(picture.shape), picture)
    # the object is the brightest place of its slice, the medium the darkest
    assert (picture == (253, 231, 37)).all(axis=2).any()
    assert (picture == (68, 1, 84)).all(axis=2).any()


@pytest.mark.parametrize("draw", [draw_grid, draw_tomograms])
def test_pictures_of_narrow_volumes_have_their_legend(
    draw: Callable[..., NDArray[np.uint8]],
) -> None:
    """One column of 30 pixels is narrower than the colour scale under it."""
    volume = np.full((4, 60, 6), 1.337, np.float32)
    volume[2, 30, 3] = 1.38
    rows: list[object] = [("deep", volume)]
    if draw is draw_grid:
        picture = draw([rows], volume, (0.2, 0.1, 0.1), 1.337, 30)
    else:
        picture = draw(rows, (0.2, 0.1, 0.1), 1.337, 30)
    legend = picture[-40:]
    assert (legend == (253, 231, 37)).all(axis=2).any()  # both ends of the scale
    assert (legend == (68, 1, 84)).all(axis=2).any()
    assert (legend[:, -20:] == 235).any()  # and what the bar is long, at its right end
