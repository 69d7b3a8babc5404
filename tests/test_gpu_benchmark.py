"""The benchmark of a GPU: all of it runs, a failure or a hang costs one task, nothing else."""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from acquisition.illumination.angles import Preset, preset
from benchmarks.accuracy_cases import Sphere
from benchmarks.gpu import measure
from benchmarks.gpu_clock import Limits, Work
from benchmarks.gpu_report import Report, Result, Step, Task, run_steps
from benchmarks.gpu_scans import PAPER, Bench, Sizes
from benchmarks.gpu_speeds import speed_tasks
from benchmarks.gpu_watch import run_watched
from regularizer.networks.trained import NETWORKS
from tests.pretend_gpu import PretendGpu

TINY = Sizes(
    checked=40,
    frames=((48, 48),),
    volumes=((24, 24, 24),),
    patch=24,
    iterations=((2, 2),),
    batch=1,
    copied_mb=1,
    edge=16,
    turns=1,
)

BARE = "pymmcore pymmcore_plus useq PySide6 pyqtgraph zmq pydantic rich openvino psutil".split()


class PretendedEvent:
    """A CUDA event of the pretended GPU."""

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at_s = time.perf_counter()

    def synchronize(self) -> None:
        assert self.at_s

    def elapsed_time(self, end: "PretendedEvent") -> float:
        return 1e3 * (end.at_s - self.at_s)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGpu]:
    answers: dict[str, object] = {
        "is_available": True,
        "is_bf16_supported": True,
        "mem_get_info": (2**33, 2**34),
        "get_device_name": "Pretended",
        "get_device_properties": SimpleNamespace(total_memory=80e9),
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "memory_allocated": 10**6,
        "max_memory_allocated": 3 * 10**6,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(torch.cuda, "Event", PretendedEvent)
    monkeypatch.setattr("regularizer.networks.engines.is_installed", lambda: False)
    threads = torch.get_num_threads()
    with PretendGpu() as pretended:
        yield pretended
    torch.set_num_threads(threads)


def few_angles(name: str) -> Preset:
    """Return a preset with every sixth of its angles."""
    chosen = preset(name)
    return replace(chosen, angles=replace(chosen.angles, k=chosen.angles.k[::6]))


def test_everything_runs_on_the_pretended_gpu(
    gpu: PretendGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task runs once, with a bare server's packages only, and finds correct results."""
    for name in BARE:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("clock", "profiles"):
        monkeypatch.setattr(f"benchmarks.gpu_{name}._UNCOUNTED", 0)
    monkeypatch.setattr("benchmarks.gpu_profiles._TURNS", 1)
    for where in ("gpu_scans", "accuracy_cases"):
        monkeypatch.setattr(f"benchmarks.{where}.preset", few_angles)
    for where in ("gpu_scans", "gpu_checks"):  # weak enough for a small frame: no torn phases
        monkeypatch.setattr(f"benchmarks.{where}.SPHERE", Sphere(0.8, 0.02))
    # the others are these with other parameters
    for where, names in (("checks", ("light-unet", "scnas")), ("speeds", ("light-unet",))):
        networks = {name: NETWORKS[name] for name in names}
        monkeypatch.setattr(f"benchmarks.gpu_{where}.NETWORKS", networks)
    monkeypatch.setattr("benchmarks.gpu_checks._CLASSICAL", ("tv-fast",))
    monkeypatch.setattr("benchmarks.gpu_checks.shipped_networks", lambda: ("light-unet",))
    monkeypatch.setattr("benchmarks.gpu_speeds._LIVE", ("deep",))
    monkeypatch.setattr("benchmarks.gpu_profiles._TRAINED", ("light-unet",))
    monkeypatch.setattr("benchmarks.gpu_profiles._METHOD", "none")
    path = tmp_path / "gpu.json"
    report = measure(torch.device("cuda"), path, 60.0, TINY)
    tasks = [task for step in report.kept["steps"].values() for task in step["tasks"].values()]
    assert [task for task in tasks if task["state"] != "done"] == []
    rows = {row["what"]: row for task in tasks for row in task["rows"] if "ms" in row}
    assert sorted(rows) == [
        "`deep`, iterations and network",
        "`light-unet`, patches",
        "`light-unet`, training step",
        "`light-unet`, whole",
        "a step's TV in `multislice`",
        "correction, its light",
        "correction, its spectrum",
        "correction, light and spectrum",
        "light and gradient",
        "live path, `deep`",
        "raw tomogram",
        "split Bregman 2 x 2",
    ]
    for row in rows.values():
        assert row["ms"] > 0 and row["floor, ms"] > 0
        assert row["peak, MB"] == 2
    text = path.with_suffix(".md").read_text("utf-8")
    assert "not complete" not in text
    for said in ("- device: Pretended", "| `scnas`, bfloat16 |", "| live path, `deep` |", "aten::"):
        assert said in text


def test_the_paper_s_sizes_are_all_there() -> None:
    """Tasks with a target, or a time in the paper, are measured first."""
    names = [task.name for task in speed_tasks(Bench(torch.device("cpu"), PAPER))]
    for name in NETWORKS:
        for width in (64, 128, 192, 256, 320):
            assert f"{name}, 64 x {width} x {width}" in names
    for frame in ("512 x 512", "1024 x 1280"):
        assert f"raw tomogram 49 x {frame}" in names
        assert f"live path, deep, 49 x {frame}" in names
    for how in ("5 x 100", "2 x 20"):
        for size in ("64 x 64 x 64", "64 x 320 x 320"):
            assert names.index(f"split Bregman {how}, {size}") < 8
    assert len(set(names)) == len(names)


def test_a_floor_is_the_slower_of_memory_and_arithmetic() -> None:
    limits = Limits(copied=100.0, half=1000.0, single=10.0, uploaded=5.0, downloaded=2.0)
    assert limits.floor_s(Work(bytes=200.0, operations=1000.0)) == 2
    assert limits.floor_s(Work(bytes=200.0, operations=4000.0)) == 4
    both = Work(bytes=50.0, uploaded=5.0) + Work(downloaded=4.0)
    assert limits.floor_s(both.times(2)) == pytest.approx(1 + 2 + 4)


def _step(*tasks: Task, share: float = 1.0, title: str = "step") -> Step:
    return Step(title, "", share, list(tasks))


def test_a_failure_is_reported_and_the_next_task_is_taken(tmp_path: Path) -> None:
    def fail(limit_s: float) -> Result:
        warnings.warn("the fan is loud", stacklevel=1)
        raise ValueError("no such kernel")

    path = tmp_path / "gpu.json"
    seen = []

    def look(limit_s: float) -> Result:
        seen.append(path.with_suffix(".md").read_text("utf-8"))  # written before this one ended
        return Result([{"what": "a", "ok": False}])

    report = Report(path, {"device": "none"}, 1.0)
    run_steps([_step(Task("first", fail), Task("second", look))], report, lambda: None)
    for text in (*seen, path.with_suffix(".md").read_text("utf-8")):
        assert "ValueError: no such kernel" in text
        assert "first warned: the fan is loud" in text
    assert "not complete: step, second" in seen[0]
    assert (report.count("failed"), report.count("wrong")) == (1, 1)


def test_each_step_has_its_own_time_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes too long loses its own tasks; unused time goes to the others."""
    now = [1000.0]
    monkeypatch.setattr("benchmarks.gpu_report.time.time", lambda: now[0])
    given = []

    def lasting(seconds: float) -> Callable[[float], Result]:
        def run(limit_s: float) -> Result:
            given.append(limit_s)
            now[0] += seconds
            return Result()

        return run

    report = Report(tmp_path / "gpu.json", {}, 1.0)
    steps = [
        _step(Task("a", lasting(25)), Task("b", lasting(1)), title="long"),
        _step(Task("a", lasting(1)), Task("b", lasting(1)), title="short"),
        _step(Task("a", lasting(1)), title="last"),
    ]
    run_steps(steps, report, lambda: None)
    assert given == pytest.approx([10, 17.5 / 2, 16.5, 33])
    assert report.tasks(steps[0])["b"]["state"] == "skipped"
    assert report.count("done") == 4


WORKER = """
import os, sys, threading
from pathlib import Path
from benchmarks.gpu_report import Report, Result, Step, Task, run_steps

def hang(limit_s):
    threading.Event().wait()

def die(limit_s):
    os._exit(7)

def note(limit_s):
    return Result([{"what": "reached"}])

path = Path(sys.argv[1])
steps = [
    Step("first", "", 600, [Task("die", die), Task("note", note)]),
    Step("second", "", 1, [Task("hang", hang), Task("skipped", note)]),  # a second of ten minutes
    Step("third", "", 600, [Task("note", note)]),
]
run_steps(steps, Report(path, {}, 10.0), lambda: None)
"""


def test_a_crash_and_a_hang_cost_one_task_each(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    report = run_watched([sys.executable, "-c", WORKER, str(path)], path, 0.1)
    assert report is not None and report.kept["ended"]
    found = {f"{s}, {n}": t for s, k in report.kept["steps"].items() for n, t in k["tasks"].items()}
    assert "its process ended with 7" in found["first, die"]["traceback"]
    assert "ended from outside" in found["second, hang"]["traceback"]
    assert [found[f"{s}, note"]["state"] for s in ("first", "third")] == ["done", "done"]
    assert json.loads(path.read_text("utf-8")) == report.kept


def test_a_command_that_never_begins_is_not_begun_again(tmp_path: Path) -> None:
    assert (
        run_watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "gpu.json", 1.0)
        is None
    )
