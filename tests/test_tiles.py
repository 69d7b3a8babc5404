"""Scans in tiles: their weights, what they cost in accuracy, and when they are chosen."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from commands.command_line import parse
from files.joining import TomogramJoiner
from files.recording import RecordingWriter, read_recording
from files.tomograms import read_tomograms
from pipeline.tomograms.file_work import RecordingWork
from pipeline.tomograms.job import SilentProgress
from pipeline.tomograms.recipe import Recipe
from reconstruction import memory
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.tile_plan import plan_tiles
from reconstruction.tiles import field_tiles
from reconstruction.wave_vectors import WaveVectors
from tests.partial_waves import sphere_fields
from tests.scans import CELL, distance_um, interferograms

K = 0.15 * CELL.angles.k[::8]  # not steep: margins of 2 um, so that small fields have tiles
FRAME = (96, 224)
RADIUS_UM, INDEX, CENTRE_UM = 1.0, 1.36, (2.4, 0.3, 0.2)
TILE_VOXELS = 64 * 106 * 106


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record an exact sphere that lies across the edge of a tile, once and twice."""
    folder = tmp_path_factory.mktemp("tiles")
    fields = sphere_fields(CELL.optics, K, RADIUS_UM, INDEX, FRAME, CENTRE_UM).numpy()
    empty, scan = (interferograms(CELL.optics, K, one, FRAME) for one in (None, fields))
    for name, times in (("once", 1), ("twice", 2)):
        with RecordingWriter(folder / f"{name}.h5", empty) as writer:
            for number in range(times):
                writer.append(replace(scan, timestamp=float(number + 1)))
    return folder


@pytest.fixture
def recording(folder: Path) -> Path:
    """Return the recording of two scans."""
    return folder / "twice.h5"


@pytest.mark.parametrize(
    ("shape", "edge", "overlap"), [((64, 90), (40, 40), (10, 8)), ((31, 57), (32, 20), (10, 6))]
)
def test_weights_of_all_tiles_sum_to_one(
    shape: tuple[int, int], edge: tuple[int, int], overlap: tuple[int, int]
) -> None:
    tiles = field_tiles(shape, edge, overlap)
    assert len(tiles) > 1 and len({(t.y.end - t.y.first, t.x.end - t.x.first) for t in tiles}) == 1
    for margin in ((0, 0), (2, 1)):
        total = np.zeros(shape)
        for tile in tiles:
            total[tile.within] += tile.kept(margin)
            used = tile.kept(margin) > 0
            assert (tile.taper((max(margin[0], 1), max(margin[1], 1)))[used] > 0.99).all() or (
                margin == (0, 0)
            )
        assert total == pytest.approx(np.ones(shape), abs=1e-6)


def made(recording: Path, output: Path, *words: str) -> tuple[dict[str, NDArray[np.float32]], int]:
    options = parse(
        ["reconstruct", str(recording), "-o", str(output), "--device", "cpu", "--json", *words]
    )
    status = options.run(options)
    with h5py.File(output) as file:
        group = file["tomograms"]
        return {name: group[name][0] for name in ("raw", "tv") if name in group}, status


