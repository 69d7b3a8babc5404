"""Recordings and tomogram files whose writer was killed lose nothing and can be resumed."""

import os
import re
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from acquisition.errors import DataError
from files.recording import RecordingWriter, read_recording, resume_recording
from files.reopening import lookup3, repair_superblock, sole_writer
from files.series import ScanLocation, SeriesDescription
from files.tomograms import read_tomograms, resume_tomograms
from tests.test_archive import recorded, stack, tomogram

ROOT = Path(__file__).parents[1]
SERIES = SeriesDescription("{}", "{}", ("left", "", "Größe"), {"slices": 32})
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def location(number: int) -> ScanLocation:
    return ScanLocation(number % 3, (number / 8, -number / 4, 0.5))


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from files.recording import RecordingWriter, resume_recording
from files.tomograms import TomogramWriter, resume_tomograms
from tests.test_archive import stack, tomogram
from tests.test_resuming import SERIES, location
recording, tomograms = map(Path, sys.argv[1:3])
first = not recording.exists()
with RecordingWriter(recording, stack(0), series=SERIES) if first else resume_recording(
        recording) as r, TomogramWriter(tomograms, tomogram(0), ("tv",)) if first else (
        resume_tomograms(tomograms)) as t:
    print(len(r), flush=True)
    for i in itertools.count(len(r)):
        if i % 4 == 3:
            r.append_background(stack(1000 + i))
        r.append(stack(i, timestamp=float(i)), location(i))
        for j in range(len(t), i + 1):
            t.append(tomogram(j), {"tv": tomogram(-j)})
        print(i + 1, flush=True)
"""


def written_and_killed(recording: Path, tomograms: Path, after_s: float) -> int:
    """Let a process write for a while, kill it, and return how many scans were complete."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(recording), str(tomograms)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as writer:
        assert writer.stdout is not None
        begin = int(writer.stdout.readline())
        finished = begin
        while finished < begin + 3:
            finished = int(writer.stdout.readline())
        time.sleep(after_s)
        writer.send_signal(KILL)
        said = writer.stdout.read().split()
    return max([finished, *map(int, said[:-1])])


def test_killed_again_and_again_a_file_keeps_every_scan_and_goes_on(tmp_path: Path) -> None:
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    finished = 0
    for after_s in (0.0113, 0.0371):  # the second time a file that was killed is resumed
        finished = written_and_killed(recording, tomograms, after_s)
        found = read_recording(recording)
        assert len(found) >= finished >= 3
    with resume_recording(recording) as writer:  # and is closed at last
        last = len(writer)
        assert last >= finished
        if last % 4 == 3:  # as the process would have done
            writer.append_background(stack(1000 + last))
        writer.append(stack(last, timestamp=float(last)), location(last))
    found = read_recording(recording)
    assert found.series == SERIES
    scans = list(found.scans())
    assert len(scans) == last + 1
    for number, scan in enumerate(scans):
        np.testing.assert_array_equal(scan.stack.frames, stack(number).frames)
        retaken_at = 1000 + (number - 3) // 4 * 4 + 3
        seed = retaken_at if number >= 3 else 0
        np.testing.assert_array_equal(scan.background.frames, stack(seed).frames)
        assert (scan.stack.timestamp, scan.position) == (number, number % 3)
        assert scan.position_name == SERIES.positions[number % 3]
        assert scan.stage_um == location(number).stage_um
    with resume_tomograms(tomograms) as writer:
        made = len(writer)
        assert made >= finished - 1
        writer.append(tomogram(made), {"tv": tomogram(-made)})
    series = read_tomograms(tomograms)
    assert series.scans.tolist() == series.indices["tv"].tolist() == list(range(made + 1))
    for number, raw in enumerate(series):
        assert torch.equal(raw.index, tomogram(number).index)
        regularized = series.regularized("tv", number)
        assert regularized is not None
        assert torch.equal(regularized.index, tomogram(-number).index)
    with h5py.File(recording, "r+"), h5py.File(tomograms, "r+"):
        pass  # other programs may open them again


