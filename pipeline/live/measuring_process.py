"""Measuring live: a low-priority process that finds, measures and follows objects.

It is idle, and small, until it is switched on by a command or by ``[measuring]`` in
microscope.toml. Then it asks the processor for the newest tomogram, measures the objects in it, and
publishes them. Tomograms that arrive meanwhile are skipped, so that the live view never waits for
it; objects are followed over the gaps. Its priority is that of the quality check.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from acquisition.configuration.text_files import read_text
from acquisition.errors import ConfigurationError, DataError, LiveTomoError
from acquisition.scan_name import scan_name
from measuring.measuring_settings import MeasuringSettings
from pipeline.live.newest_tomogram import NewestTomogram
from pipeline.live.process_settings import KeepSetting, ProcessSettings
from pipeline.live.service import CommandServer, Publisher
from pipeline.wire.bound_sockets import Context, Socket
from pipeline.wire.measuring_messages import MeasuringStatus, measured_message
from pipeline.wire.messages import Command, Stamp
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import MeasuredView, MeasuringRequest, TomogramView

__all__ = ["MeasuringProcess", "ViewMeasurer"]

_ASK_AGAIN_S = 0.2
_MOST = 1000  # objects of a scan: a header holds a few thousand
_REQUESTS: TypeAdapter[MeasuringRequest] = TypeAdapter(MeasuringRequest)


class ViewMeasurer:
    """Measures the tomograms of a running instrument, and follows objects through them.

    Those of each stage position are followed by themselves, and no number is used twice.
    """

    def __init__(self) -> None:
        from measuring.following import PositionsFollower  # with scipy: not before it is used

        self._follower = PositionsFollower()

    def __call__(self, view: TomogramView, settings: MeasuringSettings) -> MeasuredView:
        """Return the objects of the regularized volume of a view, or else of its raw one.

        Parameters
        ----------
        view : TomogramView
            A whole one; the part of it that is displayed is measured.
        settings : MeasuringSettings

        Raises
        ------
        LiveTomoError
            If the view lacks its optics, or the settings do not fit it.
        """
        from measuring.measure_volume import measure_volume

        begin = time.monotonic()
        if view.optics is None:
            raise DataError(
                "a tomogram must have its optics to be measured, "
                f"{scan_name(view.sequence)} came without"
            )
        shown = _displayed(view)
        index = shown.raw if shown.regularized is None else shown.regularized
        found = measure_volume(index, shown.voxel_size_um, view.optics, settings)
        x, y, z = view.correction_um  # what the stages did is no motion of the objects
        in_sample = [one.moved(z, y, x) for one in found.objects[:_MOST]]
        objects = self._follower.follow(view.position, in_sample, view.timestamp)
        return MeasuredView(
            objects=objects,
            labels=_compact(found.labels, len(objects)),
            voxel_size_um=shown.voxel_size_um,
            medium_index=view.medium_index,
            method="none" if shown.regularized is None else view.method,
            threshold=found.threshold if np.isfinite(found.threshold) else None,
            settings=settings,
            sequence=view.sequence,
            timestamp=view.timestamp,
            seconds=time.monotonic() - begin,
            correction_um=view.correction_um,
            position=view.position,
        )


def _displayed(view: TomogramView) -> TomogramView:
    if view.window is None:
        return view
    import torch  # seconds and 200 MB, which only a cut-out needs

    from pipeline.wire.tomogram_view import windowed

    torch.set_num_threads(1)
    return windowed(view)


def _compact(labels: NDArray[np.uint16], count: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return the labels of the first ``count`` objects, a byte each where that is enough."""
    kept = np.where(labels <= count, labels, np.uint16(0))
    return kept.astype(np.uint8) if count < 256 else kept


