"""The microscope: opened from a configuration, it takes scans, backgrounds and single frames.

Simulation and hardware differ only in the devices that are loaded into the core.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from numpy.typing import NDArray
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import UniMMCore
from useq import MDAEvent

from acquisition.closing import Closing
from acquisition.configuration.calibration_file import CalibratedConfig
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import DeviceError, ScanStopped
from acquisition.interferograms import InterferogramStack, average
from acquisition.loading import loading
from acquisition.scanning.camera_setup import (
    prepare_camera,
    set_exposure,
    set_properties,
    set_property,
)
from acquisition.scanning.collected_frames import FrameSink
from acquisition.scanning.device_errors import naming_device
from acquisition.scanning.scan import AngleScan, AngleScanEngine, pictures
from acquisition.scanning.stage import Stage

if TYPE_CHECKING:  # the simulation takes time to import, which real hardware does not need
    from acquisition.devices.instrument import SimulatedInstrument

__all__ = ["Microscope", "empty_core", "end_core", "open_microscope"]

_SCANS_BUFFERED = 3
_SIMULATED = AcquisitionConfig()
_cores: WeakSet[UniMMCore] = WeakSet()


@atexit.register
def _end_callbacks() -> None:
    """Stop the threads in which cores call Python: one that does while Python ends aborts it."""
    for core in _cores:
        _end_callback(core)


def _end_callback(core: UniMMCore) -> None:
    super(CMMCorePlus, core).registerCallback(None)  # pymmcore-plus offers no way to do it


def open_microscope(
    config: AcquisitionConfig | CalibratedConfig | None = None, core: UniMMCore | None = None
) -> "Microscope":
    """Return an open microscope, with devices loaded and pictures uploaded.

    Parameters
    ----------
    config : AcquisitionConfig, CalibratedConfig or None
        None: the simulated microscope. A calibrated one is named in the scans' provenance and in
        ``remark``.
    core : UniMMCore or None
        A core with devices already loaded under the labels in the configuration. The microscope
        takes it over, and releases all its devices when it is closed.

    Raises
    ------
    DeviceError
        If a device is missing or refuses its settings.
    """
    # it writes three lines per scan into its log file, which would grow for hours of live imaging
    logging.getLogger("pymmcore-plus").setLevel(logging.WARNING)
    calibrated = (
        config if isinstance(config, CalibratedConfig) else CalibratedConfig(config or _SIMULATED)
    )
    core = empty_core() if core is None else core
    _cores.add(core)
    try:
        return _open(core, calibrated)
    except BaseException:
        end_core(core)
        raise


def empty_core() -> UniMMCore:
    """Return a core without devices, whose events need no Qt."""
    # in a Qt application it would use Qt's signals, which need another package and an event loop
    os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")
    core = UniMMCore()
    _cores.add(core)
    return core


def end_core(core: UniMMCore) -> None:
    """Release the devices of a core, and stop the thread in which it calls Python.

    Python's garbage collector may run in such a thread of another core, and there the end of a core
    that still calls Python aborts the program.
    """
    core.unloadAllDevices()
    _end_callback(core)


def _open(core: UniMMCore, calibrated: CalibratedConfig) -> "Microscope":
    config, instrument = calibrated.config, None
    if config.microscope.kind == "simulated":
        instrument = _load_simulated(core, config)
    else:
        _load_hardware(core, config)
    exposure_ms = _set_up(core, config)
    microscope = Microscope(core, calibrated, instrument, exposure_ms)
    microscope.upload()
    return microscope


def _load_simulated(core: UniMMCore, config: AcquisitionConfig) -> "SimulatedInstrument":
    with loading():
        from acquisition.devices.camera import SimulatedCamera
        from acquisition.devices.dmd import SimulatedDmd
        from acquisition.devices.instrument import SimulatedInstrument
        from acquisition.devices.stages import SimulatedFocus, SimulatedXYStage
        from acquisition.simulation.bench import build_bench

    settings = config.simulation_settings()
    bench = build_bench(config.build_optics(), config.dmd.geometry(), settings)
    instrument = SimulatedInstrument(bench)
    core.loadPyDevice(config.camera.label, SimulatedCamera(instrument))
    core.loadPyDevice(config.dmd.label, SimulatedDmd(instrument))
    core.loadPyDevice(config.stage.label, SimulatedXYStage(instrument))
    core.loadPyDevice(config.stage.focus_label, SimulatedFocus(instrument))
    core.initializeAllDevices()
    instrument.faults = config.faults.build()
    return instrument


def _load_hardware(core: UniMMCore, config: AcquisitionConfig) -> None:
    file = config.microscope.system_configuration
    if file is not None:
        try:
            core.loadSystemConfiguration(file)
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"{file} must load all its devices, got: {error}") from error
    for section in (config.dmd, config.camera):
        if section.adapter is not None:
            with naming_device(section.label, f"load from adapter {section.adapter!r}"):
                core.loadDevice(section.label, section.adapter, section.device or section.label)
                core.initializeDevice(section.label)


def _set_up(core: UniMMCore, config: AcquisitionConfig) -> float:
    """Select the configured devices, apply their settings and return the exposure in ms."""
    _check_loaded(core, config)
    core.setCameraDevice(config.camera.label)
    core.setSLMDevice(config.dmd.label)
    set_properties(core, config.dmd.label, config.dmd.properties)
    exposure_ms = prepare_camera(core, config)
    loaded = core.getLoadedDevices()
    if config.stage.label in loaded:
        core.setXYStageDevice(config.stage.label)
    if config.stage.focus_label in loaded:
        core.setFocusDevice(config.stage.focus_label)
    if not core.getShutterDevice():
        core.setAutoShutter(False)  # without a shutter it makes unsequenced pictures fail
    core.setCircularBufferMemoryFootprint(_buffer_mb(config))
    return exposure_ms


def _check_loaded(core: UniMMCore, config: AcquisitionConfig) -> None:
    """Refuse labels without a loaded device; default stage labels are optional."""
    loaded = core.getLoadedDevices()
    named = config.stage.model_fields_set & {"label", "focus_label"}
    stage = config.stage.model_dump(include=named)
    for label in (config.dmd.label, config.camera.label, *filter(None, stage.values())):
        if label not in loaded:
            raise DeviceError(
                f"device {label!r} must be loaded, got {sorted(loaded)}: correct its label in the "
                "microscope.toml, or load it with system_configuration or adapter and device"
            )


def _buffer_mb(config: AcquisitionConfig) -> int:
    """Return the size of the core's frame buffer in MB, for a few scans."""
    return max(16, _SCANS_BUFFERED * config.scan_bytes() // 2**20)


class Microscope(Closing):
    """An open microscope. Use it as a context manager, from one thread at a time.

    Attributes
    ----------
    core : UniMMCore
        The core with all devices, for what this class does not offer.
    config : AcquisitionConfig
    optics : Optics
    angles : AngleSet
        Planned illumination, in scan order.
    instrument : SimulatedInstrument or None
        The simulated light path, for its faults and laser; None for hardware.
    stage : Stage
        Sample stage and focus drive.
    """

    def __init__(
        self,
        core: UniMMCore,
        calibrated: CalibratedConfig,
        instrument: "SimulatedInstrument | None",
        exposure_ms: float,
    ) -> None:
        self.core = core
        self.config = config = calibrated.config
        self._notes = calibrated.notes
        self.optics = config.build_optics()
        self.angles = config.build_angles()
        self.instrument = instrument
        self.stage = Stage(core)
        self._scan = AngleScan(
            core, config, self.optics, self.angles, _provenance(calibrated, exposure_ms)
        )
        self._engine = AngleScanEngine(core, self._scan)
        self._next_start_s = 0.0
        self._engine_before = core.mda.set_engine(self._engine)

    @property
    def remark(self) -> str:
        """Remarks for the operator on how it scans; "" if there are none."""
        stepped = "the DMD takes no sequence and is stepped by software: slow, without triggers"
        steps = [stepped] if self._scan.stepped else []
        return "; ".join([*self._notes, *self.optics.remarks, *steps])

    def retime(self, exposure_ms: float, picture_ms: float) -> float:
        """Change the exposure and the picture time; return the exposure that the camera set, in ms.

        Raises
        ------
        DeviceError
            If the camera or the DMD refuses.
        """
        camera = self.config.camera.model_copy(update={"exposure_ms": exposure_ms})
        dmd = self.config.dmd.model_copy(update={"picture_ms": picture_ms})
        config = self.config.model_copy(update={"camera": camera, "dmd": dmd})
        exposure_ms = set_exposure(self.core, config)
        self.config = self._scan.config = config
        self._scan.set_picture_time()
        times = {"exposure_ms": f"{exposure_ms:g}", "picture_ms": f"{picture_ms:g}"}
        self._scan.provenance = {**self._scan.provenance, **times}
        return exposure_ms

    def upload(self) -> None:
        """Load the pictures into the DMD and arm the camera's external trigger."""
        self._scan.upload()
        self._arm()

    def scan(
        self, stop: threading.Event | None = None, sink: FrameSink | None = None
    ) -> InterferogramStack:
        """Take one scan; lost angles are named in the stack's ``lost``.

        Parameters
        ----------
        stop : Event or None
            Ends the scan when it is set.
        sink : FrameSink or None
            Provides the memory for the frames, and is told of each as it arrives.

        Raises
        ------
        ScanStopped
            If ``stop`` was set before the scan was complete.
        DeviceError
            If a device failed; its subclass ScanError if no frame arrived.
        """
        self._wait_for_turn(stop)
        return self._take(stop, sink)

    def _take(
        self, stop: threading.Event | None, sink: FrameSink | None = None
    ) -> InterferogramStack:
        self._engine.stop, self._engine.sink = stop, sink
        self.core.mda.run([MDAEvent()])
        return self._engine.take()

    def _wait_for_turn(self, stop: threading.Event | None) -> None:
        """Wait for the configured minimum time since the start of the last scan."""
        wait_s = self._next_start_s - time.perf_counter()
        if wait_s > 0 and (stop or threading.Event()).wait(wait_s):
            raise ScanStopped("the scan was stopped before it began")
        self._next_start_s = time.perf_counter() + self.config.scan.minimum_period_s

    def background(
        self, scans: int | None = None, stop: threading.Event | None = None
    ) -> InterferogramStack:
        """Return the mean of ``scans`` scans (default: as configured) of the empty field.

        The stage moves to the configured empty position and back. Without one it stays in place:
        the operator has moved it. The scans follow each other at once: the least period between
        scans is for samples.
        """
        with self.empty_field():
            self._wait_for_turn(stop)
            return average([self._take(stop) for _ in range(scans or self.config.background.scans)])

    @contextmanager
    def empty_field(self) -> Iterator[None]:
        """Move to the configured empty field, if there is one, and back on exit."""
        position = self.config.background_position_um()
        if position is None:
            yield
            return
        if not self.core.getXYStageDevice():
            raise DeviceError(
                f"[background] position_um {position} needs a sample stage, got none: name it in "
                "[stage], or leave position_um out and move by hand"
            )
        here = self.stage.position_um()[:2]
        try:
            self.stage.move_to(*position)
            yield
        finally:
            self.stage.move_to(*here)

    def blank(self) -> None:
        """Switch all mirrors off: no light on the sample until the next scan."""
        self._scan.blank()

    def snap(self) -> NDArray[Any]:
        """Return one frame (y, x) at the normal angle, or at the first if none is normal.

        The light is on for this frame only.
        """
        dmd = self.config.dmd.label
        with naming_device(dmd, "show a picture"):
            shown = pictures(self.config, self.angles.k[self.angles.normal or 0])
            self.core.setSLMImage(dmd, shown[len(shown) // 2])
            self.core.displaySLMImage(dmd)
        self._select_trigger(external=False)
        try:
            with naming_device(self.config.camera.label, "take a picture"):
                self.core.snapImage()
                return self.core.getImage()
        finally:
            self._scan.blank()
            self._arm()

    def _arm(self) -> None:
        self._select_trigger(external=not self._scan.stepped)

    def _select_trigger(self, *, external: bool) -> None:
        camera, trigger = self.config.camera.label, self.config.camera.trigger
        if not trigger.property:
            return
        value = trigger.external if external else trigger.internal
        set_property(self.core, camera, trigger.property, value)

    def close(self) -> None:
        """Stop running sequences and release the devices."""
        with suppress(RuntimeError):  # an error must not prevent the release of the devices
            self.core.stopSequenceAcquisition()
        end_core(self.core)
        # a core and an engine that hold each other are never collected, and keep four threads
        if self._engine_before is not None and not self.core.mda.is_running():
            self.core.mda.set_engine(self._engine_before)


def _provenance(calibrated: CalibratedConfig, exposure_ms: float) -> dict[str, str]:
    config, calibration = calibrated.config, calibrated.calibration
    try:
        software = f"livetomo {version('livetomo')}"
    except PackageNotFoundError:
        software = "livetomo (not installed)"
    return {
        "microscope": config.microscope.name,
        "kind": config.microscope.kind,
        "software": software,
        "camera": config.camera.label,
        "bit_depth": str(config.camera.bit_depth),
        "exposure_ms": f"{exposure_ms:g}",
        "picture_ms": f"{config.dmd.picture_ms:g}",
        "calibration": calibration.made_at.isoformat() if calibration else "none",
    }
