"""Objects of a file that is played: all of a recording, and where they are in the sample."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from files.recording import RecordingWriter
from files.series import ScanLocation, SeriesDescription
from files.tomograms import TomogramWriter
from pipeline.live.playback import Playback, open_playback
from pipeline.wire.state import MeasuredView, MeasuringRequest, MeasuringState, Updates
from tests.scans import CELL, interferograms
from tests.tomogram_files import noise

if TYPE_CHECKING:
    from pipeline.wire.file_state import MeasuredScan

SCANS = 4
STEP_UM = 0.2  # by which the stage follows the sample from scan to scan, a second apart


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record a phase disk that stays in the middle, since the stage goes with it along x."""
    k = CELL.angles.k[::8]
    y, x = np.mgrid[-48:48, -48:48]
    disk = np.exp(0.9j * np.sqrt(np.clip(1 - (x**2 + y**2) / 15**2, 0, None)))
    empty = interferograms(CELL.optics, k, frame=(96, 96))
    scan = interferograms(CELL.optics, k, np.stack([disk] * len(k)), frame=(96, 96))
    path = tmp_path_factory.mktemp("played") / "recording.h5"
    with RecordingWriter(path, empty, series=SeriesDescription("{}", "{}")) as writer:
        for number in range(SCANS):
            at = ScanLocation(0, (0.0, 0.0, 0.0), (STEP_UM * number, 0.0, 0.0))
            writer.append(replace(scan, timestamp=1.7e9 + number), at)
    return path


class Watched:
    """Collects what a window would receive of measured objects."""

    def __init__(self, playback: Playback) -> None:
        self.playback = playback
        self.state: MeasuringState | None = None
        self.said: list[MeasuringState] = []
        self.view: MeasuredView | None = None
        self.scans: dict[int, MeasuredScan] = {}

    def until(self, holds: Callable[[], bool]) -> None:
        """Poll until it holds; the time limit of the test ends a hang."""
        while not holds():
            self._take(self.playback.poll())
            time.sleep(0.005)

    def _take(self, updates: Updates) -> None:
        if updates.state is not None and updates.state.measuring is not None:
            self.state = updates.state.measuring
            self.said.append(self.state)
        self.view = updates.measured or self.view
        if updates.scans is not None:
            kept = {} if updates.scans.anew else self.scans
            self.scans = kept | {scan.sequence: scan for scan in updates.scans.scans}


def test_all_scans_of_a_recording_are_measured_on_request(recording: Path) -> None:
    with open_playback(recording, "none", "cpu") as playback:
        watched = Watched(playback)
        playback.set_measuring(MeasuringRequest(True))
        watched.until(lambda: watched.view is not None)
        assert list(watched.scans) == [0]  # only the displayed one
        playback.measure_all(True)
        watched.until(lambda: any(said.progress for said in watched.said) or len(watched.scans) > 1)
        playback.measure_all(False)
        watched.until(lambda: watched.state is not None and "stopped" in watched.state.message)
        assert watched.state is not None and watched.state.on
        playback.measure_all(True)
        watched.until(lambda: len(watched.scans) == SCANS)
        watched.until(lambda: watched.state is not None and "4 of 4" in watched.state.message)
        assert watched.state.progress is None
        steps = [one.progress for one in watched.said if one.progress is not None]
        assert all(0 <= done < of == SCANS for done, of in steps)
        objects = [scan.objects[0] for _, scan in sorted(watched.scans.items())]
        assert {one.number for one in objects} == {objects[0].number}
        speeds = [one.speed_um_per_s for one in objects[1:]]
        assert speeds == pytest.approx([STEP_UM] * (SCANS - 1), rel=0.02)
        playback.seek(3)
        watched.until(lambda: watched.view is not None and watched.view.sequence == 3)
        assert watched.view is not None
        in_view, in_sample = watched.view.place_of(0)[2], watched.view.objects[0].x_um
        assert in_sample - in_view == pytest.approx(3 * STEP_UM)


def test_objects_of_a_tomogram_file_are_where_they_are_in_the_sample(tmp_path: Path) -> None:
    empty = noise(0)
    z, y, x = np.indices(empty.index.shape)
    middle = [n // 2 for n in empty.index.shape]
    index = np.full(empty.index.shape, empty.optics.medium_index, np.float32)
    index[(z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < 16] += 0.03
    still = replace(empty, index=empty.index.new_tensor(index))
    with TomogramWriter(tmp_path / "cells.h5", still, positions=("",)) as writer:
        for scan in range(3):
            at = ScanLocation(0, (0.0, 0.0, 0.0), (0.0, 0.1 * scan, 0.0))
            writer.append(replace(still, timestamp=1.7e9 + 2 * scan, sequence=scan), None, at)
    with open_playback(tmp_path / "cells.h5") as playback:
        watched = Watched(playback)
        playback.set_measuring(MeasuringRequest(True))
        watched.until(lambda: len(watched.scans) == 3)
        last = watched.scans[2].objects[0]
        assert last.speed_um_per_s == pytest.approx(0.05)
        assert last.y_um - watched.scans[0].objects[0].y_um == pytest.approx(0.2)
