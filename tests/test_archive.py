"""The two file formats: writing, reading, and what a reader refuses."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from files.recording import RecordingWriter, read_recording
from files.tomograms import TomogramWriter, read_tomograms
from reconstruction.tomogram import Tomogram
from regularizer.quality_report import QualityReport
from tests.exact_bead import exact_bead_path

OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
REPORT = QualityReport("deep", 0.9, (0.8,), 1e-4, 0.99, 0.05, 1e-7, 0.1, 0.2)


def stack(seed: int, dtype: Any = np.uint8, k: bool = True, **fields: Any) -> InterferogramStack:
    random = np.random.default_rng(seed)
    frames = random.integers(0, np.iinfo(dtype).max, (3, 8, 10), dtype)
    return InterferogramStack(frames, OPTICS, np.full((3, 2), 0.5) if k else None, **fields)


def tomogram(seed: int) -> Tomogram:
    index = 1.337 + torch.rand((4, 6, 5), generator=torch.Generator().manual_seed(seed)) / 50
    return Tomogram(index, (0.2, 0.1, 0.1), OPTICS, float(seed), seed, {"retrieval": "test"})


def recorded(path: Path, *stacks: InterferogramStack) -> Path:
    with RecordingWriter(path, stack(0)) as writer:
        for each in stacks or (stack(1, timestamp=5.0),):
            writer.append(each)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("k", [True, False])
def test_recording_round_trip(tmp_path: Path, dtype: Any, k: bool) -> None:
    path = tmp_path / "scan.h5"
    background = stack(0, dtype, k)
    scans = [stack(i, dtype, k, timestamp=1.6e9 + i) for i in (1, 2)]
    with RecordingWriter(path, background, {"operator": "Ada"}) as writer:
        for scan in scans:
            writer.append(scan)
    found = read_recording(path)
    assert found.optics == OPTICS
    assert found.attributes == {"operator": "Ada"}
    assert (found.illumination_k is not None) == k
    np.testing.assert_array_equal(found.background.frames, background.frames)
    for index, (scan, read) in enumerate(zip(scans, found.stacks(), strict=True)):
        np.testing.assert_array_equal(read.frames, scan.frames)
        assert read.frames.dtype == dtype
        assert (read.timestamp, read.sequence, read.complete) == (scan.timestamp, index, True)


def test_rotations_and_the_normal_angle_are_kept(tmp_path: Path) -> None:
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    rotations = np.stack([np.eye(3), quarter, quarter @ quarter])
    background = stack(0, k=False, rotations=rotations, normal=1)
    path = tmp_path / "turned.h5"
    with RecordingWriter(path, background) as writer:
        writer.append(stack(1, k=False, timestamp=5.0))
    found = read_recording(path)
    scan = next(found.stacks())
    for each in (found.background, scan):
        assert each.rotations is not None
        np.testing.assert_array_equal(each.rotations, rotations)
        assert each.normal == 1
    assert found.attributes == {}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("rotation", np.zeros((3, 3, 3)), "orthogonal"), ("normal", 7, "one of the 3 angles")],
)
def test_impossible_geometry_is_named(tmp_path: Path, name: str, value: Any, message: str) -> None:
    path = recorded(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        if name == "normal":
            file["illumination"].attrs["normal"] = value
        else:
            file["illumination/rotation"] = value
    with pytest.raises(DataError, match=f"scan.h5.*{message}"):
        read_recording(path)


def test_recording_has_the_documented_layout(tmp_path: Path) -> None:
    with h5py.File(recorded(tmp_path / "scan.h5")) as file:
        assert file.attrs["format"] == "livetomo.recording"
        assert file.attrs["version"] == 1
        assert dict(file["optics"].attrs) == {
            "wavelength_um": 0.532,
            "numerical_aperture": 1.2,
            "medium_index": 1.337,
            "pixel_size_um": 0.08,
        }
        layout = {
            name: (file[name].shape, file[name].dtype.str)
            for name in (
                "illumination/k",
                "background/interferograms",
                "sample/interferograms",
                "sample/timestamps",
            )
        }
    assert layout == {
        "illumination/k": ((3, 2), "<f8"),
        "background/interferograms": ((3, 8, 10), "|u1"),
        "sample/interferograms": ((1, 3, 8, 10), "|u1"),
        "sample/timestamps": ((1,), "<f8"),
    }


def test_lost_angles_are_zero_rows_and_named(tmp_path: Path) -> None:
    frames = stack(1).frames.copy()
    frames[1] = 0
    short = replace(stack(1, timestamp=1.0), frames=frames, lost=(1,))
    path = recorded(tmp_path / "scan.h5", short, stack(2, timestamp=2.0))
    read = list(read_recording(path).stacks())
    assert [each.lost for each in read] == [(1,), ()]
    assert not read[0].frames[1].any()


def test_reader_follows_a_growing_recording(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "scan.h5", stack(0)) as writer:
        recording = read_recording(tmp_path / "scan.h5")
        assert len(recording) == 0
        writer.append(stack(1, timestamp=1.0))
        follower = recording.stacks()
        assert next(follower).timestamp == 1.0
        writer.append(stack(2, timestamp=2.0))
        assert next(follower).timestamp == 2.0
        assert list(follower) == []
        assert (len(recording), recording.count_complete()) == (0, 2)


def test_a_recording_that_became_another_file_is_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path / "scan.h5", stack(1, timestamp=1.0))
    recording = read_recording(path)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "another"
    with pytest.raises(DataError, match="format"):
        recording.count_complete()


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_archive import RecordingWriter, TomogramWriter, stack, tomogram
with RecordingWriter(Path({recording!r}), stack(0)) as r, \
        TomogramWriter(Path({tomograms!r}), tomogram(0), ("tv",)) as t:
    for i in itertools.count(1):
        r.append(stack(i, timestamp=float(i)))
        t.append(tomogram(i), {{"tv": tomogram(-i)}})
        print(i, flush=True)
"""


