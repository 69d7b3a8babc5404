"""`launcher.py regularize`: files by other programs' writers, held to exact spheres."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands.command_line import parse
from files.tomograms import read_tomograms
from regularizer.registry import regularizer
from tests.finished_volumes import (
    SPHERE,
    WRITERS,
    axial_width_um,
    mean_inside,
    raw_sphere,
)

pytestmark = pytest.mark.usefixtures("zarr_ends")


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, Any]:
    options = parse(["regularize", *map(str, words), "--json", "--device", "cpu"])
    assert options.run(options) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@functools.cache
def own(preset: str) -> tuple[float, float]:
    """Return mean index and axial width of the sphere, regularized with its own spectrum."""
    made = raw_sphere()
    better = regularizer(preset)(made.tomogram, made.spectrum).windowed()
    index, voxel = better.index.numpy(), better.voxel_size_um
    medium = better.optics.medium_index
    found = mean_inside(index, voxel), axial_width_um(index, voxel, medium)
    raw = made.tomogram.windowed()
    assert axial_width_um(raw.index.numpy(), voxel, medium) > 1.1 * found[1]  # there is a gain
    assert found[0] == pytest.approx(SPHERE.index, abs=0.002)
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_a_sphere_comes_out_as_with_its_own_spectrum(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = "auto" if name == "tcf" else "tv-fast"  # the same computation, whatever is read
    raw = raw_sphere().tomogram.windowed()
    index, voxel, optics = raw.index.numpy(), raw.voxel_size_um, raw.optics
    write, needed = WRITERS[name]
    file = write(tmp_path, index, voxel, optics)
    options: list[str] = []
    for word in needed:
        options += ["--volume-um", *map(str, voxel)] if word == "VOXEL" else [word]
    out = tmp_path / "out.h5"
    said = told(
        capsys, file, "-o", out, "--regularizer", "tv", "--preset", preset, *options,
        "--numerical-aperture", "1.2", "--wavelength-um", "0.532",
    )  # fmt: skip
    (row,) = said["volumes"]
    assert (row["support"], row["state"]) == ("measured", "raw")
    measured = float((raw_sphere().spectrum.measured > 0).float().mean())
    assert row["measured_share"] == pytest.approx(measured, rel=0.05)
    series = read_tomograms(out)
    assert series.voxel_size_um == pytest.approx(voxel)
    held = series.volume("tv", 0)
    kept = series.volume("raw", 0)
    assert held is not None and kept is not None
    np.testing.assert_allclose(kept, index, atol=6e-5)  # axes and scale are right
    assert mean_inside(held, voxel) == pytest.approx(own(preset)[0], abs=0.001)
    width = axial_width_um(held, voxel, optics.medium_index)
    assert width == pytest.approx(own(preset)[1], rel=0.05)