def test_a_sphere_across_the_edge_of_a_tile_is_that_of_the_whole(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = folder / "once.h5"
    words = ("--regularizer", "tv", "--preset", "tv-fast")
    whole, _ = made(recording, tmp_path / "whole.h5", *words)
    capsys.readouterr()
    output = tmp_path / "tiled.h5"
    tiled, status = made(recording, output, *words, "--tile-voxels", str(TILE_VOXELS))
    said = capsys.readouterr()
    rows = json.loads(said.out)["scans"]
    assert status == 0 and [row["tiles"] for row in rows] == [3]
    assert "in 3 tiles each" in said.err
    series = read_tomograms(output)
    assert series.provenance["tiles"].startswith("3 tiles of 64 x 1")
    assert series.provenance["tile_voxels"] == TILE_VOXELS
    z, y, x = series.shape[1:]
    distance = distance_um((z, y, x), series.voxel_size_um, CENTRE_UM).numpy()
    # a raw tomogram's halos, far from objects, depend on the field that it is computed in
    for name, within_um, most in (("raw", 2.0, 0.08), ("tv", np.inf, 0.02)):
        one, other, inside = whole[name], tiled[name], distance < 0.7 * RADIUS_UM
        assert other[inside].mean() == pytest.approx(one[inside].mean(), abs=0.001)
        near = distance < within_um
        off = np.linalg.norm((other - one)[near])
        assert off < most * np.linalg.norm((one - CELL.optics.medium_index)[near]), name
    assert rows[0]["mean_index"] == pytest.approx(tiled["tv"].mean(), abs=1e-6)
    assert rows[0]["max_index"] == pytest.approx(tiled["tv"].max(), abs=1e-4)


def test_a_volume_that_does_not_fit_is_made_in_tiles(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = RecordingWork(recording, tmp_path / "made.h5", Recipe("none", "cpu"), processes=1)
    whole = work.needs()
    assert whole is not None and whole.tiles == 1 and work.settled().recipe.tile_voxels is None
    free = int(0.95 * whole.memory_bytes)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    settled, needs = work.settled(), work.needs()
    assert settled.recipe.tile_voxels is not None and not settled.processes
    assert needs is not None and needs.tiles > 1 and needs.scratch_bytes > 0
    assert needs.memory_bytes < whole.memory_bytes and needs.disk_bytes == whole.disk_bytes
    assert settled.settled() == settled
    of_three = replace(work, processes=3).needs()
    assert of_three is not None
    with pytest.raises(ConfigurationError, match="cut the field, or use another machine"):
        of_three.check(work.output, workers=3)
    checked = replace(work, recipe=replace(work.recipe, check_every=1))
    assert checked.settled().recipe.tile_voxels is None  # it is refused, as the whole


def test_a_file_is_continued_in_the_tiles_that_it_was_begun_with(
    recording: Path, tmp_path: Path
) -> None:
    recipe = Recipe("none", "cpu", tile_voxels=TILE_VOXELS)
    work = RecordingWork(recording, tmp_path / "made.h5", recipe)
    parts = [work.make_part((number,), tmp_path / f"{number}.part")[0] for number in range(2)]
    assert [row.tiles for row in parts] == [3, 3]
    with TomogramJoiner(work.output) as joiner:
        joiner.append(tmp_path / "0.part")
    with h5py.File(work.output, "r+") as file:  # what a killed writer leaves
        raw = file["tomograms/raw"]
        raw.resize(2, axis=0)
        raw[1, :, :10] = 1.0
    open_size = replace(work, recipe=replace(recipe, tile_voxels=None), processes=1)
    assert open_size.settled().recipe == recipe
    assert work.left() == [1]
    assert len(list(work.make((1,), SilentProgress()))) == 1
    with h5py.File(work.output) as file, h5py.File(tmp_path / "1.part") as part:
        assert file["tomograms/raw"][1].tobytes() == part["tomograms/raw"][0].tobytes()
    other = replace(work, recipe=replace(recipe, tile_voxels=10**9))
    with pytest.raises(DataError, match="continued with the tile_voxels it was made with"):
        other.left()


def test_tiles_that_cannot_be_are_refused(recording: Path, tmp_path: Path) -> None:
    views = Views.of_background(read_recording(recording).background)
    with pytest.raises(ConfigurationError, match=r"a tile must have \d+ voxels or more"):
        plan_tiles(ReconstructionSettings(), views, 64 * 40 * 40)
    with pytest.raises(ConfigurationError, match="voxels of the fields' size"):
        plan_tiles(ReconstructionSettings(voxel_um=0.2), views, TILE_VOXELS)
    turned = replace(views, rotations=np.stack([np.eye(3)] * len(views)))
    with pytest.raises(ConfigurationError, match="the sample at rest"):
        plan_tiles(ReconstructionSettings(), turned, TILE_VOXELS)
    for words in (["--check", "1"], ["--corrections", "1"], ["--regularizer", "multislice"]):
        with pytest.raises(ConfigurationError, match="need the whole volume"):
            made(recording, tmp_path / "no.h5", "--tile-voxels", "1000000", *words)


def test_tiles_beyond_the_fields_hold_nothing() -> None:
    """Of a volume that was asked for larger than the field, on both sides."""
    views = Views(
        WaveVectors((np.inf, np.inf), CELL.angles.k, ()), CELL.optics, (64, 64), (0.11, 0.11)
    )
    plan = plan_tiles(ReconstructionSettings(size_um=(90.0, 90.0)), views, 64 * 256 * 256)
    fields = torch.ones((1, 64, 64))
    parts = [plan.cut(tile, fields) for tile in plan.tiles]
    held = [float(part.sum()) for part in parts]
    assert held[0] == held[-1] == 0 and max(held) > 0
    assert all(part.shape == parts[0].shape for part in parts)
