"""Many files at once: names, skipping, resuming; parts that make the same file; dead workers."""

import json
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from distributed import Client

from acquisition.errors import ConfigurationError, DataError, Stopped
from acquisition.interferograms import InterferogramStack
from commands.command_line import parse
from files import hdf5
from files.batch_files import batch_files, is_batch
from files.joining import TomogramJoiner
from files.kinds import kind_of, may_be
from files.recording import RecordingWriter
from files.series import ScanLocation, SeriesDescription
from files.tomograms import read_tomograms, resume_tomograms
from pipeline.tomograms.batch import run_batch
from pipeline.tomograms.cluster import connected, local_workers
from pipeline.tomograms.cluster_batch import run_on_cluster
from pipeline.tomograms.cluster_calls import call_on_cluster
from pipeline.tomograms.file_work import RecordingWork, Row
from pipeline.tomograms.recipe import Recipe
from reconstruction import memory
from reconstruction.settings import ReconstructionSettings
from regularizer.quality_report import QualityReport
from tests.batch_work import CopyWork, Counted
from tests.scans import CELL, interferograms
from tests.tomogram_files import noise, write

SCANS = 6
QUICK = (("slices", 8),)


def assert_same(one: Path, other: Path) -> None:
    """Check that two HDF5 files hold the same objects, attributes and bits."""
    with h5py.File(one) as a, h5py.File(other) as b:
        names: list[str] = []
        a.visit(names.append)
        there: list[str] = []
        b.visit(there.append)
        assert names == there
        for name in ["/", *names]:
            assert {k: str(v) for k, v in a[name].attrs.items()} == {
                k: str(v) for k, v in b[name].attrs.items()
            }
            if isinstance(a[name], h5py.Dataset):
                assert (a[name].shape, a[name].dtype, a[name].chunks, a[name].maxshape) == (
                    b[name].shape, b[name].dtype, b[name].chunks, b[name].maxshape
                )  # fmt: skip
                if a[name].dtype.kind == "O":
                    assert a[name][()].tolist() == b[name][()].tolist()
                else:
                    assert a[name][()].tobytes() == b[name][()].tobytes(), name


# ---- Names ---------------------------------------------------------------------------------------


