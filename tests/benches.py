"""Benches for the contract of a scan: other devices, the same microscope code.

- ``simulated``: the simulated camera and DMD, which share a bench and a trigger cable.
- ``stepped``: the same, but for a DMD whose adapter takes no sequence.
- ``dlpc900``: the DLPC900's driver over an emulated controller, which shows on the simulated bench
  what it was sent, byte for byte, and triggers the simulated camera.
- ``demo``: Micro-Manager's C++ camera, which runs free, and a Python DMD that shows nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SLMDevice

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.devices.camera import SimulatedCamera
from acquisition.devices.dmd import SimulatedDmd
from acquisition.devices.instrument import Display, SimulatedInstrument
from acquisition.devices.stages import SimulatedXYStage
from acquisition.dlpc900.device import Dlpc900
from acquisition.microscope import Microscope, empty_core, open_microscope
from acquisition.simulation.bench import Illumination, build_bench
from tests.dlpc900_emulator import Emulator
from tests.simulated import ANGLES, small_config, threads

NAMES = ("simulated", "stepped", "dlpc900", "demo")
DARK = Illumination(None)


@dataclass
class Bench:
    """An open microscope and the properties of its devices that tests need.

    Attributes
    ----------
    instrument : SimulatedInstrument or None
        Whose light the camera sees; None for the C++ camera, which sees none.
    dmd : SLMDevice
    triggered : bool
        Whether the DMD triggers the camera.
    """

    microscope: Microscope
    instrument: SimulatedInstrument | None
    dmd: SLMDevice
    triggered: bool

    @property
    def dark(self) -> bool:
        """Whether the DMD sends no light into the sample."""
        if isinstance(self.dmd, FreeRunningDmd):
            return not self.dmd.shown.any()
        assert self.instrument is not None
        return self.instrument.display.at(time.perf_counter()).k is None


@contextmanager
def open_bench(name: str, picture_ms: float = 4.0, planes: int = 1) -> Iterator[Bench]:
    """Open a bench, and check on exit that no thread outlives it."""
    before = threads()
    make = {"simulated": _simulated, "stepped": _simulated, "dlpc900": _dlpc900, "demo": _demo}
    bench = make[name](name, picture_ms, planes)
    with bench.microscope:
        yield bench
    assert threads() <= before


def _simulated(name: str, picture_ms: float, planes: int) -> Bench:
    config = _lit(picture_ms, planes)
    instrument = _instrument(config)
    if name == "stepped":  # all at once, which is kept; one by one as they are shown takes longer
        planes_of = config.dmd.bit_planes
        instrument.bench.prepare([plane for k in config.build_angles().k for plane in planes_of(k)])
    dmd = (SteppedDmd if name == "stepped" else SimulatedDmd)(instrument)
    return _opened(config, instrument, dmd, triggered=name == "simulated")


def _dlpc900(name: str, picture_ms: float, planes: int) -> Bench:
    config = _lit(picture_ms, planes, properties={"DarkTime-us": 200})
    instrument = _instrument(config)
    emulator = WiredEmulator(*config.dmd.shape, instrument=instrument)
    device = WiredDlpc900(emulator, config.dmd.shape)
    return _opened(config, instrument, device, triggered=True)


def _lit(picture_ms: float, planes: int, **dmd: Any) -> AcquisitionConfig:
    """Return the configuration of a bench whose camera sees what the DMD shows."""
    return small_config(
        microscope={"kind": "hardware"},
        optics={"preset": "cell", "pixel_size_um": 0.07},
        dmd={**_DMD, "picture_ms": picture_ms, "planes": planes, **dmd},
        camera={**_CAMERA, "exposure_ms": 1.0 if planes == 1 else picture_ms},
        background={"position_um": (200.0, 0.0)},
    )


def _demo(name: str, picture_ms: float, planes: int) -> Bench:
    pytest.importorskip("mm_test_adapters", reason="no Micro-Manager adapters here")
    config = small_config(
        microscope={"kind": "hardware"},
        dmd={**_DMD, "picture_ms": picture_ms, "planes": planes},
        camera={
            "label": "Camera",
            "adapter": "DemoCamera",
            "device": "DCam",
            "width": 128,
            "height": 96,
            "origin": (8, 16),
            "bit_depth": 8,
            "exposure_ms": picture_ms / 2,
            "properties": {"PixelType": "8bit", "Gain": 2},
            "trigger": {"property": ""},
        },
    )
    core, dmd = empty_core(), FreeRunningDmd()
    dmd.armed = core.isSequenceRunning
    core.loadPyDevice(config.dmd.label, dmd)
    core.initializeDevice(config.dmd.label)
    return Bench(open_microscope(config, core), None, dmd, triggered=False)


_DMD = {
    "label": "Dmd",
    "shape": (480, 480),
    "carrier": (0.22, 0.385),
    "mirror_pitch_um": 0.05,
    "stop_radius": 0.118,
}
_CAMERA = {
    "label": "Camera",
    "width": 64,
    "height": 64,
    "bit_depth": 8,
    "exposure_ms": 1.0,
    "frame_tags": {
        "counter": "TriggerCount",
        "counter_start": 1,
        "timestamp": "Timestamp-us",
        "triggers_property": "TriggersReceived",
    },
}


def _instrument(config: AcquisitionConfig) -> SimulatedInstrument:
    settings = config.simulation_settings()
    return SimulatedInstrument(build_bench(config.build_optics(), config.dmd.geometry(), settings))


def _opened(
    config: AcquisitionConfig, instrument: SimulatedInstrument, dmd: SLMDevice, *, triggered: bool
) -> Bench:
    core = empty_core()
    devices = {
        config.camera.label: SimulatedCamera(instrument),
        config.dmd.label: dmd,
        config.stage.label: SimulatedXYStage(instrument),
    }
    for label, device in devices.items():
        core.loadPyDevice(label, device)
        core.initializeDevice(label)
    return Bench(open_microscope(config, core), instrument, dmd, triggered)


class SteppedDmd(SimulatedDmd):
    """A DMD whose adapter takes no sequence, like most SLM adapters."""

    def get_sequence_max_length(self) -> int:
        return 0


class WiredDlpc900(Dlpc900):
    """The driver, with the emulator at the other end of its cable."""

    def __init__(self, emulator: "WiredEmulator", shape: tuple[int, int]) -> None:
        super().__init__(connect=lambda: emulator, shape=shape)
        self.emulator = emulator


@dataclass
class WiredEmulator(Emulator):
    """A controller with mirrors in the light and a cable to the camera's trigger input."""

    instrument: SimulatedInstrument = field(kw_only=True)
    _lights: dict[bytes, Illumination] = field(default_factory=dict)

    def _start(self, what: int) -> None:
        super()._start(what)
        self.instrument.line.clear()
        self.instrument.display = Display(DARK)
        if what != 2:
            return
        assert self.configured is not None
        count, shown = self.configured
        entries = (self.order or tuple(range(count)))[:count]
        mirrors = [self.pattern(entry) for entry in entries]
        self.instrument.bench.prepare(mirrors)
        lights = tuple(map(self.instrument.bench.illuminate, mirrors))
        if shown == 0:
            assert len(lights) == 1
            self.instrument.display = Display(lights[0])
            return
        assert shown == count
        self._show(entries, lights)

    def _show(self, entries: Sequence[int], lights: tuple[Illumination, ...]) -> None:
        first = self.definitions[entries[0]]
        period_us = int.from_bytes(first[2:5], "little") + int.from_bytes(first[6:9], "little")
        period_s, start_s = period_us / 1e6, time.perf_counter() + 2e-3
        self.instrument.display = Display(DARK, lights, start_s, period_s)
        edges = [
            start_s + number * period_s
            for number, entry in enumerate(entries)
            if not self.definitions[entry][9] & 1  # as in TI's table: bit 0 switches output 2 off
        ]
        edges = self.instrument.faults.edges(edges, period_s)
        self.instrument.line.raise_edges(edges)


