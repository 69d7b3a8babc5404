"""Playback of files: what the window receives, and when."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from acquisition.errors import ConfigurationError, DataError
from files.recording import RecordingWriter, read_recording
from files.tomograms import TomogramWriter
from pipeline.live.playback import Playback, open_playback
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import InstrumentState, Phase, RecordRequest, TomogramView
from reconstruction.reconstructor import Reconstructor
from regularizer.registry import regularizer
from tests.scans import CELL, interferograms
from tests.tomogram_files import BEGUN, VOXEL, noise, write


@pytest.fixture
def tomograms(tmp_path: Path) -> Path:
    """Write four time points: deep has all of them, tv the second."""
    volumes = {"deep": {scan: 10 + scan for scan in range(4)}, "tv": {1: 20}}
    return write(tmp_path / "cells.h5", range(4), volumes)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Write three scans of a phase disk, the second with a lost angle."""
    k = CELL.angles.k[::8]
    y, x = np.mgrid[-48:48, -48:48]
    disk = np.exp(0.4j * np.sqrt(np.clip(1 - (x**2 + y**2) / 15**2, 0, None)))
    empty = interferograms(CELL.optics, k, frame=(96, 96))
    scan = interferograms(CELL.optics, k, np.stack([disk] * len(k)), frame=(96, 96))
    path = tmp_path / "recording.h5"
    with RecordingWriter(path, empty) as writer:
        for number in range(3):
            lost = (2,) if number == 1 else ()
            writer.append(replace(scan, lost=lost, timestamp=1.7e9 + number))
    return path


class PlaybackObserver:
    """Collects what a window would receive."""

    def __init__(self, playback: Playback) -> None:
        self.playback = playback
        self.state: InstrumentState | None = None
        self.views: list[TomogramView] = []

    def until(self, enough: Callable[["PlaybackObserver"], bool]) -> "PlaybackObserver":
        """Poll until ``enough``; the time limit of the test ends a hang."""
        while not enough(self):
            updates = self.playback.poll()
            self.state = updates.state or self.state
            self.views += [updates.tomogram] if updates.tomogram is not None else []
            time.sleep(0.01)
        return self

    def shows(self, scan: int, method: str) -> TomogramView:
        """Return the view of a scan once it is displayed."""

        def there(seen: "PlaybackObserver") -> bool:
            last = seen.views[-1] if seen.views else None
            return last is not None and (last.sequence, last.method) == (scan, method)

        return self.until(there).views[-1]


@pytest.fixture
def opened() -> Iterator[Callable[..., PlaybackObserver]]:
    playbacks: list[Playback] = []

    def open_(path: Path, *how: str) -> PlaybackObserver:
        playbacks.append(open_playback(path, *how))
        return PlaybackObserver(playbacks[-1])

    yield open_
    for playback in playbacks:
        playback.close()


def test_a_tomogram_file_shows_its_volumes(
    tomograms: Path, opened: Callable[..., PlaybackObserver]
) -> None:
    watched = opened(tomograms)
    view = watched.shows(0, "deep")
    np.testing.assert_array_equal(view.raw, noise(0).index.numpy())
    assert view.regularized is not None
    np.testing.assert_array_equal(view.regularized, noise(10).index.numpy())
    assert (view.timestamp, view.voxel_size_um) == (BEGUN, VOXEL)
    state = watched.until(lambda seen: seen.state is not None).state
    assert state is not None
    assert (state.phase, state.message, state.scans) == (Phase.STOPPED, "scan 1 of 4", 4)
    assert (state.regularizer, state.regularizers) == ("deep", ("deep", "tv"))
    watched.playback.seek(1)
    watched.shows(1, "deep")
    watched.playback.set_regularizer("tv")
    chosen = watched.shows(1, "tv").regularized
    assert chosen is not None
    np.testing.assert_array_equal(chosen, noise(20).index.numpy())
    watched.playback.seek(99)  # beyond the last one, which has no tv
    assert watched.shows(3, "none").regularized is None


def test_it_plays_to_the_end_and_then_from_the_beginning(
    tomograms: Path, opened: Callable[..., PlaybackObserver]
) -> None:
    watched = opened(tomograms)
    watched.shows(0, "deep")
    watched.playback.start()
    watched.until(lambda seen: seen.state is not None and "playing" in seen.state.message)
    watched.until(lambda seen: seen.state is not None and seen.state.phase == Phase.STOPPED)
    assert [view.sequence for view in watched.views] == [0, 1, 2, 3]
    watched.playback.start()
    watched.shows(1, "deep")
    watched.playback.stop()
    watched.until(lambda seen: seen.state is not None and seen.state.phase == Phase.STOPPED)
    assert watched.views[-1].sequence < 3