def test_killed_writer_leaves_every_finished_scan(tmp_path: Path) -> None:
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    code = WRITE_FOR_EVER.format(
        tests=str(Path(__file__).parent), recording=str(recording), tomograms=str(tomograms)
    )
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as writer:
        assert writer.stdout is not None
        finished = 0
        while finished < 5:
            finished = int(writer.stdout.readline())
        writer.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    found = read_recording(recording)
    assert len(found) >= finished
    for number, read in enumerate(found.stacks(), start=1):
        np.testing.assert_array_equal(read.frames, stack(number).frames)
        assert read.timestamp == number
    series = read_tomograms(tomograms)
    assert len(series) >= finished
    for time in range(finished):
        assert torch.equal(series.raw(time).index, tomogram(time + 1).index)
        regularized = series.regularized("tv", time)
        assert regularized is not None
        assert torch.equal(regularized.index, tomogram(-time - 1).index)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = recorded(tmp_path / "scan.h5")
    with pytest.raises(DataError, match="not overwritten"):
        RecordingWriter(path, stack(0))
    assert len(read_recording(path)) == 1


def test_a_scan_unlike_the_background_is_refused(tmp_path: Path) -> None:
    with (
        RecordingWriter(tmp_path / "scan.h5", stack(0)) as writer,
        pytest.raises(DataError, match=r"like its background, \(3, 8, 10\) uint8"),
    ):
        writer.append(stack(1, np.uint16))


