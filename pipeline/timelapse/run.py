"""A time-lapse as it is recorded: one step after another, driven by whoever owns the microscope.

A step is what comes next: the background by plan, or a scan (stage, focus, scan, file). Between
steps the owner waits, shows live scans, pauses or ends. Every scan is in the file when its step
returns. Times run on one clock; a pause stops it, and a scan that comes late does not move the
ones after it.
"""

import math
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acquisition.closing import Closing
from acquisition.errors import ConfigurationError, DataError, DeviceError, ScanStopped
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from files.disk import SPARE_BYTES, check_space, free_bytes
from files.recording import (
    Recording,
    RecordingAppender,
    RecordingWriter,
    read_recording,
    resume_recording,
)
from files.series import SeriesDescription, Visited
from pipeline.timelapse.plan import TimelapsePlan, Visit
from pipeline.timelapse.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.timelapse.focus_drive import Autofocus

__all__ = ["Doing", "Progress", "TimeLapse", "duration", "series_of"]


class Doing(StrEnum):
    """What a time-lapse is doing."""

    BACKGROUND = "background"
    FOCUSING = "focusing"
    SCANNING = "scanning"
    WAITING = "waiting"
    PAUSED = "paused"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a time-lapse is.

    Parameters
    ----------
    doing : Doing
    done, total : int
        Scans.
    next_s : float
        Until the next scan.
    left_s : float
        Until the last one is taken.
    short : int
        Scans that lack angles.
    warning : str
        The last thing that went wrong without ending it.
    """

    doing: Doing
    done: int
    total: int
    next_s: float = 0.0
    left_s: float = 0.0
    short: int = 0
    warning: str = ""

    @property
    def sentence(self) -> str:
        """One line for a person, with the time that is left."""
        left = f", {duration(self.left_s)} left" if self.done and self.left_s >= 1 else ""
        return self._now() + left

    def _now(self) -> str:
        scan = f"scan {min(self.done + 1, self.total)} of {self.total}"
        match self.doing:
            case Doing.WAITING if self.next_s >= 1:
                return f"{scan} in {duration(self.next_s)}"
            case Doing.PAUSED:
                return f"paused after {self.done} of {self.total} scans"
            case Doing.DONE:
                return f"{self.done} of {self.total} scans"
            case Doing.BACKGROUND:
                return f"taking the background, then {scan}"
            case Doing.FOCUSING:
                return f"{scan}, focusing"
        return scan


def duration(seconds: float) -> str:
    """Return seconds in the unit that a person would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class TimeLapse(Closing):
    """Records a plan into a file; a context manager that closes it.

    Parameters
    ----------
    microscope : Microscope
    plan : TimelapsePlan
    output : Path
        The recording: new, or one of the same plan that is resumed.

    Attributes
    ----------
    background : InterferogramStack or None
        The one that is valid now.
    short : dict of int to tuple of int
        Of scans that lack angles: number to lost angles.

    Raises
    ------
    DeviceError, ConfigurationError
        If the microscope lacks what the plan needs.
    """

    def __init__(self, microscope: Microscope, plan: TimelapsePlan, output: Path) -> None:
        _check_able(microscope, plan)
        self._microscope, self._plan, self._output = microscope, plan, output
        self._writer: RecordingAppender | None = None
        self._autofocus: Autofocus | None = None
        self._focused_um: dict[int, float] = {}
        self._schedule = Schedule(plan.visits)
        self._scan_bytes = microscope.config.scan_bytes()
        self._since_background = 0
        self._background_at_s = 0.0
        self._doing = Doing.WAITING
        self._warning = ""
        self.background: InterferogramStack | None = None
        self.short: dict[int, tuple[int, ...]] = {}

    def start(
        self,
        stop: threading.Event | None = None,
        background: InterferogramStack | None = None,
    ) -> None:
        """Make the file, with the background: this one, or one that is taken now."""
        self._doing = Doing.BACKGROUND
        self._valid(background or self._microscope.background(stop=stop))
        assert self.background is not None
        config = self._microscope.config
        description = SeriesDescription(
            self._plan.to_json(),
            config.model_dump_json(exclude_defaults=True),
            self._plan.positions,
            config.reconstruction.set_values(),
        )
        self._writer = RecordingWriter(self._output, self.background, series=description)
        self._doing = Doing.WAITING

    def resume(self, stop: threading.Event | None = None) -> None:
        """Go on with the file after its last scan, with a new background where one can be taken.

        Raises
        ------
        DataError
            If the file is of another plan or another microscope.
        """
        recording = read_recording(self._output)
        _check_same(recording, self._microscope, self._plan)
        done = len(recording)
        log = recording.log()
        if any(visit.autofocus for visit in self._plan.visits):
            where = log.positions
            heights_um = where.stage_um[:, 2].tolist()
            self._focused_um = dict(zip(where.position.tolist(), heights_um, strict=True))
        self.short = log.short
        newest = next(recording.scans(done - 1), None) if done else None
        self._valid(newest.background if newest else recording.background)
        self._writer = resume_recording(self._output)
        self._schedule.skip(done, float(recording.timestamps[-1]) if done else None)
        if not self.finished and self._microscope.config.background_position_um() is not None:
            self._retake(stop)  # what was restarted in the meantime has drifted

    def close(self) -> None:
        """Close the file; what was recorded is in it."""
        if self._writer is not None:
            self._writer.close()

    @property
    def finished(self) -> bool:
        """Whether every scan of the plan is in the file."""
        return self._schedule.next is None

    @property
    def due_s(self) -> float:
        """Seconds until the next step; infinite while paused and when finished."""
        return max(self._schedule.due_s - self._lead_s, 0.0)

    def pause(self) -> None:
        """Stop the clock; the scan that runs is finished by whoever runs it."""
        self._schedule.pause()

    def go_on(self) -> None:
        """Let the clock run again."""
        self._schedule.go_on()

    def step(self, stop: threading.Event | None = None) -> InterferogramStack | None:
        """Do what comes next, now; return the scan that was recorded, None after a background.

        Raises
        ------
        ScanStopped
            If ``stop`` was set; the file ends with the scan before.
        DeviceError
            If a device failed; the light is off and the file ends with the scan before.
        DataError
            If the disk is full.
        """
        try:
            return self._step(stop)
        except ScanStopped:
            raise
        except BaseException:
            _go_dark(self._microscope)
            raise
        finally:
            self._doing = Doing.DONE if self.finished else Doing.WAITING

    def _step(self, stop: threading.Event | None) -> InterferogramStack | None:
        visit = self._schedule.next
        assert visit is not None and self._writer is not None
        if self._background_due:
            self._retake(stop)
            return None
        number = len(self._writer)
        self._check_disk(number)
        self._go_to(visit, stop)
        self._doing = Doing.SCANNING
        self._schedule.begin()
        scan = self._microscope.scan(stop)
        here = self._microscope.stage.position_um()
        self._writer.append(scan, Visited(visit.position, here))
        self._schedule.end()
        self._since_background += 1
        if scan.lost:
            self.short[number] = scan.lost
            self._warning = f"scan {number} is short of {len(scan.lost)} angles"
        return scan

    def _go_to(self, visit: Visit, stop: threading.Event | None) -> None:
        stage = self._microscope.stage
        stage.move_to(visit.x_um, visit.y_um, self._focused_um.get(visit.position, visit.z_um))
        if visit.autofocus:
            self._doing = Doing.FOCUSING
            self._focus(visit.position, stop)

    def _focus(self, position: int, stop: threading.Event | None) -> None:
        if self._autofocus is None:
            from pipeline.timelapse.focus_drive import (
                Autofocus,  # with torch: only where a plan needs it
            )

            self._autofocus = Autofocus(self._microscope)
        assert self.background is not None
        found = self._autofocus(self.background, stop)
        self._focused_um[position] = found.z_um
        if found.problem:
            name = self._plan.positions[position] or str(position)
            self._warning = f"focus at position {name}: {found.problem}"

    @property
    def _background_due(self) -> bool:
        """Whether the background will be too old for the next scan."""
        plan = self._plan.background
        if self._schedule.next is None or not plan.retakes or not self._since_background:
            return False
        age_s = time.monotonic() - self._background_at_s + self._schedule.due_s
        return plan.due(self._since_background, age_s / 60)

    @property
    def _lead_s(self) -> float:
        """How long before the next scan its step begins."""
        return self._background_s if self._background_due else 0.0

    def _retake(self, stop: threading.Event | None) -> None:
        assert self._writer is not None
        self._doing = Doing.BACKGROUND
        check_space(self._output, self._scan_bytes, "a new background")
        stack = self._microscope.background(stop=stop)
        self._writer.append_background(stack)
        self._valid(stack)

    def _valid(self, background: InterferogramStack) -> None:
        self.background = background
        self._since_background, self._background_at_s = 0, time.monotonic()

    @property
    def _background_s(self) -> float:
        """How long a background takes, as far as is known."""
        return self._schedule.scan_s * self._microscope.config.background.scans

    def _check_disk(self, number: int) -> None:
        """Refuse the scan that does not fit; say before that not all of them will."""
        scan_bytes, total = self._scan_bytes, len(self._plan.visits)
        free = free_bytes(self._output)
        check_space(self._output, scan_bytes, f"scan {number + 1} of {total}", free)
        fit = (free - SPARE_BYTES) // scan_bytes
        if fit < total - number:
            self._warning = f"the disk has room for {fit} of the {total - number} scans to come"

    def progress(self) -> Progress:
        """Return how far it is; may be asked from any thread."""
        schedule = self._schedule
        doing = Doing.PAUSED if schedule.paused and not self.finished else self._doing
        return Progress(
            doing,
            schedule.done,
            len(self._plan.visits),
            0.0 if math.isinf(schedule.due_s) else schedule.due_s,
            schedule.left_s,
            len(self.short),
            self._warning,
        )


