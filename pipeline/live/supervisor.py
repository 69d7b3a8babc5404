"""Starts the processes of the instrument, restarts those that die, and ends all of them.

A child process reports its addresses on standard output and is told those of the others on
standard input. It ends when that closes, so that no signals are needed. Its other output goes to a
log, whose last lines explain a failure.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from acquisition.choices import check_regularizer
from acquisition.closing import Closing
from acquisition.configuration.text_files import read_text
from acquisition.errors import ConfigurationError, DataError
from pipeline.live.process_settings import (
    EXIT_CONFIGURATION,
    HEARTBEAT_S,
    OPTIONAL,
    ProcessName,
    ProcessReport,
    ProcessSettings,
)
from pipeline.tomograms.child_processes import child_environment, last_lines, log_folder
from pipeline.wire.pipeline_error import PipelineError

if TYPE_CHECKING:
    from pipeline.live.instrument_client import InstrumentClient
    from pipeline.live.status_publisher import StatusPublisher
    from pipeline.wire.sockets import Endpoints

__all__ = ["Instrument", "open_instrument"]

_NEEDED: tuple[ProcessName, ...] = ("acquirer", "processor")
RESTARTS = 5  # in a row, each within HEALTHY_S of the last
HEALTHY_S = 30.0
FIRST_DELAY_S = 0.25
REPORT_LIMIT_S = 30.0  # a cold disk and a virus scanner can make the first import slow
END_LIMIT_S = 4.0
KEPT_LOGS = 20
_THREADS = {
    # the simulated light needs one core; the other ones are the processor's
    "acquirer": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    # Cores are shared with the acquirer and the window. Threads that spin while they wait for one
    # another then cost most: on two busy cores 40 TV iterations took 14 s, sleeping 7 s.
    "processor": {
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no further processes: a kernel or two to compile
    },
    "quality": {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"},
    "measuring": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
}
# lowest priority where it can only be set from outside (POSIX: the process does it itself)
_CREATION = dict.fromkeys(OPTIONAL, getattr(subprocess, "IDLE_PRIORITY_CLASS", 0))


class _Child:
    """One child process, restarted when it dies."""

    def __init__(self, settings: ProcessSettings, log: Path) -> None:
        self.name = settings.name
        self.log = log
        self.settings = settings
        self.endpoints: dict[str, str] = {}
        self._others: dict[str, str] = {}
        self.bound = threading.Event()
        self.restarts = 0
        self._in_a_row = 0
        self._error = ""
        self._started = 0.0
        self.restart_at: float | None = None
        self.given_up = ""
        self.detail = ""
        self.held = False  # it was ended on request: do not restart it
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the process, on its previous ports if it had any."""
        settings = replace(self.settings, endpoints=self.endpoints, life=self.restarts)
        self._error, self.detail, self.restart_at = "", "", None
        self._started = time.monotonic()
        with self.log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                # -P: the folder that the user is in must not be searched for modules
                [sys.executable, "-P", "-m", "pipeline.live.process", settings.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=child_environment(_THREADS[self.name]),
                creationflags=_CREATION.get(self.name, 0),
            )
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name=f"{self.name} reports", daemon=True
        )
        self._reader.start()
        if self._others:
            self.tell(self._others)

    def tell(self, others: dict[str, str]) -> None:
        """Tell the process, and those that follow it, the addresses of the other processes."""
        self._others = others
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has died, or is to end
            print(json.dumps(others), file=self._process.stdin, flush=True)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process ID; None before the start."""
        return None if self._process is None else self._process.pid

    def restart_if_due(self) -> str:
        """Restart the process if it died and its delay is over.

        Returns why it is no longer restarted; "" if it is.
        """
        if self.alive or self.given_up or self.held:
            return self.given_up
        if self.restart_at is None:
            self.given_up = self._died()
            return self.given_up
        if time.monotonic() >= self.restart_at:
            self.restarts += 1
            self.release()
            self.start()
        return ""

    def hold(self) -> None:
        """End the process and do not restart it."""
        self.held = True
        self.ask_to_end()
        self.end(time.monotonic() + END_LIMIT_S)

    def start_again(self) -> None:
        """Start a process that is held, whatever ended it."""
        self.held, self.given_up, self._in_a_row = False, "", 0
        self.restarts += 1
        self.start()

    def _died(self) -> str:
        assert self._process is not None
        if self._reader is not None:
            self._reader.join(1.0)  # its last report may still be on the way
        status = self._process.returncode
        self.detail = self._error or f"it ended with status {status}"
        if time.monotonic() - self._started > HEALTHY_S:
            self._in_a_row = 0
        if status == EXIT_CONFIGURATION:
            return self.detail
        if self._in_a_row >= RESTARTS:
            return f"{self.name} failed {RESTARTS + 1} times: {self.detail}: {last_lines(self.log)}"
        self.restart_at = time.monotonic() + FIRST_DELAY_S * 2**self._in_a_row
        self._in_a_row += 1
        return ""

    def ask_to_end(self) -> None:
        """Close the process's standard input, which ends it."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it may have gone already
                self._process.stdin.close()

    def end(self, deadline: float) -> None:
        """Wait for the end of the process; terminate, then kill it after the deadline."""
        if self._process is None:
            return
        for force in (None, self._process.terminate, self._process.kill):
            if force is not None:
                force()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(deadline - time.monotonic(), 1.0))
                break
        else:
            self._process.wait()  # a killed process ends, however busy the machine is
        self.release()

    def release(self) -> None:
        """Close what belongs to a process that ended."""
        self.ask_to_end()
        if self._reader is not None:
            self._reader.join()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                report = ProcessReport.from_json(line)
            except ValueError:
                self._error = f"malformed report: {line.strip()[:200]}"
                continue
            self._error = report.error or self._error
            self.settings = self.settings.keeping(report.kept)
            if report.endpoints:
                self.endpoints = report.endpoints
                self.bound.set()


