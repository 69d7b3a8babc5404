"""The acquirer: owns the microscope, scans while live, and never waits for another process.

Scans are sent over PUSH with a short queue; if it is full, the scan is counted and dropped. The
background is sent the same way under its own kind, and again whenever the processor asks for it.
A time-lapse takes its scans when they are due; live scans fill the time between. Both are sent to
the processor; recorded scans are written to the file first.
"""

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acquisition.configuration.calibration_file import load_calibrated
from acquisition.errors import ConfigurationError, DataError, DeviceError, ScanStopped
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope, open_microscope
from acquisition.scanning.scan import pictures
from pipeline.live.kept_snap import KeptSnap, SnapOrigin
from pipeline.live.live_centring import LiveCentring
from pipeline.live.live_timelapse import LiveTimelapse
from pipeline.live.process_settings import KeepSetting, ProcessSettings
from pipeline.live.replay import Replay
from pipeline.live.sending import Sending
from pipeline.live.service import CommandServer, Publisher, Rate
from pipeline.live.shown_frame import shown_angle, shown_frame
from pipeline.live.stage_control import StageControl
from pipeline.timelapse.outlook import Outlook
from pipeline.wire.bound_sockets import Socket
from pipeline.wire.messages import (
    AcquirerStatus,
    Command,
    Stamp,
    interferogram_message,
)
from pipeline.wire.places import ViewPlace
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import CYCLE, Phase

if TYPE_CHECKING:
    from pathlib import Path

    from acquisition.configuration.microscope_file import AcquisitionConfig

__all__ = ["Acquirer"]

_FAILURES = 3  # in a row, before this process ends; the restarted one reopens the devices
_RETRY_DELAY_S = 0.5


@dataclass(frozen=True, slots=True)
class _Counts:
    scans: int = 0
    incomplete: int = 0
    unsent: int = 0


