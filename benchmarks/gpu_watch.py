"""Runs the measuring process and watches it, so that a hang or a crash costs one task only.

After an error in a kernel a process cannot use its GPU any more, and a compiler may hang. The
measuring process writes its current task and time limit. If it is late or ends early, a new process
continues after that task.
"""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_report import Report

__all__ = ["run_watched"]

_LOOKS_S = 0.2


def run_watched(command: Sequence[str], path: Path, grace_s: float) -> Report | None:
    """Run ``command`` until its report is complete, restarting it while it makes progress.

    Parameters
    ----------
    command : sequence of str
        Continues the report at ``path``.
    path : Path
    grace_s : float
        Time that a task may exceed its time box, in seconds.

    Returns
    -------
    Report or None
        None if the command did not reach its first task.
    """
    known = -1
    while True:
        with subprocess.Popen(command) as process:
            try:
                why = _wait(process, path, grace_s)
            finally:
                process.kill()
        report = Report.of(path)
        if report is None or report.kept["ended"]:
            return report
        report.interrupted(why)
        if report.count("done", "wrong", "failed", "skipped") == known:
            return report
        known = report.count("done", "wrong", "failed", "skipped")


def _wait(process: subprocess.Popen[bytes], path: Path, grace_s: float) -> str:
    """Wait until the process ends or is late; return a text that says which."""
    while process.poll() is None:
        report = Report.of(path)
        running = None if report is None else report.kept["running"]
        if running is not None and time.time() > running["until_s"] + grace_s:
            return f"ended from outside, {grace_s:.0f} s after the end of its time box"
        time.sleep(_LOOKS_S)
    return f"its process ended with {process.returncode}"
