"""The client of a running instrument: its newest state, images and tomograms, and commands.

The statuses of all processes are merged into one ``InstrumentState`` here, so that every client,
with or without a window, shows the same.
"""

import time
from collections.abc import Callable, Sequence, Set
from typing import Any, TypeVar

import zmq
from numpy.typing import NDArray
from pydantic import TypeAdapter

from acquisition.closing import Closing
from acquisition.errors import DataError
from pipeline.live.process_settings import OPTIONAL
from pipeline.wire.bound_sockets import ANY_PORT, connect
from pipeline.wire.measuring_messages import measured_view
from pipeline.wire.messages import (
    AcquirerStatus,
    Inbox,
    InterferogramHeader,
    MeasuredHeader,
    MeasuringStatus,
    Message,
    ProcessorStatus,
    QualityHeader,
    QualityStatus,
    Stamp,
    SupervisorStatus,
    TomogramHeader,
    interferogram_view,
    quality_view,
    tomogram_view,
)
from pipeline.wire.places import SnapRequest, StagePlace
from pipeline.wire.sockets import ANSWER_LIMIT_S, Endpoints, PipelineError, command, fetch, request
from pipeline.wire.state import (
    DriftState,
    ForecastRequest,
    InstrumentState,
    MeasuringRequest,
    MeasuringState,
    Phase,
    RecordingForecast,
    RecordRequest,
    TomogramView,
    Updates,
)

__all__ = ["InstrumentClient", "merge"]

RECORD_LIMIT_S = 20.0  # the forecast of the file size may load torch first
H = TypeVar("H")
V = TypeVar("V")

SILENT_S = 3.0  # statuses come four times a second, more slowly while a process loads libraries


