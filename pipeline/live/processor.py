"""The processor: reconstructs and regularizes the newest scan; counts those it skips.

A receiving thread keeps the queue of scans empty, so that the computing thread always takes the
newest. A scan is reconstructed only with its own background.
"""

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import zmq

from acquisition.choices import check_regularizer
from acquisition.configuration.microscope_file import load_configuration
from acquisition.errors import LiveTomoError, Stopped
from acquisition.interferograms import InterferogramStack
from pipeline.live.service import CommandServer, KeepSetting, ProcessSettings, Publisher, Rate
from pipeline.tomograms.torch_device import torch_device
from pipeline.wire.messages import (
    Command,
    Inbox,
    Message,
    ProcessorStatus,
    StackHeader,
    Stamp,
    stack_from,
    tomogram_message,
)
from pipeline.wire.sockets import Context, PipelineError, Socket, command, connect, request
from pipeline.wire.tomogram_view import light_path, view_of, windowed
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from regularizer.constraint import Constrained, check_constraint, with_objects
from regularizer.registry import bytes_per_voxel, regularizer

if TYPE_CHECKING:
    from regularizer.interface import Regularizer

__all__ = ["Processor"]

BackgroundKey = tuple[int, int]  # session of the acquirer, number of the background


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A received scan or background."""

    header: StackHeader
    stack: InterferogramStack

    @property
    def key(self) -> BackgroundKey:
        """The background that this is, or that applies to this scan."""
        return (self.header.session, self.header.background)


class _Receiver(threading.Thread):
    """Empties the queue of scans; keeps the newest scan and the newest background."""

    def __init__(self, context: Context, endpoint: str) -> None:
        super().__init__(name="receiver", daemon=True)
        self._context, self._endpoint = context, endpoint
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._scan: _Arrival | None = None
        self._last: tuple[int, int] | None = None  # session and number of the last scan taken
        self.background: _Arrival | None = None
        self.skipped = 0
        self._unusable = 0
        self._inbox: Inbox | None = None

    @property
    def malformed(self) -> int:
        """Number of messages that were malformed or held no usable scan."""
        return self._unusable + (0 if self._inbox is None else self._inbox.malformed)

    def run(self) -> None:
        """Receive until ``end`` is called."""
        with connect(self._context, zmq.PULL, self._endpoint) as socket:
            self._inbox = Inbox(socket)
            while not self._ended.is_set():
                message = self._inbox.receive(50)
                if message is not None:
                    self._keep(message.header, message.arrays)

    def take(self, timeout_s: float) -> _Arrival | None:
        """Return the newest scan, None if there is none in time; count those skipped."""
        with self._changed:
            self._changed.wait_for(lambda: self._scan is not None, timeout_s)
            taken, self._scan = self._scan, None
        if taken is not None:
            self._count(taken.header)
        return taken

    def end(self) -> None:
        """Stop receiving."""
        self._ended.set()
        self.join()

    def _keep(self, header: Any, arrays: tuple[Any, ...]) -> None:
        try:
            if not isinstance(header, StackHeader):
                raise PipelineError(f"the message must be a scan, got kind {header.kind!r}")
            arrival = _Arrival(header, stack_from(header, arrays))
        except LiveTomoError:
            self._unusable += 1
            return
        with self._changed:
            if header.kind == "background":
                self.background = arrival
            else:
                self._scan = arrival
            self._changed.notify_all()

    def _count(self, header: StackHeader) -> None:
        if self._last is not None and self._last[0] == header.session:
            self.skipped += max(header.sequence - self._last[1] - 1, 0)
        self._last = (header.session, header.sequence)


class Processor:
    """Reconstructs, regularizes and publishes scans.

    Parameters
    ----------
    settings : ProcessSettings
    context : zmq context
    commands : socket
        REP, bound.
    publisher : Publisher
        For tomograms and status.
    stamp : Stamp
        Numbers the messages.
    keep_setting : callable
        Keeps a setting for a restart of this process.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        context: Context,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
        keep_setting: KeepSetting,
    ) -> None:
        self._context, self._publisher, self._stamp = context, publisher, stamp
        self._keep_setting, self._life = keep_setting, settings.life
        self._acquirer = settings.endpoint("acquirer_commands")
        configuration = load_configuration(settings.microscope_file)
        config = configuration.processing
        self._device = torch_device(settings.device or config.device)
        self._how = ReconstructionSettings(**configuration.reconstruction.set_values())
        torch.set_num_threads(os.cpu_count() or 1)
        self._server = CommandServer(commands, publisher, stamp, self._handle, self._status)
        self._receiver = _Receiver(context, settings.endpoint("stacks"))
        self._method = settings.regularizer or config.regularizer
        self._constraint = check_constraint(settings.constraint or config.constraint)
        self._uncertainty = config.uncertainty
        self._message = "waiting for the background"
        self._rate = Rate()
        self._reconstructed = self._failed = 0
        self._latency_s = 0.0
        self._reconstructor: Reconstructor | None = None
        self._planned: BackgroundKey | None = None
        self._regularizers: dict[str, Regularizer] = {}
        self._newest: Message | None = None
        self._ending = threading.Event()

    def run(self, ending: threading.Event) -> None:
        """Serve until ``ending`` is set."""
        self._ending = ending
        self._server.start()
        self._receiver.start()
        try:
            while not ending.is_set():
                self._plan()
                arrival = self._receiver.take(timeout_s=0.1)
                if arrival is not None:
                    self._process(arrival)
        finally:
            self._receiver.end()
            self._server.end()

    def _plan(self) -> None:
        """Plan the reconstruction if there is a new background."""
        background = self._receiver.background
        if background is None or background.key == self._planned:
            return
        self._message = "planning the reconstruction"
        self._planned, self._reconstructor = background.key, None
        try:
            self._reconstructor = Reconstructor(
                background.stack,
                self._device,
                with_objects(self._how, self._constraint),
                bytes_per_voxel(self._method),
            )
        except LiveTomoError as error:
            self._message = f"the background cannot be used: {error}"
        else:
            self._message = "waiting for a scan"

    def _process(self, arrival: _Arrival) -> None:
        if arrival.key != self._planned:
            self._ask_for_background()
        elif self._reconstructor is not None:
            try:
                self._publish(arrival, self._reconstructor)
            except Stopped:
                pass  # the process is ending
            except LiveTomoError as error:
                self._failed += 1
                self._message = f"scan {arrival.header.sequence} failed: {error}"

    def _ask_for_background(self) -> None:
        try:
            request(self._context, self._acquirer, command("resend", stamp=self._stamp), 1.0)
        except PipelineError as error:
            self._message = f"waiting for the background: {error}"

    def _publish(self, arrival: _Arrival, reconstructor: Reconstructor) -> None:
        header, method = arrival.header, self._method
        times = [header.timestamp, header.sent_at, time.time()]
        reconstruction = reconstructor(arrival.stack)
        times.append(time.time())
        warnings = reconstruction.report.warnings
        try:
            regularized = self._regularize(method, reconstruction)
        except Stopped:
            raise
        except LiveTomoError as error:
            regularized, method, warnings = None, "none", (*warnings, f"not regularized: {error}")
        else:
            warnings = (*warnings, *(regularized.warnings if regularized else ()))
        times.append(time.time())
        names = ("scan", "wait", "reconstruction", "regularization")
        stages = {name: b - a for name, a, b in zip(names, times, times[1:], strict=False)}
        latency_s = times[-1] - header.timestamp
        planned = reconstructor.background.illumination_k
        light = light_path(reconstructor.wave_vectors, planned, reconstruction.report)
        view = view_of(reconstruction, regularized, method, stages, warnings, latency_s, light)
        self._newest = whole = tomogram_message(view, self._stamp)
        shown = windowed(view)
        self._publisher.publish(whole if shown is view else tomogram_message(shown, self._stamp))
        self._reconstructed += 1
        self._latency_s = view.latency_s
        self._rate.tick()
        self._message = ""

    def _regularize(self, method: str, reconstruction: Reconstruction) -> Tomogram | None:
        if method == "none":
            return None
        if method not in self._regularizers:
            self._message = f"loading the regularizer {method}"
            self._regularizers[method] = regularizer(
                method, self._device, warm=True, uncertainty=self._uncertainty
            )
        regularize = self._regularizers[method]
        if isinstance(regularize, Constrained):
            regularize.requested = self._constraint
        tomogram, spectrum = reconstruction.tomogram, reconstruction.spectrum
        return regularize(tomogram, spectrum, stop=self._ending)

    def _handle(self, command: Command) -> str | Message:
        if command.name == "newest":
            newest = self._newest
            return newest if newest is not None and newest.identity != command.argument else ""
        if command.name == "constraint":
            self._constraint = check_constraint(command.argument)
            self._keep_setting("constraint", self._constraint)
            return f"the next scans are regularized with the constraint {self._constraint}"
        if command.name != "regularizer":
            raise PipelineError(f"the processor has no command {command.name!r}")
        check_regularizer(command.argument)
        self._method = command.argument
        self._keep_setting("regularizer", command.argument)
        return f"the next scans are regularized with {command.argument}"

    def _status(self) -> ProcessorStatus:
        return ProcessorStatus(
            life=self._life,
            message=self._message,
            device=self._device,
            regularizer=self._method,
            constraint=self._constraint,
            reconstructed=self._reconstructed,
            skipped=self._receiver.skipped,
            failed=self._failed,
            malformed=self._receiver.malformed,
            tomogram_rate_hz=self._rate.hz,
            latency_s=self._latency_s,
            **self._stamp(),
        )
