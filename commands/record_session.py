"""The work of ``record``: a time-lapse without a window, with tomograms on the fly if wanted.

The recording is written first and is the truth; the follower's tomograms may come later. Ctrl-C, or
a request to terminate, ends after the scan that runs with all data kept, a second one at once;
Ctrl-Z pauses after the scan that runs, until the shell's ``fg``. What was ended or crashed goes on
with ``--resume``.
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
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from acquisition.choices import check_regularizer
from acquisition.configuration.calibration_file import CalibratedConfig, load_calibrated
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import ConfigurationError, ScanStopped
from acquisition.microscope import open_microscope
from commands.progress import Bar, progress_bar
from files.disk import check_output
from files.recording import Recording, read_recording
from files.reopening import sole_writer
from pipeline.timelapse.forecast import Forecast
from pipeline.timelapse.plan import BackgroundPlan, TimelapsePlan, chosen_plan
from pipeline.timelapse.run import TimeLapse, series_of
from pipeline.tomograms.follower_process import Followed, Following

if TYPE_CHECKING:
    from regularizer.constraint import Constraint  # with torch, which takes seconds to load

__all__ = ["Tomograms", "background_plan", "run_record", "tomograms_asked_for"]

_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Tomograms:
    """The tomograms to be made on the fly: their file, the regularizer, where to compute."""

    output: Path
    method: str = "deep"
    device: str | None = None
    constraint: "Constraint" = "auto"

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
    tomograms: Tomograms | None = None,
    resume: bool = False,
) -> int:
    """Record a time-lapse without a window.

    Parameters
    ----------
    microscope : Path or None
        microscope.toml; None is the simulated microscope, or that of the recording to be resumed.
    stacks : int or None
        How many scans; None where there is a sequence.
    interval_s : float
        From the start of one to the start of the next; a scan that takes longer delays the rest.
    output : Path
        A new recording file, or the one to be resumed.
    as_json : bool
        Print the result as JSON.
    sequence : Path or None
        A useq MDASequence instead of stacks and interval.
    background : BackgroundPlan or None
        When the background is taken again.
    tomograms : Tomograms or None
    resume : bool
        Go on with a recording that was ended or crashed.

    Returns
    -------
    int
        0 if every scan has all its angles and its tomogram; 1 if not; 128 and the signal's number
        if it was ended by one.

    Raises
    ------
    DataError
        If the disk has no room for it, before anything is opened; if it fills up meanwhile, with
        the scans so far in the file.
    """
    if tomograms is not None:
        _check_device(tomograms.device)
    recorded = None
    if resume:
        if sequence is not None or stacks is not None or interval_s or background is not None:
            raise ConfigurationError("a recording is resumed with its own plan: leave others out")
        recorded = read_recording(output)
        calibrated, plan = _as_begun(recorded, microscope)
    else:
        plan = chosen_plan(stacks, interval_s, sequence, background)
        calibrated = load_calibrated(microscope)
        for file in (output, tomograms.output if tomograms else None):
            if file is not None:
                check_output(file)
    if tomograms is not None:
        tomograms = replace(tomograms, constraint=calibrated.config.processing.constraint)
    _check_room(calibrated.config, plan, output, tomograms, recorded)
    with sole_writer(output), _orders() as orders:
        session = _Session(calibrated, plan, output, tomograms, orders)
        session.run(recorded)
    return session.report(as_json)


def background_plan(scans: int | None, minutes: float | None) -> BackgroundPlan | None:
    """Return when the background is retaken: after so many scans, or minutes; None: never.

    Raises
    ------
    ConfigurationError
        If either is not positive.
    """
    try:
        plan = BackgroundPlan(background_every_scans=scans, background_every_min=minutes)
    except ValidationError as error:
        raise ConfigurationError(
            "a background is retaken after at least 1 scan, or after some minutes, got "
            f"{minutes if scans is None else scans}"
        ) from error
    return plan if plan.retakes else None


def tomograms_asked_for(
    output: Path | None, method: str | None, device: str | None
) -> Tomograms | None:
    """Return the tomograms to be made on the fly; None where no file is given for them.

    Raises
    ------
    ConfigurationError
        If there is a regularizer, but no file.
    """
    if output is not None:
        return Tomograms(output, method or "deep", device)
    if method is not None:
        raise ConfigurationError(
            f"the regularizer {method} needs a file for its tomograms: give --tomograms"
        )
    return None


def _as_begun(
    recording: Recording, microscope: Path | None
) -> tuple[CalibratedConfig, TimelapsePlan]:
    """Return the microscope, unless another file is given, and the plan of a recording."""
    series = series_of(recording)
    plan = TimelapsePlan.from_json(series.plan)
    if microscope is not None:
        return load_calibrated(microscope), plan
    return CalibratedConfig(AcquisitionConfig.model_validate_json(series.microscope)), plan


def _check_device(name: str | None) -> None:
    """Refuse a device that is not there; what tomograms are made on by default is."""
    if name is None or name == "cpu":
        return
    from pipeline.tomograms.torch_device import torch_device  # with torch

    torch_device(name)


def _check_room(
    config: AcquisitionConfig,
    plan: TimelapsePlan,
    output: Path,
    tomograms: Tomograms | None,
    recorded: Recording | None,
) -> None:
    """Refuse what does not fit on the disk, and tomograms that were made in another way."""
    scans = 0 if recorded is None else len(recorded)
    if tomograms is None:
        Forecast.of(config, plan, None, scans).check(output, None)
        return
    made = 0
    if recorded is not None and tomograms.output.exists():
        # with torch: a recording is to start at once
        from pipeline.tomograms.job import Recipe, scans_held, settings_for

        settings = settings_for(recorded, {})
        recipe = Recipe(tomograms.method, settings=settings, constraint=tomograms.constraint)
        made = len(scans_held(tomograms.output, recipe))
    Forecast.of(config, plan, tomograms.method, scans, made).check(output, tomograms.output)


@dataclass(slots=True)
class _Orders:
    """What signals ask for."""

    stop: threading.Event = field(default_factory=threading.Event)  # after the scan that runs
    halt: threading.Event = field(default_factory=threading.Event)  # at once
    pause: threading.Event = field(default_factory=threading.Event)
    by: int = 0  # the signal

    def end(self, number: int, frame: FrameType | None) -> None:
        """Obey SIGINT or SIGTERM."""
        (self.halt if self.stop.is_set() else self.stop).set()
        self.by = self.by or number

    def suspend(self, number: int, frame: FrameType | None) -> None:
        """Obey SIGTSTP."""
        self.pause.set()


@contextmanager
def _orders() -> Iterator[_Orders]:
    """Take the signals while a time-lapse runs; only a program's main thread can."""
    orders = _Orders()
    if threading.current_thread() is not threading.main_thread():
        yield orders
        return
    handlers: dict[int, Any] = {signal.SIGINT: orders.end, signal.SIGTERM: orders.end}
    if hasattr(signal, "SIGTSTP"):
        handlers[signal.SIGTSTP] = orders.suspend
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield orders
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Session:
    """One run of a time-lapse, from the microscope's opening to the last tomogram."""

    def __init__(
        self,
        calibrated: CalibratedConfig,
        plan: TimelapsePlan,
        output: Path,
        tomograms: Tomograms | None,
        orders: _Orders,
    ) -> None:
        self._calibrated, self._plan, self._output = calibrated, plan, output
        self._tomograms, self._orders = tomograms, orders
        self._short: dict[int, tuple[int, ...]] = {}
        self._done = self._before = 0
        self._seconds = 0.0
        self._warning = self._remark = ""
        self._followed = Followed()

    def run(self, recorded: Recording | None) -> None:
        """Record what is left of the plan, then wait for the tomograms that are left to be made."""
        total = len(self._plan.visits)
        self._done = self._before = 0 if recorded is None else len(recorded)
        with ExitStack() as held:
            bar = held.enter_context(progress_bar("Recording", total, steady=False))
            if self._done < total:
                following = self._record(bar, held, resume=recorded is not None)
            else:
                self._short = {} if recorded is None else recorded.log().short
                following = self._follower(held)
            if following is not None:
                self._catch_up(following, bar)

    def _record(self, bar: Bar, held: ExitStack, *, resume: bool) -> Following | None:
        """Record; return the follower, which ``held`` will end."""
        following = None
        with open_microscope(self._calibrated) as instrument:
            self._remark = instrument.remark
            with TimeLapse(instrument, self._plan, self._output) as lapse:
                bar.say("taking the background")
                try:
                    (lapse.resume if resume else lapse.start)(self._orders.halt)
                    following = self._follower(held)
                    self._steps(lapse, bar, following)
                except ScanStopped:
                    pass  # at once: the file ends with the scan before
                finally:
                    self._note(lapse)
        return following

    def _follower(self, held: ExitStack) -> Following | None:
        if self._tomograms is None:
            return None
        made, total = self._tomograms, len(self._plan.visits)
        return held.enter_context(
            Following(self._output, made.output, made.method, made.device, total, made.constraint)
        )

    def _steps(self, lapse: TimeLapse, bar: Bar, following: Following | None) -> None:
        begin = time.monotonic()
        while not lapse.finished and not self._orders.stop.is_set():
            if self._orders.pause.is_set():
                self._suspend(lapse)
            elif lapse.due_s > 0:
                self._orders.stop.wait(min(lapse.due_s, _TICK_S))
            else:
                lapse.step(self._orders.halt)
            self._show(lapse, bar, following)
            self._seconds = time.monotonic() - begin

    def _suspend(self, lapse: TimeLapse) -> None:
        """Stop this process as the shell expects it; it goes on here."""
        self._orders.pause.clear()
        lapse.pause()
        os.kill(os.getpid(), signal.SIGSTOP)
        lapse.go_on()

    def _show(self, lapse: TimeLapse, bar: Bar, following: Following | None) -> None:
        progress = lapse.progress()
        parts = [progress.sentence]
        if following is not None:
            parts.append(f"{following.state.made} tomograms")
        parts += [progress.warning] if progress.warning else []
        bar.say(", ".join(parts))
        bar.advance_to(progress.done)

    def _note(self, lapse: TimeLapse) -> None:
        progress = lapse.progress()
        self._done, self._warning = progress.done, progress.warning
        self._short = dict(lapse.short)

    def _catch_up(self, following: Following, bar: Bar) -> None:
        """Wait for the follower; one more Ctrl-C leaves the rest to a later ``--resume``."""
        following.end()
        self._orders.stop.set()
        while not following.wait(_TICK_S):
            made = following.state.made
            bar.say(f"{made} of {self._done} tomograms, Ctrl-C leaves the rest for later")
            bar.advance_to(made)
            if self._orders.halt.is_set():
                following.stop()
        self._followed = following.state

    def report(self, as_json: bool) -> int:
        """Print what was done; return the exit status."""
        if as_json:
            print(json.dumps(self._figures()))
        else:
            self._tell()
        if self._orders.by and self._missing:
            return 128 + self._orders.by
        return 1 if self._missing or self._short or self._followed.failed else 0

    @property
    def _missing(self) -> bool:
        """Whether scans or tomograms are still to be made."""
        made = len(self._followed.failed) + self._followed.made
        wanted = 0 if self._tomograms is None else self._done
        return self._done < len(self._plan.visits) or made < wanted

    def _figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "output": str(self._output),
            "stacks": self._done,
            "planned": len(self._plan.visits),
            "recorded_now": self._done - self._before,
            "seconds": self._seconds,
            "short": self._short,
            "warning": self._warning,
            "remark": self._remark,
        }
        if self._tomograms is not None:
            figures["tomograms"] = {
                "output": str(self._tomograms.output),
                "regularizer": self._tomograms.method,
                "made": self._followed.made,
                "failed": dict(self._followed.failed),
                "error": self._followed.error,
            }
        return figures

    def _tell(self) -> None:
        planned = len(self._plan.visits)
        scans = f"{self._done}" if self._done == planned else f"{self._done} of {planned}"
        print(f"{scans} scans in {self._seconds:.1f} s: {self._output}")
        for number, lost in self._short.items():
            print(f"scan {number} is short: angles {', '.join(map(str, lost))} are lost")
        for sentence in filter(None, (self._warning, self._remark)):
            print(sentence)
        if self._tomograms is not None:
            print(f"{self._followed.made} of {self._done} tomograms: {self._tomograms.output}")
            for number, why in self._followed.failed:
                print(f"scan {number} gave no tomogram: {why}")
            if self._followed.error:
                print(f"the tomograms ended early: {self._followed.error}")
        if self._missing:
            print("--resume instead of the plan makes what is missing")
