"""Profiles of the live path and of training steps, as torch.profiler's tables."""

from collections.abc import Callable

from torch.profiler import profile, supported_activities

from benchmarks.gpu_report import Result, Task
from benchmarks.gpu_scans import Bench, size_text
from benchmarks.gpu_speeds import live_path, training_step

__all__ = ["profile_tasks"]

_METHOD = "deep"
_TRAINED = ("full-unet", "scnas")  # a light and a heavy one
_UNCOUNTED = 2
_TURNS = 3
_ROWS, _NAME = 25, 60


def profile_tasks(bench: Bench) -> list[Task]:
    """Return the profiling tasks; the live path's first."""
    frame = bench.sizes.frames[0]
    tasks = [
        _task(
            bench,
            f"live path, deep, 49 x {size_text(frame)}",
            lambda: live_path(bench, frame, "deep"),
        )
    ]
    for name in _TRAINED:
        make = lambda name=name: training_step(name, bench)  # noqa: E731
        tasks.append(_task(bench, f"training step, {name}", make))
    return tasks


def _task(bench: Bench, name: str, make: Callable[[], Callable[[], object]]) -> Task:
    return Task(name, lambda _: Result(text=_table(make(), bench)))


def _table(work: Callable[[], object], bench: Bench) -> str:
    """Return the profile of some warm runs, sorted by the device's time."""
    turns = min(_TURNS, bench.sizes.turns)
    for _ in range(min(_UNCOUNTED, turns)):
        work()
    activities = supported_activities()  # type: ignore[no-untyped-call]  # torch's gap
    with profile(activities=activities) as taken:
        for _ in range(turns):
            work()
    sort_by = f"self_{'device' if bench.device.type == 'cuda' else 'cpu'}_time_total"
    averages = taken.key_averages()
    table = averages.table(sort_by=sort_by, row_limit=_ROWS, max_name_column_width=_NAME)
    return f"{turns} turns\n{table}"
