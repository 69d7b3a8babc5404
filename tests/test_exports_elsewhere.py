"""Exports, opened with the readers that users have: each says voxels, index, times and names right.

bioio for OME-TIFF and OME-Zarr, ome-zarr-models for the rules of NGFF, TCFile and a reader written
from the public descriptions for TCF, numpy, scipy, h5py and tifffile for the rest. They are slow to
import, so they are in this file alone.
"""

import json
import tracemalloc
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
import zarr
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.optics import Optics
from files.exporting import matlab
from files.exporting.export_tomograms import export_tomograms
from files.exporting.formats import FORMATS
from files.tomogram_fluorescence import write_fluorescence
from files.tomograms import TomogramWriter
from files.volumes.open_volumes import open_volumes
from files.volumes.volume_source import Fluorescence, VolumeOptions
from reconstruction.tomogram import Tomogram
from tests.timelapse_tomograms import LAPSE, NAMES, truth, written
from tests.timelapse_tomograms import VOXEL as LAPSE_VOXEL
from tests.tomogram_files import BEGUN, SHAPE, VOXEL, noise, write

pytestmark = pytest.mark.usefixtures("zarr_ends")

RAW, DEEP = (0, 1, 2), (10, 11, 12)  # seeds of the volumes
STEP_S = 2.5
VOXELS = [kind for kind, how in FORMATS.items() if not (how.surfaces or how.movie)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three scans 2.5 s apart, raw and deep, with fluorescence of the first two."""
    path = write(tmp_path_factory.mktemp("file") / "cells.h5", RAW, {"deep": dict(enumerate(DEEP))})
    write_fluorescence(path, [Fluorescence("CH0", 2, glow, {"Excitation": "488"})])
    return path


@pytest.fixture(scope="module")
def lapse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two scans at each of two positions."""
    return written(tmp_path_factory.mktemp("lapse") / "lapse.h5")


def glow(time: int) -> NDArray[np.float32]:
    return np.random.default_rng(time).random(SHAPE, np.float32)


def index(seed: int) -> NDArray[np.float32]:
    return noise(seed).index.numpy()


def series(seeds: tuple[int, ...]) -> NDArray[np.float32]:
    return np.stack([index(seed) for seed in seeds])


def exported(file: Path, kind: str, output: Path, *volumes: str) -> list[Path]:
    files, _ = export_tomograms(file, kind, output, volumes)
    return [one.path for one in files]


# ---- OME-TIFF and OME-Zarr -----------------------------------------------------------------------


def bioio_image(path: Path) -> Any:
    """Open an image with bioio."""
    import bioio
    import bioio_ome_tiff
    import bioio_ome_zarr

    reader = bioio_ome_tiff.Reader if path.suffix == ".tiff" else bioio_ome_zarr.Reader
    with warnings.catch_warnings():
        # bioio-ome-tiff gives ome-types an argument that it no longer knows
        warnings.filterwarnings("ignore", "As of version 0.4.0", DeprecationWarning)
        return bioio.BioImage(path, reader=reader)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("ome-tiff", ["refractive index, raw", "refractive index, deep"]),
        ("ome-zarr", ["raw", "deep"]),
    ],
)
def test_bioio_reads_voxels_index_times_and_names(
    file: Path, tmp_path: Path, kind: str, names: list[str]
) -> None:
    (path,) = exported(file, kind, tmp_path / f"out{FORMATS[kind].suffix}", "raw", "deep")
    found = bioio_image(path)
    assert tuple(found.shape) == (3, 2, *SHAPE)
    sizes = found.physical_pixel_sizes
    assert (sizes.Z, sizes.Y, sizes.X) == VOXEL
    assert list(found.channel_names) == names
    assert found.standard_metadata.timelapse_interval == timedelta(seconds=STEP_S)
    for channel, seeds in enumerate((RAW, DEEP)):
        for time, seed in enumerate(seeds):
            held = found.get_image_data("ZYX", T=time, C=channel)
            np.testing.assert_array_equal(held, index(seed))
    if kind == "ome-tiff":
        assert found.standard_metadata.imaging_datetime.timestamp() == BEGUN


