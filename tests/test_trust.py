"""How far a tomogram can be trusted: its history, the panel, and the maps over the views."""

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from pipeline.wire.state import QualityView, TomogramView
from regularizer.quality_report import QualityReport
from tests.hands import press
from tests.recorded_session import RecordedSession, volumes
from tests.windows import shown
from ui.panels.trust_history import TrustHistory
from ui.sections.voxel_grid import Z
from ui.window import Window

SHAPE = (12, 40, 36)


@pytest.fixture(scope="module")
def tomograms() -> list[TomogramView]:
    views = volumes(3, SHAPE, (0.36, 0.22, 0.24))
    return [replace(view, data_residual=0.1 + 0.01 * n) for n, view in enumerate(views)]


@pytest.fixture
def window(qapp: QApplication, tomograms: list[TomogramView]) -> Iterator[Window]:
    with shown(qapp, RecordedSession(list(tomograms))) as window:
        yield window


def check_of(tomogram: TomogramView, sequence: int, ssim: float = 0.8) -> QualityView:
    """Return a check with an error of 0.01 in one voxel."""
    assert tomogram.regularized is not None
    error = np.zeros(SHAPE, np.float32)
    error[6, 10, 20] = -0.01
    report = QualityReport(
        "deep", ssim, (0.9, 0.7, 0.5, 0.6, 0.7, 0.8), 1e-4, 0.99, 0.05, 0.0, 0.11, 0.12
    )
    reference = tomogram.regularized - error
    return QualityView(
        report, reference, error, tomogram.voxel_size_um, sequence, 1.7e9 + sequence, seconds=1.0
    )


def test_the_history_holds_an_hour(tomograms: list[TomogramView]) -> None:
    history = TrustHistory()
    for minute in range(0, 120, 10):
        history.note_tomogram(replace(tomograms[0], timestamp=60.0 * minute))
    times = history.residuals[:, 0]
    assert times.min() >= 60 * 110 - 3600 and times.max() == 60 * 110
    history.note_tomogram(replace(tomograms[0], timestamp=9e9, data_residual=None))
    assert len(history.residuals) == len(times)


