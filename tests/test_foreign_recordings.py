"""Recordings that other programs write: numbers of other types, attributes as lists of one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from acquisition.errors import DataError
from acquisition.optics import Optics
from files.recording import RecordingWriter, read_recording
from files.tomograms import read_tomograms
from launcher import main
from tests.partial_waves import sphere_fields
from tests.scans import interferograms

OPTICS = Optics(0.532, 1.2, 1.337, 0.08)
TURN = np.arange(9) * 2 * np.pi / 9
K = 1.5 * np.stack([np.cos(TURN), np.sin(TURN)], axis=1).astype(np.float32).astype(np.float64)
Change = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one scan of a sphere as LiveTomo does."""
    path = tmp_path_factory.mktemp("foreign") / "own.h5"
    fields = sphere_fields(OPTICS, K, 1.0, 1.36, (64, 64)).numpy()
    empty, sphere = (interferograms(OPTICS, K, f, (64, 64), (3.95, 3.95)) for f in (None, fields))
    with RecordingWriter(path, empty) as writer:
        writer.append(sphere)
    with h5py.File(path, "r+") as file:
        file["sample/timestamps"][0] = 1714557600.0
    return path


def reconstructed(path: Path) -> np.ndarray[Any, Any]:
    out = path.with_suffix(".tomograms.h5")
    out.unlink(missing_ok=True)
    assert main(["reconstruct", str(path), "-o", str(out), "--regularizer", "none"]) == 0
    series = read_tomograms(out)
    assert series.timestamps.tolist() == [1714557600.0]
    return np.asarray(series.raw(0).index)


def as_type(name: str, dtype: str) -> Change:
    """Return a function that rewrites a dataset with another type."""

    def change(file: h5py.File) -> None:
        values = file[name][()]
        del file[name]
        file.create_dataset(name, data=values.astype(dtype))

    return change


def as_lists(file: h5py.File) -> None:
    for name, value in dict(file["optics"].attrs).items():
        file["optics"].attrs[name] = [value]
    file.attrs["version"] = np.array([1.0])


@pytest.mark.parametrize(
    "change",
    [
        as_type("illumination/k", "f4"),
        as_type("illumination/k", ">f4"),
        *(as_type("sample/timestamps", dtype) for dtype in ("i8", "u8", "i4", "u4", ">i8")),
        as_type("sample/lost", "u1"),
        as_type("background/lost", "i4"),
        as_lists,
    ],
)
def test_numbers_of_other_types_are_read(tmp_path: Path, recording: Path, change: Change) -> None:
    path = tmp_path / "theirs.h5"
    path.write_bytes(recording.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    theirs, own = read_recording(path), read_recording(recording)
    pairs = zip((theirs.background, *theirs.stacks()), (own.background, *own.stacks()), strict=True)
    for found, expected in pairs:
        np.testing.assert_array_equal(found.frames, expected.frames)
        assert found.illumination_k is not None and expected.illumination_k is not None
        np.testing.assert_allclose(found.illumination_k, expected.illumination_k, rtol=1e-7)
        assert (found.optics, found.timestamp) == (expected.optics, expected.timestamp)
        assert found.lost == expected.lost == ()


def test_they_become_the_same_tomogram(tmp_path: Path, recording: Path) -> None:
    path = tmp_path / "theirs.h5"
    path.write_bytes(recording.read_bytes())
    with h5py.File(path, "r+") as file:
        as_type("illumination/k", ">f4")(file)
        as_type("sample/timestamps", "i8")(file)
        as_type("background/lost", "i4")(file)
        as_lists(file)
    np.testing.assert_allclose(reconstructed(path), reconstructed(recording), rtol=0, atol=1e-6)


def test_lost_angles_are_read_from_bytes(tmp_path: Path, recording: Path) -> None:
    path = tmp_path / "theirs.h5"
    path.write_bytes(recording.read_bytes())
    with h5py.File(path, "r+") as file:
        as_type("sample/lost", "u1")(file)
        file["sample/lost"][0, 3] = 1
    assert next(read_recording(path).stacks()).lost == (3,)
    assert read_recording(path).log().lost_angles == {0: (3,)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (as_type("illumination/k", "c8"), "illumination/k must be .* float64, found .*complex64"),
        (as_type("illumination/k", "S8"), "illumination/k must be .* float64, found .*S8"),
        (as_type("sample/lost", "f4"), "sample/lost must be .* bool, found .*float32"),
        (as_type("sample/interferograms", "i4"), "interferograms must be .* found .*int32"),
        (lambda file: file["optics"].attrs.create("pixel_size_um", [0.08, 0.08]), "a number"),
    ],
)
def test_what_is_no_such_number_is_refused(
    tmp_path: Path, recording: Path, change: Change, words: str
) -> None:
    path = tmp_path / "theirs.h5"
    path.write_bytes(recording.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=f"theirs.h5: .*{words}"):
        read_recording(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_without_an_index_are_not_made_up(
    tmp_path: Path, recording: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """TCF holds integers: a voxel without an index is refused, without a cast warning."""
    tomograms = tmp_path / "holes.h5"
    assert main(["reconstruct", str(recording), "-o", str(tomograms), "--regularizer", "none",
                 "--slices", "8"]) == 0  # fmt: skip
    with h5py.File(tomograms, "r+") as file:
        file["tomograms/raw"][0, 2, 5] = value
    capsys.readouterr()
    assert main(["export", str(tomograms), "--to", "tcf"]) == 1
    said = capsys.readouterr().err
    assert "time point 0 has voxels without one" in said and said.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["holes.h5"]
    assert main(["export", str(tomograms), "--to", "ome-tiff"]) == 0