def test_bioio_reads_every_position(lapse: Path, tmp_path: Path) -> None:
    (path,) = exported(lapse, "ome-tiff", tmp_path / "out.ome.tiff")
    found = bioio_image(path)
    assert len(found.scenes) == len(NAMES)
    for position, scene in enumerate(found.scenes):
        found.set_scene(scene)
        scans = [number for number, scan in enumerate(LAPSE) if scan.position == position]
        np.testing.assert_array_equal(found.get_image_data("TZYX", C=0), truth(*scans))
        assert found.standard_metadata.timelapse_interval == timedelta(seconds=60)
    # bioio-ome-zarr refuses collections, and opens each of their images
    (folder,) = exported(lapse, "ome-zarr", tmp_path / "out.ome.zarr")
    second = bioio_image(folder / "1")
    np.testing.assert_array_equal(second.get_image_data("TZYX", C=0), truth(1, 3))
    assert (second.physical_pixel_sizes.Y, second.physical_pixel_sizes.X) == LAPSE_VOXEL[1:]


def test_ome_zarr_keeps_the_rules_of_ngff(file: Path, lapse: Path, tmp_path: Path) -> None:
    from ome_zarr_models.v05 import BioFormats2Raw, Image

    (one,) = exported(file, "ome-zarr", tmp_path / "one.ome.zarr", "raw", "deep")
    image = Image.from_zarr(zarr.open_group(one, mode="r"))
    (multiscale,) = image.ome_attributes.multiscales
    units = [(axis.name, axis.unit) for axis in multiscale.axes]
    space = [(name, "micrometer") for name in "zyx"]
    assert units == [("t", "second"), ("c", None), *space]
    transformed: Any = multiscale.datasets[0].coordinateTransformations[0]
    assert tuple(transformed.scale) == (STEP_S, 1.0, *VOXEL)
    (several,) = exported(lapse, "ome-zarr", tmp_path / "several.ome.zarr")
    BioFormats2Raw.from_zarr(zarr.open_group(several, mode="r"))
    for position in range(len(NAMES)):
        Image.from_zarr(zarr.open_group(several / str(position), mode="r"))


# ---- TCF -----------------------------------------------------------------------------------------


def test_tcfile_reads_a_tcf(file: Path, tmp_path: Path) -> None:
    from TCFile import TCFile  # type: ignore[import-untyped]  # it has no types

    (path,) = exported(file, "tcf", tmp_path / "out.TCF", "deep")
    volumes = TCFile(str(path), "3D")
    assert (len(volumes), list(volumes.data_shape)) == (3, list(SHAPE))
    assert list(volumes.data_resolution) == list(VOXEL)
    seen = TCFile(str(path), "2DMIP")
    assert list(seen.data_shape) == list(SHAPE[1:])
    for time, seed in enumerate(DEEP):
        np.testing.assert_allclose(volumes[time], index(seed), atol=0.51e-4)
        np.testing.assert_allclose(seen[time], index(seed).max(axis=0), atol=0.51e-4)
    light = TCFile(str(path), "3DFL")
    assert (len(light), light.max_channels) == (2, 1)
    np.testing.assert_array_equal(light[1], glow(1))


@dataclass(frozen=True)
class Tcf:
    """A TCF as public descriptions of the instruments' files have it."""

    root: dict[str, str]
    device: dict[str, float]
    volumes: list[NDArray[np.float64]]
    voxel_um: tuple[float, ...]
    taken: list[datetime]
    interval_s: float
    highest: list[NDArray[np.float64]]
    light: dict[str, list[NDArray[np.float32]]]
    light_voxel_um: tuple[float, ...]


