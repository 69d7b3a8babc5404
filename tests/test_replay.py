"""A recording played through the live path in place of a microscope."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acquisition.errors import DataError, ScanStopped
from acquisition.interferograms import InterferogramStack
from files.recording import RecordingWriter, read_recording
from pipeline.live.replay import Replay
from pipeline.live.supervisor import Instrument
from pipeline.wire.places import SnapRequest
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import Phase, RecordRequest
from tests.microscopes import LIVE_SMALL
from tests.scans import CELL, interferograms
from tests.test_live import started, watch
from tests.threaded_instrument import ThreadedInstrument

K = CELL.angles.k[::6]
GAP_S = 0.4


@pytest.fixture(scope="module")
def empty() -> InterferogramStack:
    return interferograms(CELL.optics, K, frame=(64, 64))


@pytest.fixture
def recording(tmp_path: Path, empty: InterferogramStack) -> Path:
    """Write three scans, each a little darker, GAP_S and an hour apart."""
    with RecordingWriter(tmp_path / "scan.h5", empty) as writer:
        for number, timestamp in enumerate((1000.0, 1000.0 + GAP_S, 4600.0)):
            frames = (empty.frames * (1 - 0.1 * number)).astype(empty.frames.dtype)
            writer.append(replace(empty, frames=frames, timestamp=timestamp, sequence=number))
    return tmp_path / "scan.h5"


def test_scans_come_again_and_again_at_their_pace(
    recording: Path, empty: InterferogramStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.replay._LONGEST_WAIT_S", 0.6)
    replay, stop = Replay(recording), threading.Event()
    planned = replay.background.illumination_k
    assert planned is not None
    np.testing.assert_array_equal(planned, K)
    begun, start = time.time(), time.monotonic()
    scans, times = [], []
    for _ in range(4):
        scans.append(replay.scan(stop))
        times.append(time.monotonic() - start)
    assert [scan.frames.max() / empty.frames.max() for scan in scans] == pytest.approx(
        [1.0, 0.9, 0.8, 1.0], abs=0.01
    )
    assert times[1] >= GAP_S - 0.01
    assert times[2] >= GAP_S + 0.6 - 0.01  # an hour is not waited for
    assert times[3] < 3600
    assert scans[0].timestamp >= begun - 1  # measured now, not then
    assert replay.background is not None and replay.background.frames.shape == (len(K), 64, 64)


def test_a_wait_is_cut_short_and_the_scan_is_not_lost(recording: Path) -> None:
    replay, stop = Replay(recording), threading.Event()
    replay.scan(stop)
    stop.set()
    with pytest.raises(ScanStopped):
        replay.scan(stop)
    stop.clear()
    assert replay.scan(stop).sequence == 1


def test_what_cannot_be_replayed_is_refused(tmp_path: Path, empty: InterferogramStack) -> None:
    with pytest.raises(DataError, match="must exist"):
        Instrument(replay=tmp_path / "absent.h5")
    with RecordingWriter(tmp_path / "empty.h5", empty):
        pass
    with pytest.raises(DataError, match="at least one finished scan"):
        Replay(tmp_path / "empty.h5")


def test_a_recording_is_live(tmp_path: Path, recording: Path) -> None:
    (tmp_path / "small.toml").write_text(LIVE_SMALL)
    one = ThreadedInstrument(tmp_path / "small.toml", regularizer="none", replay=recording)
    with one as instrument, instrument.client() as client:
        seen = watch(client, lambda s: len(s.views) >= 2 and s.state.phase is Phase.LIVE)
        assert seen.state.microscope == "replay of scan.h5"
        assert seen.views[0].light is not None
        assert seen.state.quality == ""
        client.show_angle(2)
        shown = watch(client, lambda s: bool(s.frames) and s.frames[-1].angle == 2)
        assert shown.frames[-1].picture is None  # what the DMD showed is not in a recording
        with pytest.raises(PipelineError, match="a replay is a recording already"):
            client.record(RecordRequest(str(tmp_path / "copy.h5"), 2))
        with pytest.raises(PipelineError, match="a replay has those of its recording"):
            client.retake_background()
        client.stop()
        watch(client, lambda s: s.state.phase is Phase.IDLE and s.state.replay)
        with pytest.raises(PipelineError, match="take one first"):
            client.save_snap(SnapRequest(str(tmp_path / "snap.h5")))
        client.snap()
        watch(client, lambda s: any(v.sequence == s.state.snapped for v in s.views))  # it is shown
        client.save_snap(SnapRequest(str(tmp_path / "snap.h5"), "HL60", place_name="corner"))
        kept, source = (read_recording(tmp_path / name) for name in ("snap.h5", "scan.h5"))
        (scan,) = kept.scans()
        assert scan.position_name == "corner" and kept.sample.sample_name == "HL60"
        number = int(kept.attributes["replayed_from"].removesuffix(" of scan.h5").split()[1]) - 1
        original = next(source.stacks(number))
        np.testing.assert_array_equal(scan.stack.frames, original.frames)
        np.testing.assert_array_equal(kept.background.frames, source.background.frames)
        client.start()
        watch(client, lambda s: bool(s.views))
        assert client.malformed == 0


@pytest.mark.usefixtures("logs")
def test_no_recording_is_said_once(tmp_path: Path) -> None:
    note = tmp_path / "note.h5"
    note.write_text("not HDF5")
    with started(tmp_path, LIVE_SMALL, quality=False, measuring=False, replay=note) as live:
        state = watch(live.client, lambda s: s.state.phase is Phase.FAILED).state
    assert "cannot be read as HDF5" in state.message
    assert all(process.restarts == 0 for process in state.processes)
