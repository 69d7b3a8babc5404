"""Single scans and the last scans of an instrument, taken home through its window."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from acquisition.illumination.angles import preset
from files.tomograms import read_tomograms
from pipeline.wire.places import StagePlace, StageState
from pipeline.wire.state import Phase
from tests.hands import press
from tests.recorded_session import RecordedSession, volumes
from tests.windows import shown, wait_until
from ui.taking_away.job_dialog import JobDialog
from ui.taking_away.movie_dialog import MovieDialog
from ui.taking_away.recent_scans import RecentScans
from ui.taking_away.snap_dialog import SnapDialog
from ui.window import Window

VOXEL_UM = (0.36, 0.22, 0.24)


@pytest.fixture(scope="module")
def session() -> RecordedSession:
    views = volumes(3, (12, 40, 36), VOXEL_UM)
    session = RecordedSession([replace(view, optics=preset("cell").optics) for view in views])
    session.announce(phase=Phase.STOPPED, stage=StageState(StagePlace(1.0, 2.0, 0.5)))
    return session


@pytest.fixture(scope="module")
def window(qapp: QApplication, session: RecordedSession) -> Iterator[Window]:
    with shown(qapp, session) as window:
        window.experiment.retake_background()  # begins the thread of commands, which stays
        wait_until(lambda: not window.experiment.busy)
        yield window


def saved(dialog: JobDialog) -> str:
    """Press the button of a dialog; return what it says in the end."""
    QTest.mouseClick(dialog.begin, Qt.MouseButton.LeftButton)
    wait_until(lambda: not dialog.worker.busy)
    said = dialog.note.text()
    dialog.close()
    return said


def test_a_snap_is_saved_with_its_tomogram(
    window: Window, session: RecordedSession, tmp_path: Path
) -> None:
    assert not window.action_set["save snap"].isEnabled()
    press(window, Qt.Key.Key_N)
    wait_until(lambda: not window.experiment.busy)
    window.poll()  # its tomogram, and the state that says so
    window.poll()
    assert window.action_set["save snap"].isEnabled()
    press(window, Qt.Key.Key_N, shift=True)
    (dialog,) = (w for w in window.findChildren(SnapDialog) if w.isVisible())
    dialog.file.setText(str(tmp_path / "snap.h5"))
    dialog.sample_name.setText("HL60, dish 3")
    dialog.notes.setPlainText("one is dividing")
    dialog.place_name.setText("corner")
    assert saved(dialog).startswith(f"saved {tmp_path / 'snap.h5'} and snap_tomograms.h5")
    assert session.saved is not None
    assert (session.saved.sample_name, session.saved.place_name) == ("HL60, dish 3", "corner")
    series = read_tomograms(tmp_path / "snap_tomograms.h5")
    snapped = session.tomograms[1].regularized
    assert snapped is not None and session.state.snapped == 1
    np.testing.assert_array_equal(series.volume("deep", 0), snapped)
    assert series.sample.notes == "one is dividing"
    assert series.provenance["recording"] == "snap.h5"
    assert window.experiment.sample_name == "HL60, dish 3"  # suggested next time


def test_the_last_scans_of_an_instrument_become_a_movie(window: Window, tmp_path: Path) -> None:
    window.poll()
    kept = len(window.taking_away.recent)
    assert kept >= 3
    window.taking_away.movie()
    (dialog,) = (w for w in window.findChildren(MovieDialog) if w.isVisible())
    assert dialog.kind.currentData() == "time" and dialog.last.maximum() == kept
    dialog.first.setValue(kept - 1)
    dialog.width_px.setCurrentIndex(0)
    dialog.file.setText(str(tmp_path / "last.gif"))
    assert saved(dialog) == f"saved {tmp_path / 'last.gif'}: 2 frames"
    with Image.open(tmp_path / "last.gif") as movie:
        assert getattr(movie, "n_frames", 1) == 2


def test_no_more_scans_are_kept_than_there_is_memory_for(
    session: RecordedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = session.tomograms[0]
    monkeypatch.setattr("ui.taking_away.recent_scans._KEPT_BYTES", 3 * 2 * view.raw.nbytes)
    recent = RecentScans()
    for sequence in range(5):
        recent.note(replace(view, sequence=sequence))
    recent.note(replace(view, sequence=9, oldest_s=0.5))  # of half a scan
    assert len(recent) == 3
    assert recent.of_scan(1) is None and recent.of_scan(4) is not None
