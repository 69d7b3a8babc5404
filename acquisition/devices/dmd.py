"""The simulated DMD: still pictures, and sequences with a trigger edge for each picture.

Pictures are (rows, columns) uint8; a mirror is on where the value is not 0. The light of a picture
is computed from its pixels when it is loaded.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SLMDevice, pymm_property

from acquisition.devices.instrument import Display, SimulatedInstrument

__all__ = ["SimulatedDmd"]

_MAX_SEQUENCE = 1024
_START_DELAY_S = 1e-3  # from the start command to the first picture


class SimulatedDmd(SLMDevice):
    """Shows pictures on the simulated bench; ``exposure`` is the time of each in a sequence."""

    def __init__(self, instrument: SimulatedInstrument) -> None:
        super().__init__()
        self._instrument = instrument
        self._picture_ms = 5.0
        self._picture = np.zeros(instrument.bench.geometry.shape, dtype=np.uint8)
        self._sequence: tuple[Any, ...] = ()
        self._per_trigger = 1

    @pymm_property(name="PicturesPerTrigger", limits=(1, 32))
    def pictures_per_trigger(self) -> int:
        """Return the number of pictures per camera trigger; the first of them triggers."""
        return self._per_trigger

    @pictures_per_trigger.setter
    def _set_pictures_per_trigger(self, pictures: int) -> None:
        self._per_trigger = int(pictures)

    def shape(self) -> tuple[int, int]:
        """Return (rows, columns) of mirrors."""
        return self._instrument.bench.geometry.shape

    def dtype(self) -> DTypeLike:
        """Return uint8."""
        return np.uint8

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        """Load a still picture; ``display_image`` shows it."""
        self._picture = _mirrors(pixels)

    def get_image(self) -> NDArray[np.uint8]:
        """Return the loaded still picture."""
        return self._picture

    def display_image(self) -> None:
        """Show the still picture."""
        self._instrument.bench.prepare([self._picture])
        self._instrument.display = Display(self._instrument.bench.illuminate(self._picture))

    def set_exposure(self, interval_ms: float) -> None:
        """Set how long each picture of a sequence is shown, in ms."""
        self._picture_ms = interval_ms

    def get_exposure(self) -> float:
        """Return how long each picture of a sequence is shown, in ms."""
        return self._picture_ms

    def get_sequence_max_length(self) -> int:
        """Return how many pictures fit into the DMD's memory."""
        return _MAX_SEQUENCE

    def send_sequence(self, sequence: Sequence[NDArray[np.uint8]]) -> None:
        """Load a sequence; the first time takes seconds, while the bench computes its light."""
        pictures = [_mirrors(pixels) for pixels in sequence]
        self._instrument.bench.prepare(pictures)
        self._sequence = tuple(self._instrument.bench.illuminate(picture) for picture in pictures)

    def start_sequence(self) -> None:
        """Show the pictures one after another, with an edge on the trigger line as they begin."""
        instrument, period_s = self._instrument, self._picture_ms / 1000
        start_s = time.perf_counter() + _START_DELAY_S
        instrument.display = Display(instrument.display.still, self._sequence, start_s, period_s)
        shown = range(0, len(self._sequence), self._per_trigger)
        edges = [start_s + number * period_s for number in shown]
        instrument.line.raise_edges(instrument.faults.edges(edges, self._per_trigger * period_s))

    def stop_sequence(self) -> None:
        """Return to the still picture."""
        self._instrument.line.clear()
        self._instrument.display = Display(self._instrument.display.still)


def _mirrors(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where a mirror is on, 0 where it is off."""
    return np.not_equal(pixels, 0).astype(np.uint8)