class MeasuringProcess:
    """Measures the newest tomograms while it is switched on, one at a time.

    Parameters
    ----------
    settings : ProcessSettings
    context : zmq context
    commands : socket
        REP, bound.
    publisher : Publisher
        For objects and status.
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
        self._publisher, self._stamp = publisher, stamp
        self._keep_setting, self._life = keep_setting, settings.life
        self._tomograms = NewestTomogram(context, settings.endpoint("processor_commands"), stamp)
        self._settings = settings
        self._request = MeasuringRequest(False)
        self._server = CommandServer(commands, publisher, stamp, self._handle, self._status)
        self._message = ""
        self._woken = threading.Event()
        self._measure: ViewMeasurer | None = None

    def run(
        self, ending: threading.Event, lower_priority: Callable[[], None] = lambda: None
    ) -> None:
        """Serve until ``ending`` is set.

        ``lower_priority`` is called once commands are answered: their thread keeps its priority, so
        that they are answered on a busy computer, too.
        """
        self._request = _first_request(self._settings)
        threading.Thread(target=self._wake_at_end, args=(ending,), daemon=True).start()
        self._server.start()
        lower_priority()
        try:
            known = None
            while not ending.is_set():
                request = self._request
                if request is not known:  # the newest tomogram is measured (again)
                    known = request
                    self._tomograms.forget()
                view = self._newest() if request.on else None
                if view is not None:
                    self._publish(view, request.settings)
                    continue
                self._woken.wait(_ASK_AGAIN_S if request.on else None)
                self._woken.clear()
        finally:
            self._server.end()

    def _wake_at_end(self, ending: threading.Event) -> None:
        ending.wait()
        self._woken.set()

    def _newest(self) -> TomogramView | None:
        """Return the newest tomogram of the processor; None if it was measured already."""
        try:
            view = self._tomograms.take()
        except (PipelineError, DataError) as error:
            self._message = f"waiting for a tomogram: {error}"
            return None
        if view is None:
            self._message = self._message or "waiting for a tomogram"
        return view

    def _publish(self, view: TomogramView, settings: MeasuringSettings) -> None:
        self._message = f"measuring {scan_name(view.sequence)}"
        if self._measure is None:
            self._measure = ViewMeasurer()
        try:
            found = self._measure(view, settings)
        except LiveTomoError as error:
            self._message = f"{scan_name(view.sequence)} cannot be measured: {error}"
            return
        self._publisher.publish(measured_message(found, self._stamp))
        count = len(found.objects)
        what = f"{count} object{'s' * (count != 1)}" if count else "no object"
        where = f"{scan_name(view.sequence)}{f' at {view.position}' if view.position else ''}"
        self._message = f"{what} in {where}, measured in {found.seconds:.1f} s"

    def _handle(self, command: Command) -> str:
        if command.name != "measure":
            raise PipelineError(f"the measuring process has no command {command.name!r}")
        self._request = _read_request(command.argument)
        self._keep_setting("measuring", command.argument)
        self._message = ""
        self._woken.set()
        return "objects are measured" if self._request.on else "objects are not measured"

    def _status(self) -> MeasuringStatus:
        request = self._request
        message = (self._message or "starting") if request.on else "off"
        return MeasuringStatus(
            life=self._life,
            message=message,
            on=request.on,
            settings=request.settings,
            **self._stamp(),
        )


def _first_request(settings: ProcessSettings) -> MeasuringRequest:
    """Return the last request before a restart, or else what microscope.toml asks for."""
    if settings.measuring:
        return _read_request(settings.measuring)
    if settings.microscope_file is None:
        return MeasuringRequest(False)
    if "measuring" not in read_text(settings.microscope_file):
        return MeasuringRequest(False)
    # half a second while all processes start, so only where there is such a section
    from acquisition.configuration.microscope_file import load_configuration

    section = load_configuration(settings.microscope_file).measuring
    request = MeasuringRequest(section.live)
    return replace(request, settings=MeasuringSettings(**section.model_dump(exclude={"live"})))


def _read_request(text: str) -> MeasuringRequest:
    try:
        return _REQUESTS.validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(
            f"measure needs a MeasuringRequest as JSON, got {text[:200]!r}: {error}"
        ) from error
