"""Runs tasks in time boxes and writes each result at once, so that no device time is lost.

Steps run in order, each in its own time box, which its tasks share. Before and after each task the
results are written, as Markdown and as JSON beside it. A failed task leaves its traceback there, a
task that does not fit into the box is skipped, and the next one runs. A run that starts with the
file of an earlier one continues after its last task.
"""

import json
import os
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pages import markdown, three_digits

__all__ = ["Report", "Result", "Step", "Task", "run_steps"]

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a task.

    Parameters
    ----------
    rows : sequence of mappings from column to value
        A row whose "ok" is False is a wrong result.
    text : str
        Further results that are not part of the step's table.
    """

    rows: Sequence[Row] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A named task; ``work`` is called with its time limit in seconds."""

    name: str
    work: Callable[[float], Result]


@dataclass(frozen=True, slots=True)
class Step:
    """Tasks that share a time box.

    Parameters
    ----------
    title : str
    note : str
        Explanation of the figures.
    share : float
        Share of the minutes, relative to the sum of all steps' shares.
    tasks : list of Task
    """

    title: str
    note: str
    share: float
    tasks: list[Task]


class Report:
    """The results so far, in ``path`` (JSON) and beside it as Markdown.

    Parameters
    ----------
    path : Path
        If the file exists, the report continues it.
    about : mapping of str
        The heading: machine, sizes, time limit.
    minutes : float
        Time limit, from now or from the start of an earlier run.
    """

    def __init__(self, path: Path, about: Mapping[str, str], minutes: float) -> None:
        self.path = path
        if path.is_file():
            self.kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return
        self.kept = {
            "about": dict(about),
            "begun_s": time.time(),
            "minutes": minutes,
            "steps": {},
            "limits": None,
            "running": None,
            "ended": False,
        }

    @classmethod
    def of(cls, path: Path) -> "Report | None":
        """Return the report in a file; None if there is none yet."""
        return cls(path, {}, 0.0) if path.is_file() else None

    @property
    def end_s(self) -> float:
        """End of the minutes, in seconds since the epoch."""
        return float(self.kept["begun_s"]) + 60 * float(self.kept["minutes"])

    def tasks(self, step: Step) -> dict[str, dict[str, Any]]:
        """Return the results of a step's tasks so far, by name."""
        known = self.kept["steps"].setdefault(step.title, {"note": step.note, "tasks": {}})
        found: dict[str, dict[str, Any]] = known["tasks"]
        return found

    def count(self, *states: str) -> int:
        """Return the number of tasks in one of these states."""
        steps = self.kept["steps"].values()
        return sum(task["state"] in states for step in steps for task in step["tasks"].values())

    def begin(self, step: Step, task: str, until_s: float) -> None:
        """Write which task is running, and when it should end."""
        self.tasks(step)
        self.kept["running"] = {"step": step.title, "task": task, "until_s": until_s}
        self.write()

    def end(self, step: str, task: str, **found: object) -> None:
        """Write the result of a task."""
        self.kept["steps"][step]["tasks"][task] = dict(found)
        self.kept["running"] = None
        self.write()

    def interrupted(self, why: str) -> None:
        """Write that the running task did not end."""
        running = self.kept["running"]
        if running is not None:
            self.end(running["step"], running["task"], state="failed", traceback=why)

    def close(self) -> None:
        """Write that the report is complete."""
        self.kept["ended"] = True
        self.write()

    def write(self) -> None:
        """Write both files, each whole or not at all."""
        _replace(self.path, json.dumps(self.kept, indent=1))
        _replace(self.path.with_suffix(".md"), self.markdown())

    def markdown(self) -> str:
        """Return the whole report."""
        about = [f"- {name}: {value}" for name, value in self.kept["about"].items()]
        if not self.kept["ended"]:
            at = self.kept["running"]
            now = f": {at['step']}, {at['task']}" if at else ""
            about.append(f"- not complete{now}")
        parts = ["# LiveTomo on a GPU", "\n".join(about)]
        for title, step in self.kept["steps"].items():
            parts += [f"## {title}", step["note"], *_step_sections(step["tasks"])]
        return "\n\n".join(part for part in parts if part) + "\n"


def _step_sections(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the table of a step's tasks, followed by skipped tasks, texts and warnings."""
    parts = []
    if rows := [row for task in tasks.values() for row in task.get("rows", ())]:
        parts.append(_table(rows))
    if skipped := [name for name, task in tasks.items() if task["state"] == "skipped"]:
        parts.append(f"Skipped, the step's time was over: {'; '.join(skipped)}.")
    for name, task in tasks.items():
        if task.get("text"):
            parts.append(f"{name}:\n\n```text\n{task['text'].rstrip()}\n```")
        parts += [f"{name} warned: {said}" for said in task.get("warnings", ())]
        if task.get("traceback"):
            parts.append(f"{name} failed:\n\n```text\n{task['traceback'].rstrip()}\n```")
    return parts


def _table(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    words = [c for c in columns if isinstance(rows[0].get(c), str)]
    figures = [c for c in columns if c not in words]
    return markdown(words, figures, [[_cell(row.get(c)) for c in words + figures] for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return three_digits(value)
    return str(value)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def run_steps(steps: Sequence[Step], report: Report, after_task: Callable[[], None]) -> None:
    """Run the steps in their time boxes, except for tasks that are already in the report.

    Unused time goes to later steps. ``after_task`` is called after each task; an exception from it
    ends the run.
    """
    for number, step in enumerate(steps):
        now = time.time()
        part = step.share / sum(later.share for later in steps[number:])
        end_s = now + part * max(report.end_s - now, 0.0)
        known = report.tasks(step)
        missing = [task for task in step.tasks if task.name not in known]
        for left, task in zip(range(len(missing), 0, -1), missing, strict=True):
            share_s = (end_s - time.time()) / left
            if share_s <= 0:
                report.end(step.title, task.name, state="skipped")
                continue
            report.begin(step, task.name, end_s)
            report.end(step.title, task.name, **_outcome(task, share_s))
            after_task()
    report.close()


def _outcome(task: Task, share_s: float) -> dict[str, object]:
    """Run a task and return its result, which is the traceback if it raises."""
    begin = time.perf_counter()
    found = Result()
    failed = ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        try:
            found = task.work(share_s)
        except Exception:  # reported, and the next task runs
            failed = traceback.format_exc()
    wrong = any(row.get("ok") is False for row in found.rows)
    return {
        "state": "failed" if failed else "wrong" if wrong else "done",
        "seconds": time.perf_counter() - begin,
        "rows": [dict(row) for row in found.rows],
        "text": found.text,
        "warnings": list(dict.fromkeys(str(one.message) for one in said)),
        "traceback": failed,
    }
