"""The processor: reconstructs and regularizes the newest scan; counts those it skips.

A receiving thread keeps the queue of scans empty, so that the computing thread always takes the
newest. A scan is reconstructed only with its own background.
"""

import contextlib
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from acquisition.choices import check_constraint, check_regularizer
from acquisition.configuration.microscope_file import load_configuration
from acquisition.errors import LiveTomoError, Stopped
from acquisition.loading import loading
from acquisition.scan_name import scan_name
from pipeline.live.light_to_check import light_of
from pipeline.live.process_settings import KeepSetting, ProcessSettings
from pipeline.live.receiver import ArrivedFrames, ArrivedScan, BackgroundKey, Receiver
from pipeline.live.scan_in_progress import ScanInProgress
from pipeline.live.service import CommandServer, Publisher, Rate
from pipeline.tomograms.torch_device import torch_device, torch_threads
from pipeline.wire.bound_sockets import Context, Socket
from pipeline.wire.messages import (
    Command,
    Message,
    ProcessorStatus,
    Stamp,
    tomogram_message,
)
from pipeline.wire.sockets import PipelineError, command, request
from pipeline.wire.state import TomogramView
from pipeline.wire.tomogram_view import light_path, view_of, windowed
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from regularizer.constraint import Constrained, with_objects
from regularizer.registry import bytes_per_voxel, needs_fields, regularizer

if TYPE_CHECKING:
    from reconstruction.scattering.measured_fields import MeasuredFields
    from regularizer.interface import Regularizer