def series_of(recording: Recording) -> SeriesDescription:
    """Return what a recording says of its time-lapse; DataError where it is of none."""
    if recording.series is None:
        raise DataError(
            f"{recording.path} must be the recording of a time-lapse to be resumed: record anew"
        )
    return recording.series


def _go_dark(microscope: Microscope) -> None:
    """Take the light off the sample, if the DMD can still do that: another error is on its way."""
    try:
        microscope.blank()
    except DeviceError as error:  # the first error is the one to be reported
        print(f"the DMD could not be blanked: {error}")


def _check_able(microscope: Microscope, plan: TimelapsePlan) -> None:
    microscope.stage.require(sideways=plan.moves, focus=plan.focuses)
    if plan.background.retakes and microscope.config.background_position_um() is None:
        raise ConfigurationError(
            "a plan that retakes the background needs an empty field to go to, got none: set "
            "[background] position_um in the microscope.toml, or leave the retaking out"
        )


def _check_same(recording: Recording, microscope: Microscope, plan: TimelapsePlan) -> None:
    """Refuse to go on with something else."""
    path, series = recording.path, recording.series
    if series is None or series.plan != plan.to_json():
        raise DataError(
            f"{path} must be resumed with the plan that it was begun with: leave it out"
        )
    config = microscope.config
    before, camera = recording.background, config.camera
    if (
        before.optics != microscope.optics
        or before.frames.shape != (len(microscope.angles), *camera.shape)
        or before.frames.dtype != camera.dtype
        or recording.illumination_k is None
        or not np.array_equal(recording.illumination_k, microscope.angles.k)
    ):
        raise DataError(
            f"{path} must be resumed on the microscope that it was begun on, with its optics, "
            f"angles and camera format; {config.microscope.name!r} is another"
        )
