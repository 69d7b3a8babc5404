"""The command ``calibrate``: it finds the faults of a microscope, and later runs use it."""

import base64
import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acquisition.configuration.calibration_file import (
    Calibration,
    calibration_beside,
    load_calibrated,
    read_calibration,
)
from acquisition.configuration.microscope_file import load_configuration
from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.angles import AngleSet, circular_scan
from acquisition.microscope import open_microscope
from commands.calibrate_measurement import make_checks, measure, run_calibrate
from commands.progress import progress_bar
from commands.record_session import run_record
from files.recording import read_recording
from reconstruction.angle_fit import carrier_fit, fit_angles
from reconstruction.wave_vectors import find_wave_vectors
from tests.benches import open_bench
from tests.scans import CELL, interferograms

MAGNIFIED = 1.06
MICROSCOPE = """
[optics]
preset = "cell"
pixel_size_um = 0.07
[illumination]
circle = {{ angles = 9, na_fraction = 0.8 }}
[camera]
width = 96
height = 96
[dmd]
picture_ms = 4.0
[background]
position_um = {empty}
scans = 2
[simulation]
phantom = "bead"
motion = false
{simulation}
"""


def microscope_file(
    folder: Path, empty: tuple[float, float] = (200.0, 0.0), **simulation: Any
) -> Path:
    file = folder / "scope.toml"
    lines = "\n".join(f"{name} = {value}" for name, value in simulation.items())
    file.write_text(MICROSCOPE.format(empty=list(empty), simulation=lines), "utf-8")
    return file


def calibrated(
    file: Path, capsys: pytest.CaptureFixture[str], status: int = 0
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Run the command; return its JSON, and its checks by name."""
    assert run_calibrate(file, file.parent / "report", as_json=True) == status
    figures = json.loads(capsys.readouterr().out)
    return figures, {check["name"]: check for check in figures["checks"]}


def misses(file: Path) -> float:
    """Return the largest distance of measured from planned angles, in NA/wavelength."""
    with open_microscope(load_calibrated(file)) as microscope:
        background = microscope.background(1)
        k = find_wave_vectors(background).k
    off = k - microscope.angles.k
    return float(np.hypot(*(off - off.mean(axis=0)).T).max()) / microscope.optics.cutoff


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the page out, whose drawings take longer than the measurements."""
    monkeypatch.setattr("commands.calibrate_measurement.write_report", lambda *_: None)


SPOTS = 'conjugate = "pupil"\nmirrors_per_k = 95.0'


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("dmd", "turned_deg"), [("", 4.0), (SPOTS, 4.0), (SPOTS, -75.0)])
def test_a_turned_dmd_is_found_and_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dmd: str, turned_deg: float
) -> None:
    """Conjugate to the sample, with gratings, and to the pupil, with spots of whole mirrors."""
    file = microscope_file(tmp_path, dmd_rotation_deg=turned_deg, dmd_magnification=MAGNIFIED)
    file.write_text(file.read_text("utf-8").replace("[dmd]", f"[dmd]\n{dmd}"), "utf-8")
    if abs(turned_deg) > 10:
        with pytest.raises(DataError, match="or calibrate"):
            misses(file)
    else:
        assert misses(file) > 0.05
    figures, checks = calibrated(file, capsys)
    assert all(check["met"] for check in checks.values())
    turn = math.radians(turned_deg)
    truth = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    found = np.array(figures["calibration"]["correction"])
    np.testing.assert_allclose(found, truth / MAGNIFIED, atol=2e-3)
    assert misses(file) < 0.005
    kept = read_calibration(calibration_beside(file))
    assert kept == read_calibration(tmp_path / "report" / "calibration.json")
    assert kept.problems == []
    with open_microscope(load_calibrated(file)) as microscope:
        assert microscope.remark == ""
        assert microscope.scan().provenance["calibration"] == kept.made_at.isoformat()
        assert microscope.config.camera.exposure_ms == kept.exposure_ms
    # the one that is there does not change the next one
    again = load_configuration(file)
    assert again.dmd.correction == ((1.0, 0.0), (0.0, 1.0))
    background = read_recording(tmp_path / "report" / "background.h5").background
    assert background.frames.shape == (9, 96, 96)