__all__ = ["Processor"]


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
        endpoints = settings.endpoint("stacks"), settings.endpoint("frames")
        self._receiver = Receiver(context, *endpoints)
        self._method = settings.regularizer or config.regularizer
        self._constraint = check_constraint(settings.constraint or config.constraint)
        self._uncertainty, self._corrections = config.uncertainty, config.corrections
        self._update_every = config.update_every
        self._message = "waiting for the background"
        self._rate = Rate()
        self._reconstructed = self._failed = 0
        self._latency_s = 0.0
        self._scan: ScanInProgress | None = None
        self._planned: BackgroundKey | None = None
        self._early: ArrivedScan | None = None  # a scan that came before its background
        self._regularizers: dict[str, Regularizer] = {}
        self._newest: tuple[Message, TomogramView, MeasuredFields | None] | None = None
        self._fields_checked = config.quality and config.quality_reference == "multislice"
        self._ending = threading.Event()

    def run(self, ending: threading.Event) -> None:
        """Serve until ``ending`` is set."""
        self._ending = ending
        self._server.start()
        self._receiver.start()
        try:
            with contextlib.suppress(LiveTomoError):  # the first scan says it
                self._loaded(self._method)  # while the microscope is being opened
            while not ending.is_set():
                self._plan()
                arrived = self._receiver.take(timeout_s=0.1, follow=self._reads_along)
                if isinstance(arrived, ArrivedScan):
                    self._process(arrived)
                elif arrived is not None:
                    self._read_along(arrived)
                elif self._early is not None and self._early.key == self._planned:
                    self._process(self._early)  # none has come after it: it is the newest
        finally:
            self._receiver.end()
            self._server.end()

    def _plan(self) -> None:
        """Plan the reconstruction if there is a new background."""
        background = self._receiver.background
        if background is None or background.key == self._planned:
            return
        self._message = "planning the reconstruction"
        self._planned, self._scan = background.key, None
        try:
            with self._receiver.stack(background) as stack:
                reconstructor = Reconstructor(
                    stack,
                    self._device,
                    with_objects(self._how, self._constraint),
                    bytes_per_voxel(self._method),
                    keep_fields=self._needs_fields(),
                )
        except LiveTomoError as error:
            self._message = f"the background cannot be used: {error}"
        else:
            self._scan = ScanInProgress(reconstructor)
            self._message = "waiting for a scan"

    @property
    def _reads_along(self) -> bool:
        """Whether a scan can be reconstructed while it is taken."""
        return self._scan is not None and self._scan.reconstructor.oriented

    def _needs_fields(self) -> bool:
        return self._fields_checked or needs_fields(self._method, self._corrections)

    def _read_along(self, arrived: ArrivedFrames) -> None:
        """Reconstruct what has arrived of a scan that is still being taken.

        On half of the cores, since others take the scan. Operations on a few frames are small: two
        threads take half as much processor time again as one.
        """
        scan = self._scan
        if scan is None or arrived.key != self._planned or not self._reads_along:
            return
        with self._receiver.frames(arrived) as frames:
            if frames is None:
                return
            background = scan.reconstructor.background
            stack = replace(
                background,
                frames=frames,
                lost=(),
                sequence=arrived.sequence,
                timestamp=arrived.timestamp,
            )
            scan.announce(arrived.place, arrived.view.position)
            scan.reconstructor.keep_fields = self._needs_fields()
            try:
                with torch_threads(max(1, (os.cpu_count() or 1) // 2)):
                    scan.add(frames, arrived.angles, stack)
            except LiveTomoError:
                return  # the whole scan says it
        if self._update_every and scan.halfway:
            with contextlib.suppress(LiveTomoError):
                self._update(arrived, scan)

    def _update(self, arrived: ArrivedFrames, scan: ScanInProgress) -> None:
        """Publish a tomogram of the newest frame of each angle."""
        reconstruction, oldest_s = scan.now()
        at = arrived.view
        times = [arrived.timestamp, time.time()]
        view = self._view(reconstruction, scan.reconstructor, times, ("reconstruction",))
        oldest_s += time.time() - times[1]
        self._show(
            replace(view, oldest_s=oldest_s, position=at.position, correction_um=at.correction_um)
        )

    def _process(self, arrival: ArrivedScan) -> None:
        self._early = None
        if arrival.key != self._planned:
            self._plan()  # its background may have come with it
        if arrival.key != self._planned:
            self._early = arrival
            self._ask_for_background()
        elif self._scan is not None:
            try:
                self._publish(arrival, self._scan)
            except Stopped:
                pass  # the process is ending
            except LiveTomoError as error:
                self._failed += 1
                self._message = f"{scan_name(arrival.header.sequence)} failed: {error}"

    def _ask_for_background(self) -> None:
        try:
            request(self._context, self._acquirer, command("resend", stamp=self._stamp), 1.0)
        except PipelineError as error:
            self._message = f"waiting for the background: {error}"

    def _publish(self, arrival: ArrivedScan, scan: ScanInProgress) -> None:
        header = arrival.header
        times = [header.timestamp, header.sent_at, time.time()]
        scan.reconstructor.keep_fields = self._needs_fields()  # the method may have changed
        with self._receiver.stack(arrival) as stack:
            reconstruction = scan.finish(stack, header.place, moved=header.moved)
        times.append(time.time())
        stages = ("scan", "wait", "reconstruction")
        view = self._view(reconstruction, scan.reconstructor, times, stages)
        view = replace(view, position=header.position, correction_um=header.correction_um)
        fields = reconstruction.spectrum.fields if self._fields_checked else None
        self._newest = tomogram_message(view, self._stamp), view, fields
        self._show(view)
        self._reconstructed += 1
        self._message = ""

    def _view(
        self,
        reconstruction: Reconstruction,
        reconstructor: Reconstructor,
        times: list[float],
        stages: tuple[str, ...],
    ) -> TomogramView:
        """Regularize; return the tomogram, with the stages that ended at ``times`` and this one.

        ``times`` begins with the start of the first stage.
        """
        method, warnings = self._method, reconstruction.report.warnings
        try:
            regularized = self._regularize(method, reconstruction)
        except Stopped:
            raise
        except LiveTomoError as error:
            regularized, method, warnings = None, "none", (*warnings, f"not regularized: {error}")
        else:
            warnings = (*warnings, *(regularized.warnings if regularized else ()))
        times = [*times, time.time()]
        names = (*stages, "regularization")
        stages_s = {name: b - a for name, a, b in zip(names, times, times[1:], strict=False)}
        latency_s = times[-1] - times[0]
        planned = reconstructor.background.illumination_k
        light = light_path(reconstructor.wave_vectors, planned, reconstruction.report)
        return view_of(reconstruction, regularized, method, stages_s, warnings, latency_s, light)

    def _show(self, view: TomogramView) -> None:
        self._publisher.publish(tomogram_message(windowed(view), self._stamp))
        self._latency_s = view.latency_s
        self._rate.tick()

    def _regularize(self, method: str, reconstruction: Reconstruction) -> Tomogram | None:
        if method == "none":
            return None
        regularize = self._loaded(method)
        if isinstance(regularize, Constrained):
            regularize.requested = self._constraint
        tomogram, spectrum = reconstruction.tomogram, reconstruction.spectrum
        return regularize(tomogram, spectrum, stop=self._ending)

    def _loaded(self, method: str) -> "Regularizer":
        """Return a regularizer, loaded at its first use."""
        if method not in self._regularizers:
            before, self._message = self._message, f"loading the regularizer {method}"
            try:
                with loading():
                    self._regularizers[method] = regularizer(
                        method,
                        self._device,
                        warm=True,
                        uncertainty=self._uncertainty,
                        corrections=self._corrections,
                    )
            finally:
                self._message = before
        return self._regularizers[method]

    def _handle(self, command: Command) -> str | Message:
        if command.name in ("newest", "newest with fields"):
            return self._answer(command.argument, fields=command.name != "newest")
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

    def _answer(self, known: str, *, fields: bool) -> str | Message:
        """Return the newest tomogram, unless it is the known one."""
        if self._newest is None or self._newest[0].identity == known:
            return ""
        message, view, measured = self._newest
        if not fields or measured is None:
            return message
        return tomogram_message(replace(view, fields=light_of(measured)), self._stamp)

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