def described_tcf(path: Path) -> Tcf:
    """Read a TCF strictly: attributes of one element, frames by six digits, index times 10,000."""

    def one(item: Any, name: str) -> Any:
        (value,) = item.attrs[name]
        return value.decode() if isinstance(value, bytes) else value

    def frames(group: Any) -> list[Any]:
        names = [f"{number:06d}" for number in range(int(one(group, "DataCount")))]
        return [group[name] for name in names]

    with h5py.File(path) as tcf:
        held, seen, light = tcf["Data/3D"], tcf["Data/2DMIP"], tcf.get("Data/3DFL", {})
        sizes = [int(one(held, f"Size{axis}")) for axis in "ZYX"]
        volumes = [frame[()] / 1e4 for frame in frames(held)]
        assert all(list(volume.shape) == sizes for volume in volumes)
        stamps = [one(frame, "RecordingTime") for frame in frames(held)]
        return Tcf(
            {name: one(tcf, name) for name in ("FormatVersion", "CreateDate", "SoftwareVersion")},
            {name: one(tcf["Info/Device"], name) for name in ("NA", "RI", "Wavelength")},
            volumes,
            tuple(float(one(held, f"Resolution{axis}")) for axis in "ZYX"),
            [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f") for stamp in stamps],
            float(one(held, "TimeInterval")),
            [frame[()] / 1e4 for frame in frames(seen)],
            {
                name: [light[name][frame][()] for frame in sorted(light[name])]
                for name in light
                if name.startswith("CH")
            },
            tuple(float(one(light, f"Resolution{axis}")) for axis in "ZYX"),
        )


def test_a_tcf_is_as_the_public_descriptions_say(file: Path, tmp_path: Path) -> None:
    (path,) = exported(file, "tcf", tmp_path / "out.TCF", "deep")
    found = described_tcf(path)
    assert found.root["FormatVersion"] == "1.3"
    assert found.root["CreateDate"] == "2023-11-14 22:13:20"
    assert found.device == {"NA": 1.2, "RI": 1.337, "Wavelength": 0.532}
    assert (found.voxel_um, found.light_voxel_um) == (VOXEL, VOXEL)
    assert found.interval_s == STEP_S
    assert [(time - found.taken[0]).total_seconds() for time in found.taken] == [0.0, 2.5, 5.0]
    for volume, highest, seed in zip(found.volumes, found.highest, DEEP, strict=True):
        np.testing.assert_allclose(volume, index(seed), atol=0.51e-4)
        np.testing.assert_array_equal(highest, volume.max(axis=0))
    assert list(found.light) == ["CH0"]
    np.testing.assert_array_equal(found.light["CH0"], [glow(0), glow(1)])


# ---- Arrays and plain stacks ---------------------------------------------------------------------


def test_numpy_loads_an_npz(file: Path, tmp_path: Path) -> None:
    (path,) = exported(file, "numpy", tmp_path / "out.npz", "raw", "deep")
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["raw"], series(RAW))
        np.testing.assert_array_equal(found["deep"], series(DEEP))
        assert (str(found["axes"]), found["voxel_size_um"].tolist()) == ("tzyx", list(VOXEL))
        assert (found["times_s"].tolist(), found["interval_s"].item()) == ([0, 2.5, 5], STEP_S)
        assert found["timestamps_s"][0] == BEGUN
        assert json.loads(str(found["provenance"]))["made by"] == "ö"


def test_scipy_and_h5py_load_matlab_files(file: Path, tmp_path: Path) -> None:
    (old,) = exported(file, "matlab-5", tmp_path / "old.mat", "raw", "deep")
    found = scipy.io.loadmat(old)
    for name, seeds in (("raw", RAW), ("deep", DEEP)):
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name].transpose(3, 2, 0, 1), series(seeds))
    assert found["axes"].item() == "yxzt"
    assert found["voxel_size_um"].tolist() == [[0.1, 0.11, 0.2]]
    assert found["times_s"].tolist() == [[0.0, 2.5, 5.0]]
    assert found["name"].item() == "cells"

    (new,) = exported(file, "matlab", tmp_path / "new.mat", "raw", "deep")
    head = new.read_bytes()[:128]  # by which MATLAB knows it
    assert head.startswith(b"MATLAB 7.3 MAT-file") and head[124:] == b"\x00\x02IM"
    with h5py.File(new) as opened:
        for name, seeds in (("raw", RAW), ("deep", DEEP)):
            assert opened[name].attrs["MATLAB_class"] == b"single"
            # HDF5 has MATLAB's axes y, x, z, t the other way round
            np.testing.assert_array_equal(opened[name][()].swapaxes(2, 3), series(seeds))
        assert opened["voxel_size_um"].attrs["MATLAB_class"] == b"double"
        assert opened["voxel_size_um"][:, 0].tolist() == [0.1, 0.11, 0.2]
        assert "".join(map(chr, opened["name"][:, 0])) == "cells"
        assert opened["name"].attrs["MATLAB_int_decode"] == 2
        assert opened["interval_s"][0, 0] == STEP_S


