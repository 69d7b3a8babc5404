"""The live pipeline as processes, and the work behind the command line, on a small microscope."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from acquisition.errors import ConfigurationError, DataError
from commands.headless import run_headless
from commands.reconstruct import run_reconstruct
from commands.record_session import run_record
from files.recording import read_recording
from files.tomograms import read_tomograms
from pipeline.live.instrument_client import merge
from pipeline.live.supervisor import Instrument
from pipeline.tomograms.job import SilentProgress, TomogramJob
from pipeline.tomograms.recipe import Recipe, scans_held
from pipeline.wire.messages import AcquirerStatus, ProcessorStatus, Stamp, SupervisorStatus
from pipeline.wire.state import (
    Phase,
    ProcessState,
)
from tests.microscopes import QUICK_SMALL
from tests.processors import process
from tests.scans import CELL, interferograms
from tests.simulated import no_patience
from tests.threaded_instrument import ThreadedInstrument

pytestmark = pytest.mark.usefixtures("logs")

STAMP = Stamp("test", 1)


@pytest.fixture
def microscope(tmp_path: Path) -> Path:
    path = tmp_path / "microscope.toml"
    path.write_text(QUICK_SMALL)
    return path


def test_what_cannot_be_started_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must exist"):
        Instrument(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationError, match="regularizer must be one of"):
        Instrument(regularizer="magic")


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


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        ({"processor"}, "the processor does not answer"),
        ({"acquirer"}, "the acquirer does not answer: a device or the disk may hang"),
        ({"acquirer", "processor"}, "the acquirer does not answer"),
        ({"quality", "interferogram"}, "live: 2.1 tomograms/s"),
    ],
)
def test_a_process_that_hangs_is_named(silent: set[str], said: str) -> None:
    state = merge(supervisor(), LIVE, processor(), silent=silent)
    assert state.phase is Phase.LIVE and state.message.startswith(said)


def test_a_process_that_is_restarted_does_not_hang() -> None:
    state = merge(supervisor(alive=False), LIVE, processor(), silent={"processor"})
    assert state.message.startswith("restarting the processor")


def test_the_processor_counts_what_it_cannot_read(microscope: Path) -> None:
    empty = interferograms(CELL.optics, CELL.angles.k[::6], frame=(96, 96))
    views, status = process(microscope, empty, [empty], rubbish=[b"stack", b"nonsense"])
    assert len(views) == 1
    assert status.malformed == 1


def test_a_scan_that_comes_before_its_background_is_not_lost(microscope: Path) -> None:
    empty = interferograms(CELL.optics, CELL.angles.k[::6], frame=(96, 96))
    views, status = process(microscope, empty, [], early=replace(empty, sequence=5))
    assert [view.sequence for view in views] == [5]  # the only one: a snap
    assert status.reconstructed == 1


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
    assert recorded.timestamps[1] - begin >= 0.29  # the first may be late, the second not early

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


def test_a_scan_whose_check_was_interrupted_is_made_anew(microscope: Path, tmp_path: Path) -> None:
    """A process that ended after a scan was written, and before it was compared."""
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    assert run_record(microscope, 2, 0.0, recording) == 0
    recipe = Recipe("gp", device="cpu", check_every=1)
    with TomogramJob(read_recording(recording), tomograms, recipe, SilentProgress()) as job:
        for scan in job.source.scans():
            job.run(scan)
    whole = read_tomograms(tomograms)
    assert whole.quality["time"].tolist() == whole.indices["tv"].tolist() == [0, 1]
    with h5py.File(tomograms, "r+") as file:
        file["quality"].resize(1, axis=0)
    assert scans_held(tomograms, recipe) == {0}
    with TomogramJob(
        read_recording(recording), tomograms, recipe, SilentProgress(), resume=True
    ) as job:
        assert job.done == {0}
        for scan in job.source.scans(1):
            job.run(scan)
    again = read_tomograms(tomograms)
    assert again.scans.tolist() == again.quality["time"].tolist() == [0, 1]
    for name in ("raw", "gp", "tv"):
        np.testing.assert_array_equal(again.volume(name, 1), whole.volume(name, 1))
    assert again.indices["gp"].tolist() == again.indices["tv"].tolist() == [0, 1]


def test_short_scans_are_marked_and_reported(
    microscope: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    microscope.write_text(QUICK_SMALL + "[faults]\nlost_frames = [4]\n")
    recording = tmp_path / "scan.h5"
    with no_patience():
        assert run_record(microscope, 1, 0.0, recording) == 1
    assert "scan 1 is incomplete, lost angles: 4" in capsys.readouterr().out
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
    microscope: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("commands.headless.Instrument", ThreadedInstrument)
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