class Page(HTMLParser):
    """Counts the elements of a report."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.pictures: list[bytes] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag == "img":
            kind, data = (dict(attrs)["src"] or "").split(",", 1)
            assert kind == "data:image/svg+xml;base64"
            self.pictures.append(base64.b64decode(data))


def test_the_report_is_one_page_with_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = microscope_file(tmp_path)
    _, checks = calibrated(file, capsys)
    text = (tmp_path / "report" / "report.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.count["tr"] == len(checks) + 1
    pupil, bars, fringes, spectrum = (picture.decode() for picture in page.pictures)
    for colour in ("#1f6feb", "#b35900"):  # planned and measured angles, and one in the legend
        assert len(re.findall(rf"<use [^>]*{colour}", pupil)) == 9 + 1
    assert len(re.findall(r"<path [^>]*fill: #1f6feb", bars)) == 9
    assert "NA/wavelength" in pupil and ">visibility<" in bars
    assert "<image" in fringes and "<image" in spectrum
    assert not re.search(r"(?:src|href)=['\"]https?:", text)
    with pytest.raises(DataError, match="must be a new folder"):
        run_calibrate(file, tmp_path / "report")


@pytest.mark.usefixtures("no_report")
def test_the_exposure_fills_the_range_without_saturation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 2 ms the laser would fill three times the range."""
    figures, checks = calibrated(microscope_file(tmp_path, fill=3.0), capsys)
    assert checks["Exposure"]["met"]
    # 80 % of the range at 2 ms / 3 x 0.8; the visibility is below 1, so a little longer
    assert 0.4 < figures["calibration"]["exposure_ms"] < 0.65


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("changes", "failed", "says"),
    [
        ({"fill": 0.01}, "Exposure", r"3.6 ms fill \d% of the range"),
        ({"empty": (1.5, 0.0)}, "Empty field", r"\d\d\.\d% of the field does not change"),
    ],
)
def test_what_is_wrong_is_found(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    failed: str,
    says: str,
) -> None:
    file = microscope_file(tmp_path, **changes)
    _, checks = calibrated(file, capsys, status=1)
    assert [name for name, check in checks.items() if not check["met"]] == [failed]
    assert re.search(says, checks[failed]["value"])
    # it is used nevertheless, and said
    assert failed in load_calibrated(file).notes[0]
    assert run_record(file, 1, 0.0, tmp_path / "one.h5", as_json=True) == 0
    assert failed in json.loads(capsys.readouterr().out)["remark"]


