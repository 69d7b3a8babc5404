"""The acquirer's side of a time-lapse: takes the requests, and its steps between live scans.

Requests are checked where they are answered, on the desk's thread; all that touches the microscope
or the file is done by the thread that scans. A time-lapse that was under way when the acquirer died
is gone on with in its next life.
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
from files.disk import check_output
from files.recording import read_recording
from files.reopening import sole_writer
from pipeline.live.service import Remember
from pipeline.timelapse.forecast import Forecast
from pipeline.timelapse.plan import BackgroundPlan, TimelapsePlan, chosen_plan
from pipeline.timelapse.run import Doing, TimeLapse, series_of
from pipeline.tomograms.follower_process import Following
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import RecordingState, RecordRequest

__all__ = ["Recorder"]

_REQUEST = TypeAdapter(RecordRequest)
_LAST_WORDS_S = 2.0  # how long the follower may take when the instrument is closed


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A time-lapse that was asked for, checked as far as it can be without the microscope."""

    request: RecordRequest
    plan: TimelapsePlan
    resume: bool = False


class Recorder:
    """At most one time-lapse at a time.

    Parameters
    ----------
    remember : callable
        Keeps the request for the next life of this process.
    """

    def __init__(self, remember: Remember) -> None:
        self._remember = remember
        self._wanted: _Wanted | None = None
        self._lapse: TimeLapse | None = None
        self._following: Following | None = None
        self._held = ExitStack()
        self._finish = threading.Event()
        self._last: RecordingState | None = None

    # ---- Asked by the desk ----

    def ask(self, text: str, config: AcquisitionConfig) -> str:
        """Take a request; it begins with the next step.

        Raises
        ------
        LiveTomoError
            If it is refused.
        """
        if self.active:
            raise PipelineError("record: a time-lapse is running: finish it first")
        try:
            request = _REQUEST.validate_json(text)
            plan = _plan(request)
        except ValidationError as error:
            raise DataError(f"record: {error.errors()[0]['msg']}") from error
        _check(request, plan, config)
        self._wanted = _Wanted(request, plan)
        self._remember("recording", text)
        return f"{len(plan.visits)} scans into {request.output}"

    def pause(self) -> str:
        """Stop the time-lapse's clock."""
        self._running().pause()
        return "paused"

    def go_on(self) -> str:
        """Let it run again."""
        self._running().go_on()
        return "goes on"

    def finish(self) -> str:
        """End the time-lapse after the scan that runs."""
        if not self.active:
            raise PipelineError("finish: no time-lapse is running")
        self._finish.set()
        return "ends"

    def _running(self) -> TimeLapse:
        lapse = self._lapse
        if lapse is None:
            raise PipelineError("no time-lapse is running: start one first")
        return lapse

    def state(self) -> RecordingState | None:
        """Return how far it is, or how the last one ended."""
        lapse, wanted = self._lapse, self._wanted
        if lapse is not None and self._last is not None:
            progress = lapse.progress()
            return RecordingState(
                self._last.output,
                progress.sentence,
                paused=progress.doing is Doing.PAUSED,
                done=progress.done,
                total=progress.total,
                tomograms=self._made,
                warning=progress.warning or self._trouble,
            )
        if wanted is not None:
            return RecordingState(wanted.request.output, "starting", total=len(wanted.plan.visits))
        return self._ended()

    def _ended(self) -> RecordingState | None:
        last, following = self._last, self._following
        if last is None or following is None:
            return last
        sentence = last.sentence
        if following.state.running:
            sentence = f"{last.done} scans; tomograms are being made"
        return RecordingState(
            last.output,
            sentence,
            running=False,
            done=last.done,
            total=last.total,
            tomograms=self._made,
            warning=last.warning or self._trouble,
            error=last.error,
        )

    @property
    def _made(self) -> int | None:
        return None if self._following is None else self._following.state.made

    @property
    def _trouble(self) -> str:
        error = "" if self._following is None else self._following.state.error
        return f"no more tomograms: {error}" if error else ""

    @property
    def active(self) -> bool:
        """Whether a time-lapse is wanted or running."""
        return self._wanted is not None or self._lapse is not None

    # ---- Done by the thread that scans ----

    def take_up(self, text: str) -> None:
        """Go on with what the former life of this process has left; nothing for an empty text."""
        if not text:
            return
        request = _REQUEST.validate_json(text)  # it was checked when it was asked for
        try:
            output = Path(request.output)
            if output.exists():
                plan = TimelapsePlan.from_json(series_of(read_recording(output)).plan)
                self._wanted = _Wanted(request, plan, resume=True)
            else:
                self._wanted = _Wanted(request, _plan(request))
        except LiveTomoError as error:
            self._last = RecordingState(request.output, "", running=False, error=str(error))
            self._remember("recording", "")

    @property
    def due_s(self) -> float:
        """Seconds until the next step; infinite where there is none."""
        if self._wanted is not None or self._finish.is_set():
            return 0.0
        return float("inf") if self._lapse is None else self._lapse.due_s

    @property
    def background(self) -> InterferogramStack | None:
        """The background that is valid for the time-lapse."""
        return None if self._lapse is None else self._lapse.background

    def step(
        self,
        microscope: Microscope,
        background: InterferogramStack | None,
        stop: threading.Event,
    ) -> InterferogramStack | None:
        """Do what comes next; return the scan that was recorded, if it was one.

        Raises
        ------
        DeviceError
            If a device failed; the file ends with the scan before and is gone on with when this
            process is started again.
        """
        try:
            return self._step(microscope, background, stop)
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
    ) -> InterferogramStack | None:
        if self._lapse is None and self._wanted is not None:
            self._begin(microscope, self._wanted, background, stop)
            return None
        lapse = self._lapse
        if lapse is None or self._finish.is_set():
            self._end("")
            return None
        scan = lapse.step(stop)
        if lapse.finished:
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
        if self._following is not None:
            self._following.stop()  # of the time-lapse before: its file can be gone on with
            self._following = None
        try:
            self._held.enter_context(sole_writer(output))
            lapse = self._held.enter_context(TimeLapse(microscope, wanted.plan, output))
            if wanted.resume:
                lapse.resume(stop)
            else:
                lapse.start(stop, background)
        except BaseException:
            self._held.close()
            raise
        self._last = RecordingState(request.output, "", total=len(wanted.plan.visits))
        if request.tomograms is not None:
            made, planned = Path(request.tomograms), len(wanted.plan.visits)
            how = (request.regularizer, None, planned, request.constraint)
            self._following = Following(output, made, *how)
            self._following.__enter__()
        self._lapse, self._wanted = lapse, None
        if lapse.finished:
            self._end("")

    def _end(self, error: str) -> None:
        """Close the file; the follower catches up."""
        state = self.state()
        self._lapse = self._wanted = None
        self._finish.clear()
        self._held.close()
        if self._following is not None:
            self._following.end()
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
        self._remember("recording", "")

    def close(self) -> None:
        """Close the file as it is; the follower is told to end, and has its file whole."""
        self._held.close()
        if self._following is not None:
            self._following.stop()
            self._following.wait(_LAST_WORDS_S)


def _plan(request: RecordRequest) -> TimelapsePlan:
    background = BackgroundPlan(
        background_every_scans=request.background_every_scans,
        background_every_min=request.background_every_min,
    )
    chosen = background if background.retakes else None
    sequence = None if request.sequence is None else Path(request.sequence)
    return chosen_plan(request.stacks, request.interval_s, sequence, chosen)


def _check(request: RecordRequest, plan: TimelapsePlan, config: AcquisitionConfig) -> None:
    """Refuse files that exist, and what does not fit on the disk."""
    check_regularizer(request.regularizer)
    output, tomograms = Path(request.output), request.tomograms
    for name in filter(None, (request.output, tomograms)):
        check_output(Path(name))
    method = None if tomograms is None else request.regularizer
    Forecast.of(config, plan, method).check(output, Path(tomograms) if tomograms else None)