def test_each_scan_is_given_the_background_that_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with RecordingWriter(path, stack(0), series=SERIES) as writer:
        writer.append(stack(1))
        recording = read_recording(path)
        writer.append_background(replace(stack(10, timestamp=5.0), lost=(2,)))
        writer.append(stack(2), ScanLocation(2))
        writer.append(stack(3))
        writer.append_background(stack(20))
        writer.append(stack(4))
        scans = list(recording.scans())  # followed while it grew
    seeds = [0, 10, 10, 20]
    for scan, seed in zip(scans, seeds, strict=True):
        np.testing.assert_array_equal(scan.background.frames, stack(seed).frames)
    assert [scan.background_number for scan in scans] == [0, 1, 1, 2]
    assert scans[1].background is scans[2].background  # planned once
    assert (scans[1].background.lost, scans[1].background.timestamp) == ((2,), 5.0)
    assert scans[1].stack.provenance["background"] == "1"
    assert scans[1].stack.provenance["position"] == "Größe"
    assert np.isnan(scans[0].stage_um).all()
    np.testing.assert_array_equal(recording.background.frames, stack(0).frames)


def test_a_reader_that_knows_the_old_layout_only_still_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with RecordingWriter(path, stack(0), series=SERIES) as writer:
        writer.append(stack(1, timestamp=3.0))
    with h5py.File(path) as file:
        assert file.attrs["version"] == 1
        np.testing.assert_array_equal(file["background/interferograms"], stack(0).frames)
        np.testing.assert_array_equal(file["sample/interferograms"][0], stack(1).frames)
        assert file["sample/timestamps"][()].tolist() == [3.0]


def test_a_row_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    with RecordingWriter(path, stack(0), series=SERIES) as writer:
        writer.append(stack(1, timestamp=1.0))
        writer.append_background(stack(5))
        writer.append(stack(2, timestamp=2.0))
    with h5py.File(path, "r+") as file:  # as a crash before the timestamps were written leaves it
        file["sample/timestamps"].resize(1, axis=0)
        file["background/retaken_at"].resize(0, axis=0)
    with resume_recording(path) as resumed:
        assert len(resumed) == 1
        resumed.append(stack(3, timestamp=3.0))
    scans = list(read_recording(path).scans())
    assert [scan.stack.timestamp for scan in scans] == [1.0, 3.0]
    assert [scan.background_number for scan in scans] == [0, 0]
    np.testing.assert_array_equal(scans[1].stack.frames, stack(3).frames)


def test_what_cannot_be_resumed_is_left_as_it_is(tmp_path: Path) -> None:
    plain = recorded(tmp_path / "plain.h5")
    before = plain.read_bytes()
    with pytest.raises(DataError, match=r"plain\.h5 must be the recording of a time-lapse"):
        resume_recording(plain)
    assert len(read_recording(plain)) == 1
    with pytest.raises(DataError, match=r"found 'livetomo\.recording'"):
        resume_tomograms(plain)
    (tmp_path / "note.h5").write_text("not HDF5")
    for name in ("note.h5", "absent.h5"):
        with pytest.raises(DataError, match=re.escape(name)):
            resume_recording(tmp_path / name)
    damaged = bytearray(before)
    damaged[30] ^= 1
    (tmp_path / "damaged.h5").write_bytes(damaged)
    with pytest.raises(DataError, match="checksum"):
        repair_superblock(tmp_path / "damaged.h5")
    assert (tmp_path / "damaged.h5").read_bytes() == damaged


@pytest.mark.parametrize(
    ("text", "expected"),  # the examples in the author's lookup3.c, and HDF5's own superblocks
    [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)],
)
def test_lookup3(text: bytes, expected: int) -> None:
    assert lookup3(text) == expected


def test_lookup3_gives_what_hdf5_writes(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"{number}.h5"
        with RecordingWriter(path, stack(0), {"note": "x" * 100 * number}):
            pass
        block = path.read_bytes()[:48]
        assert lookup3(block[:44]) == struct.unpack("<I", block[44:])[0]


HOLD = """
import sys, time
from pathlib import Path
from files.reopening import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_programs_never_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    command = [sys.executable, "-c", HOLD, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="written by another program"), sole_writer(path):
            pass
        holder.send_signal(KILL)  # its lock goes with it
    with sole_writer(path):
        assert [file.name for file in tmp_path.iterdir()] == ["scan.h5.lock"]
    assert list(tmp_path.iterdir()) == []
