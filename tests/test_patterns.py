"""The command ``patterns``: pictures of the gratings, and the light that passes the stop."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.gratings import (
    DmdGeometry,
    diffracted_order,
    far_field,
    lee_grating,
    stray_light,
    time_multiplexed,
)
from commands.patterns_check import run_patterns

MICROSCOPE = """
[illumination]
circle = { angles = 4 }
[dmd]
shape = [240, 240]
"""


def test_pictures_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "microscope.toml", tmp_path / "patterns"
    file.write_text(MICROSCOPE, encoding="utf-8")
    assert run_patterns(file, output, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)["patterns"]
    assert [row["angle"] for row in rows] == list(range(4))
    for row in rows:
        assert row["found"] == pytest.approx(row["k"], abs=0.01)
        assert row["efficiency"] == pytest.approx(1 / np.pi**2, rel=0.05)
        assert row["good"]
    names = sorted(path.name for path in output.iterdir())
    assert names == [*(f"angle_{i:03d}.png" for i in range(4)), "fourier_plane.png"]
    mirrors = np.asarray(Image.open(output / "angle_001.png"))
    assert mirrors.shape == (240, 240)
    order = diffracted_order(mirrors.astype(np.uint8), DmdGeometry((240, 240), (0.22, 0.385),
                                                                   0.05, 0.118))  # fmt: skip
    assert order is not None
    with pytest.raises(DataError, match="must be a new folder"):
        run_patterns(file, output)


def test_planes_of_one_exposure_have_no_second_and_third_order() -> None:
    """A carrier whose higher orders pass the stop, aliased by the mirrors."""
    geometry = DmdGeometry((250, 250), (0.25, 0.0), 0.05, 0.08)
    frequency, around = (0.23, 0.01), 8 / 250
    strays = {}
    for planes in (1, 4, 16):
        mean = np.stack(time_multiplexed((250, 250), frequency, planes)).mean(axis=0)
        mean = mean.astype(np.float32)
        first = diffracted_order(mean, geometry)
        assert first is not None
        assert (first.fx, first.fy) == pytest.approx(frequency, abs=1e-4)
        assert abs(first.amplitude) == pytest.approx(0.25 if planes > 1 else 1 / np.pi, rel=0.05)
        strays[planes] = stray_light(far_field(mean), geometry, first, around)
    assert strays[1] > 0.05
    assert strays[4] < strays[1] / 10
    assert strays[16] < strays[4]


def test_planes_are_written_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "microscope.toml", tmp_path / "patterns"
    camera = "[camera]\nexposure_ms = 4.5\n"
    file.write_text(MICROSCOPE + "planes = 3\n" + camera, encoding="utf-8")
    assert run_patterns(file, output, as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["patterns"]) == 4
    assert (output / "angle_003_02.png").exists()
    file.write_text(MICROSCOPE + "planes = 3\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"must be above 3\.333\d* to see all 3"):
        run_patterns(file, tmp_path / "other")


def test_spots_of_a_dmd_in_the_pupil(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "microscope.toml", tmp_path / "patterns"
    file.write_text(MICROSCOPE + 'conjugate = "pupil"\nmirrors_per_k = 45.0\n', encoding="utf-8")
    assert run_patterns(file, output, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)["patterns"]
    for row in rows:
        assert row["found"] == pytest.approx(row["k"], abs=0.3 / 45)
        assert row["efficiency"] == pytest.approx(np.pi * 2**2 / 240**2, rel=0.2)
    assert sorted(path.name for path in output.iterdir())[-1] == "pupil.png"
    picture = np.asarray(Image.open(output / "pupil.png"))
    on = sum(np.asarray(Image.open(output / f"angle_{i:03d}.png")).astype(int) for i in range(4))
    assert (picture[on > 0] != picture[0, 0]).any(axis=-1).all()


def test_an_order_that_should_not_pass_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "microscope.toml"
    # the fourth order of 0.25 cycles/mirror folds onto the carrier's neighbourhood
    file.write_text(MICROSCOPE + "carrier = [0.24, 0.0]\nstop_radius = 0.11\n", encoding="utf-8")
    assert run_patterns(file, tmp_path / "patterns") == 1
    assert "not only the wanted light passes the stop for angles" in capsys.readouterr().out


def test_stray_light_is_that_of_the_other_orders() -> None:
    """Three of ten mirrors on: order m has (sin(0.3 pi m) / (10 sin(0.1 pi m)))^2 of the power."""
    geometry = DmdGeometry((250, 250), (0.25, 0.0), 0.05, 0.08)  # lets the orders 2 and 3 through
    plane = lee_grating((250, 250), (0.1, 0.0), duty=0.25)
    power = far_field(plane)
    orders = [(np.sin(0.3 * np.pi * m) / (10 * np.sin(0.1 * np.pi * m))) ** 2 for m in (1, 2, 3)]
    for number, expected in enumerate(orders, 1):
        assert power[125, 125 + 25 * number] == pytest.approx(expected, rel=1e-3)
    first = diffracted_order(plane, geometry)
    assert first is not None
    assert first.fx == pytest.approx(0.2, abs=1e-4)  # of the two the stronger
    assert stray_light(power, geometry, first, 0.03) == pytest.approx(orders[2] / orders[1], 1e-3)
    alone = DmdGeometry((250, 250), (0.2, 0.0), 0.05, 0.08)
    assert stray_light(power, alone, first, 0.03) < 1e-6
