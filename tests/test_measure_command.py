"""The command measure: one row an object and time point, followed at each stage position."""

import csv
import json
import math
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import livetomo
from commands.reconstruct import run_reconstruct
from files.series import ScanLocation
from files.tomograms import TomogramSeries, TomogramWriter
from launcher import main
from measuring.following import Follower
from reconstruction.tomogram import Tomogram
from tests.blurred_objects import MEDIUM, VOXEL_UM, Contrast, ball, blurred, sphere_um3, together
from tests.exact_bead import INDEX, RADIUS_UM, write_middle
from tests.scans import CELL

HEADER = (
    "time_s,object,volume_um3,surface_um2,sphericity,mean_index,max_index,dry_mass_pg,"
    "density_pg_per_um3,z_um,y_um,x_um"
)
SHAPE = (24, 40, 40)
BEGUN = 1.7e9


def tomogram(contrast: Contrast, time_s: float, number: int) -> Tomogram:
    index = torch.from_numpy(blurred(contrast, SHAPE))
    return Tomogram(index, VOXEL_UM, CELL.optics, time_s, number)


def pair(step: int) -> Contrast:
    """Return two balls; the larger one moves 0.3 um along y a step."""
    return together(ball(1.0, (0, -1.0 + 0.3 * step, -0.9)), ball(0.7, (0.2, 1.0, 1.2)))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three time points of a pair at one position, and of a ball at another."""
    path = tmp_path_factory.mktemp("measured") / "cells.h5"
    made = [
        (pair(0), 0.0, 0),
        (ball(1.1), 10.0, 1),
        (pair(1), 60.0, 0),
        (ball(1.1, (0, 0, 0.2)), 70.0, 1),
        (pair(2), 120.0, 0),
        (ball(1.1, (0, 0, 0.4)), 130.0, 1),
    ]
    nothing = tomogram(ball(0.1, height=0), BEGUN, 0)
    with TomogramWriter(path, nothing, ("tv",), positions=("control", "treated")) as writer:
        for number, (contrast, time_s, position) in enumerate(made):
            seen = tomogram(contrast, BEGUN + time_s, number)
            raw = replace(nothing, timestamp=seen.timestamp, sequence=number)
            writer.append(raw, {"tv": seen}, ScanLocation(position, (0.0, 0.0, 0.0)))
    return path


def test_places_are_in_the_sample_where_stages_followed_the_object(tmp_path: Path) -> None:
    """Stages kept a ball in the middle that went 0.8 um along x a step: by far, and too fast."""
    path, output = tmp_path / "kept.h5", tmp_path / "table.csv"
    nothing = tomogram(ball(0.1, height=0), BEGUN, 0)
    left = (0.0, 0.1, -0.1)
    with TomogramWriter(path, nothing, ("tv",), positions=("",)) as writer:
        for number, x_um in enumerate(left):
            seen = tomogram(ball(1.1, (0, 0, x_um)), BEGUN + 10.0 * number, number)
            raw = replace(nothing, timestamp=seen.timestamp, sequence=number)
            corrected = (0.8 * number - x_um, 0.0, 0.5 * number)
            where = ScanLocation(0, (0.0, 0.0, 0.0), corrected)
            writer.append(raw, {"tv": seen}, where)
    assert main(["measure", str(path), "-o", str(output)]) == 0
    rows = table(output)
    assert [row["x_um"] for row in rows] == pytest.approx([0.0, 0.8, 1.6], abs=0.02)
    assert [row["z_um"] for row in rows] == pytest.approx([0.0, 0.5, 1.0], abs=0.02)
    assert {row["object"] for row in rows} == {1}


def table(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_it_writes_one_row_an_object_and_time_point(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table.csv"
    assert main(["measure", str(series), "-o", str(output), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert output.read_text().splitlines()[0] == HEADER
    rows = table(output)
    assert (said["rows"], said["objects"], said["volume"]) == (9, 3, "tv")
    assert said["positions"] == [
        {"name": "control", "time_points": 3, "objects": [1, 2]},
        {"name": "treated", "time_points": 3, "objects": [3]},
    ]
    times = [(row["time_s"], row["object"]) for row in rows]
    first = [(0, 1), (0, 2), (60, 1), (60, 2), (120, 1), (120, 2)]
    assert times == [*first, (10, 3), (70, 3), (130, 3)]
    large = [row for row in rows if row["object"] == 1]
    assert [row["y_um"] for row in large] == pytest.approx([-1.0, -0.7, -0.4], abs=0.03)
    for row in large:
        assert row["volume_um3"] == pytest.approx(sphere_um3(1.0), rel=0.03)
        assert row["dry_mass_pg"] == pytest.approx(sphere_um3(1.0) * 0.03 / 0.19, rel=0.03)
        assert row["density_pg_per_um3"] == pytest.approx(row["dry_mass_pg"] / row["volume_um3"])
        assert row["mean_index"] == pytest.approx(MEDIUM + 0.03, abs=0.001)
    assert not list(tmp_path.glob("*.unfinished"))


def test_what_is_asked_for_is_measured(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table.csv"
    asked = ["--position", "control", "--increment", "0.2", "--minimum", "2", "--lipid", "1.34"]
    threshold = ["--threshold", str(MEDIUM + 0.02)]
    assert main(["measure", str(series), "-o", str(output), *asked, *threshold]) == 0
    said = capsys.readouterr().out
    assert "3 rows, 1 object in the tv volumes" in said
    assert "control: objects 1 to 1" in said
    rows = table(output)
    assert output.read_text().splitlines()[0] == f"{HEADER},lipid_fraction"
    assert {row["lipid_fraction"] for row in rows} == {1.0}
    usual = sphere_um3(1.0) * 0.03 / 0.2
    assert all(0.8 * usual < row["dry_mass_pg"] < 1.02 * usual for row in rows)


def test_it_warns_where_nothing_was_found(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table.csv"
    assert main(["measure", str(series), "-o", str(output), "--volume", "raw"]) == 0
    assert "warning: no object was found at 6 of 6 time points" in capsys.readouterr().out
    assert output.read_text() == HEADER + "\n"


def test_it_keeps_one_volume_in_memory(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, most = TomogramSeries.regularized, [0]
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()

    def counted(self: TomogramSeries, method: str, time: int) -> Tomogram | None:
        found = read(self, method, time)
        assert found is not None
        alive.add(found.index)
        most[0] = max(most[0], len(alive))
        return found

    monkeypatch.setattr(TomogramSeries, "regularized", counted)
    assert main(["measure", str(series), "-o", str(tmp_path / "table.csv")]) == 0
    assert most[0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", str(MEDIUM)], "--threshold must differ from the medium's index 1.337"),
        (["--threshold", "0.2"], "threshold must be a refractive index between 1 and 3, got 0.2"),
        (["--increment", "0"], "increment_ml_per_g must be positive"),
        (["--volume", "deep"], "deep"),
        (["--position", "nowhere"], "--position must be one that has scans (control, treated)"),
    ],
)
def test_impossible_wishes_get_one_line(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    output = tmp_path / "table.csv"
    assert main(["measure", str(series), "-o", str(output), *options]) == 1
    said = capsys.readouterr().err.strip()
    assert message in said and "\n" not in said
    assert not list(tmp_path.iterdir())


def test_what_is_no_tomogram_file_or_exists_gets_one_line(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "there.csv").write_text("mine")
    for file, output in (
        (tmp_path / "absent.h5", "table.csv"),
        (tmp_path / "text.h5", "table.csv"),
        (series, "there.csv"),
        (series, "no/folder.csv"),
    ):
        assert main(["measure", str(file), "-o", str(tmp_path / output)]) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_without_timestamps_time_points_are_counted(tmp_path: Path) -> None:
    path, output = tmp_path / "untimed.h5", tmp_path / "table.csv"
    with TomogramWriter(path, tomogram(ball(1.0), 0.0, 0)) as writer:
        for step in range(2):
            writer.append(tomogram(ball(1.0, (0, 0.1 * step, 0)), 0.0, step))
    assert main(["measure", str(path), "-o", str(output)]) == 0
    assert [(row["time_s"], row["object"]) for row in table(output)] == [(0, 1), (1, 1)]


def test_scripts_measure_the_same(series: Path, tmp_path: Path) -> None:
    assert main(["measure", str(series), "-o", str(tmp_path / "t.csv"), "--position", "1"]) == 0
    rows = table(tmp_path / "t.csv")
    tomograms, follower = livetomo.open_tomograms(series), Follower()
    found = [
        one
        for number in (0, 2, 4)
        for one in livetomo.measure(tomograms[number], follower=follower).objects
    ]
    assert [one.number for one in found] == [row["object"] for row in rows]
    for name in ("volume_um3", "dry_mass_pg", "y_um"):
        assert [getattr(one, name) for one in found] == pytest.approx([row[name] for row in rows])
    speeds = [one.speed_um_per_s for one in found if one.number == 1]
    assert speeds[0] is None
    assert speeds[1:] == pytest.approx([0.3 / 60] * 2, rel=0.1)
    denser = livetomo.measure(tomograms[0], MEDIUM + 0.02, lipid_threshold=1.5).objects[0]
    assert denser.lipid_fraction == 0


def test_the_exact_bead_is_measured(ground_truth: Path, tmp_path: Path) -> None:
    made, output = tmp_path / "tomogram.h5", tmp_path / "bead.csv"
    bead = write_middle(ground_truth, tmp_path / "recording.h5")
    assert run_reconstruct(bead, made, "tv", "cpu") == 0
    assert main(["measure", str(made), "-o", str(output)]) == 0
    (row,) = table(output)
    volume = sphere_um3(RADIUS_UM)
    assert row["volume_um3"] == pytest.approx(volume, rel=0.05)
    assert row["dry_mass_pg"] == pytest.approx(volume * (INDEX - MEDIUM) / 0.19, rel=0.05)
    place: Any = [row[f"{axis}_um"] for axis in "zyx"]
    assert np.linalg.norm(place) < 0.1
    assert math.isfinite(row["sphericity"])