def test_a_variable_too_large_for_version_5_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matlab, "_LARGEST", 3 * index(0).nbytes)
    with pytest.raises(DataError, match=r"below 2 GiB, raw of 3 scans has .* export to matlab,"):
        exported(file, "matlab-5", tmp_path / "out.mat", "raw")
    assert list(tmp_path.iterdir()) == []


def test_imagej_s_metadata_are_in_plain_stacks(file: Path, tmp_path: Path) -> None:
    paths = exported(file, "tiff", tmp_path / "out.tif", "raw", "deep")
    assert [path.name for path in paths] == [f"out_{number:04d}.tif" for number in range(3)]
    for number, path in enumerate(paths):
        with tifffile.TiffFile(path) as found:
            about, page = found.imagej_metadata, found.pages[0]
            assert isinstance(about, dict) and isinstance(page, tifffile.TiffPage)
            assert found.series[0].axes == "ZCYX"
            held = found.series[0].asarray()
            dots, per_um = page.tags["YResolution"].value
            assert page.datetime is not None and page.datetime.second == 20 + int(STEP_S * number)
        np.testing.assert_array_equal(held[:, 0], index(RAW[number]))
        np.testing.assert_array_equal(held[:, 1], index(DEEP[number]))
        assert (about["spacing"], about["unit"], per_um / dots) == (VOXEL[0], "um", VOXEL[1])
        assert about["finterval"] == STEP_S
        assert about["Labels"][:2] == ["refractive index, raw", "refractive index, deep"]
        assert f"time_s = {STEP_S * number}\n" in about["Info"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("tiff", VolumeOptions(channel=1)),
        ("numpy", VolumeOptions("deep")),
        ("matlab", VolumeOptions("deep")),
        ("matlab-5", VolumeOptions("deep")),
    ],
)
def test_regularize_reads_them_without_being_told_the_voxels(
    file: Path, tmp_path: Path, kind: str, options: VolumeOptions
) -> None:
    paths = exported(file, kind, tmp_path / f"out{FORMATS[kind].suffix}", "raw", "deep")
    found = open_volumes(paths[-1], options)
    assert found.voxel_size_um == pytest.approx(VOXEL)
    np.testing.assert_array_equal(found[len(found) - 1].index, index(DEEP[2]))
    if kind != "tiff":
        assert [found.timestamp(time) for time in range(3)] == [BEGUN + 2.5 * t for t in range(3)]
        assert found.known.numerical_aperture == 1.2


# ---- Memory --------------------------------------------------------------------------------------


def of_zeros(path: Path, scans: int) -> Path:
    """Write a file of ``scans`` volumes of 2 MB."""
    empty = Tomogram(torch.full((32, 128, 128), 1.337), VOXEL, Optics(0.532, 1.2, 1.337, 0.08))
    with TomogramWriter(path, empty) as writer:
        for _ in range(scans):
            writer.append(empty)
    return path


def peak_bytes(file: Path, kind: str, output: Path) -> int:
    """Return the most memory that Python and numpy held at once during an export."""
    tracemalloc.start()
    try:
        export_tomograms(file, kind, output)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", VOXELS)
def test_an_export_needs_no_more_memory_for_a_longer_series(tmp_path: Path, kind: str) -> None:
    volume = 4 * 32 * 128 * 128
    short, long = (of_zeros(tmp_path / f"{scans}.h5", scans) for scans in (4, 14))
    peak_bytes(short, kind, tmp_path / "first")  # imports, and buffers that are kept
    few = peak_bytes(short, kind, tmp_path / "few")
    many = peak_bytes(long, kind, tmp_path / "many")
    assert few > volume  # it is seen
    assert many - few < volume  # 10 volumes more
