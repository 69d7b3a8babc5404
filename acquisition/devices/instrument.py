"""State shared by the simulated devices: bench, DMD display, trigger cable, stage position.

Times are seconds on ``time.perf_counter``; the bench's own time starts with the instrument.
"""

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from acquisition.devices.faults import Faults
from acquisition.devices.trigger import TriggerLine
from acquisition.simulation.bench import Illumination, OpticalBench

__all__ = ["Display", "SimulatedInstrument"]

_SATURATING_POWER = 8.0
_INSTANT = 1e-6  # of an exposure: times are sums of many periods
_SAME_ANGLE = 1e-3  # cycles/um; gratings of one frequency are measured to differ by less


@dataclass(frozen=True, slots=True)
class Display:
    """The DMD's light as a function of time: a sequence from ``start_s`` on, else ``still``."""

    still: Illumination
    sequence: tuple[Illumination, ...] = ()
    start_s: float = 0.0
    period_s: float = 1.0

    def at(self, time_s: float) -> Illumination:
        """Return the light at ``time_s``; the last picture of a sequence stays."""
        number = int((time_s - self.start_s) // self.period_s)
        if not self.sequence or number < 0:
            return self.still
        return self.sequence[min(number, len(self.sequence) - 1)]

    def during(self, start_s: float, exposure_s: float) -> Illumination:
        """Return an exposure's light: the mean of one angle's pictures, else the middle one."""
        middle = self.at(start_s + exposure_s / 2)
        first, last = (self._number(time_s) for time_s in (start_s, start_s + exposure_s))
        if middle.k is None or first == last:
            return middle
        amplitude = 0.0
        for number in range(first, last + 1):
            begin_s = self.start_s + number * self.period_s
            seen_s = min(start_s + exposure_s, begin_s + self.period_s) - max(start_s, begin_s)
            if seen_s < _INSTANT * exposure_s:
                continue
            light = self.at(begin_s + self.period_s / 2)
            if light.k is None or math.dist(light.k, middle.k) > _SAME_ANGLE:
                return middle
            amplitude += light.amplitude * seen_s / exposure_s
        return replace(middle, amplitude=amplitude)

    def _number(self, time_s: float) -> int:
        return math.floor((time_s - self.start_s) / self.period_s)


@dataclass(slots=True)
class SimulatedInstrument:
    """One simulated microscope, controlled through its devices.

    Attributes
    ----------
    bench : OpticalBench
    line : TriggerLine
    stage_um : (x, y, z)
    display : Display
        Replaced as a whole.
    """

    bench: OpticalBench
    line: TriggerLine = field(default_factory=TriggerLine)
    stage_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    display: Display = field(init=False)
    _faults: Faults = field(default_factory=Faults, init=False)
    _epoch_s: float = field(default_factory=time.perf_counter, init=False)

    def __post_init__(self) -> None:
        dark = np.zeros(self.bench.geometry.shape, dtype=np.uint8)
        self.display = Display(self.bench.illuminate(dark))

    @property
    def faults(self) -> Faults:
        """Current faults; assign a new ``Faults`` to change them."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        if faults.dead_illumination:
            self.bench.laser_power = 0.0
        else:
            self.bench.laser_power = _SATURATING_POWER if faults.saturated_laser else 1.0

    def clock_s(self, time_s: float) -> float:
        """Return seconds since the instrument was made: the clock of bench and camera."""
        return time_s - self._epoch_s

    def expose(self, start_s: float, exposure_ms: float) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the picture (y, x) of an exposure that starts at ``start_s``."""
        middle_s = start_s + exposure_ms / 2000
        light = self.display.during(start_s, exposure_ms / 1000)
        return self.bench.expose(light, self.clock_s(middle_s), self.stage_um, exposure_ms)
