"""Exported tomogram files, read back with the readers of other programs."""

import json
from pathlib import Path

import h5py
import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from acquisition.errors import DataError
from commands.export import run_export
from launcher import main
from tests.tomogram_files import BEGUN, SHAPE, VOXEL, noise, write

pytestmark = pytest.mark.usefixtures("zarr_ends")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write three time points: deep has all of them, tv the last, gp none."""
    volumes = {"deep": {0: 10, 1: 11, 2: 12}, "gp": {}, "tv": {2: 20}}
    return write(tmp_path / "cells.h5", [0, 1, 2], volumes)


def expected(*seeds: int) -> NDArray[np.float32]:
    return np.stack([noise(seed).index.numpy() for seed in seeds])


def exported(file: Path, kind: str, *volumes: str) -> Path:
    output = file.parent / f"{kind} of {'-'.join(volumes) or 'best'}"
    assert run_export(file, kind, output, volumes) == 0
    return output


def test_ome_tiff_has_volumes_voxels_times_and_names(file: Path) -> None:
    path = exported(file, "ome-tiff", "raw", "deep")
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        assert series.axes == "TCZYX"
        np.testing.assert_array_equal(series.asarray()[:, 0], expected(0, 1, 2))
        np.testing.assert_array_equal(series.asarray()[:, 1], expected(10, 11, 12))
        assert tiff.ome_metadata is not None
        (image,) = ome_types.from_xml(tiff.ome_metadata).images
    pixels = image.pixels
    sizes = (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x)
    assert sizes == VOXEL
    assert pixels.physical_size_x_unit.value == "µm"
    names = [channel.name for channel in pixels.channels]
    assert names == ["refractive index, raw", "refractive index, deep"]
    assert pixels.time_increment == 2.5
    times = {plane.the_t: plane.delta_t for plane in pixels.planes}
    assert times == {0: 0.0, 1: 2.5, 2: 5.0}
    assert image.acquisition_date is not None
    assert image.acquisition_date.timestamp() == BEGUN
    assert json.loads(image.description or "")["made by"] == "ö"


def test_ome_zarr_has_halved_copies_in_the_right_places(file: Path) -> None:
    group = zarr.open_group(exported(file, "ome-zarr", "deep", "raw"), mode="r")
    about = group.attrs["ome"]
    assert isinstance(about, dict)
    (multiscale,) = about["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == list("tczyx")
    assert [axis.get("unit") for axis in multiscale["axes"][2:]] == ["micrometer"] * 3
    assert [channel["label"] for channel in about["omero"]["channels"]] == ["deep", "raw"]
    full, half = (group[dataset["path"]] for dataset in multiscale["datasets"])
    assert isinstance(full, zarr.Array) and isinstance(half, zarr.Array)
    np.testing.assert_array_equal(full[:, 0], expected(10, 11, 12))
    np.testing.assert_array_equal(full[:, 1], expected(0, 1, 2))
    # a ramp is the same ramp at half the resolution, where scale and translation say
    assert half.shape == (3, 2, 5, 35, 34)
    block = expected(11)[0][2:4, 4:6, 6:8]
    assert np.asarray(half[1, 0, 1, 2, 3]) == pytest.approx(block.mean(), rel=1e-6)
    one, two = (dataset["coordinateTransformations"] for dataset in multiscale["datasets"])
    assert one[0]["scale"] == [2.5, 1.0, *VOXEL]
    for axis in range(2, 5):
        centre = 0.5 * one[0]["scale"][axis]  # of the first two voxels
        assert two[0]["scale"][axis] == 2 * one[0]["scale"][axis]
        assert two[1]["translation"][axis] == pytest.approx(centre)
        assert one[1]["translation"][axis] == 0


def test_tcf_has_what_its_readers_read(file: Path) -> None:
    with h5py.File(exported(file, "tcf")) as tcf:
        group = tcf["Data/3D"]
        assert [group.attrs[f"Size{axis}"][0] for axis in "ZYX"] == list(SHAPE)
        assert [group.attrs[f"Resolution{axis}"][0] for axis in "ZYX"] == list(VOXEL)
        assert (group.attrs["DataCount"][0], group.attrs["TimeInterval"][0]) == (3, 2.5)
        assert tcf.attrs["FormatVersion"][0] >= "1.3"  # from then on in ten-thousandths
        for number, truth in enumerate(expected(10, 11, 12)):
            index = group[f"{number:06d}"][()].astype(np.float64) / 1e4
            assert np.abs(index - truth).max() < 0.51e-4
        assert group.attrs["RIMin"][0] < 1.338 < 1.386 < group.attrs["RIMax"][0]


def test_a_tcf_holds_one_kind_of_volume(file: Path) -> None:
    with pytest.raises(DataError, match="one kind of volume, got raw, deep"):
        exported(file, "tcf", "raw", "deep")
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # nothing is left behind


def test_volumes_of_some_time_points_are_an_image_of_those(file: Path) -> None:
    with tifffile.TiffFile(exported(file, "ome-tiff", "tv")) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), expected(20)[0])
    with pytest.raises(DataError, match=r"same time points, got deep 3, tv 1 of 3"):
        exported(file, "ome-tiff", "deep", "tv")
    with pytest.raises(DataError, match=r"must hold the volumes gp, found raw, deep, tv"):
        exported(file, "ome-zarr", "gp")


def test_raw_is_exported_where_no_other_is_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "raw.h5", [0, 2], {"deep": {0: 1}})
    with tifffile.TiffFile(exported(path, "ome-tiff")) as tiff:
        np.testing.assert_array_equal(tiff.asarray(), expected(0, 2))


@pytest.mark.parametrize(
    ("kind", "ending"), [("ome-tiff", "ome.tiff"), ("ome-zarr", "ome.zarr"), ("tcf", "TCF")]
)
def test_the_command_writes_beside_the_file_and_never_over_another(
    file: Path, capsys: pytest.CaptureFixture[str], kind: str, ending: str
) -> None:
    assert main(["export", str(file), "--to", kind, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    output = file.with_name(f"cells.{ending}")
    assert said["output"] == str(output)
    assert said["volumes"] == ["deep"]
    assert said["shape"] == [3, 1, *SHAPE]
    before = output.stat().st_mtime_ns
    assert main(["export", str(file), "--to", kind]) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert output.stat().st_mtime_ns == before


def test_an_export_that_was_killed_is_begun_anew(file: Path) -> None:
    partial = file.with_name("cells.ome.zarr.partial")
    (partial / "0").mkdir(parents=True)
    assert run_export(file, "ome-zarr") == 0
    assert not partial.exists()


def test_other_files_and_empty_ones_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cells\.h5\.txt"):
        other = tmp_path / "cells.h5.txt"
        other.write_text("no tomograms")
        run_export(other, "tcf")
    with pytest.raises(DataError, match="at least one tomogram"):
        run_export(write(tmp_path / "empty.h5", []), "tcf")
