"""``record`` as a user runs it: signals, crashes, full disks, tomograms while recording."""

import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from acquisition.errors import ConfigurationError, DataError
from commands.reconstruct import run_reconstruct
from commands.record_session import TomogramRequest, background_plan, run_record, tomogram_request
from files.recording import read_recording
from files.reopening import sole_writer
from files.tomograms import read_tomograms
from pipeline.timelapse.plan import BackgroundPlan
from pipeline.tomograms.follower import FollowerSettings, _follow
from pipeline.tomograms.follower_process import FollowerProcess
from tests.microscopes import SMALL

pytestmark = pytest.mark.usefixtures("logs")

ROOT = Path(__file__).parents[1]
FAST = SMALL + "[simulation]\nphantom = 'bead'\n"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def microscope(tmp_path: Path) -> Path:
    path = tmp_path / "microscope.toml"
    path.write_text(FAST)
    return path


@contextlib.contextmanager
def launched(*argv: object) -> Iterator["subprocess.Popen[str]"]:
    """Start ``launcher.py record`` in its own process group, and kill it at the end."""
    command = [sys.executable, str(ROOT / "launcher.py"), "record", *map(str, argv)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def finished(*argv: object) -> tuple[int, dict[str, Any]]:
    """Run ``launcher.py record --json`` to its end; return the status and the figures."""
    with launched(*argv, "--json") as process:
        output, errors = process.communicate()
    assert output, errors
    return process.returncode, json.loads(output)


def scans_in(path: Path) -> int:
    try:
        return len(read_recording(path))
    except DataError:  # there is none yet
        return 0


def tomograms_in(path: Path) -> int:
    try:
        return len(read_tomograms(path))
    except DataError:
        return 0


def is_closed(path: Path) -> bool:
    """Return whether no program writes the file."""
    try:
        with h5py.File(path):
            return True
    except OSError:
        return False


def is_left_alone(follower: int) -> bool:
    """Return whether the parent has closed the follower's input (Linux)."""
    said = os.open(f"/proc/{follower}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        poll = select.poll()
        poll.register(said, select.POLLHUP)
        return any(event & select.POLLHUP for _, event in poll.poll(0))
    finally:
        os.close(said)


def followers(group: int) -> list[int]:
    """Return the processes of a group that make tomograms (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            number = int(path.parent.name)
            if b"pipeline.tomograms.follower" in path.read_bytes() and os.getpgid(number) == group:
                found.append(number)
    return found


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait, as long as the process runs; the time limit of the test ends a hang."""
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            pytest.fail(f"it ended with {process.returncode}: {''.join(process.communicate())}")
        time.sleep(0.1)  # a look opens the files


def assert_same_tomograms(one: Path, other: Path, method: str) -> None:
    """Both files hold the same scans, bit by bit."""
    a, b = read_tomograms(one), read_tomograms(other)
    assert a.scans.tolist() == b.scans.tolist()
    assert a.voxel_size_um == b.voxel_size_um
    np.testing.assert_array_equal(a.timestamps, b.timestamps)
    assert a.positions.scan_labels == b.positions.scan_labels
    np.testing.assert_array_equal(a.positions.stage_um, b.positions.stage_um)
    for number in range(len(a)):
        assert torch.equal(a.raw(number).index, b.raw(number).index)
        left, right = a.regularized(method, number), b.regularized(method, number)
        assert left is not None and right is not None
        assert torch.equal(left.index, right.index)
        assert not torch.equal(left.index, a.raw(number).index)


SEQUENCE = """
time_plan: {interval: 0.3, loops: 3}
stage_positions:
  - {x: 0, y: 0, name: bead}
  - [0.6, 0.3]
metadata: {livetomo: {background_every_scans: 4}}
"""


@dataclass(frozen=True)
class Resumed:
    """A recording that was killed and resumed, and the results of the second run."""

    recording: Path
    tomograms: Path
    killed_after: int
    figures: dict[str, Any]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record, kill the process midway, and return the folder; its follower keeps running."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "microscope.toml").write_text(FAST)
    (folder / "sequence.yaml").write_text(SEQUENCE)
    plan = ("--microscope", folder / "microscope.toml", "--sequence", folder / "sequence.yaml")
    with launched(*plan, *files_in(folder)) as process:
        wait_for(lambda: scans_in(folder / "scan.h5") >= 2, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return folder


def files_in(folder: Path) -> tuple[object, ...]:
    names = ("-o", folder / "scan.h5", "--tomograms", folder / "tomograms.h5")
    return (*names, "--regularizer", "gp")


@pytest.fixture(scope="module")
def resumed(killed: Path) -> Resumed:
    """Resume the killed recording."""
    recording, tomograms = killed / "scan.h5", killed / "tomograms.h5"
    killed_after = scans_in(recording)
    status, figures = finished("--resume", *files_in(killed))
    assert status == 0
    return Resumed(recording, tomograms, killed_after, figures)


@posix
def test_a_recording_that_is_killed_keeps_its_scans(killed: Path) -> None:
    assert 2 <= scans_in(killed / "scan.h5") < 6


@posix
def test_killed_in_the_middle_it_goes_on(resumed: Resumed) -> None:
    figures, killed_after = resumed.figures, resumed.killed_after
    assert (figures["stacks"], figures["recorded_now"]) == (6, 6 - killed_after)
    assert figures["tomograms"]["made"] == 6
    scans = list(read_recording(resumed.recording).scans())
    assert [(scan.position, scan.position_name) for scan in scans] == [(0, "bead"), (1, "")] * 3
    assert [scan.stage_um for scan in scans] == [(0, 0, 0), (0.6, 0.3, 0)] * 3
    before, after = scans[killed_after - 1], scans[killed_after]
    assert after.background_number > before.background_number
    times = [scan.stack.timestamp for scan in scans]
    assert times == sorted(times)
    with h5py.File(resumed.recording) as file:
        assert file.attrs["format"] == "livetomo.recording"  # without swmr: it was closed
    assert sorted(file.name for file in resumed.recording.parent.glob("*.lock")) == []


@posix
def test_tomograms_on_the_fly_are_what_reconstruct_makes(
    resumed: Resumed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.h5"
    assert run_reconstruct(resumed.recording, again, "gp", "cpu") == 0
    assert_same_tomograms(resumed.tomograms, again, "gp")
    where = read_tomograms(resumed.tomograms).positions
    assert where.scan_labels == ("bead", "position 2") * 3
    np.testing.assert_array_equal(where.stage_um, [(0, 0, 0), (0.6, 0.3, 0)] * 3)
    assert read_tomograms(again).shape[1] == 32  # slices, as the microscope's file says
    assert "6 of 6 tomograms" in capsys.readouterr().out


@linux
def test_ctrl_c_ends_after_the_scan_that_runs_and_a_second_one_leaves_tomograms_for_later(
    microscope: Path, tmp_path: Path
) -> None:
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    files = ("-o", recording, "--tomograms", tomograms, "--regularizer", "gp")
    plan = ("--microscope", microscope, "--stacks", 500, "--interval", 0.4)
    with launched(*plan, *files, "--json") as process:
        wait_for(lambda: tomograms_in(tomograms) >= 1, process)
        (follower,) = followers(process.pid)
        os.kill(follower, signal.SIGSTOP)  # or it may keep up with the scans
        enough = tomograms_in(tomograms) + 3
        wait_for(lambda: scans_in(recording) >= enough, process)
        os.killpg(process.pid, signal.SIGINT)
        wait_for(lambda: is_closed(recording), process)
        os.killpg(process.pid, signal.SIGINT)
        wait_for(lambda: is_left_alone(follower))
        os.kill(follower, signal.SIGCONT)
        output, errors = process.communicate()
    assert process.returncode == 130, errors
    figures = json.loads(output)
    assert enough <= figures["stacks"] == scans_in(recording) < 500
    assert figures["short"] == {}  # the last scan is whole, too
    assert figures["tomograms"]["made"] < figures["stacks"]
    with h5py.File(recording), h5py.File(tomograms) if tomograms.exists() else h5py.File(recording):
        pass  # both were closed


@posix
def test_ctrl_z_pauses_after_the_scan_that_runs(microscope: Path, tmp_path: Path) -> None:
    recording = tmp_path / "scan.h5"
    with launched(
        "--microscope", microscope, "--stacks", 4, "--interval", 0.4, "-o", recording
    ) as process:
        wait_for(lambda: scans_in(recording) >= 2, process)
        os.killpg(process.pid, signal.SIGTSTP)
        stat = Path(f"/proc/{process.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        paused = scans_in(recording)
        time.sleep(1.0)
        assert scans_in(recording) == paused <= 3
        os.killpg(process.pid, signal.SIGCONT)
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.startswith("4 scans in")
    found = read_recording(recording)
    gaps = np.diff(found.timestamps)
    assert gaps[paused - 1] > 1.0
    assert gaps.sum() > 1.7  # 3 intervals of 0.4 s and the pause, if the first was not very late
    assert all(stack.complete for stack in found.stacks())


def test_a_follower_that_dies_is_started_again_and_loses_nothing(
    microscope: Path, tmp_path: Path
) -> None:
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    assert run_record(microscope, 4, 0.0, recording) == 0
    with FollowerProcess(recording, tomograms, "gp", "cpu", 4) as follower:
        wait_for(lambda: follower.state.made >= 1)
        assert follower.pid is not None
        os.kill(follower.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        wait_for(lambda: follower.state.made >= 3)
        follower.finish()
        while not follower.wait(1.0):
            pass
        assert follower.state.error == ""
        assert (follower.state.made, follower.state.running) == (4, False)
    assert run_reconstruct(recording, tmp_path / "again.h5", "gp", "cpu") == 0
    assert_same_tomograms(tomograms, tmp_path / "again.h5", "gp")


def test_a_follower_that_cannot_says_why_and_is_not_tried_for_ever(tmp_path: Path) -> None:
    (tmp_path / "note.h5").write_text("not HDF5")
    with FollowerProcess(tmp_path / "note.h5", tmp_path / "t.h5", "none", "cpu", 1) as follower:
        while not follower.wait(1.0):
            pass
        assert "cannot be read as HDF5" in follower.state.error


def test_tomograms_leave_the_disk_to_the_scans_that_are_still_to_come(
    microscope: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "scan.h5"
    assert run_record(microscope, 2, 0.0, recording) == 0
    parent = FollowerProcess(recording, tmp_path / "t.h5", "none", "cpu", 10**12)  # not started
    settings = FollowerSettings.model_validate_json(parent._argument)  # noqa: SLF001  # of its child
    over = threading.Event()
    over.set()
    needs = r"keeping room for the scans still to be recorded\) needs"
    with pytest.raises(DataError, match=needs):
        _follow(settings, io.StringIO(), over, threading.Event())
    assert not (tmp_path / "t.h5").exists()


def test_scans_and_tomograms_that_do_not_fit_together_are_refused_before(
    microscope: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, made = tmp_path / "scan.h5", TomogramRequest(tmp_path / "tomograms.h5", "tv", "cpu")
    scan, volume = 9 * 96 * 96, 32 * 64 * 64 * 4
    usage = shutil.disk_usage(tmp_path)
    needed = (1000 + 1) * scan + 2 * 1000 * volume  # background, scans, raw and regularized
    for short, match in ((1, "1000 scans with their tomograms needs"), (0, None)):
        free = needed + 256 * 2**20 - short
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        if match is None:
            with sole_writer(output), pytest.raises(DataError, match="written by another program"):
                run_record(microscope, 1000, 0.0, output, tomograms=made)  # it got past the disk
        else:
            with pytest.raises(DataError, match=match):
                run_record(microscope, 1000, 0.0, output, tomograms=made)
    assert not output.exists()


def test_what_the_options_cannot_mean_is_refused(microscope: Path, tmp_path: Path) -> None:
    output = tmp_path / "scan.h5"
    sequence = tmp_path / "sequence.yaml"
    sequence.write_text(SEQUENCE)
    with pytest.raises(ConfigurationError, match="says how many scans and when"):
        run_record(microscope, None, 1.0, output, sequence=sequence)
    with pytest.raises(ConfigurationError, match="resumed with its own plan"):
        run_record(microscope, None, 1.0, output, resume=True)
    with pytest.raises(DataError, match=r"scan\.h5 cannot be read"):
        run_record(microscope, None, 0.0, output, resume=True)
    with pytest.raises(ConfigurationError, match="give --tomograms"):
        tomogram_request(None, "tv", None)
    with pytest.raises(ConfigurationError, match="at least 1 scan"):
        background_plan(0, None)
    assert background_plan(None, 5.0) == BackgroundPlan(background_every_min=5)
    assert background_plan(None, None) is None
    assert tomogram_request(output, None, "cpu") == TomogramRequest(output, "deep", "cpu")
    assert tomogram_request(None, None, "cpu") is None


def test_tomograms_made_in_another_way_are_not_mixed(microscope: Path, tmp_path: Path) -> None:
    recording, tomograms = tmp_path / "scan.h5", tmp_path / "tomograms.h5"
    assert run_record(microscope, 1, 0.0, recording) == 0
    assert run_reconstruct(recording, tomograms, "none", "cpu") == 0
    other = TomogramRequest(tomograms, "tv", "cpu")
    with pytest.raises(DataError, match="regularizer it was made with, none, got tv"):
        run_record(None, None, 0.0, recording, tomograms=other, resume=True)
    assert len(read_tomograms(tomograms)) == 1
