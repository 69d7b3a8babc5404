"""The angle scan: arm the camera, start the DMD's sequence, collect one frame for each angle.

Everything goes through the core, so that the same code drives Micro-Manager's adapters and Python
devices. The pictures are uploaded once; a scan then costs two start commands. If the SLM adapter
does not support sequences, software steps it: picture, exposure, picture. ``AngleScan`` takes
scans; ``AngleScanEngine`` runs one for each event of a pymmcore-plus acquisition, so that a useq
time-lapse over stage positions takes a scan at each.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus import CMMCorePlus, Metadata
from pymmcore_plus.mda import MDAEngine
from useq import MDAEvent, MDASequence

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import DeviceError, ScanError, ScanStopped
from acquisition.illumination.angles import AngleSet
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from acquisition.scanning.attribution import Attribution, FrameReport, attribute
from acquisition.scanning.camera_setup import set_property
from acquisition.scanning.collected_frames import CollectedFrames, FrameSink
from acquisition.scanning.device_errors import naming_device

if TYPE_CHECKING:
    from pymmcore_plus.mda._protocol import PImagePayload
    from pymmcore_plus.metadata import SummaryMetaV1

__all__ = ["AngleScan", "AngleScanEngine", "pictures"]

_POLL_S = 1e-3  # the core has no call that waits for a frame
# Of the time between two looks for a frame, so much counts as the camera's silence. What is more,
# the computer had no time for this program, nor perhaps for the camera's driver.
_COUNTED_S = 2 * _POLL_S


def pictures(config: AcquisitionConfig, k: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """Return the DMD's pictures (rows, columns) for an angle k (2,), 0 and its value for on.

    Several pictures are shown one after another within the angle's time.
    """
    return [plane * np.uint8(config.dmd.on_value) for plane in config.dmd.bit_planes(k)]


@dataclass(slots=True)
class AngleScan:
    """Takes scans of one set of angles, by a triggering sequence or picture by picture.

    Parameters
    ----------
    core : CMMCorePlus
        Core with camera and DMD loaded; the camera is its current one.
    config : AcquisitionConfig
    optics : Optics
    angles : AngleSet
    provenance : mapping of str
        Added to every stack.
    """

    core: CMMCorePlus
    config: AcquisitionConfig
    optics: Optics
    angles: AngleSet
    provenance: Mapping[str, str] = field(default_factory=dict)
    _sequence: int = field(default=0, init=False)
    _pictures: list[NDArray[np.uint8]] = field(default_factory=list, init=False)

    @property
    def stepped(self) -> bool:
        """Whether software steps the pictures, because the DMD's adapter takes no sequence."""
        return bool(self._pictures)

    def upload(self) -> None:
        """Load the pictures into the DMD and set its exposure; needed once, not for every scan."""
        dmd = self.config.dmd
        shown = [one for k in self.angles.k for one in pictures(self.config, k)]
        dark = [np.zeros(dmd.shape, np.uint8)] * (dmd.dark_pictures * dmd.planes)
        self._pictures = shown if self._must_step(len(shown) + len(dark)) else []
        if dmd.planes > 1:
            set_property(self.core, dmd.label, "PicturesPerTrigger", dmd.planes)
        with naming_device(dmd.label, "take its pictures"):
            if not self.stepped:
                self.core.loadSLMSequence(dmd.label, [p.tobytes() for p in (*shown, *dark)])
        self.set_picture_time()

    def set_picture_time(self) -> None:
        """Set the DMD's time for each picture, divided among the planes if there are several."""
        dmd = self.config.dmd
        with naming_device(dmd.label, f"show {dmd.planes} pictures in {dmd.picture_ms:g} ms"):
            self.core.setSLMExposure(dmd.label, dmd.picture_ms / dmd.planes)

    def _must_step(self, count: int) -> bool:
        dmd = self.config.dmd
        with naming_device(dmd.label, "report its longest sequence"):
            longest = self.core.getSLMSequenceMaxLength(dmd.label)
        if longest < count and (dmd.stepping == "hardware" or dmd.planes > 1):
            raise DeviceError(
                f"device {dmd.label!r} must take a sequence of {count} pictures, its longest is "
                f'{longest}: use fewer angles or planes, or allow [dmd] stepping = "software"'
            )
        return dmd.stepping == "software" or longest < count

    def __call__(
        self, stop: threading.Event | None = None, sink: FrameSink | None = None
    ) -> InterferogramStack:
        """Take one scan.

        Parameters
        ----------
        stop : Event or None
            Ends the scan when it is set.
        sink : FrameSink or None
            Provides the memory for the frames, and is told of them as they arrive.

        Raises
        ------
        ScanStopped
            If ``stop`` was set.
        DeviceError
            If a device refuses.
        ScanError
            If no frame arrives within the time limit, or frames have the wrong format.
        """
        timestamp = time.time()
        self._sequence += 1
        stop = stop or threading.Event()
        camera = self.config.camera
        start = 0 if self.stepped else self.config.frame_tags().counter_start
        frames = CollectedFrames(
            len(self.angles), camera.shape, np.dtype(camera.dtype), camera.label, start, sink
        )
        try:
            if self.stepped:
                self._step(frames, stop)
            else:
                self._run(frames, stop)
            attribution = self._attribute(frames)
            self._check_alive(frames, attribution)
            lost = frames.settle(attribution.angles)
        except BaseException as error:
            self._abandon(error)
            raise
        self._halt()
        return InterferogramStack(
            frames=frames.stack,
            optics=self.optics,
            illumination_k=self.angles.k,
            timestamp=timestamp,
            lost=lost,
            sequence=self._sequence,
            provenance={**self.provenance, **_received(frames.reports, attribution)},
        )

    def _step(self, frames: CollectedFrames, stop: threading.Event) -> None:
        """Show one picture after another, and snap each."""
        dmd, camera = self.config.dmd.label, self.config.camera.label
        for number, shown in enumerate(self._pictures):
            if stop.is_set():
                raise ScanStopped(f"scan {self._sequence} was stopped after {number} frames")
            with naming_device(dmd, "show a picture"):
                self.core.setSLMImage(dmd, shown)
                self.core.displaySLMImage(dmd)
                self.core.waitForDevice(dmd)
            with naming_device(camera, "take a picture"):
                self.core.snapImage()
                image = self.core.getImage()
            frames.add(image, FrameReport(number))

    def _run(self, frames: CollectedFrames, stop: threading.Event) -> None:
        """Arm the camera, then start the DMD: a picture shown to an unarmed camera is lost."""
        with naming_device(self.config.camera.label, "be armed"):
            self.core.startSequenceAcquisition(self._shown, 0, True)
        with naming_device(self.config.dmd.label, "start its sequence"):
            self.core.startSLMSequence(self.config.dmd.label)
        self._collect(frames, stop)

    def _check_alive(self, frames: CollectedFrames, attribution: Attribution) -> None:
        """Raise ScanError if the camera stopped by itself, rather than losing single frames."""
        camera = self.config.camera.label
        if set(attribution.angles) != {None} or len(frames) == self._shown:
            return
        if not self.core.isSequenceRunning():
            raise ScanError(
                f"camera {camera!r} must deliver {self._shown} frames, but it stopped by itself "
                f"after {len(frames)}: check its power, its cable and its temperature"
            )

    def _halt(self) -> None:
        if self.stepped:
            self.blank()
            return
        try:
            self._stop_camera()
        finally:
            self._stop_dmd()

    def _stop_camera(self) -> None:
        with naming_device(self.config.camera.label, "stop"):
            if self.core.isSequenceRunning():
                self.core.stopSequenceAcquisition()

    def _stop_dmd(self) -> None:
        with naming_device(self.config.dmd.label, "stop its sequence"):
            self.core.stopSLMSequence(self.config.dmd.label)

    def blank(self) -> None:
        """Switch all mirrors off, so that no light reaches the sample between scans."""
        with naming_device(self.config.dmd.label, "go dark"):
            self.core.setSLMPixelsTo(self.config.dmd.label, 0)
            self.core.displaySLMImage(self.config.dmd.label)

    def _abandon(self, error: BaseException) -> None:
        """Stop everything and switch the light off; add errors of that to the scan's error."""
        endings = [self.blank]
        if not self.stepped:
            endings = [self._stop_camera, self._stop_dmd, self.blank]
        problems: dict[str, DeviceError] = {}
        for end in endings:
            try:
                end()
            except DeviceError as problem:
                problems[str(problem)] = problem
        if problems and isinstance(error, DeviceError):
            raise DeviceError("; then ".join([str(error), *problems])) from error

    def _collect(self, frames: CollectedFrames, stop: threading.Event) -> None:
        """Collect all frames, or those until the camera is silent after the scan's duration."""
        patience_s = self.config.scan.patience_s
        left_s, looked_s = self._duration_s + patience_s, time.perf_counter()
        while len(frames) < self._shown:
            if stop.is_set():
                raise ScanStopped(f"scan {self._sequence} was stopped after {len(frames)} frames")
            before_s, looked_s = looked_s, time.perf_counter()
            left_s -= min(looked_s - before_s, _COUNTED_S)
            running = self.core.isSequenceRunning()  # read first: the last frame may arrive after
            if self.core.getRemainingImageCount():
                frames.add(*self._pop())
                left_s = max(left_s, patience_s)
            elif not running or left_s < 0:
                break
            else:
                time.sleep(_POLL_S)
        if not frames:
            raise ScanError(self._silence())

    @property
    def _duration_s(self) -> float:
        return (self._shown * self.config.dmd.picture_ms + self.config.camera.exposure_ms) / 1e3

    @property
    def _shown(self) -> int:
        """Number of pictures of a scan, and so of frames, including dark ones at the end."""
        return len(self.angles) + self.config.dmd.dark_pictures

    def _silence(self) -> str:
        camera, dmd = self.config.camera.label, self.config.dmd.label
        return (
            f"camera {camera!r} must deliver {self._shown} frames, got none within "
            f"{self._duration_s + self.config.scan.patience_s:.2f} s of starting {dmd!r}: check "
            "the trigger cable, the camera's trigger settings and the DMD's trigger output"
        )

    def _pop(self) -> tuple[NDArray[Any], FrameReport]:
        tags = self.config.frame_tags()
        image, metadata = self.core.popNextImageAndMD()
        counter = int(self._tag(metadata, tags.counter))
        if tags.timestamp is None:
            return image, FrameReport(counter)
        time_s = float(self._tag(metadata, tags.timestamp)) * tags.timestamp_unit_s
        return image, FrameReport(counter, time_s)

    def _tag(self, metadata: Metadata, name: str) -> str:
        """Return a tag's value; the core prefixes an adapter's own tags with the camera's label."""
        camera = self.config.camera.label
        for key in (name, f"{camera}-{name}"):
            if key in metadata:
                return str(metadata[key])
        raise ScanError(
            f"frames of camera {camera!r} must carry the tag {name!r}, got {sorted(metadata)}: "
            "name one of them in [camera.frame_tags]"
        )

    def _attribute(self, frames: CollectedFrames) -> Attribution:
        if self.stepped:
            return Attribution(tuple(range(len(frames))))
        tags = self.config.frame_tags()
        triggers = None
        if tags.triggers_property is not None and len(frames) < self._shown:
            camera = self.config.camera.label
            triggers = int(self.core.getProperty(camera, tags.triggers_property))
        found = attribute(
            frames.reports,
            self._shown,
            self.config.dmd.picture_ms / 1e3,
            tags.counter_start,
            triggers,
        )
        angles = range(len(self.angles))
        return replace(found, angles=tuple(a if a in angles else None for a in found.angles))


