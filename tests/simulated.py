"""A small simulated microscope for the tests of devices, scans and everything above them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.devices.faults import Faults
from acquisition.devices.instrument import SimulatedInstrument
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
        yield instrument
    finally:
        instrument.faults = Faults()


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
