"""The parent's side of a follower: starts it, hears what it made, starts it again where it died.

Light: what computes is in the follower's own process.
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
from pipeline.tomograms.child_processes import environment, last_lines, log_folder

__all__ = ["Followed", "Following"]

_RESTARTS = 3  # in a row, without a tomogram in between


@dataclass(frozen=True, slots=True)
class Followed:
    """What a follower has done.

    Parameters
    ----------
    made : int
        Tomograms in its file.
    failed : dict of int to str
        Scans that gave none, and why.
    error : str
        Why it gave up; empty where it did not.
    running : bool
    warning : str
        Of the last tomogram that has one.
    """

    made: int = 0
    failed: tuple[tuple[int, str], ...] = ()
    error: str = ""
    running: bool = True
    warning: str = ""


class Following(Closing):
    """One follower; a context manager that ends it.

    Parameters
    ----------
    recording, output : Path
    method : str
        The regularizer.
    device : str or None
    planned : int
        Scans that the recording will have.
    constraint : str
        On the sign of the contrast.
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
        self.state = Followed()
        self._log = log_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-follower.log"
        self._lock = threading.Lock()
        self._over = self._stopped = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        """Let it end now, and wait until it has."""
        self.stop()
        self._thread.join()

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return None if self._process is None else self._process.pid

    def end(self) -> None:
        """Say that nothing more will be recorded: it catches up and ends."""
        with self._lock:
            self._over = True
            self._say("end")

    def stop(self) -> None:
        """Let it end now; its file can be gone on with."""
        with self._lock:
            self._over = self._stopped = True
            self._say("stop")
            self._close_input()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; return whether it has."""
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
                error = f"the follower ended {in_a_row} times with status {status}: {last}"
                self.state = replace(self.state, error=error)
                break
        self.state = replace(self.state, running=False)

    def _once(self) -> int:
        """Start the process and hear it to its end; return its exit status."""
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
                env=environment({"OMP_WAIT_POLICY": "PASSIVE"}),
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