def test_a_recording_is_reconstructed_as_it_is_looked_at(
    recording: Path, opened: Callable[..., PlaybackObserver]
) -> None:
    watched = opened(recording, "gp", "cpu")
    watched.shows(0, "gp")
    watched.playback.seek(1)
    view = watched.shows(1, "gp")
    source = read_recording(recording)
    made = Reconstructor(source.background)(list(source.stacks())[1])
    expected = regularizer("gp")(made.tomogram, made.spectrum)
    np.testing.assert_allclose(view.raw, made.tomogram.index.numpy(), atol=1e-6)
    assert view.regularized is not None
    np.testing.assert_allclose(view.regularized, expected.index.numpy(), atol=1e-5)
    assert view.lost_angles == made.report.left_out
    assert view.data_residual == pytest.approx(expected.data_residual, rel=1e-3)
    assert set(view.stages_s) == {"reconstruction", "regularization"}
    watched.playback.set_regularizer("none")
    assert watched.shows(1, "none").regularized is None


def test_a_file_that_grows_is_followed(
    tmp_path: Path,
    opened: Callable[..., PlaybackObserver],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.live.playback._LOOK_S", 0.05)
    path = tmp_path / "growing.h5"
    with TomogramWriter(path, noise(0), ()) as writer:
        writer.append(noise(0))
        watched = opened(path)
        watched.shows(0, "none")
        writer.append(noise(1, 1))
        watched.until(lambda seen: seen.state is not None and seen.state.scans == 2)
        watched.playback.seek(1)
        np.testing.assert_array_equal(watched.shows(1, "none").raw, noise(1).index.numpy())


def test_what_only_an_instrument_can_do_is_refused(
    tomograms: Path, opened: Callable[..., PlaybackObserver]
) -> None:
    playback = opened(tomograms).playback
    for refused in (
        playback.retake_background,
        playback.pause_recording,
        playback.continue_recording,
        playback.finish_recording,
        lambda: playback.record(RecordRequest("new.h5", stacks=1)),
    ):
        with pytest.raises(PipelineError, match=r"cells\.h5 is a file"):
            refused()
    with pytest.raises(PipelineError, match=r"volumes deep, tv, got 'gp'"):
        playback.set_regularizer("gp")


def test_a_scan_that_cannot_be_shown_says_why(
    recording: Path, opened: Callable[..., PlaybackObserver]
) -> None:
    with h5py.File(recording, "r+") as file:
        file["sample/interferograms"][1] = 0  # black, and not marked as lost
    watched = opened(recording, "none", "cpu")
    watched.shows(0, "none")
    watched.playback.seek(1)
    watched.until(
        lambda seen: seen.state is not None and "scan 2 cannot be shown" in seen.state.message
    )
    watched.playback.seek(2)
    watched.shows(2, "none")


def test_a_file_that_goes_while_it_is_shown_is_missed_and_welcome_back(
    tomograms: Path, opened: Callable[..., PlaybackObserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.playback._LOOK_S", 0.02)

    def says(text: str) -> Callable[[PlaybackObserver], bool]:
        return lambda seen: seen.state is not None and text in seen.state.message

    watched = opened(tomograms)
    watched.shows(0, "deep")
    away = tomograms.rename(tomograms.with_name("away.h5"))
    watched.until(says("cells.h5 has gone from the disk"))
    watched.playback.seek(1)
    watched.until(says("scan 2 cannot be shown: cells.h5 has gone from the disk"))
    watched.playback.seek(0)
    watched.shows(0, "deep")  # it is in memory still
    watched.until(says("has gone"))
    away.rename(tomograms)
    watched.until(says("scan 1 of 4"))
    watched.playback.seek(1)
    watched.shows(1, "deep")


def test_what_could_not_be_shown_is_shown_when_the_file_is_back(
    tomograms: Path, opened: Callable[..., PlaybackObserver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.live.playback._LOOK_S", 0.02)
    watched = opened(tomograms)
    watched.shows(0, "deep")
    away = tomograms.rename(tomograms.with_name("away.h5"))
    watched.playback.seek(2)
    watched.until(lambda seen: seen.state is not None and "scan 3 cannot" in seen.state.message)
    away.rename(tomograms)
    watched.shows(2, "deep")


def test_what_is_no_file_of_scans_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "something"
    with pytest.raises(DataError, match=r"recording or a tomogram file.*'something'"):
        open_playback(tmp_path / "other.h5")
    with pytest.raises(DataError, match="cannot be read"):
        open_playback(tmp_path / "absent.h5")
    write(tmp_path / "empty.h5", [])
    with pytest.raises(DataError, match="at least one finished scan"):
        open_playback(tmp_path / "empty.h5")
    with pytest.raises(ConfigurationError, match="magic"):
        open_playback(tmp_path / "empty.h5", "magic")
