"""Times of scans in exports: uneven ones, impossible ones, and those in another unit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import ome_types
import pytest
import tifffile
import zarr

from acquisition.scanning.timestamps import guessed_unit, is_possible_time, utc_date
from pipeline.live.playback import open_playback
from tests.timelapse_tomograms import (
    BEGUN,
    KINDS,
    NAN,
    VOXEL,
    at_times,
    described,
    truth,
)

pytestmark = pytest.mark.usefixtures("zarr_ends")


# ---- Times ---------------------------------------------------------------------------------------

UNEVEN = (0.0, 5.25, 99.75)


@pytest.mark.parametrize("zero_s", [0.0, BEGUN])
def test_uneven_times_are_kept_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zero_s: float
) -> None:
    file = at_times(tmp_path / "cells.h5", *UNEVEN, zero_s=zero_s)
    said = {
        kind: described(capsys, "export", file, "--to", kind, "-o", tmp_path / kind)
        for kind in KINDS
    }
    for kind in KINDS:
        (image,) = said[kind]["images"]
        assert (image["times_s"], image["interval_s"]) == (list(UNEVEN), None)
    assert said["ome-tiff"]["warnings"] == []
    for kind in ("ome-zarr", "tcf"):
        (warning,) = said[kind]["warnings"]
        assert "not taken at even intervals" in warning

    with tifffile.TiffFile(tmp_path / "ome-tiff") as tiff:
        assert tiff.ome_metadata is not None
        pixels = ome_types.from_xml(tiff.ome_metadata).images[0].pixels
    assert pixels.time_increment is None
    assert {p.the_t: p.delta_t for p in pixels.planes} == dict(enumerate(UNEVEN))
    assert {p.delta_t_unit.value for p in pixels.planes} == {"s"}

    attributes: Any = zarr.open_group(tmp_path / "ome-zarr", mode="r").attrs
    (multiscale,) = attributes["ome"]["multiscales"]
    assert multiscale["axes"][0] == {"name": "t", "type": "time"}  # it counts time points
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, 1.0, *VOXEL]
    assert attributes["livetomo"]["times_s"] == list(UNEVEN)
    assert attributes["livetomo"]["timestamps_s"] == [zero_s + t for t in UNEVEN]

    with h5py.File(tmp_path / "tcf") as tcf:
        group = tcf["Data/3D"]
        assert group.attrs["TimeInterval"][0] == 0
        taken = [
            datetime.strptime(group[f"{n:06d}"].attrs["RecordingTime"][0], "%Y-%m-%d %H:%M:%S.%f")
            for n in range(3)
        ]
        created = datetime.strptime(tcf.attrs["CreateDate"][0], "%Y-%m-%d %H:%M:%S")
    assert [(time - taken[0]).total_seconds() for time in taken] == list(UNEVEN)
    assert created == taken[0] == datetime.fromtimestamp(zero_s, UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("times_s", "interval_s"),
    [
        ((0.0, 5.1, 9.9, 15.0), 5.0),  # as a microscope keeps an interval
        ((0.0, 5.0, 10.0, 30.0), None),
        ((0.0, 0.0, 0.0), None),
        ((1.0, 1.0), None),
        ((10.0, 5.0, 0.0), None),
    ],
)
def test_an_interval_is_one_where_all_steps_are_alike(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    times_s: tuple[float, ...],
    interval_s: float | None,
) -> None:
    file = at_times(tmp_path / "cells.h5", *times_s)
    (image,) = described(capsys, "export", file, "--to", "ome-zarr")["images"]
    assert image["interval_s"] == pytest.approx(interval_s)
    root: Any = zarr.open_group(tmp_path / "cells.ome.zarr", mode="r")
    (multiscale,) = root.attrs["ome"]["multiscales"]
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale[0] == pytest.approx(interval_s or 1.0)


IMPOSSIBLE = {
    "ms": [BEGUN * 1e3 + 5e3 * n for n in range(3)],
    "ns": [BEGUN * 1e9 + 5e9 * n for n in range(3)],
    "nan": [BEGUN, NAN, BEGUN + 10],
    "inf": [BEGUN, float("inf"), BEGUN + 10],
    "huge": [1e300, 1e301, -1e302],
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_file_with_impossible_times_is_exported_and_viewed_without_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = at_times(tmp_path / "cells.h5", *IMPOSSIBLE[name])
    for kind in KINDS:
        said = described(capsys, "export", file, "--to", kind, "-o", tmp_path / kind)
        (warning,) = said["warnings"]
        assert "must be in seconds since the epoch" in warning
        assert ("milliseconds" in warning) == (name == "ms")
        (image,) = said["images"]
        assert image["times_s"] is image["interval_s"] is None
    with tifffile.TiffFile(tmp_path / "ome-tiff") as tiff:
        np.testing.assert_array_equal(np.squeeze(tiff.asarray()), truth(0, 1, 2))
    with h5py.File(tmp_path / "tcf") as tcf:
        assert "RecordingTime" not in tcf["Data/3D/000000"].attrs
    with open_playback(file) as playback:
        assert playback.playlist.scans == (0, 1, 2)


DAY = 86400.0
UNITS = [
    ([BEGUN, BEGUN + 5.25], ""),
    ([0.0, 5.25, 99.75], ""),
    ([45000.0, 45005.0], ""),  # a clock that counts from the computer's start
    ([BEGUN * 1e3, BEGUN * 1e3 + 5250], "milliseconds"),
    ([BEGUN * 1e6], "microseconds"),
    ([BEGUN * 1e9, BEGUN * 1e9 + 1e9], "nanoseconds"),
    ([BEGUN + 2082844800], "seconds since 1904"),
    ([(BEGUN + 11644473600) * 1e7], "100 ns since 1601"),
    ([BEGUN / DAY + 25569, (BEGUN + 5) / DAY + 25569], "Excel"),
    ([BEGUN / DAY + 719529, (BEGUN + 5) / DAY + 719529], "MATLAB"),
    ([BEGUN / DAY + 2440587.5, (BEGUN + 60) / DAY + 2440587.5], "Julian"),
]


@pytest.mark.parametrize(("times", "unit"), UNITS)
def test_other_units_of_time_are_told(times: list[float], unit: str) -> None:
    found = guessed_unit(times)
    assert unit in found and bool(unit) == bool(found)


def test_dates_are_those_of_recordings() -> None:
    assert utc_date(BEGUN) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    for other in (0.0, 99.75, -5.0, BEGUN * 1e3, NAN, float("inf"), 1e300):
        assert utc_date(other) is None
    assert [is_possible_time(time) for time in (-5.0, 0.0, BEGUN, 1.7e12, NAN)] == [True] * 3 + [
        False
    ] * 2