@pytest.mark.usefixtures("no_report")
def test_the_highest_safe_rate_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exposure and read-out take at least 1.6 ms; tried are 4, 3, 2.25, 1.69 and 1.27 ms."""
    file = microscope_file(tmp_path, readout_ms=1.0, fill=2.5)
    figures, _ = calibrated(file, capsys)
    busy_ms = figures["calibration"]["exposure_ms"] + 1.0
    tried = dict(figures["rates"])
    assert all((lost == 0) == (picture_ms >= busy_ms) for picture_ms, lost in tried.items())
    assert min(tried) < busy_ms
    whole = [picture_ms for picture_ms in tried if picture_ms >= busy_ms]
    assert figures["calibration"]["shortest_picture_ms"] == min(whole)


@pytest.mark.parametrize("name", ["simulated", "stepped", "dlpc900"])
def test_every_bench_can_be_calibrated(name: str) -> None:
    """The DLPC900 gets new times repeatedly, and keeps its images."""
    with open_bench(name) as bench, progress_bar("Calibrating", 5) as bar:
        before = bench.microscope.config
        found = measure(bench.microscope, bar)
        assert [check.name for check in make_checks(found) if not check.met] == []
        assert bench.microscope.config == before
        assert bench.microscope.scan().complete
        assert found.empty == 1.0
        tried = [picture_ms for picture_ms, _ in found.timing.tried]
        assert tried[0] == before.dmd.picture_ms
        assert len(tried) > 3
        # a DMD that is stepped by software has no rhythm of its own
        assert math.isfinite(found.timing.period_ms) == (name != "stepped")


def test_a_picture_that_does_not_follow_the_dmd_is_said() -> None:
    """The C++ camera draws waves that look like fringes."""
    with (
        open_bench("demo") as bench,
        progress_bar("Calibrating", 5) as bar,
        pytest.raises(DataError, match="must change with the planned ones"),
    ):
        measure(bench.microscope, bar)


PLANNED = circular_scan(9, 0.8 * CELL.optics.cutoff)


def test_missing_and_duplicate_angles_are_named() -> None:
    background = interferograms(CELL.optics, PLANNED.k)
    good = fit_angles(background, PLANNED)
    assert (good.missing, good.duplicates) == ((), ())
    np.testing.assert_allclose(good.visibility, 1, atol=0.01)
    frames = background.frames.copy()
    frames[3] = frames[4]
    frames[7] = frames[7].mean(dtype=float)
    found = fit_angles(replace(background, frames=frames), PLANNED)
    assert found.missing == (7,)
    assert found.duplicates == ((3, 4),)
    assert int(np.nanargmax(found.residual)) == 3
    np.testing.assert_allclose(found.correction, np.eye(2), atol=1e-3)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param([[0.0, -1.0], [1.0, 0.0]], id="quarter turn"),
        pytest.param([[0.8, 0.6], [0.6, -0.8]], id="mirrored"),
        pytest.param([[1.1, 0.1], [0.0, 0.9]], id="sheared"),
        pytest.param([[-0.95, 0.05], [-0.05, -0.95]], id="half turn, which none can tell"),
    ],
)
def test_any_image_of_the_dmd_is_found(image: list[list[float]]) -> None:
    truth = np.array(image)
    shown = PLANNED.k @ truth.T
    shown[[2, 6]] = shown[[6, 2]]  # two pictures in the wrong order do not mislead
    background = replace(interferograms(CELL.optics, shown), illumination_k=PLANNED.k)
    found = fit_angles(background, PLANNED)
    expected = -truth if np.trace(truth) < 0 else truth
    np.testing.assert_allclose(found.correction, expected, atol=2e-3)
    worst = np.argsort(found.residual)[-2:]
    assert set(worst.tolist()) == {2, 6}


def test_two_angles_make_no_matrix() -> None:
    line = AngleSet(np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), 0)
    with pytest.raises(DataError, match="three angles that are not in a line"):
        fit_angles(interferograms(CELL.optics, line.k), line)


def test_the_carrier_has_room_or_has_not() -> None:
    optics = CELL.optics  # 12.5 cycles/um are sampled
    clear = carrier_fit((2.46 * optics.cutoff, 1.73 * optics.cutoff), optics)
    assert clear.distance == pytest.approx(3.007, abs=1e-3)
    assert clear.to_zero_order == pytest.approx(0.007, abs=1e-3)
    near = carrier_fit((1.5 * optics.cutoff, 0.0), optics)
    assert near.to_zero_order == pytest.approx(-1.5)
    assert near.to_conjugate == pytest.approx(2 * 1.5 - 2 if 3.0 < 12.5 / optics.cutoff - 3 else
                                              12.5 / optics.cutoff - 3 - 2)  # fmt: skip


def a_calibration(file: Path, **changes: Any) -> Calibration:
    from acquisition.configuration.calibration_file import calibrated_settings

    fields: dict[str, Any] = {
        "made_at": datetime(2026, 1, 1, tzinfo=UTC),
        "microscope": "Simulated microscope",
        "correction": ((1.1, 0.0), (0.0, 1.1)),
        "carrier": (1.0, 2.0),
        "exposure_ms": 1.5,
        "shortest_picture_ms": 3.0,
        "setup": calibrated_settings(load_configuration(file)),
        "problems": [],
    }
    return Calibration(**(fields | changes))


def test_an_old_calibration_is_used_and_pointed_out(tmp_path: Path) -> None:
    file = microscope_file(tmp_path)
    calibration = a_calibration(file)
    calibration.save(calibration_beside(file))
    fresh = load_calibrated(file, calibration.made_at + timedelta(days=29))
    assert fresh.notes == ()
    assert fresh.config.dmd.correction == calibration.correction
    assert fresh.config.camera.exposure_ms == 1.5
    old = load_calibrated(file, calibration.made_at + timedelta(days=45))
    assert old.notes == ("the calibration is 45 days old: run calibrate again",)
    assert old.config == fresh.config


def test_a_calibration_of_another_set_up_is_not_used(tmp_path: Path) -> None:
    file = microscope_file(tmp_path)
    a_calibration(file).save(calibration_beside(file))
    text = file.read_text("utf-8").replace("pixel_size_um = 0.07", "pixel_size_um = 0.08")
    file.write_text(text.replace("width = 96", "width = 128"), "utf-8")
    found = load_calibrated(file)
    assert found.config == load_configuration(file)
    assert found.calibration is None
    assert "changed since: [optics] pixel_size_um, [camera] width" in found.notes[0]


def test_what_the_microscope_file_says_itself_wins(tmp_path: Path) -> None:
    file = microscope_file(tmp_path)
    text = file.read_text("utf-8").replace("height = 96", "height = 96\nexposure_ms = 2.5")
    file.write_text(text, "utf-8")
    a_calibration(file).save(calibration_beside(file))
    assert load_calibrated(file).config.camera.exposure_ms == 2.5
    file.write_text(text + "\n[calibration]\nuse = false\n", "utf-8")
    assert load_calibrated(file).config == load_configuration(file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "must be a calibration file"),
        ('{"format": "livetomo.recording"}', "must be a calibration file: format"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_calibration_is_an_error_that_names_the_file(
    tmp_path: Path, content: str | None, says: str
) -> None:
    file = microscope_file(tmp_path)
    beside = calibration_beside(file)
    if content is None:
        beside.mkdir()
    else:
        beside.write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=rf"scope\.calibration\.json {says}"):
        load_calibrated(file)


def test_a_correction_that_leaves_the_stop_is_an_error(tmp_path: Path) -> None:
    """Gratings that would have to be tilted by half as much again do not pass it."""
    file = microscope_file(tmp_path)
    wrong = a_calibration(file, correction=((0.6, 0.0), (0.0, 0.6)))
    wrong.save(calibration_beside(file))
    with pytest.raises(ConfigurationError, match=r"with the calibration of 2026-01-01: .*stop_rad"):
        load_calibrated(file)
