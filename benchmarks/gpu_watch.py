"""A process that measures, and one that watches it: a hang or a crash costs one task.

What an error in a kernel leaves behind is a process that cannot use its GPU any more, and a
compiler may not come back at all. The measuring process writes which task it is at and until when;
where it is late, or gone before its end, another one goes on after that task.
"""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_report import Report

__all__ = ["watched"]

_LOOKS_S = 0.2


def watched(command: Sequence[str], path: Path, grace_s: float) -> Report | None:
    """Run ``command`` until its report is complete, again and again as long as it gets further.

    Parameters
    ----------
    command : sequence of str
        Goes on with the report that it finds at ``path``.
    path : Path
    grace_s : float
        How much later than its time box a task may be.

    Returns
    -------
    Report or None
        None where there is none: the command did not get to its first task.
    """
    known = -1
    while True:
        with subprocess.Popen(command) as process:
            try:
                why = _looked_after(process, path, grace_s)
            finally:
                process.kill()
        report = Report.of(path)
        if report is None or report.kept["ended"]:
            return report
        report.interrupted(why)
        if report.count("done", "wrong", "failed", "skipped") == known:
            return report
        known = report.count("done", "wrong", "failed", "skipped")


def _looked_after(process: subprocess.Popen[bytes], path: Path, grace_s: float) -> str:
    """Wait until the process ends or is late; return in words which."""
    while process.poll() is None:
        report = Report.of(path)
        running = None if report is None else report.kept["running"]
        if running is not None and time.time() > running["until_s"] + grace_s:
            return f"ended from outside, {grace_s:.0f} s after the end of its time box"
        time.sleep(_LOOKS_S)
    return f"its process ended with {process.returncode}"
