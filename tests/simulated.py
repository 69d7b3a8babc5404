"""A small simulated microscope for the tests of devices, scans and everything above them."""

import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.devices.faults import Faults
from acquisition.devices.instrument import SimulatedInstrument
from acquisition.devices.trigger import TriggerInput, TriggerLine
from acquisition.microscope import Microscope, open_microscope

ANGLES = 9


def small_config(**sections: dict[str, Any]) -> AcquisitionConfig:
    """Return a bead on 64 x 64 pixels, 9 angles, no noise and no motion; sections are replaced."""
    settings: dict[str, dict[str, Any]] = {
        # 0.07 um: at 0.08 the fringes of the angle at 45 degrees lie on the Nyquist frequency
        "optics": {"preset": "cell", "pixel_size_um": 0.07},
        "illumination": {"circle": {"angles": ANGLES}},
        "camera": {"width": 64, "height": 64, "exposure_ms": 1.0},
        "dmd": {"picture_ms": 4.0},
        "scan": {"patience_s": 1.5},  # busy cores may keep the camera waiting
        "simulation": {
            "phantom": "bead",
            "motion": False,
            "read_noise": 0.0,
            "exposure_ms": 1.0,
            "phase_drift_rad": 0.0,
            "dust": 0,
        },
    }
    return AcquisitionConfig.model_validate(settings | sections)


@contextmanager
def small_microscope(**sections: dict[str, Any]) -> Iterator[Microscope]:
    """Open the small microscope, and check on exit that no thread outlives it."""
    before = threads()
    with open_microscope(small_config(**sections)) as microscope:
        yield microscope
    assert threads() <= before


def threads() -> set[threading.Thread]:
    """Return the running threads except timers, which enforce a test's time limit."""
    return {t for t in threading.enumerate() if not isinstance(t, threading.Timer)}


@contextmanager
def faulty(microscope: Microscope, **faults: Any) -> Iterator[SimulatedInstrument]:
    """Switch faults on for a while."""
    instrument = microscope.instrument
    assert instrument is not None
    instrument.faults = Faults(**faults)
    try:
        with no_patience():
            yield instrument
    finally:
        instrument.faults = Faults()


class _Clock:
    """Stands for the module ``time``: it runs ahead while the camera waits for nothing."""

    def __init__(self) -> None:
        self.idle = threading.Event()
        self._ahead_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def perf_counter(self) -> float:
        if self.idle.is_set():
            self._ahead_s += 10.0
        return time.perf_counter() + self._ahead_s


@contextmanager
def no_patience() -> Iterator[None]:
    """Let a scan give up missing frames as soon as the camera has seen all triggers.

    It would wait its patience for them, which has to be long for busy cores.
    """
    clock = _Clock()
    wait, raise_edges = TriggerInput.wait, TriggerLine.raise_edges

    def watched_wait(self: TriggerInput, timeout_s: float) -> float | None:
        edge_s = wait(self, timeout_s)  # what it saw before has become a frame
        if edge_s is None and not self._edges:
            clock.idle.set()
        return edge_s

    def watched_edges(self: TriggerLine, times_s: Iterable[float]) -> None:
        raise_edges(self, times_s)
        clock.idle.clear()  # until the next wait in vain

    with (
        mock.patch.object(TriggerInput, "wait", watched_wait),
        mock.patch.object(TriggerLine, "raise_edges", watched_edges),
        mock.patch("acquisition.scanning.scan.time", clock),
        mock.patch("acquisition.scanning.scan._COUNTED_S", math.inf),
    ):
        yield


def angle_of(
    frame: NDArray[Any], microscope: Microscope, instrument: SimulatedInstrument | None = None
) -> int | None:
    """Return the angle whose fringes a frame shows, from its pixels; None without fringes."""
    instrument = instrument or microscope.instrument
    assert instrument is not None
    carrier = np.array(instrument.bench.carrier)
    rows, columns = frame.shape
    pixel = microscope.optics.pixel_size_um
    window_y, window_x = np.hanning(rows), np.hanning(columns)
    picture = frame - frame.mean()
    power = []
    for fx, fy in microscope.angles.k + carrier:
        wave_y = window_y * np.exp(-2j * np.pi * fy * pixel * np.arange(rows))
        wave_x = window_x * np.exp(-2j * np.pi * fx * pixel * np.arange(columns))
        power.append(abs(wave_y @ picture @ wave_x))
    fringes = max(power) / (window_y.sum() * window_x.sum())
    return int(np.argmax(power)) if fringes > 1 else None
