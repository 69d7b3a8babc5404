"""The command ``record``: a time-lapse without a window, optionally with tomograms.

Scans are written first; a follower process makes the tomograms, which may come later. Ctrl-C (or
SIGTERM) ends the recording after the current scan and keeps all data; a second one ends it at once.
Ctrl-Z pauses after the current scan, until the shell's ``fg``. ``--resume`` continues a recording
that was ended or crashed.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from pydantic import ValidationError

from acquisition.choices import Constraint, check_regularizer
from acquisition.configuration.calibration_file import CalibratedConfig, load_calibrated
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import ConfigurationError, ScanStopped
from acquisition.microscope import open_microscope
from acquisition.scan_name import scan_name
from commands.progress import Bar, progress_bar
from files.disk import check_output
from files.recording import Recording, read_recording
from files.reopening import sole_writer
from files.sample_notes import NO_NOTES, SampleNotes
from pipeline.timelapse.forecast import Forecast
from pipeline.timelapse.plan import BackgroundPlan, TimelapsePlan, plan_from_options
from pipeline.timelapse.run import TimelapseRun, required_series
from pipeline.tomograms.follower_process import FollowerProcess, FollowerState

__all__ = ["TomogramRequest", "background_plan", "run_record", "tomogram_request"]

_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class TomogramRequest:
    """Tomograms to make while recording: file, regularizer, device and constraint."""

    output: Path
    method: str = "deep"
    device: str | None = None
    constraint: Constraint = "auto"

    def __post_init__(self) -> None:
        check_regularizer(self.method)


def run_record(
    microscope: Path | None,
    stacks: int | None,
    interval_s: float,
    output: Path,
    as_json: bool = False,
    *,
    sequence: Path | None = None,
    background: BackgroundPlan | None = None,
    tomograms: TomogramRequest | None = None,
    resume: bool = False,
    sample: SampleNotes = NO_NOTES,
    keep_in_middle: bool = False,
) -> int:
    """Record a time-lapse without a window.

    Parameters
    ----------
    microscope : Path or None
        microscope.toml; None is the simulated microscope, or the one of the resumed recording.
    stacks : int or None
        Number of scans; None with a sequence.
    interval_s : float
        From the start of one scan to the start of the next, or longer if a scan takes longer.
    output : Path
        A new recording file, or the one to resume.
    as_json : bool
        Print the result as JSON.
    sequence : Path or None
        A useq MDASequence instead of stacks and interval.
    background : BackgroundPlan or None
        When the background is retaken; None: never, or as the sequence says.
    tomograms : TomogramRequest or None
        None: make none.
    resume : bool
        Continue a recording that was ended or crashed.
    sample : SampleNotes
        Written into a new recording and its tomograms.
    keep_in_middle : bool
        Keep the object in the middle by moving the stages; False: as [drift] says.

    Returns
    -------
    int
        0 if every scan is complete and has its tomogram, else 1; 128 plus the number of the signal
        that ended it early.

    Raises
    ------
    DataError
        If the disk has too little space, before anything is opened; or if it fills up during the
        recording, whose scans so far are kept.
    """
    if tomograms is not None:
        _check_device(tomograms.device)
    recorded = None
    if resume:
        if sample != NO_NOTES:
            raise ConfigurationError(
                "a resumed recording keeps its sample and notes: give no others"
            )
        if sequence is not None or stacks is not None or interval_s or background is not None:
            raise ConfigurationError("a recording is resumed with its own plan: give no other plan")
        recorded = read_recording(output)
        calibrated, plan = _as_begun(recorded, microscope)
    else:
        plan = plan_from_options(stacks, interval_s, sequence, background)
        calibrated = load_calibrated(microscope)
        for file in (output, tomograms.output if tomograms else None):
            if file is not None:
                check_output(file)
    if keep_in_middle:
        calibrated = _keeping(calibrated)
    if tomograms is not None:
        tomograms = replace(tomograms, constraint=calibrated.config.processing.constraint)
    _check_room(calibrated.config, plan, output, tomograms, recorded)
    with sole_writer(output), _signals() as signals:
        session = _Session(calibrated, plan, output, tomograms, signals, sample)
        session.run(recorded)
    return session.report(as_json)


def background_plan(scans: int | None, minutes: float | None) -> BackgroundPlan | None:
    """Return when the background is retaken: every ``scans`` scans or ``minutes``; None: never.

    Raises
    ------
    ConfigurationError
        If either is not positive.
    """
    try:
        plan = BackgroundPlan(background_every_scans=scans, background_every_min=minutes)
    except ValidationError as error:
        raise ConfigurationError(
            "the background must be retaken after at least 1 scan, or more than 0 minutes, got "
            f"{minutes if scans is None else scans}"
        ) from error
    return plan if plan.retakes else None


def tomogram_request(
    output: Path | None, method: str | None, device: str | None
) -> TomogramRequest | None:
    """Return the tomograms to make while recording; None if no file is given for them.

    Raises
    ------
    ConfigurationError
        If a regularizer is given, but no file.
    """
    if output is not None:
        return TomogramRequest(output, method or "deep", device)
    if method is not None:
        raise ConfigurationError(
            f"the regularizer {method} needs a file for its tomograms: give --tomograms"
        )
    return None


def _as_begun(
    recording: Recording, microscope: Path | None
) -> tuple[CalibratedConfig, TimelapsePlan]:
    """Return microscope and plan of a recording; ``microscope`` overrides the former."""
    series = required_series(recording)
    plan = TimelapsePlan.from_json(series.plan)
    if microscope is not None:
        return load_calibrated(microscope), plan
    return CalibratedConfig(AcquisitionConfig.model_validate_json(series.microscope)), plan


def _keeping(calibrated: CalibratedConfig) -> CalibratedConfig:
    """Return the microscope with its object kept in the middle; the recording keeps that, too."""
    config = calibrated.config
    drift = config.drift.model_copy(update={"keep_in_middle": True})
    return replace(calibrated, config=config.model_copy(update={"drift": drift}))


def _check_device(name: str | None) -> None:
    """Refuse a device that does not exist; the default device always exists."""
    if name is None or name == "cpu":
        return
    from pipeline.tomograms.torch_device import torch_device  # with torch

    torch_device(name)


def _check_room(
    config: AcquisitionConfig,
    plan: TimelapsePlan,
    output: Path,
    tomograms: TomogramRequest | None,
    recorded: Recording | None,
) -> None:
    """Refuse what does not fit on the disk, and existing tomograms with other settings."""
    scans = 0 if recorded is None else len(recorded)
    if tomograms is None:
        Forecast.of(config, plan, None, scans).check(output, None)
        return
    made = 0
    if recorded is not None and tomograms.output.exists():
        # imports torch, which would delay the start
        from pipeline.tomograms.recipe import Recipe, scans_held, settings_for

        settings = settings_for(recorded, {})
        recipe = Recipe(tomograms.method, settings=settings, constraint=tomograms.constraint)
        made = len(scans_held(tomograms.output, recipe))
    Forecast.of(config, plan, tomograms.method, scans, made).check(output, tomograms.output)


@dataclass(slots=True)
class _Signals:
    """Requests made by signals."""

    stop: threading.Event = field(default_factory=threading.Event)  # after the current scan
    abort: threading.Event = field(default_factory=threading.Event)  # at once
    pause: threading.Event = field(default_factory=threading.Event)
    number: int = 0  # the signal

    def end(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT or SIGTERM."""
        (self.abort if self.stop.is_set() else self.stop).set()
        self.number = self.number or number

    def suspend(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTSTP."""
        self.pause.set()


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Handle signals while a time-lapse runs; only possible in the main thread."""
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    handlers: dict[int, Any] = {signal.SIGINT: signals.end, signal.SIGTERM: signals.end}
    if hasattr(signal, "SIGTSTP"):
        handlers[signal.SIGTSTP] = signals.suspend
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Session:
    """One run of the command, from opening the microscope to the last tomogram."""

    def __init__(
        self,
        calibrated: CalibratedConfig,
        plan: TimelapsePlan,
        output: Path,
        tomograms: TomogramRequest | None,
        signals: _Signals,
        sample: SampleNotes,
    ) -> None:
        self._sample = sample
        self._calibrated, self._plan, self._output = calibrated, plan, output
        self._tomograms, self._signals = tomograms, signals
        self._lost_angles: dict[int, tuple[int, ...]] = {}
        self._done = self._before = 0
        self._seconds = 0.0
        self._warning = self._remark = ""
        self._follower_state = FollowerState()

    def run(self, recorded: Recording | None) -> None:
        """Record the rest of the plan, then wait for the missing tomograms."""
        total = len(self._plan.visits)
        self._done = self._before = 0 if recorded is None else len(recorded)
        with ExitStack() as held:
            bar = held.enter_context(progress_bar("Recording", total, steady=False))
            if self._done < total:
                follower = self._record(bar, held, resume=recorded is not None)
            else:
                self._lost_angles = {} if recorded is None else recorded.log().lost_angles
                follower = self._follower(held)
            if follower is not None:
                self._catch_up(follower, bar)

    def _record(self, bar: Bar, held: ExitStack, *, resume: bool) -> FollowerProcess | None:
        """Record; return the follower, which ``held`` ends."""
        follower = None
        with open_microscope(self._calibrated) as instrument:
            self._remark = instrument.remark
            with TimelapseRun(instrument, self._plan, self._output, self._sample) as timelapse:
                bar.say("taking the background")
                try:
                    (timelapse.resume if resume else timelapse.start)(self._signals.abort)
                    follower = self._follower(held)
                    self._steps(timelapse, bar, follower)
                except ScanStopped:
                    pass  # at once: the file ends with the scan before
                finally:
                    self._note(timelapse)
        return follower

    def _follower(self, held: ExitStack) -> FollowerProcess | None:
        if self._tomograms is None:
            return None
        made, total = self._tomograms, len(self._plan.visits)
        return held.enter_context(
            FollowerProcess(
                self._output, made.output, made.method, made.device, total, made.constraint
            )
        )

    def _steps(self, timelapse: TimelapseRun, bar: Bar, follower: FollowerProcess | None) -> None:
        begin = time.monotonic()
        while not timelapse.finished and not self._signals.stop.is_set():
            if self._signals.pause.is_set():
                self._suspend(timelapse)
            elif timelapse.due_s > 0:
                self._signals.stop.wait(min(timelapse.due_s, _TICK_S))
            else:
                timelapse.step(self._signals.abort)
            self._show(timelapse, bar, follower)
            self._seconds = time.monotonic() - begin

    def _suspend(self, timelapse: TimelapseRun) -> None:
        """Stop this process as the shell expects; ``fg`` continues it here."""
        self._signals.pause.clear()
        timelapse.pause()
        os.kill(os.getpid(), signal.SIGSTOP)
        timelapse.unpause()

    def _show(self, timelapse: TimelapseRun, bar: Bar, follower: FollowerProcess | None) -> None:
        progress = timelapse.progress()
        parts = [progress.summary]
        if follower is not None:
            parts.append(f"{follower.state.made} tomograms")
        parts += [said for said in (progress.drift, progress.warning) if said]
        bar.say(", ".join(parts))
        bar.advance_to(progress.done)

    def _note(self, timelapse: TimelapseRun) -> None:
        progress = timelapse.progress()
        self._done, self._warning = progress.done, progress.warning
        self._lost_angles = dict(timelapse.lost_angles)

    def _catch_up(self, follower: FollowerProcess, bar: Bar) -> None:
        """Wait for the follower; Ctrl-C leaves the rest to a later ``--resume``."""
        follower.finish()
        self._signals.stop.set()
        while not follower.wait(_TICK_S):
            made = follower.state.made
            bar.say(f"{made} of {self._done} tomograms made, Ctrl-C leaves the rest for later")
            bar.advance_to(made)
            if self._signals.abort.is_set():
                follower.stop()
        self._follower_state = follower.state

    def report(self, as_json: bool) -> int:
        """Print what was done; return the exit status."""
        if as_json:
            print(json.dumps(self._figures()))
        else:
            self._tell()
        if self._signals.number and self._missing:
            return 128 + self._signals.number
        return 1 if self._missing or self._lost_angles or self._follower_state.failed else 0

    @property
    def _missing(self) -> bool:
        """Whether scans or tomograms are missing."""
        made = len(self._follower_state.failed) + self._follower_state.made
        wanted = 0 if self._tomograms is None else self._done
        return self._done < len(self._plan.visits) or made < wanted

    def _figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "output": str(self._output),
            "stacks": self._done,
            "planned": len(self._plan.visits),
            "recorded_now": self._done - self._before,
            "seconds": self._seconds,
            "short": self._lost_angles,
            "warning": self._warning,
            "remark": self._remark,
        }
        if (kept := self._kept()) is not None:
            figures["drift"] = kept
        if self._tomograms is not None:
            figures["tomograms"] = {
                "output": str(self._tomograms.output),
                "regularizer": self._tomograms.method,
                "made": self._follower_state.made,
                "failed": dict(self._follower_state.failed),
                "error": self._follower_state.error,
            }
        return figures

    def _kept(self) -> dict[str, Any] | None:
        """Return how the object was kept in the middle; None where it was not to be."""
        if not self._calibrated.config.drift.keep_in_middle or not self._output.exists():
            return None
        log = read_recording(self._output).drift()
        found = np.isfinite(log.object_um).all(axis=1)
        away_um = np.linalg.norm(log.object_um[found], axis=1)
        moved_um = np.linalg.norm(log.correction_um, axis=1)
        return {
            "found": int(found.sum()),
            "not_found": np.flatnonzero(~found).tolist(),
            "farthest_um": float(away_um.max()) if len(away_um) else None,
            "corrected_um": float(moved_um.max()) if len(moved_um) else 0.0,
        }

    def _tell(self) -> None:
        planned = len(self._plan.visits)
        scans = f"{self._done}" if self._done == planned else f"{self._done} of {planned}"
        print(f"{scans} scans in {self._seconds:.1f} s: {self._output}")
        for number, lost in self._lost_angles.items():
            print(f"{scan_name(number)} is incomplete, lost angles: {', '.join(map(str, lost))}")
        if (kept := self._kept()) is not None:
            away = kept["farthest_um"]
            at_most = "" if away is None else f", at most {away:.2g} um from the middle"
            print(
                f"object found in {kept['found']} of {self._done} scans{at_most}; corrected by up "
                f"to {kept['corrected_um']:.2g} um"
            )
        for sentence in filter(None, (self._warning, self._remark)):
            print(sentence)
        if self._tomograms is not None:
            print(
                f"{self._follower_state.made} of {self._done} tomograms: {self._tomograms.output}"
            )
            for number, why in self._follower_state.failed:
                print(f"{scan_name(number)} has no tomogram: {why}")
            if self._follower_state.error:
                print(f"the making of tomograms stopped early: {self._follower_state.error}")
        if self._missing:
            print("record the rest with --resume instead of the plan")
