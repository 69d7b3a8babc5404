"""Stage positions and times: kept in files and every export, read back by other readers.

One small time-lapse runs through: two named positions in turn, two scans each.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import ome_types
import pytest
import tifffile
import zarr

from acquisition.errors import ConfigurationError, DataError
from commands.export import run_export
from files.positions import Positions
from files.recording import RecordingWriter, read_recording
from files.series import ScanLocation, SeriesDescription
from files.tomograms import read_tomograms
from launcher import main
from pipeline.live.playback import Playback, open_playback
from pipeline.tomograms.job import SilentProgress, TomogramJob
from pipeline.tomograms.recipe import Recipe
from pipeline.wire.sockets import PipelineError
from reconstruction.settings import ReconstructionSettings
from tests.scans import CELL, interferograms
from tests.timelapse_tomograms import (
    BEGUN,
    KINDS,
    LAPSE,
    NAMES,
    NAN,
    PLACES,
    VOXEL,
    Scan,
    described,
    exported,
    truth,
    written,
)

pytestmark = pytest.mark.usefixtures("zarr_ends")


# ---- Positions in each format --------------------------------------------------------------------


def test_ome_tiff_has_an_image_for_each_position(tmp_path: Path) -> None:
    path = exported(written(tmp_path / "cells.h5"), "ome-tiff")
    with tifffile.TiffFile(path) as tiff:
        control, treated = tiff.series
        assert [series.name for series in tiff.series] == list(NAMES)
        np.testing.assert_array_equal(np.squeeze(control.asarray()), truth(0, 2))
        np.testing.assert_array_equal(np.squeeze(treated.asarray()), truth(1, 3))
        assert tiff.ome_metadata is not None
        ome = ome_types.from_xml(tiff.ome_metadata, validate=False)
    for image, name, place, begun in zip(ome.images, NAMES, PLACES, (0.0, 7.5), strict=True):
        pixels = image.pixels
        assert (pixels.size_t, pixels.size_z, pixels.time_increment) == (2, 4, 60.0)
        assert image.acquisition_date is not None
        assert image.acquisition_date.timestamp() == BEGUN + begun
        label = image.stage_label
        assert label is not None and label.x_unit is not None
        assert (label.name, label.x, label.y, label.z) == (name, *place)
        assert label.x_unit.value == "µm"
        planes = {(p.the_t, p.the_z): p for p in pixels.planes}
        assert len(planes) == 2 * 4
        for (t, _), plane in planes.items():
            assert plane.delta_t == 60.0 * t
            assert (plane.position_x, plane.position_y, plane.position_z) == place
        assert json.loads(image.description or "")["position"] == name


def test_ome_zarr_is_a_collection_of_positions(tmp_path: Path) -> None:
    path = exported(written(tmp_path / "cells.h5"), "ome-zarr")
    root: Any = zarr.open_group(path, mode="r")
    assert root.attrs["ome"] == {"version": "0.5", "bioformats2raw.layout": 3}
    assert root["OME"].attrs["ome"]["series"] == ["0", "1"]
    ome = ome_types.from_xml((path / "OME" / "METADATA.ome.xml").read_text("utf-8"))
    assert [image.id for image in ome.images] == ["Image:0", "Image:1"]  # the groups' names
    assert [image.name for image in ome.images] == list(NAMES)
    for number, (name, place) in enumerate(zip(NAMES, PLACES, strict=True)):
        group = root[str(number)]
        (multiscale,) = group.attrs["ome"]["multiscales"]
        assert multiscale["name"] == name
        assert multiscale["axes"][0] == {"name": "t", "type": "time", "unit": "second"}
        scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
        assert scale["scale"] == [60.0, 1.0, *VOXEL]
        assert translation["translation"] == [0.0, 0.0, *reversed(place)]
        np.testing.assert_array_equal(group["0"][:, 0], truth(number, number + 2))
        own = group.attrs["livetomo"]
        assert (own["position"], own["times_s"]) == (name, [0.0, 60.0])
        assert own["stage_um"] == [list(place)] * 2
        plane = ome.images[number].pixels.planes[-1]
        assert (plane.the_t, plane.delta_t, plane.position_x) == (1, 60.0, place[0])


def test_tcf_is_a_file_for_each_position(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "cells.h5")
    said = described(capsys, "export", file, "--to", "tcf")
    assert sorted(path.name for path in tmp_path.glob("*.TCF*")) == [
        "cells_control.TCF",
        "cells_treated.TCF",
    ]
    for number, image in enumerate(said["images"]):
        assert Path(image["output"]) == tmp_path / f"cells_{NAMES[number]}.TCF"
        assert (image["name"], image["interval_s"]) == (NAMES[number], 60.0)
        assert image["stage_um"] == list(PLACES[number])
        with h5py.File(image["output"]) as tcf:
            group = tcf["Data/3D"]
            assert (group.attrs["DataCount"][0], group.attrs["TimeInterval"][0]) == (2, 60.0)
            assert NAMES[number] in tcf.attrs["Title"][0]
            for t in range(2):
                held = group[f"{t:06d}"]
                place_um = tuple(held.attrs[f"Position{axis}"][0] for axis in "XYZ")
                assert place_um == PLACES[number]
                assert np.abs(held[()] / 1e4 - truth(number + 2 * t)[0]).max() < 0.51e-4


@pytest.mark.parametrize("kind", KINDS)
def test_one_position_can_be_exported_alone(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "cells.h5")
    for chosen in ("treated", "2"):
        output = tmp_path / f"{chosen}.TCF"
        to = ("--to", kind, "-o", output, "--position", chosen)
        (image,) = described(capsys, "export", file, *to)["images"]
        assert (image["name"], image["shape"]) == ("treated", [2, 1, 4, 16, 16])
        assert image["interval_s"] == 60.0
        assert image["output"] == str(output) and output.exists()
    with pytest.raises(ConfigurationError, match=r"control, treated\) or its number, got 'three'"):
        run_export(file, kind, tmp_path / "three", positions=["three"])


def test_positions_without_names_and_with_equal_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a/b", "", "a/b", "A:B", "spare")  # the second a/b is a field of a grid, say
    scans = [Scan(float(n), n, (n, 0.0, 2.0 * n)) for n in range(4)]
    file = written(tmp_path / "grid.h5", scans, names)
    said = described(capsys, "export", file, "--to", "tcf")
    assert [image["name"] for image in said["images"]] == ["a/b", "position 2", "a/b (2)", "A:B"]
    files = [Path(image["output"]).name for image in said["images"]]
    assert files == [f"grid_{end}.TCF" for end in ("a-b", "position-2", "a-b-2", "A-B-3")]
    assert said["warnings"] == ["no tomogram was made at spare"]
    with pytest.raises(ConfigurationError, match="got 'spare'"):
        run_export(file, "tcf", positions=["spare"])


def test_an_unfinished_position_has_its_own_interval(tmp_path: Path) -> None:
    """The second position lost its middle scan: its two others are 120 s apart."""
    scans = [Scan(60.0 * t + 7.5 * p, p, PLACES[p]) for t in range(3) for p in range(2)]
    path = exported(written(tmp_path / "cells.h5", [*scans[:3], *scans[4:]]), "ome-tiff")
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata is not None
        images = ome_types.from_xml(tiff.ome_metadata).images
    assert [image.pixels.size_t for image in images] == [3, 2]
    assert [image.pixels.time_increment for image in images] == [60.0, 120.0]


def test_a_file_without_positions_is_one_image_without_a_place(tmp_path: Path) -> None:
    file = written(tmp_path / "cells.h5", LAPSE, None)
    with h5py.File(file) as held:
        assert not {"positions", "position", "stage_um"} & set(held["tomograms"])
    series = read_tomograms(file)
    assert (series.positions.multiple, series.positions.scan_labels) == (False, ("",) * 4)
    with tifffile.TiffFile(exported(file, "ome-tiff")) as tiff:
        assert tiff.ome_metadata is not None
        (image,) = ome_types.from_xml(tiff.ome_metadata).images
    assert (image.name, image.stage_label) == ("cells", None)
    assert {plane.position_x for plane in image.pixels.planes} == {None}


def test_files_that_are_there_are_not_overwritten_and_nothing_is_left(tmp_path: Path) -> None:
    file = written(tmp_path / "cells.h5")
    (tmp_path / "cells_treated.TCF").write_text("mine")
    with pytest.raises(DataError, match=r"cells_treated\.TCF exists"):
        run_export(file, "tcf")
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5", "cells_treated.TCF"}


# ---- From the recording to the tomograms ---------------------------------------------------------

QUICK = ReconstructionSettings(slices=4)
NONE = Recipe("none", settings=QUICK)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record the time-lapse: a phase disk on 96 x 96 pixels from a few directions."""
    k = CELL.angles.k[::8]
    y, x = np.mgrid[-48:48, -48:48]
    disk = np.exp(0.4j * np.sqrt(np.clip(1 - (x**2 + y**2) / 15**2, 0, None)))
    empty = interferograms(CELL.optics, k, frame=(96, 96))
    scan = interferograms(CELL.optics, k, np.stack([disk] * len(k)), frame=(96, 96))
    path = tmp_path_factory.mktemp("recorded") / "recording.h5"
    with RecordingWriter(path, empty, series=SeriesDescription("{}", "{}", NAMES)) as writer:
        for one in LAPSE:
            place = one.stage_um if one.position else (NAN, NAN, one.stage_um[2])
            location = ScanLocation(one.position, place)
            writer.append(replace(scan, timestamp=BEGUN + one.time_s), location)
    return path


