"""Records a time-lapse step by step; the caller owns the microscope and drives the steps.

A step is a planned background or a scan (move the stage, focus, scan, write). Between steps the
caller waits, shows live scans, pauses or ends. Every scan is in the file when its step returns. A
pause stops the clock. A late scan does not delay those after it.
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
from acquisition.errors import (
    ConfigurationError,
    DataError,
    DeviceError,
    LiveTomoError,
    ScanStopped,
)
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from acquisition.scan_name import scan_name
from acquisition.scanning.collected_frames import FrameSink
from files.disk import SPARE_BYTES, check_space, free_bytes
from files.positions import Positions, StageXYZ
from files.recording import (
    Recording,
    RecordingAppender,
    RecordingWriter,
    read_recording,
    resume_recording,
)
from files.sample_notes import NO_NOTES, SampleNotes
from files.series import ScanLocation, SeriesDescription
from pipeline.timelapse.object_keeper import ObjectKeeper, can_move
from pipeline.timelapse.plan import TimelapsePlan, Visit
from pipeline.timelapse.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.timelapse.focus_drive import Autofocus

__all__ = ["Activity", "Progress", "TimelapseRun", "Whereabouts", "duration", "required_series"]

Whereabouts = tuple[str, StageXYZ | None]  # a position's label, and its stages' first place


class Activity(StrEnum):
    """The current activity of a time-lapse."""

    BACKGROUND = "background"
    FOCUSING = "focusing"
    SCANNING = "scanning"
    LOOKING = "looking"
    WAITING = "waiting"
    PAUSED = "paused"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a time-lapse.

    Parameters
    ----------
    activity : Activity
    done, total : int
        Scans.
    next_s : float
        Seconds until the next scan.
    left_s : float
        Seconds until the end.
    incomplete : int
        Scans that lack angles.
    warning : str
        The last problem that did not end it.
    drift : str
        Where the object was in the last scan, and how far it was corrected; "" while it is not
        kept in the middle.
    """

    activity: Activity
    done: int
    total: int
    next_s: float = 0.0
    left_s: float = 0.0
    incomplete: int = 0
    warning: str = ""
    drift: str = ""

    @property
    def summary(self) -> str:
        """One line for the user, with the time left."""
        left = f", {duration(self.left_s)} left" if self.done and self.left_s >= 1 else ""
        return self._now() + left

    def _now(self) -> str:
        scan = f"scan {min(self.done + 1, self.total)} of {self.total}"
        match self.activity:
            case Activity.WAITING if self.next_s >= 1:
                return f"{scan} in {duration(self.next_s)}"
            case Activity.PAUSED:
                return f"paused after {self.done} of {self.total} scans"
            case Activity.DONE:
                return f"{self.done} of {self.total} scans"
            case Activity.BACKGROUND:
                return f"taking the background, then {scan}"
            case Activity.FOCUSING:
                return f"{scan}, focusing"
            case Activity.LOOKING:
                return f"{scan}, looking for the object"
        return scan


