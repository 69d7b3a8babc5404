"""The quality check: a low-priority process that compares live tomograms with a reference.

When idle it asks the processor for the newest tomogram, makes the reference of the same scan (total
variation, or the multi-slice inversion where [processing] quality_reference says so), and publishes
the comparison. Tomograms that arrive meanwhile are skipped. It runs at the lowest priority on the
CPU, even if the live path uses a GPU, and loads torch when there is a tomogram to check: until then
the cores belong to those that make the first one.
"""

import os
import threading
import time
from typing import TYPE_CHECKING

from acquisition.configuration.microscope_file import load_configuration
from acquisition.errors import DataError, LiveTomoError, Stopped
from acquisition.scan_name import scan_name
from pipeline.live.newest_tomogram import NewestTomogram
from pipeline.live.process_settings import ProcessSettings
from pipeline.live.service import CommandServer, Publisher
from pipeline.wire.bound_sockets import Context, Socket
from pipeline.wire.messages import (
    Command,
    QualityStatus,
    Stamp,
    quality_message,
)
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import TomogramView

if TYPE_CHECKING:
    from pipeline.live.light_to_check import PlannedLight

__all__ = ["QualityCheck"]

_ASK_AGAIN_S = 0.2


class QualityCheck:
    """Compares the newest tomograms with a reference, one at a time.

    Parameters
    ----------
    settings : ProcessSettings
    context : zmq context
    commands : socket
        REP, bound.
    publisher : Publisher
        For reports and status.
    stamp : Stamp
        Numbers the messages.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        context: Context,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
    ) -> None:
        self._publisher, self._stamp = publisher, stamp
        configuration = load_configuration(settings.microscope_file)
        self._reference = configuration.processing.quality_reference
        self._tomograms = NewestTomogram(
            context,
            settings.endpoint("processor_commands"),
            stamp,
            fields=self._reference == "multislice",
        )
        self._planned: PlannedLight | None = None
        self._life = settings.life
        self._server = CommandServer(commands, publisher, stamp, self._handle, self._status)
        self._message = "waiting for a tomogram"

    def run(self, ending: threading.Event) -> None:
        """Serve until ``ending`` is set."""
        self._server.start()
        try:
            while not ending.is_set():
                view = self._newest()
                if view is None:
                    ending.wait(_ASK_AGAIN_S)
                else:
                    self._check(view, ending)
        finally:
            self._server.end()

    def _newest(self) -> TomogramView | None:
        """Return the newest tomogram of the processor; None if it was checked already."""
        try:
            return self._tomograms.take()
        except (PipelineError, DataError) as error:
            self._message = f"waiting for a tomogram: {error}"
            return None

    def _check(self, view: TomogramView, ending: threading.Event) -> None:
        begin = time.monotonic()

        def progress(done: int, of: int) -> None:
            if done:
                left_s = (time.monotonic() - begin) * (of - done) / done
                self._message = f"{scan_name(view.sequence)}: {done / of:.0%}, {left_s:.0f} s left"

        self._message = f"{scan_name(view.sequence)}: starting"
        import torch

        from pipeline.live.light_to_check import PlannedLight
        from pipeline.live.quality_comparison import check_view

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 4))
        self._planned = self._planned or PlannedLight()
        try:
            found = check_view(view, progress, ending, self._reference, self._planned)
        except Stopped:
            return
        except LiveTomoError as error:
            self._message = f"{scan_name(view.sequence)} cannot be checked: {error}"
            return
        self._publisher.publish(quality_message(found, self._stamp))
        self._message = "waiting for a tomogram"

    def _handle(self, command: Command) -> str:
        raise PipelineError(f"the quality check has no command {command.name!r}")

    def _status(self) -> QualityStatus:
        return QualityStatus(life=self._life, message=self._message, **self._stamp())
