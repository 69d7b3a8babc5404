"""Readers of finished volumes: axes, scales, voxels, times, fluorescence, and what they refuse."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

import livetomo
from acquisition.errors import ConfigurationError, DataError, Stopped
from commands.command_line import parse
from files.exporting.export_tomograms import export_tomograms
from files.tomogram_fluorescence import fluorescence_channels, read_fluorescence
from files.tomograms import read_tomograms
from files.volumes.open_volumes import open_volumes
from files.volumes.volume_source import VolumeOptions
from pipeline.tomograms.job import SilentProgress
from pipeline.tomograms.volume_job import VolumeJob, VolumeRecipe
from reconstruction.finished.finished_volume import KnownOptics
from tests.finished_volumes import OPTICS, SHAPE, VOXEL, opened, ramp, raw_sphere, steps, write_tcf
from tests.tomogram_files import write as write_tomograms

pytestmark = pytest.mark.usefixtures("zarr_ends")


# ---- TCF -----------------------------------------------------------------------------------------


def test_a_tcf_of_an_instrument_is_read_whole(tmp_path: Path) -> None:
    frames = [ramp(*SHAPE), ramp(*SHAPE) + np.float32(0.01)]
    path = write_tcf(
        tmp_path / "a.TCF", [steps(one) for one in frames], VOXEL, OPTICS, DeviceSerial="X1"
    )
    volumes = open_volumes(path)
    assert (len(volumes), volumes.shape, volumes.voxel_size_um) == (2, SHAPE, VOXEL)
    for number, frame in enumerate(frames):
        np.testing.assert_allclose(volumes[number].index, frame, atol=6e-5)
    assert volumes.timestamp(1) - volumes.timestamp(0) == 7.0
    assert volumes.source.stage_um[0] == (12.5, -3.0, 1.25)
    assert volumes.known == KnownOptics(0.532, 1.2, 1.337)
    assert volumes.source.about["DeviceSerial"] == "X1"


@pytest.mark.parametrize("kind", ["float", "scaled float", "eight bits", "tiles"])
def test_other_numbers_of_a_tcf(kind: str, tmp_path: Path) -> None:
    frame = ramp(*SHAPE)
    numbers = {"float": frame, "scaled float": frame * 1e4}.get(kind, steps(frame))
    path = write_tcf(tmp_path / "a.tcf", [numbers], VOXEL, OPTICS)
    with h5py.File(path, "r+") as file:
        group = file["Data/3D"]
        if kind == "eight bits":
            del group["000000"]
            held = group.create_dataset("000000", data=np.rint((frame - 1.33) * 1e3).astype("u1"))
            held.attrs["ScalarType"], held.attrs["RIMin"] = [1], [1.33]
        if kind == "tiles":
            del group["000000"]
            whole = group.create_group("000000")
            for number, (first, last) in enumerate(((0, 3), (4, 6))):
                tile = whole.create_dataset(
                    f"TILE_{number}", data=steps(frame)[:, :, first : last + 1]
                )
                tile.attrs["SamplingStep"] = [1]
                for axis, at in zip("ZYX", ((0, 4), (0, 5), (first, last)), strict=True):
                    tile.attrs[f"DataIndexOffsetPoint{axis}"] = [at[0]]
                    tile.attrs[f"DataIndexLastPoint{axis}"] = [at[1]]
    found = opened(path)
    np.testing.assert_allclose(found, frame, atol=6e-4 if kind == "eight bits" else 6e-5)


def test_light_of_low_coherence_has_no_caps(tmp_path: Path) -> None:
    path = write_tcf(
        tmp_path / "a.TCF", [steps(ramp(*SHAPE))], VOXEL, OPTICS, DeviceModelType="HTX"
    )
    volumes = open_volumes(path)
    assert volumes.known == KnownOptics(None, None, 1.337)
    assert "condenser's NA 1.2" in volumes.source.notes[0]


def with_fluorescence(path: Path) -> NDArray[np.float32]:
    """Add a channel in voxels of half the size, two planes up, shifted by a voxel; return it."""
    expected = np.zeros((6, 8, 8), np.float32)
    expected[3, 4, 5] = 1.0
    fine = np.zeros((8, 16, 16), np.uint16)
    fine[2:4, 8:10, 10:12] = 100  # plane 3 of the index less OffsetZ
    with h5py.File(path, "r+") as file:
        group = file.create_group("Data/3DFL")
        for axis, size in zip("ZYX", VOXEL, strict=True):
            group.attrs[f"Resolution{axis}"] = [size / 2]
        channel = group.create_group("CH0")
        channel.attrs["OffsetZ"] = [2 * VOXEL[0]]
        channel.attrs["EmissionWavelength"] = [520.0]
        channel.create_dataset("000000", data=np.roll(fine, 2, axis=2))
        registration = file.create_group("Info/MetaData/FL/Registration")
        registration.attrs["Rotation"], registration.attrs["Scale"] = [0.0], [1.0]
        registration.attrs["TranslationX"] = [-VOXEL[2]]
        registration.attrs["TranslationY"] = [0.0]
    return expected


def test_fluorescence_lies_where_the_file_registers_it(tmp_path: Path) -> None:
    shape = (6, 8, 8)
    path = write_tcf(tmp_path / "a.TCF", [steps(ramp(*shape))] * 2, VOXEL, OPTICS)
    expected = with_fluorescence(path)
    (channel,) = open_volumes(path).source.fluorescence
    assert (channel.name, channel.count) == ("CH0", 1)
    found = channel.read(0)
    assert found.shape == shape
    assert np.unravel_index(found.argmax(), shape) == np.unravel_index(expected.argmax(), shape)
    handle = livetomo.open_volume(path)
    assert handle.fluorescence == ("CH0",)
    np.testing.assert_array_equal(handle.fluorescence_array("CH0"), found)
    with pytest.raises(DataError, match=r"at time point 1, found CH0 \(1\)"):
        handle.fluorescence_array("CH0", 1)


def test_fluorescence_without_depth_is_left_out_and_named(tmp_path: Path) -> None:
    path = write_tcf(tmp_path / "a.TCF", [steps(ramp(*SHAPE))], VOXEL, OPTICS)
    with h5py.File(path, "r+") as file:
        channel = file.create_group("Data/3DFL/CH0")
        for axis, size in zip("ZYX", VOXEL, strict=True):
            channel.attrs[f"Resolution{axis}"] = [size]
        channel.create_dataset("000000", data=np.zeros(SHAPE[1:], np.uint16))
    source = open_volumes(path).source
    assert source.fluorescence == ()
    assert source.notes == (
        "the fluorescence channel CH0 is left out: its frame 000000 must be a volume (z, y, x), "
        "got (6, 7)",
    )


def test_a_tcf_comes_back_as_it_was_exported(tmp_path: Path) -> None:
    """Times, place, optics, projection: what its readers look for, and our own reader finds."""
    file = write_tomograms(tmp_path / "cells.h5", [0, 1, 2])
    (made,), _ = export_tomograms(file, "tcf")
    volumes = open_volumes(made.path)
    series = read_tomograms(file)
    assert len(volumes) == 3
    for time in range(3):
        raw = series.volume("raw", time)
        assert raw is not None
        np.testing.assert_allclose(volumes[time].index, raw, atol=6e-5)
        assert volumes.timestamp(time) == pytest.approx(series.timestamps[time])
    assert volumes.known == KnownOptics(0.532, 1.2, 1.337)
    with h5py.File(made.path) as tcf:
        assert tcf.attrs["SoftwareVersion"][0].startswith("LiveTomo")
        flat = tcf["Data/2DMIP"]
        assert (flat.attrs["DataCount"][0], flat.attrs["SizeY"][0]) == (3, 70)
        assert "SizeZ" not in flat.attrs
        np.testing.assert_array_equal(flat["000001"], tcf["Data/3D/000001"][()].max(axis=0))
        assert flat["000001"].attrs["RecordingTime"] == tcf["Data/3D/000001"].attrs["RecordingTime"]


# ---- Arrays, TIFF, Zarr --------------------------------------------------------------------------


def test_axes_are_found_or_asked_for(tmp_path: Path) -> None:
    frame = ramp(*SHAPE)
    np.save(tmp_path / "a.npy", np.transpose(frame, (2, 0, 1)))
    found = opened(tmp_path / "a.npy", axes="xzy", voxel_size_um=VOXEL)
    np.testing.assert_array_equal(found, frame)
    np.savez(tmp_path / "b.npz", n=frame, other=np.zeros(3))
    np.testing.assert_array_equal(opened(tmp_path / "b.npz", voxel_size_um=VOXEL), frame)
    series = np.stack([frame, frame + np.float32(0.01)])
    np.save(tmp_path / "c.npy", series)
    volumes = open_volumes(tmp_path / "c.npy", VolumeOptions(voxel_size_um=VOXEL))
    np.testing.assert_array_equal(volumes[1].index, series[1])
    with pytest.raises(DataError, match="Z, Y and X once each"):
        opened(tmp_path / "a.npy", axes="ZZX", voxel_size_um=VOXEL)
    with pytest.raises(DataError, match=r"an axis for each of TZYX, got shape \(7, 5, 6\)"):
        opened(tmp_path / "a.npy", axes="TZYX", voxel_size_um=VOXEL)
    with pytest.raises(ConfigurationError, match="give it with --volume-um DZ DY DX"):
        opened(tmp_path / "a.npy")


def test_numbers_that_are_no_index_need_their_scale(tmp_path: Path) -> None:
    frame = ramp(*SHAPE)
    np.save(tmp_path / "a.npy", steps(frame).astype(np.int32))
    np.testing.assert_allclose(opened(tmp_path / "a.npy", voxel_size_um=VOXEL), frame, atol=6e-5)
    np.save(tmp_path / "b.npy", (frame * 1e3).astype(np.float64))
    with pytest.raises(ConfigurationError, match=r"middle number is 13\d\d.*--scale"):
        opened(tmp_path / "b.npy", voxel_size_um=VOXEL)
    found = opened(tmp_path / "b.npy", voxel_size_um=VOXEL, scale=1e-3)
    np.testing.assert_allclose(found, frame, atol=1e-6)


def test_a_series_of_channels_in_a_tiff(tmp_path: Path) -> None:
    data = np.stack([np.stack([ramp(*SHAPE) + 0.01 * t + 0.1 * c for c in range(2)])
                     for t in range(3)]).astype(np.float32)  # fmt: skip
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", VOXEL, strict=True)}
    about = {"axes": "TCZYX", "TimeIncrement": 500.0, "TimeIncrementUnit": "ms", **sizes}
    tifffile.imwrite(tmp_path / "a.ome.tif", data, ome=True, metadata=about)
    with pytest.raises(DataError, match="holds 2 channels"):
        opened(tmp_path / "a.ome.tif")
    volumes = open_volumes(tmp_path / "a.ome.tif", VolumeOptions(channel=1))
    assert (len(volumes), volumes.voxel_size_um) == (3, VOXEL)
    np.testing.assert_array_equal(volumes[2].index, data[2, 1])
    assert volumes.timestamp(2) == 1.0
    with tifffile.TiffWriter(tmp_path / "plain.tif") as file:
        for plane in data[0, 0]:
            file.write(plane, contiguous=False)
    np.testing.assert_array_equal(opened(tmp_path / "plain.tif", voxel_size_um=VOXEL), data[0, 0])


def test_what_livetomo_exports_is_read(tmp_path: Path) -> None:
    file = write_tomograms(tmp_path / "cells.h5", [0, 1])
    raw = read_tomograms(file).volume("raw", 1)
    assert raw is not None
    for kind in ("ome-tiff", "ome-zarr", "tcf"):
        (made,), _ = export_tomograms(file, kind)
        volumes = open_volumes(made.path)
        assert volumes.voxel_size_um == pytest.approx((0.2, 0.1, 0.11))
        assert volumes.timestamp(1) - volumes.timestamp(0) == pytest.approx(2.5)
        np.testing.assert_allclose(volumes[1].index, raw, atol=6e-5)
    volumes = open_volumes(file)
    np.testing.assert_array_equal(volumes[1].index, raw)
    assert volumes.known.numerical_aperture == 1.2


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.tif", "a.npy", "a.mat", "a.npz", "a.TCF", "a.h5"):
        (tmp_path / name).write_text("this is no volume")
        with pytest.raises(DataError, match=r"cannot be read"):
            open_volumes(tmp_path / name)
    with pytest.raises(DataError, match=r"must end in \.tcf, "):
        (tmp_path / "a.png").write_bytes(b"")
        open_volumes(tmp_path / "a.png")
    with pytest.raises(DataError, match="must exist"):
        open_volumes(tmp_path / "b.tif")
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(DataError, match="must hold one OME-Zarr image, found none"):
        open_volumes(tmp_path / "a.zarr")


# ---- The job -------------------------------------------------------------------------------------


class StopAfter(SilentProgress):
    """Stops a job when it begins a volume."""

    def __init__(self, volume: int) -> None:
        self.volume = volume

    def say(self, what: str) -> None:
        if what.startswith(f"volume {self.volume + 1} "):
            raise Stopped("stopped by the test")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a TCF of three frames with fluorescence."""
    raw = raw_sphere().tomogram.windowed()
    index = raw.index.numpy()[16:48, 14:70, 14:70]
    frames = [steps(index + np.float32(0.001 * t)) for t in range(3)]
    path = write_tcf(tmp_path_factory.mktemp("series") / "s.TCF", frames, raw.voxel_size_um, OPTICS)
    with h5py.File(path, "r+") as file:
        group = file.create_group("Data/3DFL/CH0")
        for axis, size in zip("ZYX", raw.voxel_size_um, strict=True):
            group.attrs[f"Resolution{axis}"] = [size]
        group.create_dataset("000000", data=frames[0])
    return path


