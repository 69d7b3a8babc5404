"""The parent's side of a follower: starts it, reads its reports, restarts it if it dies.

This module does not compute; the child process does.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from acquisition.closing import Closing
from pipeline.tomograms.child_processes import child_environment, last_lines, log_folder

__all__ = ["FollowerProcess", "FollowerState"]

_RESTARTS = 3  # in a row without a new tomogram


@dataclass(frozen=True, slots=True)
class FollowerState:
    """The state of a follower.

    Parameters
    ----------
    made : int
        Tomograms in its file.
    failed : tuple of (int, str)
        Scans without a tomogram, and the reason.
    error : str
        Why it gave up; empty if it did not.
    running : bool
    warning : str
        The most recent warning about a tomogram.
    """

    made: int = 0
    failed: tuple[tuple[int, str], ...] = ()
    error: str = ""
    running: bool = True
    warning: str = ""


class FollowerProcess(Closing):
    """One follower process; a context manager that starts and stops it.

    Parameters
    ----------
    recording, output : Path
    method : str
        The regularizer.
    device : str or None
    planned : int
        How many scans the recording will have.
    constraint : str
        Constraint on the sign of the contrast.
    """

    def __init__(
        self,
        recording: Path,
        output: Path,
        method: str,
        device: str | None,
        planned: int,
        constraint: str = "auto",
    ) -> None:
        self._argument = json.dumps(
            {
                "recording": str(recording.resolve()),
                "output": str(output.resolve()),
                "method": method,
                "device": device,
                "planned": planned,
                "constraint": constraint,
            }
        )
        self.output = output
        self.state = FollowerState()
        self._log = log_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-follower.log"
        self._lock = threading.Lock()
        self._over = self._stopped = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop the process and wait until it has ended."""
        self.stop()
        self._thread.join()

    @property
    def pid(self) -> int | None:
        """Process ID; None before the start."""
        return None if self._process is None else self._process.pid

    def finish(self) -> None:
        """Tell it that the recording has ended: it catches up, then ends."""
        with self._lock:
            self._over = True
            self._say("end")

    def stop(self) -> None:
        """Stop it without catching up. A later follower can continue its file."""
        with self._lock:
            self._over = self._stopped = True
            self._say("stop")
            self._close_input()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` for its end; return whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _say(self, word: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it may have gone already
                self._process.stdin.write(f"{word}\n")
                self._process.stdin.flush()

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _run(self) -> None:
        in_a_row = 0
        while True:
            made = self.state.made
            status = self._once()
            in_a_row = 0 if self.state.made > made else in_a_row + 1
            if status == 0 or self._stopped or self.state.error:
                break
            if in_a_row > _RESTARTS:
                last = last_lines(self._log, 5)
                error = f"the tomogram process ended {in_a_row} times with status {status}: {last}"
                self.state = replace(self.state, error=error)
                break
        self.state = replace(self.state, running=False)

    def _once(self) -> int:
        """Run the process and read its reports to the end; return its exit status."""
        with self._log.open("a", encoding="utf-8") as log, self._started(log) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self._hear(json.loads(line))
            return process.wait()

    def _started(self, log: Any) -> "subprocess.Popen[str]":
        with self._lock:
            self._process = subprocess.Popen(
                # -P: the folder that the user is in must not be searched for modules
                [sys.executable, "-P", "-m", "pipeline.tomograms.follower", self._argument],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                # the cores are shared with the scans
                env=child_environment({"OMP_WAIT_POLICY": "PASSIVE"}),
            )
            if self._over:
                self._say("end")
            return self._process

    def _hear(self, report: dict[str, Any]) -> None:
        state = self.state
        if "error" in report:
            self.state = replace(state, error=report["error"])
        elif "held" in report:
            self.state = replace(state, made=report["held"], failed=())
        elif (row := report["row"])["error"]:
            self.state = replace(state, failed=(*state.failed, (row["time"], row["error"])))
        else:
            warning = "; ".join(row["warnings"]) or state.warning
            self.state = replace(state, made=state.made + 1, warning=warning)