def test_checks_are_kept_while_there_is_room(
    tomograms: list[TomogramView], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = check_of(tomograms[0], 0)
    size = one.reference.nbytes + one.error.nbytes
    monkeypatch.setattr("ui.panels.trust_history._KEPT_BYTES", 3 * size)
    history = TrustHistory()
    for sequence in range(5):
        history.note_check(check_of(tomograms[0], sequence))
    assert [check.sequence for check in history.checks] == [0, 1, 2, 3, 4]
    assert history.view(1) is None and history.view(2) is not None


def test_the_curves_grow_with_tomograms_and_checks(
    window: Window, tomograms: list[TomogramView]
) -> None:
    panel = window.trust
    window.show_check(check_of(tomograms[0], 0, 0.8))  # while the panel is closed
    press(window, Qt.Key.Key_F5)
    assert panel.isVisible()
    assert panel.plots.ssim.getData()[1].tolist() == [0.8]
    assert panel.plots.residual.getData()[1].tolist() == pytest.approx([0.1])
    window.poll()
    window.show_check(check_of(tomograms[1], 1, 0.6))
    assert panel.plots.ssim.getData()[1].tolist() == [0.8, 0.6]
    assert panel.plots.residual.getData()[1].tolist() == pytest.approx([0.1, 0.11])
    z, by_slice = panel.plots.slices.getData()
    assert by_slice.tolist() == [0.9, 0.7, 0.5, 0.6, 0.7, 0.8]
    assert z[0] == pytest.approx((3 - SHAPE[0] // 2) * 0.36)  # the window's centre slice


def test_a_network_away_from_home_is_said_in_words(
    window: Window, tomograms: list[TomogramView]
) -> None:
    press(window, Qt.Key.Key_F5)
    assert "was trained on samples like this one" in window.trust.words.text()
    doubt = "the network was trained with a medium of 1.33 to 1.36, this one has 1.52"
    window.show_tomogram(replace(tomograms[1], warnings=("lost angles: 4", doubt)))
    assert window.trust.words.text() == doubt
    assert window.trust.words.property("tone") == "warning"
    assert 'href="trust"' in window.sidebar.warning.text()
    window.trust.hide()
    window.sidebar.warning.linkActivated.emit("trust")
    window.show_tomogram(tomograms[2])
    assert "was trained on samples like this one" in window.trust.words.text()
    window.show_tomogram(replace(tomograms[2], method="tv"))
    assert window.trust.words.text().startswith("No network took part")


def test_a_point_of_the_curve_shows_its_scan(window: Window, tomograms: list[TomogramView]) -> None:
    press(window, Qt.Key.Key_F5)
    for sequence in (0, 1):
        window.show_check(check_of(tomograms[sequence], sequence))
    point = window.trust.plots.ssim.points()[0]
    window.trust.plots.ssim.sigClicked.emit(
        window.trust.plots.ssim, [point], None
    )  # as a click on it does
    first = tomograms[0].regularized
    assert first is not None
    z = window.state.cursor[Z]
    left, right = (views.panels[0] for views in (window.views, window.picture.beside))
    np.testing.assert_allclose(left.image.image, first[z], atol=1e-6)
    assert right.overlay.marks.badge.text == "TOTAL VARIATION"  # of scan 0, which is on display
    window.poll()
    window.show_check(check_of(tomograms[2], 2))  # the instrument goes on
    assert right.overlay.marks.badge.text == "TOTAL VARIATION OF SCAN 1"
    np.testing.assert_allclose(left.image.image, first[z], atol=1e-6)
    press(window, Qt.Key.Key_Escape)
    assert not window.picture.beside.isVisible()
    assert not np.allclose(left.image.image, first[z], atol=1e-6)


def test_a_scan_that_is_no_longer_kept_is_said_so(window: Window) -> None:
    window.look_back(77)
    assert "scan 78 is no longer in memory" in window.status.answer.full_text()


def test_errors_are_painted_over_the_views(window: Window, tomograms: list[TomogramView]) -> None:
    press(window, Qt.Key.Key_E)
    panel = window.views.panels[0]
    assert not panel.map.isVisible()
    assert "no scan of this volume was compared" in panel.overlay.marks.badge.note
    window.show_check(check_of(tomograms[0], 0))
    assert panel.map.isVisible() and panel.overlay.marks.badge.note == ""
    assert np.unravel_index(panel.map.image.argmax(), panel.map.image.shape) == (10, 20)
    assert panel.map.image.max() == np.float32(0.01)  # its size, not its sign
    window.poll()
    assert panel.overlay.marks.badge.note == "errors of scan 1"
    window.show_tomogram(replace(tomograms[1], position="left"))  # another cell
    assert not panel.map.isVisible()
    assert "no scan of this stage position was compared" in panel.overlay.marks.badge.note
    window.poll()
    press(window, Qt.Key.Key_E)
    assert not panel.map.isVisible()


def test_uncertainty_is_painted_over_the_views(
    window: Window, tomograms: list[TomogramView]
) -> None:
    press(window, Qt.Key.Key_U)
    panel = window.views.panels[2]
    assert not panel.map.isVisible()
    assert "states no uncertainty" in window.views.panels[0].overlay.marks.badge.note
    uncertainty = np.random.default_rng(1).random(SHAPE, np.float32) * np.float32(0.01)
    window.show_tomogram(replace(tomograms[1], uncertainty=uncertainty))
    x = window.state.cursor[2]
    np.testing.assert_array_equal(panel.map.image, uncertainty[:, :, x].T)
    place, below = (layer.place for layer in (panel.map, panel.image))
    assert (place.width(), place.height()) == pytest.approx((below.width(), below.height()))