def job(path: Path, output: Path, listener: SilentProgress | None = None) -> VolumeJob:
    volumes = open_volumes(path)
    recipe = VolumeRecipe("gp", known=KnownOptics(0.532, 1.2))
    return VolumeJob(volumes, output, recipe, listener or SilentProgress())


def test_an_interrupted_series_is_resumed(series: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.h5", tmp_path / "out.h5"
    with job(series, whole) as one:
        rows = list(one.run())
    assert [row.time for row in rows] == [0, 1, 2]
    with pytest.raises(Stopped), job(series, output, StopAfter(2)) as stopped:
        list(stopped.run())
    assert len(read_tomograms(output)) == 2
    assert fluorescence_channels(output) == ()
    with job(series, output) as again:
        assert again.done == 2
        assert [row.time for row in again.run()] == [2]
    first, second = read_tomograms(whole), read_tomograms(output)
    for time in range(3):
        for name in ("raw", "gp"):
            np.testing.assert_array_equal(first.volume(name, time), second.volume(name, time))
    assert second.timestamps[1] - second.timestamps[0] == 7.0
    assert second.positions.stage_at(1) == (12.5, -3.0, 1.25)
    assert "% of k-space was measured" in second.provenance["support"]
    assert fluorescence_channels(output) == ("CH0",)
    held = read_fluorescence(output, "CH0", 0)
    assert held is not None and held.shape == second.shape[1:]
    assert read_fluorescence(output, "CH0", 1) is None
    with pytest.raises(DataError, match="exists and is not overwritten: choose another name"):
        job(series, output)
    (made,), _ = export_tomograms(output, "tcf")
    (channel,) = open_volumes(made.path).source.fluorescence
    np.testing.assert_allclose(channel.read(0), held, rtol=1e-6)


def test_the_command_says_what_it_found_and_exports(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optics = tmp_path / "optics.toml"
    optics.write_text('[optics]\npreset = "cell"\nnumerical_aperture = 1.1\n', "utf-8")
    words = ["regularize", str(series), "-o", str(tmp_path / "out.h5"), "--regularizer", "gp"]
    words += ["--support", "optics", "--optics", str(optics), "--to", "tcf", "--device", "cpu"]
    options = parse([*words, "--json"])
    assert options.run(options) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["exported"] == [str(tmp_path / "out.TCF")]
    assert said["fluorescence"] == ["CH0"]
    assert [row["support"] for row in said["volumes"]] == ["optics"] * 3
    assert said["volumes"][0]["optics"]["numerical_aperture"] == 1.1
    optics.write_text("numerical_apperture = 1.1\n", "utf-8")
    options = parse([*words, "-o", str(tmp_path / "b.h5")])
    with pytest.raises(ConfigurationError, match="numerical_apperture"):
        options.run(options)
    options = parse(["regularize", str(series), "-o", "x.h5", "--preset", "auto"])
    with pytest.raises(ConfigurationError, match="a preset needs the regularizer tv"):
        options.run(options)


def test_exports_of_a_series_are_made_once(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Formats with a file for each volume, too; what a run has not come to is made by the next."""
    words = ["regularize", str(series), "-o", str(tmp_path / "out.h5"), "--regularizer", "none"]
    words += ["--device", "cpu"]

    def run(*more: str) -> list[str]:
        options = parse([*words, *more])
        assert options.run(options) == 0
        return capsys.readouterr().out.splitlines()

    run("--to", "tiff")
    stacks = sorted(tmp_path.glob("*.tif"))
    assert [one.name for one in stacks] == [f"out_000{n}.tif" for n in range(3)]
    assert run("--to", "tiff", "tcf", "tcf")[-1] == str(tmp_path / "out.TCF")
    before = [one.stat().st_mtime_ns for one in stacks]
    with pytest.raises(DataError, match=r"out_0000\.tif exists"):
        run("--to", "tiff", "tcf")
    with pytest.raises(ConfigurationError, match=r"matlab and matlab-5 would both write"):
        run("--to", "matlab", "matlab-5")
    words[3] = str(tmp_path)  # a batch, into a folder
    (tmp_path / "out.h5").rename(tmp_path / "s_regularized.h5")
    for path in stacks:
        path.rename(path.with_stem(path.stem.replace("out", "s_regularized")))
    assert run("--to", "tiff")[-1] == "1 of 1 files are complete"
    kept = sorted(tmp_path.glob("*.tif"))
    assert [one.stat().st_mtime_ns for one in kept] == before
    capsys.readouterr()


def test_a_file_that_fails_stops_no_other(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One without a voxel size, one whose export cannot be written."""
    np.save(tmp_path / "bare.npy", ramp(8, 8, 8))
    results = tmp_path / "results"
    results.mkdir()
    (results / "s_regularized_0001.tif").mkdir()  # in the way
    words = ["regularize", str(tmp_path / "bare.npy"), str(series), "-o", str(results), "--json"]
    words += ["--regularizer", "none", "--device", "cpu", "--to", "tiff"]
    options = parse(words)
    assert options.run(options) == 1
    first, second = json.loads(capsys.readouterr().out)["files"]
    assert first["state"] == "failed" and "the voxel size must be known" in first["error"]
    assert second["state"] == "failed" and "_0001.tif exists" in second["error"]
    assert len(read_tomograms(results / "s_regularized.h5")) == 3


def test_a_script_regularizes_a_volume(series: Path) -> None:
    volumes = livetomo.open_volume(series)
    assert (len(volumes), len(volumes[:2])) == (3, 2)
    tomogram = volumes[0]
    assert tomogram.optics.numerical_aperture == 1.2
    better = livetomo.regularize(tomogram, "gp")
    assert better.support is not None and 0 < better.support.share < 0.6
    assert better.index_array.shape == tomogram.index_array.shape
    assert better.voxel_size_um == tomogram.voxel_size_um
    assert better.raw is tomogram
    with pytest.raises(livetomo.LiveTomoError, match="support must be one of auto"):
        livetomo.open_volume(series, support="best")  # type: ignore[arg-type]  # on purpose
