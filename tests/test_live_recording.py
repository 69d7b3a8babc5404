"""A time-lapse recorded by the running instrument while the live view continues."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from files.recording import read_recording
from files.tomograms import read_tomograms
from pipeline.live.supervisor import Instrument
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import InstrumentState, RecordingState, RecordRequest
from tests.test_pipeline import LIVE_SMALL, watch

pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def microscope(tmp_path: Path) -> Path:
    path = tmp_path / "microscope.toml"
    path.write_text(LIVE_SMALL)
    return path


def recording(state: InstrumentState) -> RecordingState:
    return state.recording or RecordingState("", "", running=False)


def test_it_is_recorded_whole_while_the_live_view_goes_on(microscope: Path, tmp_path: Path) -> None:
    output, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    request = RecordRequest(
        str(output),
        4,
        1.5,
        background_every_scans=2,
        tomograms=str(tomograms),
        regularizer="none",
    )
    unchecked = Instrument(microscope, quality=False)
    with unchecked as instrument, instrument.client() as client:
        before = watch(client, lambda s: bool(s.views)).state.scans
        client.record(request)
        with pytest.raises(PipelineError, match="a time-lapse is running"):
            client.record(request)
        seen = watch(client, lambda s: recording(s.state).done >= 1)
        assert "of 4" in recording(seen.state).summary
        client.pause_recording()
        paused = watch(client, lambda s: recording(s.state).paused).state
        scans = paused.scans
        watch(client, lambda s: s.state.scans > scans + 5 and bool(s.views))  # live goes on
        assert len(read_recording(output)) <= 2
        client.continue_recording()
        done = watch(
            client, lambda s: recording(s.state).done == 4 and not recording(s.state).running
        )
        watch(client, lambda s: recording(s.state).tomograms == 4)
        assert done.state.scans > before + 4
        with pytest.raises(PipelineError, match="not overwritten"):
            client.record(request)
        with pytest.raises(PipelineError, match="no time-lapse is running"):
            client.finish_recording()
    scans_read = list(read_recording(output).scans())
    assert [scan.background_number for scan in scans_read] == [0, 0, 1, 1]
    assert all(scan.stack.complete for scan in scans_read)
    gaps = np.diff([scan.stack.timestamp for scan in scans_read])
    assert np.median(gaps) > 1.0  # a scan takes half a second, and one may be late
    assert read_tomograms(tomograms).scans.tolist() == [0, 1, 2, 3]


def test_it_goes_on_in_its_file_after_the_acquirer_died_and_ends_when_told(
    microscope: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scan.h5"
    with Instrument(microscope, quality=False) as instrument, instrument.client() as client:
        watch(client, lambda s: bool(s.views))
        client.record(RecordRequest(str(output), 1000, 0.2))
        watch(client, lambda s: recording(s.state).done >= 3)
        os.kill(instrument.pids["acquirer"], getattr(signal, "SIGKILL", signal.SIGTERM))
        killed_after = len(read_recording(output))
        watch(client, lambda s: recording(s.state).done >= killed_after + 2)
        client.finish_recording()
        ended = watch(
            client, lambda s: s.state.recording is not None and not s.state.recording.running
        )
        assert recording(ended.state).error == ""
    scans = list(read_recording(output).scans())
    assert len(scans) >= killed_after + 2
    assert [scan.background_number for scan in scans] == [0] * killed_after + [1] * (
        len(scans) - killed_after
    )
