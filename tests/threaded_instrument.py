"""An instrument whose acquirer and processor are threads of the test.

Processes of their own would load torch and the devices anew, which takes five seconds.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import zmq

from pipeline.live.acquirer import Acquirer
from pipeline.live.instrument_client import InstrumentClient
from pipeline.live.process import _bound
from pipeline.live.process_settings import ProcessSettings
from pipeline.live.processor import Processor
from pipeline.live.sending import Sending
from pipeline.live.service import Publisher
from pipeline.wire.bound_sockets import ANY_PORT, Context, bind
from pipeline.wire.messages import Stamp
from pipeline.wire.sockets import Endpoints

__all__ = ["ThreadedInstrument"]


class ThreadedInstrument:
    """As ``Instrument``, but without a supervisor, a quality check and measuring."""

    def __init__(
        self,
        microscope_file: Path | None = None,
        device: str | None = None,
        *,
        regularizer: str | None = None,
        quality: bool = False,
        replay: Path | None = None,
        measuring: bool = False,
    ) -> None:
        assert not quality and not measuring
        self._settings = ProcessSettings(
            name="acquirer",
            microscope_file=microscope_file,
            replay=replay,
            device=device,
            regularizer=regularizer,
        )
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        self._threads = torch.get_num_threads()  # the processor takes more
        self._context: Context = zmq.Context()
        sockets, acquirer = _bound(self._context, "acquirer", {})
        more, processor = _bound(self._context, "processor", {})
        self._sockets = sockets | more
        self._sockets["supervisor"], supervisor = bind(self._context, zmq.PUB, ANY_PORT)
        self.endpoints = Endpoints.merged({"supervisor": supervisor}, acquirer, processor)
        self._settings = replace(self._settings, endpoints=acquirer | processor)
        self._pool = ThreadPoolExecutor(2)
        self._runs = [self._pool.submit(run) for run in (self._acquire, self._process)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._pool.shutdown()
        self._context.destroy(linger=0)
        torch.set_num_threads(self._threads)
        if error is None:
            for run in self._runs:
                run.result()

    def client(self, patience_s: float = 60.0) -> InstrumentClient:
        """Return a new client, which waits so long for answers."""
        return InstrumentClient(self.endpoints, patience_s)

    def _acquire(self) -> None:
        sockets, stamp = self._sockets, Stamp("acquirer", time.time_ns())
        sending = Sending(sockets["stacks"], sockets["frames"], stamp)
        commands, publisher = sockets["acquirer_commands"], Publisher(sockets["acquirer"])
        one = Acquirer(self._settings, sending, commands, publisher, stamp, _forget)
        one.run(self._ending)

    def _process(self) -> None:
        sockets, stamp = self._sockets, Stamp("processor", time.time_ns())
        settings = replace(self._settings, name="processor")
        commands, publisher = sockets["processor_commands"], Publisher(sockets["processor"])
        one = Processor(settings, self._context, commands, publisher, stamp, _forget)
        one.run(self._ending)


def _forget(*_: object) -> None:
    """Keep no setting: nothing is started again."""
