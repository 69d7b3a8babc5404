"""The acquirer: owns the microscope, scans while live, and never waits for anyone.

Stacks leave over PUSH with a short queue; a scan that finds it full is counted and dropped. The
background goes the same way under its own kind, and again whenever the processor asks for it.
A time-lapse takes its scans when they are due, live ones fill the time between; the scans of both
are sent, but what is recorded is in the file before.
"""

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from acquisition.configuration.calibration_file import load_calibrated
from acquisition.errors import DeviceError, ScanStopped
from acquisition.interferograms import InterferogramStack, full_scale
from acquisition.microscope import Microscope, open_microscope
from pipeline.live.service import Desk, Publisher, Rate, Remember, Settings
from pipeline.live.timelapse_thread import Recorder
from pipeline.wire.messages import (
    AcquirerStatus,
    Command,
    Stamp,
    interferogram_message,
    send,
    stack_message,
)
from pipeline.wire.sockets import PipelineError, Socket
from pipeline.wire.state import InterferogramView, Phase

if TYPE_CHECKING:
    from acquisition.configuration.microscope_file import AcquisitionConfig

__all__ = ["Acquirer"]

_FAILURES = 3  # in a row, before this process ends and its next life opens the devices again
_BREATH_S = 0.5


@dataclass(frozen=True, slots=True)
class _Counts:
    scans: int = 0
    incomplete: int = 0
    unsent: int = 0