def duration(seconds: float) -> str:
    """Return a duration as text: "90 s", "12 min", "3 h 5 min"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class TimelapseRun(Closing):
    """Records a plan into a file; a context manager that closes it.

    Parameters
    ----------
    microscope : Microscope
    plan : TimelapsePlan
    output : Path
        The recording: new, or one of the same plan that is resumed.
    sample : SampleNotes
        What is written of the sample into a new recording.

    Attributes
    ----------
    background : InterferogramStack or None
        The one that is valid now.
    lost_angles : dict of int to tuple of int
        Of scans that lack angles: number to lost angles.
    keeper : ObjectKeeper
        Keeps the object in the middle while it is switched on.

    Raises
    ------
    DeviceError, ConfigurationError
        If the microscope lacks what the plan needs.
    """

    def __init__(
        self,
        microscope: Microscope,
        plan: TimelapsePlan,
        output: Path,
        sample: SampleNotes = NO_NOTES,
    ) -> None:
        _check_able(microscope, plan)
        self._sample = sample
        self.keeper = ObjectKeeper(microscope)
        self._microscope, self._plan, self._output = microscope, plan, output
        self._writer: RecordingAppender | None = None
        self._autofocus: Autofocus | None = None
        self._focused_um: dict[int, float] = {}
        self._schedule = Schedule(plan.visits)
        self._labels, self._at = Positions(plan.positions).labels, -1
        self._placed = plan.moves or any(self._labels)
        self._scan_bytes = microscope.config.scan_bytes()
        self._since_background = 0
        self._background_at_s = 0.0
        self._activity = Activity.WAITING
        self._warning = ""
        self.background: InterferogramStack | None = None
        self.lost_angles: dict[int, tuple[int, ...]] = {}

    def start(
        self,
        stop: threading.Event | None = None,
        background: InterferogramStack | None = None,
    ) -> None:
        """Create the file with ``background``, or take one now."""
        self._activity = Activity.BACKGROUND
        self._valid(background or self._microscope.background(stop=stop))
        assert self.background is not None
        config = self._microscope.config
        description = SeriesDescription(
            self._plan.to_json(),
            config.model_dump_json(exclude_defaults=True),
            self._plan.positions,
            config.reconstruction.set_values(),
        )
        self._writer = RecordingWriter(
            self._output, self.background, self._sample.attributes(), description
        )
        self._activity = Activity.WAITING

    def resume(self, stop: threading.Event | None = None) -> None:
        """Continue the file after its last scan; retake the background if the plan allows it.

        Raises
        ------
        DataError
            If the file belongs to another plan or microscope.
        """
        recording = read_recording(self._output)
        _check_same(recording, self._microscope, self._plan)
        done = len(recording)
        log = recording.log()
        self._return_to(log.positions)
        self.lost_angles = log.lost_angles
        newest = next(recording.scans(done - 1), None) if done else None
        self._valid(newest.background if newest else recording.background)
        self._writer = resume_recording(self._output)
        self._schedule.continue_after(done, float(recording.timestamps[-1]) if done else None)
        if not self.finished and self._microscope.config.background_position_um() is not None:
            self._retake(stop)  # the instrument may have drifted since

    def _return_to(self, where: Positions) -> None:
        """Take up the focus and the drift of each position where the recording left them."""
        focuses = any(visit.autofocus for visit in self._plan.visits)
        for position in where.visited:
            scans = where.scans_at(position).tolist()
            first, last = scans[0], scans[-1]
            newest = last == len(where.position) - 1
            home, corrected = where.stage_at(first), where.correction_at(last)
            self.keeper.restore(position, home, corrected, newest=newest)
            if focuses:
                self._focused_um[position] = self.keeper.focused(position, where.stage_at(last)[2])

    def close(self) -> None:
        """Close the file; all recorded scans are in it."""
        if self._writer is not None:
            self._writer.close()

    @property
    def finished(self) -> bool:
        """Whether every scan of the plan is in the file."""
        return self._schedule.next is None

    @property
    def due_s(self) -> float:
        """Seconds until the next step; infinite while paused and after the end."""
        return max(self._schedule.due_s - self._lead_s, 0.0)

    @property
    def whereabouts(self) -> Whereabouts | None:
        """The label of the position that the stages are at, and where they were at its first scan.

        None before the first visit, and where a plan has one place without a name: the present one.
        """
        if self._at < 0 or not self._placed:
            return None
        label = self._labels[self._at] or "position 1"
        return label, self.keeper.home_um(self._at)

    def pause(self) -> None:
        """Stop the clock. A running scan is not interrupted."""
        self._schedule.pause()

    def unpause(self) -> None:
        """Restart the clock where it was stopped."""
        self._schedule.unpause()

    def keep_in_middle(self, on: bool) -> None:
        """Keep the object in the middle from the next scan on, or do not."""
        if on and not self.keeper.on:
            self.keeper.forget()
        self.keeper.on = on

    def step(
        self, stop: threading.Event | None = None, sink: FrameSink | None = None
    ) -> InterferogramStack | None:
        """Do the next step now; return the recorded scan, or None after a background.

        The frames of the scan go to the ``sink`` as they arrive.

        Raises
        ------
        ScanStopped
            If ``stop`` was set. The file ends with the previous scan.
        DeviceError
            If a device failed. The light is off and the file ends with the previous scan.
        DataError
            If the disk is full.
        """
        try:
            return self._step(stop, sink)
        except ScanStopped:
            raise
        except BaseException:
            _go_dark(self._microscope)
            raise
        finally:
            self._activity = Activity.DONE if self.finished else Activity.WAITING

    def _step(
        self, stop: threading.Event | None, sink: FrameSink | None
    ) -> InterferogramStack | None:
        visit = self._schedule.next
        assert visit is not None and self._writer is not None
        if self._background_due:
            self._retake(stop)
            return None
        number = len(self._writer)
        self._check_disk(number)
        self._go_to(visit, stop)
        self._activity = Activity.SCANNING
        self._schedule.start_visit()
        scan = self._microscope.scan(stop, sink)
        self._writer.append(scan, self._location(visit.position))
        self._look_for_object(number, visit.position, scan)
        self._schedule.end_visit()
        self._since_background += 1
        if scan.lost:
            self.lost_angles[number] = scan.lost
            self._warning = (
                f"{scan_name(number)} is incomplete: {len(scan.lost)} of its angles were lost"
            )
        return scan

    def _location(self, position: int) -> ScanLocation:
        try:
            here = self._microscope.stage.position_um()
        except DeviceError as error:
            if not self.keeper.on:
                raise
            self._warning = str(error)  # the scan itself is good
            return ScanLocation(position)
        return ScanLocation(position, here, self.keeper.correction_um(position, here))

    def _go_to(self, visit: Visit, stop: threading.Event | None) -> None:
        z_um = self._focused_um.get(visit.position, visit.z_um)
        self.keeper.go_to(visit.position, (visit.x_um, visit.y_um, z_um))
        self._at = visit.position
        if visit.autofocus:
            self._activity = Activity.FOCUSING
            self._focus(visit.position, stop)

    def _focus(self, position: int, stop: threading.Event | None) -> None:
        if self._autofocus is None:
            from pipeline.timelapse.focus_drive import (
                Autofocus,  # with torch: only where a plan needs it
            )

            self._autofocus = Autofocus(self._microscope)
        assert self.background is not None
        try:
            found = self._autofocus(self.background, stop)
        except ScanStopped:
            raise
        except LiveTomoError as error:  # the scan is taken where the drive is
            self._warning = f"focus at position {self._called(position)}: {error}"
            return
        self._focused_um[position] = self.keeper.focused(position, found.z_um)
        if found.problem:
            self._warning = f"focus at position {self._called(position)}: {found.problem}"

    def _look_for_object(self, number: int, position: int, scan: InterferogramStack) -> None:
        """Measure the drift in a recorded scan; it is corrected before the position's next."""
        assert self._writer is not None and self.background is not None
        if self.keeper.on:
            self._activity = Activity.LOOKING
        seen = self.keeper.look(position, scan, self.background)
        self._writer.append_seen(seen)
        if seen.note:
            self._warning = f"{scan_name(number)}: {seen.note}"

    def _called(self, position: int) -> str:
        return self._plan.positions[position] or str(position + 1)

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
        """How long before the scan its step must start."""
        return self._background_s if self._background_due else 0.0

    def _retake(self, stop: threading.Event | None) -> None:
        assert self._writer is not None
        self._activity = Activity.BACKGROUND
        check_space(self._output, self._scan_bytes, "a new background")
        stack = self._microscope.background(stop=stop)
        self._writer.append_background(stack)
        self._valid(stack)

    def _valid(self, background: InterferogramStack) -> None:
        self.background = background
        self._since_background, self._background_at_s = 0, time.monotonic()

    @property
    def _background_s(self) -> float:
        """Estimated duration of a background."""
        return self._schedule.scan_s * self._microscope.config.background.scans

    def _check_disk(self, number: int) -> None:
        """Refuse a scan that does not fit; warn early if the rest of the plan will not."""
        scan_bytes, total = self._scan_bytes, len(self._plan.visits)
        free = free_bytes(self._output)
        check_space(self._output, scan_bytes, f"{scan_name(number)} of {total}", free)
        fit = (free - SPARE_BYTES) // scan_bytes
        if fit < total - number:
            self._warning = f"the disk has room for only {fit} of the {total - number} scans left"

    def progress(self) -> Progress:
        """Return the progress; may be called from any thread."""
        schedule = self._schedule
        activity = Activity.PAUSED if schedule.paused and not self.finished else self._activity
        return Progress(
            activity,
            schedule.done,
            len(self._plan.visits),
            0.0 if math.isinf(schedule.due_s) else schedule.due_s,
            schedule.left_s,
            len(self.lost_angles),
            self._warning,
            self.keeper.status if self.keeper.on else "",
        )