def _delete(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def _attribute(group: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[group].attrs[name]
        if value is not None:
            file[group].attrs[name] = value

    return change


def _dataset(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_attribute("/", "format", None), "'format' of / must be 'livetomo.recording'"),
        (_attribute("/", "format", "livetomo.tomogram"), "found 'livetomo.tomogram'"),
        (_attribute("/", "version", 7), "'version' of / must be 1, found"),
        (_attribute("optics", "medium_index", None), "'medium_index' of /optics must be"),
        (_attribute("optics", "pixel_size_um", "small"), "'pixel_size_um' of /optics must be"),
        (_attribute("optics", "wavelength_um", -1.0), "wavelength_um must be a positive number"),
        (_attribute("optics", "wavelength_um", 532.0), "looks like nanometres: give 0.532"),
        (_attribute("optics", "pixel_size_um", 5.5), "divide it by the magnification"),
        (_attribute("optics", "medium_index", 13.37), "give 1.337"),
        (_attribute("optics", "numerical_aperture", 12.0), "give 1.2"),
        (_delete("optics"), "group /optics"),
        (_delete("background/interferograms"), "dataset /background/interferograms"),
        (_delete("sample/timestamps"), "dataset /sample/timestamps"),
        (_dataset("illumination/k", np.zeros((4, 2))), r"/illumination/k must be shape \(3, 2\)"),
        (_dataset("illumination/k", np.full((3, 2), np.nan)), "finite"),
        (_dataset("illumination/k", np.full((3, 2), 9.0)), "/illumination/k: .*not rad/um"),
        (_dataset("illumination/k", np.full((3, 2), 1.75)), "numerical_aperture is at least 1.32"),
        (_dataset("background/interferograms", np.zeros((3, 8, 9), "u1")), "/sample/interfero"),
        (_dataset("sample/interferograms", np.zeros((1, 3, 8, 10))), "uint8 or uint16"),
        (_dataset("sample/interferograms", np.zeros((4, 3, 8, 10), "u1")), "one value for each"),
        (_dataset("sample/timestamps", np.full(1, np.inf)), "finite"),
    ],
)
def test_a_broken_recording_is_named(
    tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    path = recorded(tmp_path / "scan.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message) as caught:
        read_recording(path)
    assert str(path) in str(caught.value)


def test_what_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.h5").write_text("not HDF5")
    for path in (tmp_path / "note.h5", tmp_path / "absent.h5"):
        with pytest.raises(DataError, match="cannot be read as HDF5"):
            read_recording(path)


def test_tomogram_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "tomograms.h5"
    with TomogramWriter(path, tomogram(1), ("tv", "deep"), {"software": "x"}) as writer:
        writer.append(tomogram(1), {"deep": tomogram(11)})
        writer.append(tomogram(2), {"deep": tomogram(12), "tv": tomogram(22)})
        writer.append_quality(1, REPORT)
        writer.append_quality(0, REPORT, tomogram(21))
        with pytest.raises(DataError, match="below 2"):
            writer.append_quality(2, REPORT)
        following = read_tomograms(path)
        assert len(following) == 2
    found = read_tomograms(path)
    assert found.optics == OPTICS
    assert found.voxel_size_um == (0.2, 0.1, 0.1)
    assert found.provenance == {"retrieval": "test", "software": "x"}
    assert [t.timestamp for t in found] == [1.0, 2.0]
    assert torch.equal(found.raw(1).index, tomogram(2).index)
    reference = found.regularized("tv", 0)
    assert reference is not None
    assert torch.equal(reference.index, tomogram(21).index)
    regularized = found.regularized("tv", 1)
    assert regularized is not None
    assert torch.equal(regularized.index, tomogram(22).index)
    assert found.quality["time"].tolist() == [1, 0]
    assert found.quality["ssim"].tolist() == [0.9, 0.9]
    assert found.quality["residual_tv"].tolist() == [0.2, 0.2]
    assert found.quality["method"].tolist() == [b"deep", b"deep"]
    assert found.quality["ssim_z"].shape == (2, len(REPORT.ssim_z))
    with h5py.File(path) as file:
        assert file["tomograms/raw"].dtype == np.float32
        assert file["tomograms/deep_index"][()].tolist() == [0, 1]
        assert file["tomograms/tv_index"].dtype == np.int64
        assert file["tomograms"].attrs["voxel_size_um"].tolist() == [0.2, 0.1, 0.1]


def test_tomograms_of_another_program(tmp_path: Path) -> None:
    """Without index, timestamps and quality a dataset holds every time point."""
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "livetomo.tomogram", "version": 1, "provenance": "{}"})
        optics = file.create_group("optics")
        optics.attrs.update({"wavelength_um": 0.532, "numerical_aperture": 1.2})
        optics.attrs.update({"medium_index": 1.337, "pixel_size_um": 0.08, "lens": "60x"})
        file["tomograms/raw"] = np.full((2, 3, 4, 5), 1.34, np.float32)
        file["tomograms/tv"] = np.full((2, 3, 4, 5), 1.35, np.float32)
        file["tomograms"].attrs["voxel_size_um"] = (0.3, 0.1, 0.1)
    found = read_tomograms(path)
    assert found.indices["tv"].tolist() == [0, 1]
    assert found.attributes == {"optics/lens": "60x"}
    regularized = found.regularized("tv", 1)
    assert regularized is not None
    assert float(regularized.index[0, 0, 0]) == pytest.approx(1.35)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_attribute("tomograms", "voxel_size_um", [0.1, 0.1]), "'voxel_size_um' of /tomograms"),
        (_attribute("tomograms", "voxel_size_um", None), "found nothing"),
        (_attribute("/", "provenance", None), "'provenance' of /"),
        (_attribute("/", "provenance", "{broken"), "JSON object"),
        (_delete("tomograms/raw"), "dataset /tomograms/raw"),
        (_dataset("tomograms/tv", np.zeros((1, 2, 2, 2), "f4")), "dataset /tomograms/tv"),
        (_dataset("tomograms/tv_index", np.array([-1])), "must hold time points"),
    ],
)
def test_a_broken_tomogram_file_is_named(
    tmp_path: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    path = tmp_path / "tomograms.h5"
    with TomogramWriter(path, tomogram(1), ("tv",)) as writer:
        writer.append(tomogram(1), {"tv": tomogram(2)})
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        read_tomograms(path)


def test_the_exact_bead_is_read(ground_truth: Path) -> None:
    recording = read_recording(exact_bead_path(ground_truth))
    (scan,) = recording.stacks()
    assert scan.frames.shape == recording.background.frames.shape == (49, 256, 256)
    assert recording.illumination_k is not None
    assert "homogeneous sphere" in recording.attributes["description"]