@dataclass(frozen=True, slots=True)
class _Options:
    microscope_file: Path | None
    replay: Path | None
    device: str | None
    regularizer: str | None
    live: bool
    quality: bool
    measuring: bool


class Instrument(Closing):
    """The running instrument; a context manager.

    Entering it starts the processes and returns at once; leaving it ends them all.

    Parameters
    ----------
    microscope_file : Path or None
        microscope.toml; None is the simulated microscope.
    device : str or None
        "cpu", "cuda", or None for the best available.
    regularizer : str or None
        The first regularizer; None: as the microscope file says.
    live : bool
        Whether to start live imaging once the background is taken.
    quality : bool
        Whether to run the quality check, if the microscope file allows it.
    replay : Path or None
        A recording that is played in place of the microscope; the microscope file then says how
        its scans are processed.
    measuring : bool
        Whether to start the process that measures objects once it is switched on.
    """

    def __init__(
        self,
        microscope_file: Path | None = None,
        device: str | None = None,
        *,
        regularizer: str | None = None,
        live: bool = True,
        quality: bool = True,
        replay: Path | None = None,
        measuring: bool = True,
    ) -> None:
        if microscope_file is not None and not microscope_file.is_file():
            raise ConfigurationError(f"the microscope file must exist, got {microscope_file}")
        if regularizer is not None:
            check_regularizer(regularizer)
        if replay is not None and not replay.is_file():
            raise DataError(f"the recording to replay must exist, got {replay}")
        file = microscope_file.resolve() if microscope_file else None
        played = replay.resolve() if replay else None
        self._options = _Options(file, played, device, regularizer, live, quality, measuring)
        self._children: dict[str, _Child] = {}
        self._failure = ""
        self._ending = threading.Event()
        self._turns = threading.Lock()  # processes are ended and started by one thread at a time
        self._settled = threading.Event()  # the addresses are known, or never will be
        self._bound = False
        self._status: StatusPublisher | None = None  # once there is a client
        self._asked = threading.Lock()  # held while it is made or closed
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            for name in _NEEDED:
                self._start(name)
        except OSError:
            self.close()
            raise
        _forget_old_logs(log_folder())
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()
        return self

    @property
    def endpoints(self) -> "Endpoints":
        """The addresses of the instrument; waits until its processes have reported them.

        The processes that the instrument works without are started when they are first asked for.
        """
        # ZeroMQ and the messages: a window is painted before it loads them
        from pipeline.live.status_publisher import StatusPublisher
        from pipeline.wire.sockets import Endpoints

        self._settled.wait()
        with self._asked:
            if not self._bound or self._ending.is_set():
                why = self._failure or "it was closed"
                raise PipelineError(f"the instrument did not start: {why}")
            if self._status is None:
                self._status = StatusPublisher()
                self._start_optional()
        reported = (child.endpoints for child in self._children.values())
        return Endpoints.merged({"supervisor": self._status.address}, *reported)

    @property
    def pids(self) -> dict[str, int]:
        """Process IDs by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid}

    def client(self, patience_s: float | None = None) -> "InstrumentClient":
        """Return a new client of this instrument, which waits so long for answers."""
        from pipeline.live.instrument_client import InstrumentClient
        from pipeline.wire.sockets import ANSWER_LIMIT_S

        return InstrumentClient(self.endpoints, patience_s or ANSWER_LIMIT_S)

    def release(self) -> None:
        """End the process that has the microscope, for another program; the others go on.

        Blocks until its devices are closed. ``take_back`` starts it again.
        """
        with self._turns:
            self._children["acquirer"].hold()

    def take_back(self) -> None:
        """Open the microscope again, with its file and its calibration as they are now."""
        with self._turns:
            acquirer = self._children["acquirer"]
            if acquirer.held:
                acquirer.start_again()

    def restart(self) -> None:
        """End all processes and start them again; they read the microscope file anew."""
        with self._turns:
            children = [child for child in self._children.values() if child.bound.is_set()]
            for child in children:
                child.hold()
            self._failure = ""
            for child in children:
                child.start_again()

    def close(self) -> None:
        """End all processes and wait for them."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        deadline = time.monotonic() + END_LIMIT_S
        for child in self._children.values():
            child.ask_to_end()
        for child in self._children.values():
            child.end(deadline)
        with self._asked:
            if self._status is not None:
                self._status.close()

    def _start(self, name: ProcessName) -> _Child:
        options = self._options
        settings = ProcessSettings(
            name,
            microscope_file=options.microscope_file,
            replay=options.replay,
            device=options.device,
            regularizer=options.regularizer,
            live=options.live,
        )
        log = log_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{name}.log"
        child = _Child(settings, log)
        child.start()
        self._children = {**self._children, name: child}  # other threads go through them
        return child

    def _start_optional(self) -> None:
        wanted = {
            "measuring": self._options.measuring,
            "quality": self._options.quality and _wants_quality(self._options.microscope_file),
        }
        addresses = {k: v for child in self._children.values() for k, v in child.endpoints.items()}
        with self._turns:
            children = [self._start(name) for name in OPTIONAL if wanted[name]]
            for child in children:
                child.tell(addresses)
        for child in children:
            with contextlib.suppress(PipelineError):
                self._await(child)

    def _supervise(self) -> None:
        self._bind()
        while not self._ending.wait(HEARTBEAT_S / 2):
            with self._turns:
                if not self._failure:
                    self._failure = self._restart_children()
            status = self._status
            if status is not None:
                status.publish(self._children.values(), self._failure)

    def _restart_children(self) -> str:
        try:
            problems = [
                problem
                for child in self._children.values()
                if (problem := child.restart_if_due()) and child.name not in OPTIONAL
            ]
        except OSError as error:  # the system cannot start another process
            return f"a process cannot be restarted: {error}"
        return problems[0] if problems else ""

    def _bind(self) -> None:
        """Wait for the addresses of the processes, and tell each those of the others."""
        children = self._children.values()
        try:
            for child in children:
                self._await(child)
            addresses = {k: v for child in children for k, v in child.endpoints.items()}
            for child in children:
                child.tell(addresses)
            self._bound = True
        except PipelineError as error:
            self._failure = str(error)
        finally:
            self._settled.set()

    def _await(self, child: _Child) -> None:
        deadline = time.monotonic() + REPORT_LIMIT_S
        while not child.bound.wait(0.05):
            if not child.alive or self._ending.is_set() or time.monotonic() > deadline:
                raise PipelineError(
                    f"the {child.name} process reported no addresses: see its log {child.log}"
                )


def _wants_quality(microscope_file: Path | None) -> bool:
    if microscope_file is None:
        return True
    try:  # its own reader takes time to import, which the window would wait for
        file = tomllib.loads(read_text(microscope_file))
        return bool(file.get("processing", {}).get("quality", True))
    except (ConfigurationError, tomllib.TOMLDecodeError, AttributeError):
        return False  # the acquirer reports the error


def open_instrument(
    microscope: Path | None = None, device: str | None = None, replay: Path | None = None
) -> Instrument:
    """Return the instrument of a microscope file, or the simulated one; not yet started."""
    return Instrument(microscope, device, replay=replay)


def _forget_old_logs(folder: Path) -> None:
    logs = sorted(folder.glob("*-*-*-*.log"), key=lambda path: path.stat().st_mtime)
    for path in logs[: -KEPT_LOGS * 3]:
        path.unlink(missing_ok=True)