class InstrumentClient(Closing):
    """A client of a running instrument, which may have any number of them.

    Parameters
    ----------
    endpoints : Endpoints
        The addresses of its processes.
    patience_s : float
        How long a command may go unanswered; some have longer.
    """

    def __init__(self, endpoints: Endpoints, patience_s: float = ANSWER_LIMIT_S) -> None:
        self._endpoints, self._patience_s = endpoints, patience_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        # A queue each: a tomogram that is read late must not hold up the interferograms
        addresses = [endpoints.supervisor, endpoints.acquirer, endpoints.processor]
        optional = (endpoints.quality, endpoints.measuring)
        addresses += [one for one in optional if one != ANY_PORT]  # the instrument has it
        self._inboxes = [Inbox(connect(self._context, zmq.SUB, a)) for a in addresses]
        self._poller = zmq.Poller()
        for inbox in self._inboxes:
            self._poller.register(inbox.socket, zmq.POLLIN)
        self._stamp = Stamp("client", time.time_ns())
        self._supervisor: SupervisorStatus | None = None
        self._acquirer: AcquirerStatus | None = None
        self._processor: ProcessorStatus | None = None
        self._quality: QualityStatus | None = None
        self._measuring: MeasuringStatus | None = None
        self._state: InstrumentState | None = None
        self._heard_s: dict[str, float] = {}  # when the last status of each process came
        self._unusable = 0

    @property
    def malformed(self) -> int:
        """Number of messages that could not be used."""
        return self._unusable + sum(inbox.malformed for inbox in self._inboxes)

    def poll(self, timeout_ms: int = 0) -> Updates:
        """Return the newest of each kind since the last poll; wait up to ``timeout_ms`` for it."""
        self._poller.poll(timeout_ms)
        newest: dict[str, Message] = {}
        for inbox in self._inboxes:
            while (message := inbox.receive()) is not None:
                newest[message.header.kind] = message
        for message in newest.values():
            self._note(message)
        return Updates(
            self._changed_state(),
            self._viewed(newest.get("interferogram"), interferogram_view, InterferogramHeader),
            self._viewed(newest.get("tomogram"), tomogram_view, TomogramHeader),
            self._viewed(newest.get("quality"), quality_view, QualityHeader),
            self._viewed(newest.get("measured"), measured_view, MeasuredHeader),
        )

    def newest(self) -> TomogramView:
        """Return the newest tomogram as a whole volume, not cut out for display.

        Raises
        ------
        PipelineError
            If there is none yet, or no answer.
        """
        wish = command("newest", stamp=self._stamp)
        message = fetch(self._context, self._endpoints.processor_commands, wish)
        if message is None or not isinstance(message.header, TomogramHeader):
            raise PipelineError("the processor has no tomogram yet, wait for the first one")
        return tomogram_view(message.header, message.arrays)

    def start(self) -> None:
        """Start live imaging."""
        self._request(self._endpoints.acquirer_commands, "start")

    def stop(self) -> None:
        """Stop live imaging; the last tomogram stays."""
        self._request(self._endpoints.acquirer_commands, "stop")

    def retake_background(self) -> None:
        """Retake the background."""
        self._request(self._endpoints.acquirer_commands, "background")

    def show_angle(self, angle: int | None) -> None:
        """Publish the interferograms of this angle; CYCLE: of each in turn; None: the normal one.

        They come with the DMD's picture once an angle was chosen.
        """
        text = "" if angle is None else str(angle)
        self._request(self._endpoints.acquirer_commands, "angle", text)

    def set_regularizer(self, name: str) -> None:
        """Regularize the next scans with the method ``name``."""
        self._request(self._endpoints.processor_commands, "regularizer", name)

    def set_constraint(self, name: str) -> None:
        """Regularize the next scans with this constraint on the sign of the contrast."""
        self._request(self._endpoints.processor_commands, "constraint", name)

    def set_measuring(self, request: MeasuringRequest) -> None:
        """Measure the objects of live tomograms from now on, or do not.

        The newest tomogram is measured first, also while live imaging is stopped.
        """
        if self._endpoints.measuring_commands == ANY_PORT:
            raise PipelineError("this instrument was started without measuring")
        text = TypeAdapter(MeasuringRequest).dump_json(request).decode()
        self._request(self._endpoints.measuring_commands, "measure", text)

    def keep_in_middle(self, on: bool) -> None:
        """Keep the object in the middle of the field and in focus from now on, or do not.

        PipelineError if the microscope has no stage.
        """
        self._request(self._endpoints.acquirer_commands, "keep", "on" if on else "off")

    def record(self, request: RecordRequest) -> None:
        """Record a time-lapse; PipelineError if it is impossible or does not fit on the disk."""
        text = TypeAdapter(RecordRequest).dump_json(request).decode()
        self._request(self._endpoints.acquirer_commands, "record", text, RECORD_LIMIT_S)

    def forecast(self, request: ForecastRequest) -> RecordingForecast:
        """Return what a time-lapse would take, and what is wrong with it; nothing is started."""
        text = TypeAdapter(ForecastRequest).dump_json(request).decode()
        answer = self._request(self._endpoints.acquirer_commands, "forecast", text, RECORD_LIMIT_S)
        return TypeAdapter(RecordingForecast).validate_json(answer)

    def snap(self) -> None:
        """Take one scan and make its tomogram, while live imaging is stopped."""
        self._request(self._endpoints.acquirer_commands, "snap")

    def save_snap(self, request: SnapRequest) -> None:
        """Write the last snap as a recording; PipelineError if there is none."""
        text = TypeAdapter(SnapRequest).dump_json(request).decode()
        self._request(self._endpoints.acquirer_commands, "save snap", text, RECORD_LIMIT_S)

    def stage_place(self) -> StagePlace:
        """Return where the stage is now; PipelineError if there is none."""
        answer = self._request(self._endpoints.acquirer_commands, "where")
        return TypeAdapter(StagePlace).validate_json(answer)

    def move_stage(self, place: StagePlace) -> None:
        """Move the stage before the next scan; PipelineError while a time-lapse runs.

        The state of the stage says when it is there, or why not.
        """
        text = TypeAdapter(StagePlace).dump_json(place).decode()
        self._request(self._endpoints.acquirer_commands, "move", text)

    def pause_recording(self) -> None:
        """Pause the time-lapse; live imaging continues."""
        self._request(self._endpoints.acquirer_commands, "pause")

    def continue_recording(self) -> None:
        """Continue the paused time-lapse."""
        self._request(self._endpoints.acquirer_commands, "continue")

    def finish_recording(self) -> None:
        """End the time-lapse after the current scan."""
        self._request(self._endpoints.acquirer_commands, "finish")

    def close(self) -> None:
        """Disconnect from the instrument, which keeps running."""
        self._context.destroy(linger=0)

    def _request(
        self, endpoint: str, name: str, argument: str = "", patience_s: float = 0.0
    ) -> str:
        asked = command(name, argument, stamp=self._stamp)
        return request(self._context, endpoint, asked, max(patience_s, self._patience_s))

    def _note(self, message: Message) -> None:
        self._heard_s[message.header.kind] = time.monotonic()
        match message.header:
            case SupervisorStatus():
                self._supervisor = message.header
            case AcquirerStatus():
                self._acquirer = message.header
            case ProcessorStatus():
                self._processor = message.header
            case QualityStatus():
                self._quality = message.header
            case MeasuringStatus():
                self._measuring = message.header

    def _changed_state(self) -> InstrumentState | None:
        now = time.monotonic()
        silent = {name for name, then in self._heard_s.items() if now - then > SILENT_S}
        state = merge(
            self._supervisor,
            self._acquirer,
            self._processor,
            self._quality,
            self._measuring,
            frozenset(silent),
        )
        if state == self._state:
            return None
        self._state = state
        return state

    def _viewed(
        self,
        message: Message | None,
        view: Callable[[H, Sequence[NDArray[Any]]], V],
        header: type[H],
    ) -> V | None:
        """Return the content of a message; None if there is none or it cannot be used."""
        if message is None or not isinstance(message.header, header):
            return None
        try:
            return view(message.header, message.arrays)
        except DataError:
            self._unusable += 1
            return None


