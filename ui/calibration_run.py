"""Runs the command ``calibrate`` in a process beside the window, and reads what it reports."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import QObject, QProcess, QTimer, Signal

from ui.open_file import LAUNCHER

__all__ = ["CalibrationCheck", "CalibrationReport", "CalibrationRun"]

_STEP: Final = re.compile(r"\[(\d+)/(\d+)\] (.*)")
_CANCELLED: Final = "cancelled: nothing was saved"
_GRACE_MS: Final = 10_000  # for the devices to be closed, before the process is killed


@dataclass(frozen=True, slots=True)
class CalibrationCheck:
    """One check: whether it is met, the measured value, and what to do if it is not."""

    name: str
    met: bool
    value: str
    remedy: str


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The result: all checks, and the folder that holds report.html."""

    checks: tuple[CalibrationCheck, ...]
    folder: Path

    @property
    def met(self) -> bool:
        """Whether all checks are met."""
        return all(check.met for check in self.checks)


class CalibrationRun(QObject):
    """One run of ``calibrate``.

    ``stepped`` is emitted with the number of the step, of how many, and what it is; ``ended`` with
    a CalibrationReport, or with None and the reason.

    Parameters
    ----------
    parent : QObject
    microscope : Path or None
        microscope.toml; None: the simulated microscope.
    folder : Path
        Where a simulated microscope's report goes, into a new folder.
    """

    stepped = Signal(int, int, str)
    ended = Signal(object, str)

    def __init__(self, parent: QObject, microscope: Path | None, folder: Path) -> None:
        super().__init__(parent)
        self._told, self._cancelled, self._over = "", False, False
        arguments = [str(LAUNCHER), "calibrate", "--json", "--progress"]
        if microscope is None:
            arguments += ["-o", str(folder)]
        else:
            arguments += ["--microscope", str(microscope)]
        self._process = QProcess(self)
        self._grace = QTimer(self)
        self._grace.setSingleShot(True)
        self._grace.timeout.connect(self._process.kill)
        self._process.setProgram(sys.executable)
        self._process.setArguments(arguments)
        self._process.readyReadStandardError.connect(self._read)
        self._process.finished.connect(self._finish)
        self._process.errorOccurred.connect(self._fail)

    def start(self) -> None:
        """Start it; returns at once."""
        if self._cancelled:
            self._end(None, _CANCELLED)
        else:
            self._process.start()

    def cancel(self) -> None:
        """Ask it to end; what has been measured is dropped."""
        self._cancelled = True
        self._process.terminate()
        self._grace.start(_GRACE_MS)

    def stop(self) -> None:
        """End it and wait for that: the window is closing."""
        self._cancelled = True
        self._process.terminate()
        if not self._process.waitForFinished(_GRACE_MS):
            self._process.kill()
            self._process.waitForFinished()

    def _read(self) -> None:
        self._told += bytes(self._process.readAllStandardError().data()).decode(errors="replace")
        for line in self._told.splitlines()[-3:]:
            if found := _STEP.match(line):
                self.stepped.emit(int(found[1]), int(found[2]), found[3])

    def _fail(self, error: QProcess.ProcessError) -> None:
        if error is QProcess.ProcessError.FailedToStart:
            self._end(None, f"calibrate did not start: {self._process.errorString()}")

    def _finish(self, status: int, how: QProcess.ExitStatus) -> None:
        self._read()
        if self._cancelled:
            self._end(None, _CANCELLED)
            return
        printed = bytes(self._process.readAllStandardOutput().data()).decode(errors="replace")
        try:
            report = _report(json.loads(printed))
        except (ValueError, KeyError, TypeError):
            said = [line for line in self._told.splitlines() if line and not _STEP.match(line)]
            why = said[-1].removeprefix("launcher.py: ") if said else f"it ended with {status}"
            self._end(None, why)
        else:
            self._end(report, "")

    def _end(self, report: CalibrationReport | None, why: str) -> None:
        if not self._over:
            self._over = True
            self.ended.emit(report, why)


def _report(printed: dict[str, Any]) -> CalibrationReport:
    checks = (
        CalibrationCheck(str(one["name"]), bool(one["met"]), str(one["value"]), str(one["remedy"]))
        for one in printed["checks"]
    )
    return CalibrationReport(tuple(checks), Path(printed["output"]).absolute())