class FreeRunningDmd(SLMDevice):
    """A DMD of another maker, driven by a user's own Python driver without checks."""

    def __init__(self) -> None:
        super().__init__()
        self.shown = self.picture = np.zeros((480, 480), np.uint8)
        self.sequence: list[NDArray[np.uint8]] = []
        self.interval_ms = 0.0
        self.armed: Callable[[], bool] = lambda: True

    def shape(self) -> tuple[int, int]:
        return (480, 480)

    def dtype(self) -> DTypeLike:
        return np.uint8

    def set_image(self, pixels: NDArray[np.uint8]) -> None:
        self.picture = pixels

    def display_image(self) -> None:
        self.shown = self.picture

    def set_exposure(self, interval_ms: float) -> None:
        self.interval_ms = interval_ms

    def get_exposure(self) -> float:
        return self.interval_ms

    def get_sequence_max_length(self) -> int:
        return 100

    def send_sequence(self, sequence: Sequence[NDArray[np.uint8]]) -> None:
        self.sequence = list(sequence)
        assert len(self.sequence) == ANGLES

    def start_sequence(self) -> None:
        # a picture that is shown to a camera which is not armed is lost
        assert self.armed()
        self.shown = self.sequence[-1]

    def stop_sequence(self) -> None:
        self.shown = np.zeros_like(self.shown)