def reconstruct(recorded: Path, output: Path, *more: str) -> list[str]:
    how = ("--regularizer", "none", "--slices", "4", "--device", "cpu")
    return ["reconstruct", str(recorded), "-o", str(output), *how, *more]


def test_reconstruct_carries_positions_on_and_names_them(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tomograms.h5"
    assert main(reconstruct(recorded, output)) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [line.partition(":")[0] for line in lines if "mean RI" in line]
    assert named == [f"scan {n + 1} at {NAMES[n % 2]}" for n in range(4)]
    series = read_tomograms(output)
    assert series.positions.names == NAMES
    assert series.positions.position.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(series.positions.stage_um[1], PLACES[1])
    np.testing.assert_array_equal(series.positions.stage_um[0], (NAN, NAN, 3.0))
    assert not {"position", "background"} & set(series.provenance)  # they are not all of one
    assert series.raw(3).provenance["position"] == "treated"
    assert main(["export", str(output), "--to", "ome-tiff"]) == 0
    with tifffile.TiffFile(tmp_path / "tomograms.ome.tiff") as tiff:
        assert [found.name for found in tiff.series] == list(NAMES)
        assert tiff.ome_metadata is not None
        images = ome_types.from_xml(tiff.ome_metadata).images
    assert [image.pixels.time_increment for image in images] == [60.0, 60.0]
    first = images[0].pixels.planes[0]
    assert (first.position_x, first.position_z) == (None, 3.0)  # what is unknown is left out


def test_reconstruct_takes_the_scans_of_one_position(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tomograms.h5"
    said = described(capsys, *reconstruct(recorded, output, "--position", "treated"))
    assert [(row["time"], row["position"]) for row in said["scans"]] == [
        (1, "treated"),
        (3, "treated"),
    ]
    assert said["scans"][0]["stage_um"] == list(PLACES[1])
    series = read_tomograms(output)
    assert (series.scans.tolist(), series.positions.scan_labels) == ([1, 3], ("treated",) * 2)
    with pytest.raises(ConfigurationError, match="got 'absent'"):
        Positions(NAMES, np.array([0, 1])).select(["absent"])
    assert main(reconstruct(recorded, tmp_path / "none.h5", "--position", "absent")) == 1
    assert "control, treated" in capsys.readouterr().err


def test_unknown_places_are_valid_json(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = described(capsys, *reconstruct(recorded, tmp_path / "tomograms.h5"))
    assert said["scans"][0]["stage_um"] == [None, None, 3.0]


@pytest.mark.parametrize("older", [False, True])
def test_a_job_that_goes_on_keeps_positions(recorded: Path, tmp_path: Path, older: bool) -> None:
    """Positions are added to a file of an older version, which has none."""
    source, output = read_recording(recorded), tmp_path / "tomograms.h5"
    scans = list(source.scans())
    with TomogramJob(source, output, NONE, SilentProgress()) as job:
        job.run(scans[0])
        job.run(scans[1])
    if older:
        with h5py.File(output, "r+") as file:
            for name in ("positions", "position", "stage_um", "correction_um"):
                del file["tomograms"][name]
        assert read_tomograms(output).positions.scan_labels == ("", "")
    with TomogramJob(source, output, NONE, SilentProgress(), resume=True) as job:
        assert job.done == {0, 1}
        for scan in scans[2:]:
            job.run(scan)
    where = read_tomograms(output).positions
    assert where.scan_labels == NAMES * 2
    np.testing.assert_array_equal(where.stage_um[[1, 3]], [PLACES[1]] * 2)


@pytest.mark.parametrize("number", [-1, 2, 10**12])
def test_positions_that_cannot_be_are_an_error(tmp_path: Path, number: int) -> None:
    file = written(tmp_path / "cells.h5")
    with h5py.File(file, "r+") as held:
        held["tomograms/position"][1] = number
    with pytest.raises(DataError, match=f"one of 2 positions, from 0, found {number}"):
        read_tomograms(file)


def test_every_position_is_called_something_else() -> None:
    names = ("a", "", "a", "position 2", "a (2)", "")
    labels = ("a", "position 2", "a (2)", "position 2 (2)", "a (2) (2)", "position 6")
    assert Positions(names).labels == labels
    fields = Positions(("field",) * 20_000).labels  # a large grid takes no time
    assert len(set(fields)) == 20_000 and fields[-1] == "field (20000)"


# ---- Looking at one position ---------------------------------------------------------------------


def until(playback: Playback, message: str) -> tuple[int, ...]:
    """Wait until the playback shows ``message``; return the played scans."""
    state = None
    while state is None or state.message != message:
        state = playback.poll().state
    return playback.playlist.scans


@pytest.mark.parametrize("kind", ["tomograms", "recording"])
def test_one_position_is_played_alone(recorded: Path, tmp_path: Path, kind: str) -> None:
    file = recorded if kind == "recording" else written(tmp_path / "cells.h5")
    with open_playback(file, "none", "cpu") as playback:
        assert playback.playlist.positions == NAMES
        assert until(playback, "scan 1 of 4 at control") == (0, 1, 2, 3)
        playback.select_position("treated")  # whose first scan comes after
        assert until(playback, "scan 2 of 4 at treated") == (1, 3)
        playback.start()
        assert until(playback, "scan 4 of 4 at treated") == (1, 3)
        playback.seek(2)  # another position's
        assert until(playback, "scan 2 of 4 at treated") == (1, 3)
        with pytest.raises(PipelineError, match="control, treated, got 'elsewhere'"):
            playback.select_position("elsewhere")
        playback.select_position("")
        assert until(playback, "scan 2 of 4 at treated") == (0, 1, 2, 3)