def required_series(recording: Recording) -> SeriesDescription:
    """Return the series of a recording; DataError if it is not a planned time-lapse."""
    if recording.series is None:
        raise DataError(
            f"{recording.path} must be the recording of a time-lapse to be resumed: start a new one"
        )
    return recording.series


def _go_dark(microscope: Microscope) -> None:
    """Blank the DMD if it still can; another error is being raised."""
    try:
        microscope.blank()
    except DeviceError as error:  # the first error is the one to report
        print(f"the DMD could not be blanked: {error}")


def _check_able(microscope: Microscope, plan: TimelapsePlan) -> None:
    microscope.stage.require(sideways=plan.moves, focus=plan.focuses)
    if microscope.config.drift.keep_in_middle and not any(can_move(microscope)):
        raise ConfigurationError(
            "an object can be kept in the middle only by a sample stage or a focus drive, got "
            "neither: name them in [stage], or switch [drift] keep_in_middle off"
        )
    if plan.background.retakes and microscope.config.background_position_um() is None:
        raise ConfigurationError(
            "a plan that retakes the background needs an empty field to move to, got none: set "
            "[background] position_um in microscope.toml, or do not retake it"
        )


def _check_same(recording: Recording, microscope: Microscope, plan: TimelapsePlan) -> None:
    """Refuse to continue with another plan or microscope."""
    path, series = recording.path, recording.series
    if series is None or series.plan != plan.to_json():
        raise DataError(
            f"{path} must be resumed with the plan that it was started with: give no other plan"
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
            f"{path} must be resumed on the microscope that it was started on, with the same "
            f"optics, angles and camera format, got {config.microscope.name!r}"
        )