def _received(reports: list[FrameReport], attribution: Attribution) -> dict[str, str]:
    """Return provenance on the received frames: number, counters, timing, and any problem."""
    counters = [report.counter for report in reports]
    received = {
        "frames_received": str(len(reports)),
        "frame_counters": f"{min(counters)}-{max(counters)}",
        "frame_order": "as shown" if counters == sorted(counters) else "shuffled",
    }
    known = [r for r, a in zip(reports, attribution.angles, strict=True) if a is not None]
    times = [report.time_s for report in known]
    in_order = [a for a in attribution.angles if a is not None] == list(range(len(known)))
    if in_order and len(known) > 2 and None not in times:
        period_s, jitter_s = _rhythm(np.array(times, dtype=np.float64))
        received |= {"period_ms": f"{1e3 * period_s:.4f}", "jitter_ms": f"{1e3 * jitter_s:.4f}"}
    return received | ({"attribution": attribution.note} if attribution.note else {})


def _rhythm(times_s: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean time between exposures and the largest deviation from it, in seconds."""
    number = np.arange(len(times_s))
    period_s, start_s = np.polyfit(number, times_s, 1)
    return float(period_s), float(np.abs(times_s - start_s - period_s * number).max())


class AngleScanEngine(MDAEngine):
    """Takes one angle scan for each event of a multi-dimensional acquisition.

    The event's frames come out in angle order with the index ``angle``; a lost one is None. The
    core's own combination of events into hardware sequences stays off: it would merge time points.
    """

    def __init__(self, core: CMMCorePlus, scan: AngleScan) -> None:
        super().__init__(core, use_hardware_sequencing=False, restore_initial_state=False)
        self._scan = scan
        self._stack: InterferogramStack | None = None
        self._summary: SummaryMetaV1 | None = None
        self.stop: threading.Event | None = None
        self.sink: FrameSink | None = None

    def take(self) -> InterferogramStack:
        """Return the latest scan, once.

        Raises
        ------
        ScanStopped
            If there is none: the acquisition was cancelled.
        """
        stack, self._stack = self._stack, None
        if stack is None:
            raise ScanStopped("the acquisition was cancelled before its scan")
        return stack

    def get_summary_metadata(
        self, mda_sequence: MDASequence | None, *, include_property_details: bool = False
    ) -> "SummaryMetaV1":
        """Return the system's metadata.

        It is computed once, because the core walks all devices and unsets its camera.
        """
        if self._summary is None:
            self._summary = super().get_summary_metadata(
                None, include_property_details=include_property_details
            )
        return self._summary

    def setup_event(self, event: MDAEvent) -> None:
        """Move to the event's position; an event without one skips the core's call (6 ms)."""
        if event.model_fields_set:
            super().setup_event(event)

    def exec_single_event(self, event: MDAEvent) -> Iterator["PImagePayload | None"]:
        """Scan, then yield the frames."""
        self._stack = stack = self._scan(self.stop, self.sink)
        for angle, frame in enumerate(stack.frames):
            if angle in stack.lost:
                yield None
                continue
            one = event.model_copy(update={"index": {**event.index, "angle": angle}})
            yield frame, one, self.get_frame_metadata(one, include_position=False)