class Acquirer:
    """Runs the microscope.

    Parameters
    ----------
    settings : ProcessSettings
    sending : Sending
        To the processor.
    commands : socket
        REP, bound.
    publisher : Publisher
        For interferograms and status.
    stamp : Stamp
        Numbers the messages.
    keep_setting : callable
        Keeps a setting for a restart of this process.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        sending: Sending,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
        keep_setting: KeepSetting,
    ) -> None:
        self._settings = settings
        self._sending = sending
        self._publisher = publisher
        self._stamp = stamp
        self._keep_setting = keep_setting
        self._server = CommandServer(commands, publisher, stamp, self._handle, self._status)
        self._phase, self._message = Phase.STARTING, "starting the microscope"
        self._microscope = ""
        self._counts = _Counts()
        self._rate = Rate()
        self._background: InterferogramStack | None = None
        self._backgrounds = 0
        self._live, self._retake, self._resend = (threading.Event() for _ in range(3))
        self._snap = threading.Event()  # one scan is wanted while live imaging is stopped
        self._kept_snap = KeptSnap()
        self._stage = StageControl()
        self._wake = threading.Event()
        self._abort_scan = threading.Event()  # cuts a scan short
        self._timelapse = LiveTimelapse(keep_setting)
        self._centring = LiveCentring(settings.keep == "on")
        self._config: AcquisitionConfig | None = None
        self._scan_s = 0.0  # how long the last live scan took
        self._failures, self._last_error = 0, ""
        self._chosen: int | None = None  # the angle whose interferogram is published
        self._pictures: dict[int, NDArray[np.uint8]] = {}  # packed, by angle
        if settings.live:
            self._live.set()

    def run(self, ending: threading.Event) -> None:
        """Open the microscope and serve until ``ending`` is set."""
        self._server.start()
        try:
            if self._settings.replay is not None:
                self._replay(self._settings.replay, ending)
                return
            calibrated = load_calibrated(self._settings.microscope_file)
            self._config = calibrated.config
            if not self._settings.keep:
                self._centring = LiveCentring(calibrated.config.drift.keep_in_middle)
            if calibrated.config.processing.update_every:
                self._sending.together = calibrated.config.processing.update_every
            self._timelapse.resume_after_restart(self._settings.recording)
            self._microscope = calibrated.config.microscope.name
            self._show(Phase.STARTING, f"starting: {self._microscope}")
            with open_microscope(calibrated) as microscope:
                self._stage.open(microscope.stage, calibrated.config.stage)
                self._sending.locate = self._locate
                self._centring.open(microscope)
                self._timelapse.keep_in_middle(self._centring.on)
                try:
                    self._serve(microscope, ending)
                finally:
                    self._timelapse.close()
                    self._stage.close()
            self._show(Phase.STOPPED, "stopped")
        finally:
            self._sending.close()
            self._server.end()

    def _replay(self, recording: "Path", ending: threading.Event) -> None:
        """Serve a recording in place of a microscope."""
        self._show(Phase.STARTING, f"opening {recording.name}")
        try:
            replay = Replay(recording)
        except DataError as error:  # another start would not make it a recording
            raise ConfigurationError(str(error)) from error
        self._microscope = f"replay of {replay.name}"
        self._abort_at(ending)
        while not ending.is_set():
            self._wake.clear()
            if replay.background is not self._background:
                self._take_over(replay.background)
            if self._resend.is_set():
                self._send_background()
            if not self._live.is_set() and not self._snap_due:
                self._show(Phase.IDLE, "idle: the replay is stopped")
                self._wake.wait(0.1)
                continue
            if self._live.is_set():
                self._show(Phase.LIVE, "live")
            with contextlib.suppress(ScanStopped):
                stack = replay.scan(self._abort_scan)
                self._sending.view = replay.view
                snapped = self._snap.is_set() and not self._live.is_set()
                self._snap.clear()
                if replay.background is not self._background:
                    self._take_over(replay.background)
                    self._send_background()
                stack = self._pass_on(stack, None)
                if snapped:
                    self._kept_snap.keep(stack, replay.background, replay.origin)
            if not ending.is_set():
                self._abort_scan.clear()
        self._show(Phase.STOPPED, "stopped")

    def _take_over(self, background: InterferogramStack) -> None:
        """Use another background for the scans from now on."""
        self._background = background
        self._backgrounds += 1
        self._resend.set()

    def _abort_at(self, ending: threading.Event) -> None:
        """Cut the running scan short at the end."""

        def abort() -> None:
            ending.wait()
            self._abort_scan.set()

        threading.Thread(target=abort, name="abort", daemon=True).start()

    def _serve(self, microscope: Microscope, ending: threading.Event) -> None:
        self._abort_at(ending)
        self._retake.set()
        while not ending.is_set():
            self._wake.clear()
            try:
                self._step(microscope)
                self._failures, self._last_error = 0, ""
            except ScanStopped:  # cut short by a command, or by the end
                pass
            except DeviceError as error:
                self._try_again_after(error)
            if not ending.is_set():
                self._abort_scan.clear()

    def _step(self, microscope: Microscope) -> None:
        if self._retake.is_set():
            self._take_background(microscope)
        if self._resend.is_set():
            self._send_background()
        if self._stage.carry_out():
            self._centring.enter(self._stage.position)  # the user wants to be there
        live = self._live.is_set()
        due_s = self._timelapse.due_s
        if live:
            self._show(Phase.LIVE, "live", microscope.remark)
        else:
            doing = "taking one scan" if self._snap.is_set() else "live imaging is stopped"
            self._show(Phase.IDLE, f"idle: {doing}")
        if due_s == 0:
            self._record(microscope)
        elif self._snap_due and not live:
            self._snap.clear()  # another one may be asked for meanwhile
            try:
                snap = self._scan(microscope)
            except (DeviceError, ScanStopped):
                self._snap.set()
                raise
            if self._background is not None:
                config = microscope.config
                origin = SnapOrigin(
                    config.model_dump_json(exclude_defaults=True),
                    config.reconstruction.set_values(),
                    self._stage.last_um,
                )
                self._kept_snap.keep(snap, self._background, origin)
        elif live and due_s > self._scan_s:
            begin = time.monotonic()
            self._scan(microscope)
            self._scan_s = time.monotonic() - begin
        else:
            if not live:
                self._rate.reset()
            self._wake.wait(min(due_s, 0.1))

    def _try_again_after(self, error: DeviceError) -> None:
        """Show the error and go on; after several in a row raise it, to reopen the devices."""
        self._failures += 1
        if self._failures > _FAILURES:
            raise error
        self._last_error = f"the last scan failed, retrying: {error}"
        self._rate.reset()
        self._wake.wait(_RETRY_DELAY_S)

    def _take_background(self, microscope: Microscope) -> None:
        self._show(Phase.BACKGROUND, "taking the background", microscope.remark)
        background = microscope.background(stop=self._abort_scan)
        self._retake.clear()
        self._take_over(background)

    def _send_background(self) -> None:
        """Send the background; if the processor is not connected yet, retry after the next scan."""
        if self._background is not None and self._sending.send(
            self._background, "background", self._backgrounds
        ):
            self._resend.clear()

    def _record(self, microscope: Microscope) -> None:
        """Do a step of the time-lapse, and send its scan as a live one."""
        self._sending.next_scan(self._counts.scans, self._backgrounds)
        stack = self._timelapse.step(microscope, self._background, self._abort_scan, self._sending)
        self._centring.forget()  # the time-lapse moves the stages
        background = self._timelapse.background
        if background is not None and background is not self._background:
            self._take_over(background)
        if stack is not None:
            self._pass_on(stack, microscope.config)

    def _locate(self) -> ViewPlace:
        """Return where the field of view is, as a scan begins."""
        position = self._timelapse.position
        if position is not None:
            self._stage.enter(*position)
        return self._stage.locate()

    def _scan(self, microscope: Microscope) -> InterferogramStack:
        self._sending.next_scan(self._counts.scans, self._backgrounds)
        stack = microscope.scan(self._abort_scan, self._sending)
        stack = self._pass_on(stack, microscope.config)
        if not self._timelapse.active and not self._stage.silent:
            self._centring.after_scan(stack, self._background)
        return stack

    def _pass_on(
        self, stack: InterferogramStack, config: "AcquisitionConfig | None"
    ) -> InterferogramStack:
        stack = replace(stack, sequence=self._counts.scans)
        sent = self._sending.send(stack, "stack", self._backgrounds)
        self._rate.tick()
        self._counts = _Counts(
            self._counts.scans + 1,
            self._counts.incomplete + (not stack.complete),
            self._counts.unsent + (not sent),
        )
        self._publish_interferogram(stack, config)
        return stack

    def _publish_interferogram(
        self, stack: InterferogramStack, config: "AcquisitionConfig | None"
    ) -> None:
        """Publish the frame of the chosen angle, or of the one nearest to the optical axis."""
        angle, picture = shown_angle(stack, self._chosen, stack.sequence), None
        k = stack.illumination_k
        if self._chosen is not None and config is not None and k is not None:
            picture = self._picture(angle, k[angle], config)
        view = shown_frame(stack, angle, stack.sequence, picture)
        self._publisher.publish(interferogram_message(view, self._stamp))

    def _picture(
        self, angle: int, k: NDArray[np.float64], config: "AcquisitionConfig"
    ) -> NDArray[np.uint8]:
        """Return what the DMD shows for an angle; of several pictures the one in the middle."""
        if angle not in self._pictures:
            shown = pictures(config, k)
            self._pictures[angle] = np.packbits(shown[len(shown) // 2] != 0, axis=1)
        return np.unpackbits(self._pictures[angle], axis=1, count=config.dmd.shape[1])

    def _handle(self, command: Command) -> str:
        match command.name:
            case "start":
                self._live.set()
                self._keep_setting("live", True)
            case "stop":
                self._live.clear()
                self._keep_setting("live", False)
                if self._phase is Phase.LIVE and not self._timelapse.active:
                    self._abort_scan.set()  # the scan may be waiting for its minimum period
            case "background" if self._settings.replay is not None:
                raise PipelineError("background: a replay has those of its recording")
            case "background" if self._timelapse.active:
                raise PipelineError("background: a time-lapse is running, and takes its own")
            case "background":
                self._retake.set()
            case "keep":
                answer = self._centring.switch(command.argument)
                self._timelapse.keep_in_middle(self._centring.on)
                self._keep_setting("keep", command.argument)
                return answer
            case "angle":
                self._chosen = _angle(command.argument)
            case "resend":
                if self._background is None:
                    raise PipelineError("resend: there is no background yet, wait for it")
                self._resend.set()
            case "snap":
                self._check_snap()
                self._snap.set()
            case "save snap":
                return self._kept_snap.save(command.argument)
            case "where":
                if self._phase is Phase.BACKGROUND:
                    raise PipelineError("where: the background is being taken, ask again after it")
                return self._stage.where()
            case "move":
                if self._timelapse.active:
                    raise PipelineError(
                        "move: a time-lapse is running and moves the stage itself, stop it first"
                    )
                answer = self._stage.request(command.argument)
                self._wake.set()
                return answer
            case "record" | "forecast" | "pause" | "continue" | "finish":
                return self._handle_recording(command)
            case _:
                raise PipelineError(f"the acquirer has no command {command.name!r}")
        self._wake.set()
        return "done"

    @property
    def _snap_due(self) -> bool:
        """Whether a single scan is wanted, and the processor is there to make its tomogram."""
        return self._snap.is_set() and not self._resend.is_set()

    def _check_snap(self) -> None:
        """Refuse to take a single scan where scans are taken anyway."""
        if self._live.is_set() or self._timelapse.active:
            raise PipelineError("snap: scans are being taken and each is shown, stop them first")
        if self._background is None:
            raise PipelineError("snap: the microscope is still starting, try again soon")

    def _handle_recording(self, command: Command) -> str:
        match command.name:
            case "pause":
                return self._timelapse.pause()
            case "continue":
                answer = self._timelapse.unpause()
            case "finish":
                answer = self._timelapse.finish()
            case _ if self._settings.replay is not None:
                raise PipelineError("record: a replay is a recording already, copy its file")
            case _ if self._config is None or self._background is None:
                raise PipelineError("record: the microscope is still starting, try again soon")
            case "forecast":
                about = Outlook(self._config, self._stage.state, self._scan_s)
                return about.answer(command.argument)
            case _:
                answer = self._timelapse.request(command.argument, self._config, self._stage.state)
        self._wake.set()
        return answer

    def _show(self, phase: Phase, *said: str) -> None:
        self._phase, self._message = phase, "; ".join(filter(None, (*said, self._last_error)))

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
            recording=self._timelapse.state(),
            stage=self._stage.state,
            drift=self._centring.state(self._timelapse.drift),
            snapped=self._kept_snap.number,
            replay=self._settings.replay is not None,
            **self._stamp(),
        )


def _angle(argument: str) -> int | None:
    """Return the angle of a command; None for "", the one nearest to the optical axis."""
    if not argument:
        return None
    try:
        angle = int(argument)
    except ValueError:
        angle = CYCLE - 1
    if angle < CYCLE:
        raise PipelineError(
            f"angle: must be the number of an angle, {CYCLE} to cycle through them or nothing, "
            f"got {argument!r}"
        )
    return angle
