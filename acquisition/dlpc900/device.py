"""The DLPC900 as an SLM device of pymmcore-plus.

In microscope.toml: ``adapter = "acquisition.dlpc900.device"`` and ``device = "Dlpc900"`` of the
section [dmd]. A sequence is loaded once; a scan then costs a stop and a start.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SLMDevice, pymm_property

from acquisition.dlpc900.controller import MOST_ENTRIES, Controller, Timing, Wiring
from acquisition.dlpc900.packets import HidTransport, Transport
from acquisition.errors import DeviceError

__all__ = ["Dlpc900"]

Plane = NDArray[np.uint8]

_TRIGGER_BIT = ("disables", "enables")


class Dlpc900(SLMDevice):
    """A DMD behind a DLPC900; ``exposure`` is a pattern's time including its dark time.

    Parameters
    ----------
    connect : callable
        Opens the port.
    shape : (rows, columns) of mirrors
    controllers : 1 or 2
        Two on a DLP9000.
    """

    def __init__(
        self,
        connect: Callable[[], Transport] = HidTransport,
        shape: tuple[int, int] = (1080, 1920),
        controllers: Literal[1, 2] = 1,
    ) -> None:
        super().__init__()
        self._connect = connect
        self._wiring = Wiring(shape, controllers)
        self._controller: Controller | None = None
        self._failure = "the DLPC900 must be initialized before it is used"
        self._picture_us, self._dark_us, self._per_trigger = 5000, 0, 1
        self._picture: Plane = np.zeros(shape, np.uint8)
        self._sequence: list[Plane] = []
        self._ready = False  # whether the controller's table holds the sequence

    def initialize(self) -> None:
        """Open the controller and set its trigger output for the camera.

        The core only logs an error of an initialization, so later calls raise it again.
        """
        try:
            self._controller = self._connected()
        except DeviceError as error:
            self._failure = str(error)
            raise

    def _connected(self) -> Controller:
        controller = Controller(self._connect(), self._wiring)
        problems = controller.status().problems
        if problems:
            controller.close()
            raise DeviceError(f"the DLPC900 reports: {'; '.join(problems)}; switch it off and on")
        controller.set_trigger_output(2)
        return controller

    def shutdown(self) -> None:
        """Stop showing and release the controller."""
        if self._controller is not None:
            self._controller.close()
        self._controller = None

    @pymm_property(name="DarkTime-us", limits=(0, 1_000_000))
    def dark_time_us(self) -> int:
        """Return the dark time at the end of each pattern, in us."""
        return self._dark_us

    @dark_time_us.setter
    def _set_dark_time_us(self, value: int) -> None:
        self._dark_us, self._ready = int(value), False

    @pymm_property(name="PicturesPerTrigger", limits=(1, 32))
    def pictures_per_trigger(self) -> int:
        """Return the number of patterns per camera trigger; the first of them triggers."""
        return self._per_trigger

    @pictures_per_trigger.setter
    def _set_pictures_per_trigger(self, patterns: int) -> None:
        self._per_trigger, self._ready = int(patterns), False

    @pymm_property(name="TriggerOut2Bit", allowed_values=_TRIGGER_BIT)
    def trigger_bit(self) -> str:
        """Return what bit 0 of a pattern's trigger byte does: boards differ."""
        return _TRIGGER_BIT[not self._wiring.trigger_out_2_disables]

    @trigger_bit.setter
    def _set_trigger_bit(self, value: str) -> None:
        wiring = Wiring(self._wiring.shape, self._wiring.controllers, value == _TRIGGER_BIT[0])
        self._wiring, self._ready = wiring, False
        if self._controller is not None:
            self._controller.wiring = wiring

    @pymm_property(name="Firmware")
    def firmware(self) -> str:
        """Return the controller's version."""
        return self._open.version()

    @property
    def _open(self) -> Controller:
        if self._controller is None:
            raise DeviceError(self._failure)
        return self._controller

    def shape(self) -> tuple[int, int]:
        """Return (rows, columns) of mirrors."""
        return self._wiring.shape

    def dtype(self) -> DTypeLike:
        """Return uint8; a mirror is on where the value is not 0."""
        return np.uint8

    def set_image(self, pixels: Plane) -> None:
        """Store a still picture; ``display_image`` shows it."""
        self._picture = np.not_equal(pixels, 0).astype(np.uint8)

    def get_image(self) -> Plane:
        """Return the still picture."""
        return self._picture

    def display_image(self) -> None:
        """Show the still picture until something else is shown; a dark one parks the mirrors.

        A picture of the loaded sequence needs no upload. Any other replaces the sequence on the
        controller, which is loaded again before the next scan.
        """
        controller = self._open
        if not self._picture.any():
            controller.stop()
            return
        place = next(
            (i for i, one in enumerate(self._sequence) if np.array_equal(one, self._picture)), None
        )
        self._ready = False
        if place is None:
            controller.load([self._picture], self._timing(forever=True))
        else:
            controller.load(self._sequence, self._timing(forever=True))
            controller.reorder([place], forever=True)
        controller.start()

    def set_exposure(self, interval_ms: float) -> None:
        """Set a pattern's time, in ms."""
        picture_us = round(1000 * interval_ms)
        Timing(picture_us - self._dark_us, self._dark_us)  # raises if it is impossible
        if picture_us != self._picture_us:
            self._picture_us, self._ready = picture_us, False

    def get_exposure(self) -> float:
        """Return a pattern's time, in ms."""
        return self._picture_us / 1000

    def get_sequence_max_length(self) -> int:
        """Return how many patterns the controller's table takes."""
        return MOST_ENTRIES

    def send_sequence(self, sequence: Sequence[Plane]) -> None:
        """Load a sequence; 49 gratings on a disk of 300 mirrors' radius take half a minute."""
        self._sequence = [np.not_equal(pixels, 0).astype(np.uint8) for pixels in sequence]
        self._prepare()

    def start_sequence(self) -> None:
        """Show the sequence once, with an edge at trigger output 2 at the start of patterns."""
        if not self._ready:
            self._prepare()
        self._open.stop()
        self._open.start()

    def stop_sequence(self) -> None:
        """Stop the sequence; the mirrors are parked dark."""
        self._open.stop()

    def _prepare(self) -> None:
        controller = self._open
        self._ready = False
        controller.load(self._sequence, self._timing())
        controller.reorder(range(len(self._sequence)))  # a still picture may have changed the order
        self._ready = True

    def _timing(self, *, forever: bool = False) -> Timing:
        bright_us = self._picture_us - self._dark_us
        return Timing(bright_us, self._dark_us, forever=forever, per_trigger=self._per_trigger)