class Acquirer:
    """Runs the microscope.

    Parameters
    ----------
    settings : Settings
    stacks, commands : socket
        PUSH and REP, bound.
    publisher : Publisher
        For interferograms and status.
    stamp : Stamp
        Numbers the messages.
    remember : callable
        Keeps a setting for the next life of this process.
    """

    def __init__(
        self,
        settings: Settings,
        stacks: Socket,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
        remember: Remember,
    ) -> None:
        self._settings = settings
        self._stacks = stacks
        self._publisher = publisher
        self._stamp = stamp
        self._remember = remember
        self._desk = Desk(commands, publisher, stamp, self._obey, self._status)
        self._phase, self._message = Phase.STARTING, "starting the microscope"
        self._microscope = ""
        self._counts = _Counts()
        self._rate = Rate()
        self._background: InterferogramStack | None = None
        self._backgrounds = 0
        self._live, self._retake, self._resend = (threading.Event() for _ in range(3))
        self._wake = threading.Event()
        self._halt = threading.Event()  # cuts a scan short
        self._recorder = Recorder(remember)
        self._config: AcquisitionConfig | None = None
        self._scan_s = 0.0  # how long the last live scan took
        self._failures, self._trouble = 0, ""
        if settings.live:
            self._live.set()

    def run(self, ending: threading.Event) -> None:
        """Open the microscope and serve until ``ending`` is set."""
        self._desk.start()
        try:
            calibrated = load_calibrated(self._settings.microscope_file)
            self._config = calibrated.config
            self._recorder.take_up(self._settings.recording)
            self._microscope = calibrated.config.microscope.name
            self._show(Phase.STARTING, f"starting: {self._microscope}")
            with open_microscope(calibrated) as microscope:
                try:
                    self._serve(microscope, ending)
                finally:
                    self._recorder.close()
            self._show(Phase.STOPPED, "stopped")
        finally:
            self._desk.end()

    def _serve(self, microscope: Microscope, ending: threading.Event) -> None:
        def halt_at_the_end() -> None:
            ending.wait()
            self._halt.set()

        threading.Thread(target=halt_at_the_end, name="halt", daemon=True).start()
        self._retake.set()
        while not ending.is_set():
            self._wake.clear()
            try:
                self._step(microscope)
                self._failures, self._trouble = 0, ""
            except ScanStopped:  # cut short by a command, or by the end
                pass
            except DeviceError as error:
                self._try_again_after(error)
            if not ending.is_set():
                self._halt.clear()

    def _step(self, microscope: Microscope) -> None:
        if self._retake.is_set():
            self._take_background(microscope)
        if self._resend.is_set():
            self._send_background()
        live = self._live.is_set()
        due_s = self._recorder.due_s
        if live:
            self._show(Phase.LIVE, "live", microscope.remark)
        else:
            self._show(Phase.IDLE, "idle: live imaging is stopped")
        if due_s == 0:
            self._record(microscope)
        elif live and due_s > self._scan_s:
            begin = time.monotonic()
            self._scan(microscope)
            self._scan_s = time.monotonic() - begin
        else:
            if not live:
                self._rate.reset()
            self._wake.wait(min(due_s, 0.1))

    def _try_again_after(self, error: DeviceError) -> None:
        """Say what failed, and go on; after some failures in a row the devices are opened anew."""
        self._failures += 1
        if self._failures > _FAILURES:
            raise error
        self._trouble = f"the last scan failed, trying again: {error}"
        self._rate.reset()
        self._wake.wait(_BREATH_S)

    def _take_background(self, microscope: Microscope) -> None:
        self._show(Phase.BACKGROUND, "taking the background", microscope.remark)
        self._background = microscope.background(stop=self._halt)
        self._retake.clear()
        self._backgrounds += 1
        self._resend.set()

    def _send_background(self) -> None:
        """Send it, or try again after the next scan; nobody may be there yet."""
        if self._background is not None and self._send(self._background, "background"):
            self._resend.clear()

    def _record(self, microscope: Microscope) -> None:
        """Do a step of the time-lapse, and send its scan as a live one."""
        stack = self._recorder.step(microscope, self._background, self._halt)
        background = self._recorder.background
        if background is not None and background is not self._background:
            self._background = background
            self._backgrounds += 1
            self._resend.set()
        if stack is not None:
            self._pass_on(stack, microscope)

    def _scan(self, microscope: Microscope) -> None:
        self._pass_on(microscope.scan(stop=self._halt), microscope)

    def _pass_on(self, stack: InterferogramStack, microscope: Microscope) -> None:
        stack = replace(stack, sequence=self._counts.scans)
        sent = self._send(stack, "stack")
        self._rate.tick()
        self._counts = _Counts(
            self._counts.scans + 1,
            self._counts.incomplete + (not stack.complete),
            self._counts.unsent + (not sent),
        )
        self._publish_interferogram(stack, microscope)

    def _send(self, stack: InterferogramStack, kind: Literal["stack", "background"]) -> bool:
        message = stack_message(
            stack, self._stamp, kind=kind, background=self._backgrounds, sent_at=time.time()
        )
        return send(self._stacks, message)

    def _publish_interferogram(self, stack: InterferogramStack, microscope: Microscope) -> None:
        """Show the angle nearest to the axis, always the same: its fringes are steady."""
        angle = int(np.argmin(np.hypot(*microscope.angles.k.T)))
        stated = stack.provenance.get("bit_depth")
        bits = int(stated) if stated else full_scale(stack.frames).bit_length()
        view = InterferogramView(
            stack.frames[angle], angle, len(stack.frames), stack.sequence, bits
        )
        self._publisher.publish(interferogram_message(view, self._stamp))

    def _obey(self, command: Command) -> str:
        match command.name:
            case "start":
                self._live.set()
                self._remember("live", True)
            case "stop":
                self._live.clear()
                self._remember("live", False)
                if self._phase is Phase.LIVE and not self._recorder.active:
                    self._halt.set()  # the next scan may have to wait for its least period
            case "background":
                self._retake.set()
            case "resend":
                if self._background is None:
                    raise PipelineError("resend: there is no background yet: wait for it")
                self._resend.set()
            case "record" | "pause" | "continue" | "finish":
                return self._obey_recording(command)
            case _:
                raise PipelineError(f"the acquirer has no command {command.name!r}")
        self._wake.set()
        return "done"

    def _obey_recording(self, command: Command) -> str:
        match command.name:
            case "pause":
                return self._recorder.pause()
            case "continue":
                answer = self._recorder.go_on()
            case "finish":
                answer = self._recorder.finish()
            case _:
                if self._config is None or self._background is None:
                    raise PipelineError("record: the microscope is still starting: try again soon")
                answer = self._recorder.ask(command.argument, self._config)
        self._wake.set()
        return answer

    def _show(self, phase: Phase, *said: str) -> None:
        self._phase, self._message = phase, "; ".join(filter(None, (*said, self._trouble)))

    def _status(self) -> AcquirerStatus:
        counts = self._counts
        return AcquirerStatus(
            life=self._settings.life,
            phase=self._phase,
            message=self._message,
            microscope=self._microscope,
            scans=counts.scans,
            incomplete=counts.incomplete,
            unsent=counts.unsent,
            scan_rate_hz=self._rate.hz,
            recording=self._recorder.state(),
            **self._stamp(),
        )
