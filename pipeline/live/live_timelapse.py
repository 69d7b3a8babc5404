"""A time-lapse in the acquirer: takes requests, and does its steps between live scans.

Requests are checked and answered on the thread of the command server. Only the scanning thread
touches the microscope and the file. A time-lapse that was running when the acquirer died is resumed
when the acquirer is restarted.
"""

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from acquisition.choices import check_regularizer
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import DataError, DeviceError, LiveTomoError
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from acquisition.scanning.collected_frames import FrameSink
from files.disk import check_output
from files.recording import read_recording
from files.reopening import sole_writer
from files.sample_notes import SampleNotes
from pipeline.live.process_settings import KeepSetting
from pipeline.timelapse.forecast import Forecast
from pipeline.timelapse.outlook import check_stage, plan_of
from pipeline.timelapse.plan import TimelapsePlan
from pipeline.timelapse.run import Activity, TimelapseRun, Whereabouts, required_series
from pipeline.tomograms.follower_process import FollowerProcess
from pipeline.wire.places import StageState
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import RecordingState, RecordRequest

__all__ = ["LiveTimelapse"]

_REQUEST = TypeAdapter(RecordRequest)
_FOLLOWER_GRACE_S = 2.0  # time for the follower to end when the instrument is closed


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A requested time-lapse, checked as far as possible without the microscope."""

    request: RecordRequest
    plan: TimelapsePlan
    resume: bool = False


class LiveTimelapse:
    """Runs at most one time-lapse at a time.

    Parameters
    ----------
    keep_setting : callable
        Keeps the request for a restart of this process.
    """

    def __init__(self, keep_setting: KeepSetting) -> None:
        self._keep_setting = keep_setting
        self._wanted: _Wanted | None = None
        self._run: TimelapseRun | None = None
        self._follower: FollowerProcess | None = None
        self._held = ExitStack()
        self._finish = threading.Event()
        self._last: RecordingState | None = None
        self._keep = False

    # ---- Called by the command server ----

    def request(self, text: str, config: AcquisitionConfig, stage: StageState | None) -> str:
        """Accept a ``RecordRequest`` in JSON; the next step starts it.

        ``stage`` is that of the microscope, None if there is none.

        Raises
        ------
        LiveTomoError
            If it is refused.
        """
        if self.active:
            raise PipelineError("record: a time-lapse is running, finish it first")
        try:
            request = _REQUEST.validate_json(text)
            plan = plan_of(request)
        except ValidationError as error:
            raise DataError(f"record: {error.errors()[0]['msg']}") from error
        _check(request, plan, config)
        for problem in check_stage(plan, stage).values():
            raise DataError(problem)
        self._wanted = _Wanted(request, plan)
        self._keep_setting("recording", text)
        return f"{len(plan.visits)} scans into {request.output}"

    def pause(self) -> str:
        """Pause the time-lapse."""
        self._running().pause()
        return "paused"

    def unpause(self) -> str:
        """Continue the paused time-lapse."""
        self._running().unpause()
        return "continued"

    def keep_in_middle(self, on: bool) -> None:
        """Keep the object in the middle from the next scan on, or do not."""
        self._keep = on
        if (timelapse := self._run) is not None:
            timelapse.keep_in_middle(on)

    @property
    def drift(self) -> str | None:
        """The status of keeping the object in the middle; None while no time-lapse runs."""
        return None if self._run is None else self._run.progress().drift

    def finish(self) -> str:
        """End the time-lapse after the current scan."""
        if not self.active:
            raise PipelineError("finish: no time-lapse is running")
        self._finish.set()
        return "ending"

    def _running(self) -> TimelapseRun:
        timelapse = self._run
        if timelapse is None:
            raise PipelineError("no time-lapse is running, start one first")
        return timelapse

    def state(self) -> RecordingState | None:
        """Return the state of the current or the last time-lapse; None if there was none."""
        timelapse, wanted = self._run, self._wanted
        if timelapse is not None and self._last is not None:
            progress = timelapse.progress()
            return RecordingState(
                self._last.output,
                progress.summary,
                paused=progress.activity is Activity.PAUSED,
                done=progress.done,
                total=progress.total,
                tomograms=self._made,
                drift=progress.drift,
                warning=progress.warning or self._follower_error,
            )
        if wanted is not None:
            return RecordingState(wanted.request.output, "starting", total=len(wanted.plan.visits))
        return self._ended()

    def _ended(self) -> RecordingState | None:
        last, follower = self._last, self._follower
        if last is None or follower is None:
            return last
        summary = last.summary
        if follower.state.running:
            summary = f"{last.done} scans recorded, making tomograms"
        return RecordingState(
            last.output,
            summary,
            running=False,
            done=last.done,
            total=last.total,
            tomograms=self._made,
            warning=last.warning or self._follower_error,
            error=last.error,
        )

    @property
    def _made(self) -> int | None:
        return None if self._follower is None else self._follower.state.made

    @property
    def _follower_error(self) -> str:
        error = "" if self._follower is None else self._follower.state.error
        return f"no more tomograms will be made: {error}" if error else ""

    @property
    def active(self) -> bool:
        """Whether a time-lapse is requested or running."""
        return self._wanted is not None or self._run is not None

    # ---- Done by the thread that scans ----

    def resume_after_restart(self, text: str) -> None:
        """Resume the time-lapse of a request in JSON; nothing if ``text`` is empty."""
        if not text:
            return
        request = _REQUEST.validate_json(text)  # it was checked when it was requested
        try:
            output = Path(request.output)
            if output.exists():
                plan = TimelapsePlan.from_json(required_series(read_recording(output)).plan)
                self._wanted = _Wanted(request, plan, resume=True)
            else:
                self._wanted = _Wanted(request, plan_of(request))
        except LiveTomoError as error:
            self._last = RecordingState(request.output, "", running=False, error=str(error))
            self._keep_setting("recording", "")

    @property
    def due_s(self) -> float:
        """Seconds until the next step; infinite if there is none."""
        if self._wanted is not None or self._finish.is_set():
            return 0.0
        return float("inf") if self._run is None else self._run.due_s

    @property
    def background(self) -> InterferogramStack | None:
        """The current background of the time-lapse."""
        return None if self._run is None else self._run.background

    @property
    def position(self) -> Whereabouts | None:
        """The stage position that the time-lapse is at; None: it is at none by name."""
        return None if self._run is None else self._run.whereabouts

    def step(
        self,
        microscope: Microscope,
        background: InterferogramStack | None,
        stop: threading.Event,
        sink: FrameSink | None = None,
    ) -> InterferogramStack | None:
        """Do the next step; return the recorded scan, or None after another step.

        The frames of the scan go to the ``sink`` as they arrive.

        Raises
        ------
        DeviceError
            If a device failed. The file ends with the previous scan and is resumed when this
            process is restarted.
        """
        try:
            return self._step(microscope, background, stop, sink)
        except DeviceError:
            raise
        except LiveTomoError as error:  # a full disk, say: live imaging goes on
            self._end(str(error))
            return None

    def _step(
        self,
        microscope: Microscope,
        background: InterferogramStack | None,
        stop: threading.Event,
        sink: FrameSink | None,
    ) -> InterferogramStack | None:
        if self._run is None and self._wanted is not None:
            self._begin(microscope, self._wanted, background, stop)
            return None
        timelapse = self._run
        if timelapse is None or self._finish.is_set():
            self._end("")
            return None
        scan = timelapse.step(stop, sink)
        if timelapse.finished:
            self._end("")
        return scan

    def _begin(
        self,
        microscope: Microscope,
        wanted: _Wanted,
        background: InterferogramStack | None,
        stop: threading.Event,
    ) -> None:
        request, output = wanted.request, Path(wanted.request.output)
        if self._follower is not None:
            self._follower.stop()  # of the previous time-lapse; its file can be continued
            self._follower = None
        try:
            self._held.enter_context(sole_writer(output))
            sample = SampleNotes(request.sample_name, request.notes)
            timelapse = self._held.enter_context(
                TimelapseRun(microscope, wanted.plan, output, sample)
            )
            timelapse.keep_in_middle(self._keep)
            if wanted.resume:
                timelapse.resume(stop)
            else:
                timelapse.start(stop, background)
        except BaseException:
            self._held.close()
            raise
        self._last = RecordingState(request.output, "", total=len(wanted.plan.visits))
        if request.tomograms is not None:
            made, planned = Path(request.tomograms), len(wanted.plan.visits)
            how = (request.regularizer, None, planned, request.constraint)
            self._follower = FollowerProcess(output, made, *how)
            self._follower.__enter__()
        self._run, self._wanted = timelapse, None
        if timelapse.finished:
            self._end("")

    def _end(self, error: str) -> None:
        """Close the file and let the follower catch up."""
        state = self.state()
        self._run = self._wanted = None
        self._finish.clear()
        self._held.close()
        if self._follower is not None:
            self._follower.finish()
        if state is not None:
            self._last = RecordingState(
                state.output,
                f"{state.done} of {state.total} scans",
                running=False,
                done=state.done,
                total=state.total,
                warning=state.warning,
                error=error,
            )
        self._keep_setting("recording", "")

    def close(self) -> None:
        """Close the file and stop the follower."""
        self._held.close()
        if self._follower is not None:
            self._follower.stop()
            self._follower.wait(_FOLLOWER_GRACE_S)


def _check(request: RecordRequest, plan: TimelapsePlan, config: AcquisitionConfig) -> None:
    """Refuse existing files, and a recording that does not fit on the disk."""
    check_regularizer(request.regularizer)
    SampleNotes(request.sample_name, request.notes)
    output, tomograms = Path(request.output), request.tomograms
    for name in filter(None, (request.output, tomograms)):
        check_output(Path(name))
    method = None if tomograms is None else request.regularizer
    Forecast.of(config, plan, method).check(output, Path(tomograms) if tomograms else None)