def touched(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def named(root: Path, *inputs: str, results: str = "results") -> dict[str, str]:
    found = batch_files(
        [root / one for one in inputs], root / results, "_made.h5", lambda p: p.suffix == ".h5"
    )
    base = root.resolve()
    return {
        one.source.relative_to(base).as_posix(): one.output.relative_to(base).as_posix()
        for one in found
    }


def test_files_folders_and_patterns_become_files_and_results(tmp_path: Path) -> None:
    touched(tmp_path, "a.h5", "days/1/b.h5", "days/2/b.h5", "days/2/notes.txt", "results/a_made.h5")
    assert named(tmp_path, "a.h5", "days/2") == {
        "a.h5": "results/a_made.h5",
        "days/2/b.h5": "results/b_made.h5",
    }
    both = {"days/1/b.h5": "results/1/b_made.h5", "days/2/b.h5": "results/2/b_made.h5"}
    assert named(tmp_path, "days/*/b.h5") == both
    assert named(tmp_path, "**/b.h5") == {
        name: f"results/days/{name.split('/')[1]}/b_made.h5" for name in both
    }
    assert named(tmp_path, "a.h5", "*.h5") == {"a.h5": "results/a_made.h5"}  # each once


@pytest.mark.parametrize(
    ("inputs", "results", "said"),
    [
        (["absent.h5"], "results", "absent.h5 must exist"),
        (["days/*.h5"], "results", "must match at least one file"),
        (["days"], "results", "at least one file to work on"),
        (["days/1/b.h5", "days/2/b.h5"], "results", "would both become"),
        (["days/1"], "days/1", "must not lie among the files"),
        (["days/1/*.h5"], "days/1", "must not lie among the files"),
        (["days/1"], "a.h5", "go into a folder"),
    ],
)
def test_names_that_cannot_be_are_refused(
    tmp_path: Path, inputs: list[str], results: str, said: str
) -> None:
    touched(tmp_path, "a.h5", "days/1/b.h5", "days/2/b.h5")
    with pytest.raises((DataError, ConfigurationError), match=said):
        named(tmp_path, *inputs, results=results)


def test_one_file_with_one_result_is_no_batch(tmp_path: Path) -> None:
    touched(tmp_path, "a.h5", "b[1].h5", "volumes.zarr/0")
    for one in ("a.h5", "b[1].h5", "volumes.zarr"):
        assert not is_batch([tmp_path / one], tmp_path / "out.h5")
    for one in ("*.h5", "."):
        assert is_batch([tmp_path / one], tmp_path / "out.h5")
    assert is_batch([tmp_path / "a.h5"], tmp_path)


# ---- Parts make the same file --------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Record a phase disk that comes and goes, at two positions, with a retaken background.

    "denser" and "lighter" do not have their wave vectors: for one of them the sideband that is
    taken first turns out to be the conjugate one when the disk comes.
    """
    folder = tmp_path_factory.mktemp("recordings")
    k = CELL.angles.k[::8]
    y, x = np.mgrid[-48:48, -48:48]
    disk = 0.4j * np.sqrt(np.clip(1 - (x**2 + y**2) / 15**2, 0, None))
    empty = interferograms(CELL.optics, k, frame=(96, 96))

    def seen(sign: int) -> InterferogramStack:
        fields = np.stack([np.exp(sign * disk)] * len(k))
        return interferograms(CELL.optics, k, fields, frame=(96, 96))

    paths: dict[str, Path] = {}
    for name, sign in (("denser", 1), ("lighter", -1)):
        there, nothing = (replace(s, illumination_k=None) for s in (seen(sign), empty))
        paths[name] = folder / f"{name}.h5"
        series = SeriesDescription("{}", "{}", ("", "treated"))
        with RecordingWriter(paths[name], nothing, series=series) as writer:
            for number in range(SCANS):
                if number == SCANS - 2:
                    writer.append_background(nothing)
                stack = there if number in (1, 3, SCANS - 2) else nothing
                place = ScanLocation(number % 2, (1.0, 2.0, float(number)))
                writer.append(replace(stack, timestamp=10.0 + number), place)
    return paths


@pytest.mark.parametrize("name", ["denser", "lighter"])
def test_parts_make_the_file_that_one_process_makes(
    recordings: dict[str, Path], name: str, tmp_path: Path
) -> None:
    recipe = Recipe("none")
    whole = RecordingWork(recordings[name], tmp_path / "whole.h5", recipe, QUICK)
    (result,) = run_batch([whole], Counted())
    assert (result.state, result.error, len(result.rows)) == ("made", "", SCANS)
    joined = replace(whole, output=tmp_path / "joined.h5")
    rows: list[Row] = []
    # a worker's second part does not follow its first: what it remembers must not matter
    ranges: tuple[tuple[int, ...], ...] = ((0,), (2, 3), (5,), (4,), (1,))
    for numbers in ranges:
        rows += joined.make_part(numbers, tmp_path / f"{numbers[0]}.part")
    for first in (0, 1, 2, 4):
        with TomogramJoiner(joined.output) as joiner:  # opened again: it goes on
            joiner.append(tmp_path / f"{first}.part")
    with TomogramJoiner(joined.output) as joiner:
        assert joiner.append(tmp_path / "5.part") == 1
    assert_same(whole.output, joined.output)
    assert joined.left() == [] and sorted(row.time for row in rows) == list(range(SCANS))
    assert read_tomograms(joined.output).scans.tolist() == list(range(SCANS))


def test_a_file_waits_until_no_one_holds_an_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hdf5.create_file(tmp_path / "held.h5", "livetomo.tomogram", {}) as file:
        held = [h5py.h5a.open(file.id, b"version")]
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with pytest.raises(RuntimeError, match="attributes opened"):
            hdf5.start_swmr(file)
        monkeypatch.setattr(time, "sleep", lambda _: held.clear())  # the profiler lets go
        hdf5.start_swmr(file)
        assert file.swmr_mode


# ---- Skipping and resuming -----------------------------------------------------------------------


def test_a_batch_that_was_interrupted_goes_on_and_skips_what_is_done(
    recordings: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(name: str, folder: str) -> RecordingWork:
        (tmp_path / folder).mkdir(exist_ok=True)
        output = tmp_path / folder / f"{name}_tomograms.h5"
        settings = replace(Recipe("none"), settings=ReconstructionSettings(), device="cpu")
        return RecordingWork(recordings[name], output, settings, QUICK)

    stop = threading.Event()

    class Interrupted(Counted):
        def advance_to(self, done: float) -> None:
            super().advance_to(done)
            if done == SCANS + 2:
                stop.set()
                raise Stopped("interrupted")

    both = [work("denser", "cut"), work("lighter", "cut")]
    with pytest.raises(Stopped):
        list(run_batch(both, Interrupted(), stop))
    assert len(read_tomograms(both[1].output)) == 2
    broken = tmp_path / "broken.h5"
    broken.write_text("no recording")
    words = ["reconstruct", *map(str, (broken, recordings["denser"], recordings["lighter"]))]
    words += ["-o", str(tmp_path / "cut"), "--regularizer", "none", "--slices", "8", "--json"]
    options = parse([*words, "--device", "cpu"])
    assert options.run(options) == 1  # one is broken
    said = json.loads(capsys.readouterr().out)["files"]
    assert [(one["state"], one["held"], len(one["rows"])) for one in said] == [
        ("failed", 0, 0), ("done", SCANS, 0), ("made", 2, SCANS - 2),
    ]  # fmt: skip
    assert "cannot be read as HDF5" in said[0]["error"]
    whole = work("lighter", "whole")
    list(run_batch([whole], Counted()))
    assert_same(both[1].output, whole.output)
    assert kind_of(whole.output) == "tomograms"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory"), OSError()])
def test_an_error_of_any_kind_is_one_of_its_file(error: Exception, tmp_path: Path) -> None:
    class Failing(CopyWork):
        def all(self) -> Sequence[int]:
            raise error

    work = Failing(tmp_path / "a.h5", tmp_path / "b.h5", 1, tmp_path / "victim")
    results = list(run_batch([work, work], Counted()))  # type: ignore[list-item]  # no real rows
    assert [one.state for one in results] == ["failed", "failed"]
    assert all(one.error in (str(error), type(error).__name__) for one in results)


def test_a_damaged_recording_of_a_folder_is_taken_to_be_reported(
    recordings: dict[str, Path], tmp_path: Path
) -> None:
    tomograms = write(tmp_path / "tomograms.h5", [0])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["anything"] = 1
    touched(tmp_path, "notes.txt", "torn.h5")
    torn = tmp_path / "torn-too"  # without an ending
    torn.write_bytes(recordings["denser"].read_bytes()[:3000])
    found = {path.name for path in tmp_path.iterdir() if may_be(path, "recording")}
    assert found == {"torn.h5", "torn-too"}
    assert may_be(recordings["denser"], "recording") and may_be(tomograms, "tomograms")
    for path in (tmp_path / "torn.h5", torn):
        with pytest.raises(DataError, match=f"{path.name} cannot be read"):
            RecordingWork(path, tmp_path / "a.h5", Recipe("none")).all()


# ---- What a run needs ----------------------------------------------------------------------------


def test_a_run_says_what_it_needs_and_is_refused_where_that_is_not_there(
    recordings: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "a_tomograms.h5"
    work = RecordingWork(recordings["denser"], output, Recipe("gp", check_every=2), QUICK)
    needs = work.needs()
    assert needs is not None and needs.count == SCANS
    raw = replace(work, recipe=Recipe("none"))
    (made,) = run_batch([raw], Counted())
    assert made.state == "made" and raw.needs() is None
    with h5py.File(output) as file:
        volumes = file["tomograms/raw"]
        assert needs.disk_bytes == 3 * volumes.size * volumes.dtype.itemsize  # raw, gp, tv
    assert needs.seconds(2) > 0 and needs.memory_bytes > 40 * np.prod(needs.shape)
    assert f"{SCANS} tomograms of {needs.shape[0]} x " in needs.sentence(output)
    free = 2.5 * needs.memory_bytes
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    needs.check(output, workers=2)
    with pytest.raises(ConfigurationError, match="use 2 workers"):
        needs.check(output, workers=3)
    usage = shutil.disk_usage(tmp_path)._replace(free=needs.disk_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=f"a run of {SCANS} tomograms needs"):
        needs.check(output)


# ---- Workers -------------------------------------------------------------------------------------


def test_workers_that_cannot_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="at least 1, got 0"), local_workers(0):
        pass
    words = ["reconstruct", "a.h5", "-o", "b.h5", "--workers", "2", "--scheduler", "tcp://x:1"]
    options = parse(words)
    with pytest.raises(ConfigurationError, match="choose one of --workers and --scheduler"):
        options.run(options)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match="there are 1 for 2 workers"), local_workers(2):
        pass
    with (
        pytest.raises(ConfigurationError, match="must be reachable"),
        connected("tcp://127.0.0.1:9", patience_s=0.2),
    ):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match="pip install"), connected("tcp://127.0.0.1:9"):
        pass


def address(client: Client) -> str:
    return str(client.scheduler_info(n_workers=-1)["address"])


def test_a_killed_worker_costs_a_range_and_a_broken_file_costs_itself(tmp_path: Path) -> None:
    count, victim = 12, tmp_path / "victim"
    gp = {n: n + 50 for n in range(count)}
    source = write(tmp_path / "source.h5", range(count), {"gp": gp, "tv": {}})
    with resume_tomograms(source) as writer:
        for number in (1, 6):
            report = QualityReport("gp", 0.9, (0.9,) * 3, 1e-3, 0.99, 0.1, 0.2, 0.1, number / 100)
            writer.append_quality(number, report, noise(number + 100, number))
    works = [
        CopyWork(source, tmp_path / "a.h5", count, victim, fatal=1),
        CopyWork(tmp_path / "broken.txt", tmp_path / "b.h5", count, victim),
        CopyWork(source, tmp_path / "c.h5", count, victim),
    ]
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not victim.exists():
            if over.wait(0.02):
                return
        killed.append(int(victim.read_text()))
        psutil.Process(killed[0]).kill()

    progress = Counted()
    killer = threading.Thread(target=kill)
    # the scheduler is given by its address, as one that runs elsewhere
    with local_workers(2, "cpu") as local, connected(address(local)) as client:
        assert len(client.scheduler_info()["workers"]) == 2
        killer.start()
        try:
            results = list(run_on_cluster(works, client, progress))  # type: ignore[arg-type]
            numbers: list[int] = []
            call_on_cluster(divmod, [(n, 7) for n in range(20)], client, "calls", numbers.extend)
            with pytest.raises(ZeroDivisionError):
                call_on_cluster(divmod, [(1, 0)], client, "calls", numbers.extend)
        finally:
            over.set()
            killer.join()
    assert sorted(numbers) == sorted(n for one in range(20) for n in divmod(one, 7))
    assert len(killed) == 1
    assert [one.state for one in results] == ["made", "failed", "made"]
    assert "broken.txt is broken" in results[1].error
    for one in (results[0], results[2]):
        assert [row.time for row in one.rows] == list(range(count))
        assert killed[0] not in {row.pid for row in one.rows[:1]}  # type: ignore[union-attr]
        assert_same(source, one.output)
        assert (tmp_path / f"{one.output.name}.finished").exists()
    assert (progress.done, progress.total) == (2 * count, 2 * count)
    left = {path.name for path in tmp_path.iterdir()}
    assert not any(".parts" in name or ".lock" in name for name in left)
