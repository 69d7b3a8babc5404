"""The light path: what the processes say of each angle, and the panel that shows it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest

from acquisition.errors import DataError
from files.recording import RecordingWriter
from pipeline.live.playback import open_playback
from pipeline.wire.messages import (
    InterferogramHeader,
    Stamp,
    TomogramHeader,
    decode,
    encode,
    interferogram_message,
    interferogram_view,
    tomogram_message,
    tomogram_view,
)
from pipeline.wire.state import CYCLE, InterferogramView, LightPath, TomogramView
from pipeline.wire.tomogram_view import light_path
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from tests.hands import press
from tests.recorded_session import RecordedSession, volumes
from tests.scans import CELL, interferograms
from tests.windows import wait_until
from ui.panels.light_figures import coverage, dots, log_spectrum, with_saturation
from ui.panels.light_pages import (
    PAGES,
    Angles,
    Coverage,
    Fringes,
    Mirrors,
    SpectrumOfFringes,
    Trends,
)
from ui.window import Window

Frames = NDArray[np.uint8 | np.uint16]
K = CELL.angles.k[::6]
LIGHT = LightPath(
    carrier=(3.2, 2.1),
    planned=((0.0, 0.0), (2.0, 0.0), (0.0, 2.0), (-2.0, 0.0)),
    found=((0.0, 0.0), (1.8, 0.1), None, (-2.0, 0.0)),
    reasons={2: "the background has no fringes there"},
    outliers=(1,),
    visibility=(1.0, 0.9, 0.1, 0.8),
    drift_rad=(0.0, 0.1, 0.0, -0.2),
    tilt_rad=(0.0, 0.0, 0.0, 0.0),
    saturation=(0.0, 0.0, 0.0, 0.01),
)
STAMP = Stamp("test", 1)


@pytest.fixture(scope="module")
def scan_light() -> tuple[LightPath, Frames]:
    """Return the light of a simulated scan whose angle 3 was lost."""
    background = interferograms(CELL.optics, K, frame=(96, 96))
    sample = replace(background, lost=(3,))
    reconstructor = Reconstructor(background, settings=ReconstructionSettings(slices=8))
    report = reconstructor(sample).report
    return light_path(reconstructor.wave_vectors, K, report), background.frames


def test_the_light_of_a_scan_is_where_it_was_planned(
    scan_light: tuple[LightPath, Frames],
) -> None:
    light, _ = scan_light
    assert np.allclose(light.planned, K)
    assert np.allclose([k for k in light.found if k is not None], K, atol=0.02)
    assert set(light.reasons) == {3}
    assert len(light.visibility) == len(light.drift_rad) == len(K)
    assert light.visibility[0] == pytest.approx(1, abs=0.05)


# ---- Figures -------------------------------------------------------------------------------------


def test_the_spectrum_has_its_peaks_at_the_carrier_and_its_conjugate(
    scan_light: tuple[LightPath, Frames],
) -> None:
    light, frames = scan_light
    found = log_spectrum(frames[1], CELL.optics.pixel_size_um)
    assert found.highest == 0.5 / CELL.optics.pixel_size_um
    step = 2 * found.highest / 96
    k = light.found[1]
    assert k is not None
    for sign in (1, -1):
        x, y = (sign * (c + part) / step + 48 for c, part in zip(light.carrier, k, strict=True))
        rows, columns = (np.arange(round(at) - 2, round(at) + 3) % 96 for at in (y, x))  # folded
        around = found.image[np.ix_(rows, columns)]
        assert around.max() > 0.9
    assert np.median(found.image) < 0.7


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_saturated_pixels_are_red(dtype: type) -> None:
    full = 255 if dtype is np.uint8 else 4095
    frame: Any = np.array([[0, full // 2, full]], dtype)
    colours = with_saturation(frame, full)
    assert colours[0, 0].tolist() == [0, 0, 0]
    assert len(set(colours[0, 1].tolist())) == 1 and 120 < colours[0, 1, 0] < 130
    assert colours[0, 2, 0] == 255 and colours[0, 2, 1] < 100


def test_dots_say_what_became_of_each_angle() -> None:
    found = {(dot.angle, dot.state): dot for dot in dots(LIGHT)}
    assert [angle for angle, state in found if state == "planned"] == [0, 1, 2, 3]
    assert found[0, "measured"].text == "angle 0: used, visibility 1.00"
    assert found[1, "outlier"].k == (1.8, 0.1)
    assert found[2, "left out"].k == (0.0, 2.0)  # where it was planned: it has no other place
    assert "no fringes" in found[2, "left out"].text
    unplanned = replace(LIGHT, planned=())
    assert not [dot for dot in dots(unplanned) if dot.state == "planned"]
    assert 2 not in [dot.angle for dot in dots(unplanned)]


def test_the_coverage_has_the_missing_cone_and_the_band_of_the_objective() -> None:
    k = [(float(x), float(y)) for x, y in CELL.angles.k]
    light = replace(LIGHT, found=tuple(k), reasons={}, planned=tuple(k))
    points = np.concatenate(coverage(light, CELL.optics))
    across, axial = np.abs(points).T
    assert across.max() == pytest.approx(
        CELL.optics.cutoff + np.hypot(*CELL.angles.k.T).max(), rel=0.01
    )
    # an NA of 1.2 in water: no voxel steeper than the cone of half the angle of acceptance
    steepest = (axial[across > 0.05] / across[across > 0.05]).max()
    assert steepest < CELL.optics.cutoff / np.sqrt(CELL.optics.k_medium**2 - CELL.optics.cutoff**2)
    np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(-points[:, 1]))  # Hermitian
    fewer = coverage(replace(light, reasons={0: "lost"}), CELL.optics)
    assert len(fewer) == len(coverage(light, CELL.optics)) - 2


# ---- Messages ------------------------------------------------------------------------------------


def test_light_and_pictures_pass_between_processes() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 2, (30, 45), dtype=np.uint8)
    frame = rng.integers(0, 255, (8, 9), dtype=np.uint8)
    sent = InterferogramView(frame, 3, 49, 7, 8, picture)
    for view in (sent, replace(sent, picture=None)):
        message = decode(encode(interferogram_message(view, STAMP)))
        assert isinstance(message.header, InterferogramHeader)
        got = interferogram_view(message.header, message.arrays)
        assert (got.angle, got.angles, got.sequence, got.bit_depth) == (3, 49, 7, 8)
        np.testing.assert_array_equal(got.frame, frame)
        assert (got.picture is None) == (view.picture is None)
        assert got.picture is None or np.array_equal(got.picture, picture)
    (tomogram,) = volumes(1, (4, 8, 8), (0.3, 0.2, 0.2))
    message = decode(encode(tomogram_message(replace(tomogram, light=LIGHT), STAMP)))
    assert isinstance(message.header, TomogramHeader)
    assert tomogram_view(message.header, message.arrays).light == LIGHT


def test_a_picture_that_does_not_fit_is_refused() -> None:
    frame = np.zeros((8, 9), np.uint8)
    view = InterferogramView(frame, 0, 1, 0, 8, np.zeros((30, 45), np.uint8))
    message = interferogram_message(view, STAMP)
    assert isinstance(message.header, InterferogramHeader)
    wrong = message.header.model_copy(update={"mirrors": 450})
    with pytest.raises(DataError):
        interferogram_view(wrong, message.arrays)


# ---- Files ---------------------------------------------------------------------------------------


def test_a_recording_shows_its_interferograms_and_their_light(tmp_path: Path) -> None:
    background = interferograms(CELL.optics, K, frame=(96, 96))
    with RecordingWriter(tmp_path / "scan.h5", background) as writer:
        writer.append(background)
    with open_playback(tmp_path / "scan.h5", "none", "cpu") as playback:
        seen: list[InterferogramView] = []
        tomograms: list[TomogramView] = []

        def look(count: int) -> bool:
            updates = playback.poll()
            seen.extend(view for view in [updates.interferogram] if view is not None)
            tomograms.extend(view for view in [updates.tomogram] if view is not None)
            return len(seen) >= count and bool(tomograms)

        wait_until(lambda: look(1))
        normal = int(np.argmin(np.hypot(*K.T)))
        assert seen[0].angle == normal and tomograms[0].light is not None
        np.testing.assert_array_equal(seen[0].frame, background.frames[normal])
        playback.show_angle(2)
        wait_until(lambda: look(2))
        np.testing.assert_array_equal(seen[1].frame, background.frames[2])
        assert len(tomograms) == 1  # nothing was computed for that


# ---- The panel -----------------------------------------------------------------------------------


@pytest.fixture
def session() -> RecordedSession:
    views = volumes(2, (12, 40, 36), (0.36, 0.22, 0.24))
    return RecordedSession([replace(v, light=LIGHT, optics=CELL.optics) for v in views])


def test_the_panel_draws_each_of_its_pictures(window: Window) -> None:
    press(window, Qt.Key.Key_F4)
    panel = window.light
    assert panel.isVisible() and panel.seen.frame is not None
    for name in PAGES:
        panel.choice.setCurrentText(name)
        assert panel.page(name).plot.isVisible()
    fringes, spectrum, mirrors = (panel.page(name) for name in ("Fringes", "Spectrum", "DMD"))
    assert isinstance(fringes, Fringes) and fringes.picture.image.shape == (96, 96, 3)
    assert isinstance(spectrum, SpectrumOfFringes) and spectrum.spectrum.image.shape == (96, 96)
    x, y = LIGHT.carrier
    for name, sign in (("sideband", 1), ("conjugate", -1)):
        circle = spectrum.circles[name].path()
        for turn, inside in ((0.9, True), (1.1, False)):
            at = QPointF(sign * x + turn * CELL.optics.cutoff, sign * y)
            assert circle.contains(at) == inside
    angles, coverage, trends = (panel.page(name) for name in ("Angles", "Coverage", "Trends"))
    assert isinstance(angles, Angles)
    assert len(angles.planned.data) == 4 and len(angles.measured.data) == 4
    assert "no fringes" in angles.measured.data["data"][2]
    assert isinstance(coverage, Coverage)
    assert np.isfinite(coverage.arcs.getData()[0]).sum() > 100
    assert isinstance(trends, Trends)
    assert trends.visibility.getData()[0].tolist() == [0, 1, 3]  # not the one that is left out
    assert isinstance(mirrors, Mirrors)
    assert mirrors.picture.image is None  # nothing is known of the DMD yet
    picture = np.eye(20, dtype=np.uint8)
    panel.draw_frame(replace(panel.seen.frame, picture=picture))
    np.testing.assert_array_equal(mirrors.picture.image, 255 * picture)


def test_an_angle_is_chosen_and_cycled(window: Window, session: RecordedSession) -> None:
    press(window, Qt.Key.Key_F4)
    panel = window.light
    assert panel.angle.maximum() == 48
    panel.angle.lineEdit().setText("7")
    QTest.keyClick(panel.angle, Qt.Key.Key_Return)
    wait_until(lambda: not window.experiment.busy)
    QTest.mouseClick(panel.cycle, Qt.MouseButton.LeftButton)
    wait_until(lambda: not window.experiment.busy)
    assert [name for name, _ in session.commands] == ["angle 7", f"angle {CYCLE}"]
    window.poll()
    assert panel.seen.frame is not None and panel.angle.value() == panel.seen.frame.angle


def test_a_frame_that_is_left_out_says_why(window: Window) -> None:
    press(window, Qt.Key.Key_F4)
    panel = window.light
    assert panel.seen.frame is not None
    panel.draw_frame(replace(panel.seen.frame, angle=2))
    assert "left out, the background has no fringes" in panel.said.text()
    bright = np.full_like(panel.seen.frame.frame, 255)
    panel.draw_frame(replace(panel.seen.frame, angle=0, frame=bright))
    assert "100.00% saturated" in panel.said.text()


@pytest.mark.parametrize(
    ("warning", "tab"),
    [
        ("left out, the background has no fringes there: angles 2", "Angles"),
        ("saturated, lower the exposure: angles 3, 4", "Fringes"),
        ("light is not where it was planned: angles 1", "Angles"),
    ],
)
def test_a_warning_leads_to_the_place_that_shows_it(
    window: Window, session: RecordedSession, warning: str, tab: str
) -> None:
    assert window.tomogram is not None
    window.show_tomogram(replace(window.tomogram, warnings=(warning, "something < else")))
    label = window.sidebar.warning
    assert f"light path/{tab}" in label.text() and "something &lt; else" in label.text()
    assert not window.light.isVisible()
    label.linkActivated.emit(f"light path/{tab}")  # as a click on it does
    assert window.light.isVisible()
    assert window.light.choice.currentText() == tab
