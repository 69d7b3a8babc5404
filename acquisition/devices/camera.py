"""The simulated camera: free-running, or one exposure for each edge at its trigger input.

Every frame carries what an industrial camera reports in its chunk data: ``TriggerCount`` (edges
since arming, the first is 1), ``FrameCounter`` (frames since the camera was switched on) and
``Timestamp-us`` (start of the exposure on the camera's clock).
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from pymmcore_plus.experimental.unicore import CameraDevice, pymm_property

from acquisition.devices.instrument import SimulatedInstrument
from acquisition.errors import DeviceError

__all__ = ["SimulatedCamera", "TriggerMode"]

GetBuffer = Callable[[Sequence[int], DTypeLike], "np.ndarray[Any, Any]"]

_POLL_S = 0.02  # longest delay before a stop is noticed
_CLOCK_S = 1e-6  # edges are a sum of many periods
_SNAP_LIMIT_S = 2.0  # longest wait for the edge of a single triggered picture
_DEFAULT_EXPOSURE_MS = 2.0


class TriggerMode(StrEnum):
    """What starts an exposure."""

    INTERNAL = "Internal"
    EXTERNAL = "External"


class SimulatedCamera(CameraDevice):
    """A camera that records the simulated bench."""

    def __init__(self, instrument: SimulatedInstrument) -> None:
        super().__init__()
        self._instrument = instrument
        self._exposure_ms = _DEFAULT_EXPOSURE_MS
        self._trigger = TriggerMode.INTERNAL
        self._frames = 0
        self._armed = instrument.line.arm()
        instrument.line.disarm(self._armed)

    @pymm_property(name="TriggerMode", allowed_values=[mode.value for mode in TriggerMode])
    def trigger_mode(self) -> str:
        """Return what starts an exposure."""
        return self._trigger.value

    @trigger_mode.setter
    def _set_trigger_mode(self, mode: str) -> None:
        self._trigger = TriggerMode(mode)

    @pymm_property(name="TriggersReceived")
    def triggers_received(self) -> int:
        """Return the number of trigger edges since the last arming.

        A camera counts them as they come, however late it is with its frames.
        """
        return self._armed.received

    def get_exposure(self) -> float:
        """Return the exposure time in ms."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure time in ms."""
        self._exposure_ms = exposure

    def shape(self) -> tuple[int, int]:
        """Return (rows, columns) of a frame."""
        return self._instrument.bench.frame_shape

    def dtype(self) -> DTypeLike:
        """Return uint8, or uint16 above 8 bits."""
        return np.uint8 if self._instrument.bench.bit_depth == 8 else np.uint16

    def start_sequence(self, n: int | None, get_buffer: GetBuffer) -> Iterator[Mapping[str, str]]:
        """Start a sequence; with the external trigger the camera is armed when this returns.

        It is not itself a generator: the body would run later, on the acquisition thread, and miss
        edges that come before.
        """
        if self._trigger is TriggerMode.INTERNAL:
            return self._free_run(n, get_buffer)
        self._armed = self._instrument.line.arm()
        return self._triggered(n, get_buffer)

    def _free_run(self, n: int | None, get_buffer: GetBuffer) -> Iterator[Mapping[str, str]]:
        stop = _stop_event()
        delivered = 0
        while n is None or delivered < n:
            start_s = time.perf_counter()
            if stop.wait(self._exposure_ms / 1000):  # the exposure itself
                return
            yield self._expose(start_s, get_buffer)
            delivered += 1

    def _triggered(self, n: int | None, get_buffer: GetBuffer) -> Iterator[Mapping[str, str]]:
        armed, line, faults = self._armed, self._instrument.line, self._instrument.faults
        delivered, held, ready_s = 0, None, -math.inf
        readout_ms = self._instrument.bench.settings.readout_ms
        busy_s = (self._exposure_ms + readout_ms) / 1000 if readout_ms else 0.0
        try:
            for edge_s in _edges(armed.wait):
                if edge_s < ready_s - _CLOCK_S:
                    armed.discard_last_edge()
                    continue
                ready_s = edge_s + busy_s
                number = armed.seen - 1
                if number in faults.lost_frames:
                    self._frames += 1
                    continue
                if number in faults.swapped_frames:
                    held = (edge_s, armed.seen)
                    continue
                yield self._expose(edge_s, get_buffer, armed.seen)
                delivered += 1
                if held is not None:
                    yield self._expose(held[0], get_buffer, held[1])
                    delivered, held = delivered + 1, None
                if delivered == n:
                    return
        finally:
            line.disarm(armed)

    def _expose(
        self, start_s: float, get_buffer: GetBuffer, triggers: int = 0
    ) -> Mapping[str, str]:
        get_buffer(self.shape(), self.dtype())[:] = self._instrument.expose(
            start_s, self._exposure_ms
        )
        self._frames += 1
        return {
            "TriggerCount": str(triggers),
            "FrameCounter": str(self._frames),
            "Timestamp-us": str(round(self._instrument.clock_s(start_s) * 1e6)),
        }


def _stop_event() -> threading.Event:
    """Return the event with which the core stops the acquisition on this thread.

    The core has no stop call for cameras: it sets this event and checks it between two frames. A
    camera that waits for a trigger must check it as well, or its thread never ends. A snapped
    picture is exposed on the caller's thread, which nothing stops.
    """
    stop = getattr(threading.current_thread(), "stop_event", None)
    return stop if isinstance(stop, threading.Event) else threading.Event()


def _edges(wait: Callable[[float], float | None]) -> Iterator[float]:
    """Yield the times of the edges until the core stops the acquisition."""
    streaming = hasattr(threading.current_thread(), "stop_event")
    stop = _stop_event()
    deadline = time.perf_counter() + _SNAP_LIMIT_S
    while not stop.is_set():
        edge_s = wait(_POLL_S)
        if edge_s is not None:
            yield edge_s
        elif not streaming and time.perf_counter() > deadline:
            raise DeviceError(
                f"a picture with TriggerMode External needs an edge within {_SNAP_LIMIT_S:g} s, "
                "got none: set TriggerMode to Internal, or start the DMD's sequence"
            )