def merge(
    supervisor: SupervisorStatus | None,
    acquirer: AcquirerStatus | None,
    processor: ProcessorStatus | None,
    quality: QualityStatus | None = None,
    measuring: MeasuringStatus | None = None,
    silent: Set[str] = frozenset(),
) -> InstrumentState:
    """Return the state of the instrument from the last statuses of its processes.

    ``silent`` are the kinds of statuses that have not come for too long.
    """
    # the status of a process from before its restart no longer holds
    lives = {} if supervisor is None else {p.name: p.restarts for p in supervisor.processes}
    if acquirer is not None and acquirer.life < lives.get("acquirer", 0):
        acquirer = None
    if processor is not None and processor.life < lives.get("processor", 0):
        processor = None
    phase, message = _summary(supervisor, acquirer, processor, silent)
    scanned = (
        {}
        if acquirer is None
        else acquirer.model_dump(
            include={"scans", "incomplete", "scan_rate_hz", "microscope", "replay"}
        )
    )
    processed = (
        {}
        if processor is None
        else processor.model_dump(
            include={
                "reconstructed",
                "skipped",
                "tomogram_rate_hz",
                "latency_s",
                "regularizer",
                "constraint",
            }
        )
    )
    return InstrumentState(
        phase=phase,
        message=message,
        processes=() if supervisor is None else supervisor.processes,
        quality=_checking(supervisor, quality),
        measuring=_measuring(supervisor, measuring),
        recording=None if acquirer is None else acquirer.recording,
        stage=None if acquirer is None else acquirer.stage,
        drift=DriftState() if acquirer is None else acquirer.drift,
        snapped=None if acquirer is None else acquirer.snapped,
        **scanned,
        **processed,
    )


def _summary(
    supervisor: SupervisorStatus | None,
    acquirer: AcquirerStatus | None,
    processor: ProcessorStatus | None,
    silent: Set[str],
) -> tuple[Phase, str]:
    """Return the phase and the status line."""
    if supervisor is not None and supervisor.failure:
        return Phase.FAILED, supervisor.failure
    if supervisor is not None and any(process.held for process in supervisor.processes):
        return Phase.STOPPED, "the microscope is released to another program"
    down = [] if supervisor is None else [p for p in supervisor.processes if not p.alive]
    down = [process for process in down if process.name not in OPTIONAL]
    if down:
        phase = Phase.STARTING if acquirer is None else acquirer.phase
        return phase, f"restarting the {down[0].name}: {down[0].detail}"
    if acquirer is None:
        return Phase.STARTING, "starting the acquirer"
    if hanging := _hanging(acquirer, processor, silent):
        return acquirer.phase, hanging
    stage = "" if acquirer.stage is None else acquirer.stage.silent
    if acquirer.phase is not Phase.LIVE:
        return acquirer.phase, "; ".join(filter(None, (acquirer.message, stage)))
    recording = acquirer.recording
    busy = recording is not None and recording.running  # its bar says it
    kept = "" if busy else acquirer.drift.message
    return Phase.LIVE, "; ".join(filter(None, (f"live: {_live(processor)}", kept, stage)))


def _hanging(acquirer: AcquirerStatus, processor: ProcessorStatus | None, silent: Set[str]) -> str:
    """Return which process runs but says nothing, and what to do; "" if there is none."""
    if acquirer.kind in silent:
        return (
            "the acquirer does not answer: a device or the disk may hang. Check camera, DMD and "
            "disk; if it lasts, close this window and start again. What was recorded is kept"
        )
    if processor is not None and processor.kind in silent:
        return (
            "the processor does not answer: it hangs, or this computer is overloaded. Scans and "
            "recordings go on; if it lasts, close this window and start again"
        )
    return ""


def _live(processor: ProcessorStatus | None) -> str:
    if processor is None:
        return "starting the processor"
    if processor.message:
        return processor.message
    parts = [
        f"{processor.tomogram_rate_hz:.1f} tomograms/s",
        f"latency {processor.latency_s:.2f} s",
        f"{processor.skipped} skipped",
    ]
    if processor.failed:
        parts.append(f"{processor.failed} failed")
    return ", ".join(parts)


def _checking(supervisor: SupervisorStatus | None, quality: QualityStatus | None) -> str:
    """Return the status of the quality check; "" if there is none."""
    processes = () if supervisor is None else supervisor.processes
    here = next((process for process in processes if process.name == "quality"), None)
    if here is None:
        return ""
    if not here.alive:
        return f"stopped: {here.detail}"
    return quality.message if quality is not None and quality.life >= here.restarts else "starting"


def _measuring(
    supervisor: SupervisorStatus | None, measuring: MeasuringStatus | None
) -> MeasuringState | None:
    """Return the state of the measuring process; None if there is none."""
    processes = () if supervisor is None else supervisor.processes
    here = next((process for process in processes if process.name == "measuring"), None)
    if here is None:
        return None
    if measuring is None:
        return MeasuringState("starting" if here.alive else f"stopped: {here.detail}")
    known = here.alive and measuring.life >= here.restarts
    message = measuring.message if known else "starting"
    message = message if here.alive else f"stopped: {here.detail}"
    return MeasuringState(message, measuring.on, measuring.settings)
