"""The state of the running instrument as immutable snapshots.

Imports numpy only: the window uses this without loading the code that computes.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from acquisition.choices import REGULARIZERS
from acquisition.optics import Optics
from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from pipeline.wire.file_state import MeasuredScans
from pipeline.wire.measured_light import MeasuredLight
from pipeline.wire.places import StagePlace, StageState
from regularizer.quality_report import QualityReport

__all__ = [
    "CYCLE",
    "DriftState",
    "ForecastRequest",
    "InstrumentState",
    "InterferogramView",
    "LightPath",
    "MeasuredView",
    "MeasuringRequest",
    "MeasuringState",
    "Phase",
    "Playlist",
    "ProcessState",
    "QualityView",
    "RecordRequest",
    "RecordingForecast",
    "RecordingState",
    "TomogramView",
    "Updates",
]


class Phase(StrEnum):
    """The phase of the instrument."""

    STARTING = "starting"
    BACKGROUND = "background"
    LIVE = "live"
    IDLE = "idle"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process of the instrument: whether it runs, its restarts, why it ended.

    ``held`` ones were ended on request and wait to be started again.
    """

    name: str
    alive: bool
    restarts: int = 0
    detail: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """A time-lapse to be recorded by the running instrument.

    Parameters
    ----------
    output : str
        A new file.
    stacks : int or None
        Number of scans; None if a sequence is given.
    interval_s : float
        From the start of one scan to the start of the next.
    sequence : str or None
        Path of a useq MDASequence file.
    background_every_scans, background_every_min : int, float or None
        When the background is retaken.
    tomograms : str or None
        A new file for the tomograms; None: make none.
    regularizer : str
        Regularizer of the tomograms.
    constraint : str
        Constraint on the sign of their contrast.
    positions : tuple of StagePlace
        Places to scan in turn at each time point; empty: where the stage is. ``stacks`` and
        ``interval_s`` then are the number of time points and the time between them.
    autofocus : bool
        Whether to autofocus before each scan; not with a sequence, which says it itself.
    sample_name, notes : str
        Written into the files.
    """

    output: str
    stacks: int | None = None
    interval_s: float = 0.0
    sequence: str | None = None
    background_every_scans: int | None = None
    background_every_min: float | None = None
    tomograms: str | None = None
    regularizer: str = "deep"
    constraint: str = "auto"
    positions: tuple[StagePlace, ...] = ()
    autofocus: bool = False
    sample_name: str = ""
    notes: str = ""


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """Asks what a time-lapse would take, before it is started.

    ``tomogram_shape`` is the shape (z, y, x) of a tomogram where it is known.
    """

    request: RecordRequest
    tomogram_shape: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class RecordingForecast:
    """What a time-lapse would take, and what is wrong with it.

    Parameters
    ----------
    scans : int
    seconds : float
        Duration, by the plan and by how long a scan takes.
    scan_s : float
        How long a scan takes.
    recording_bytes, tomogram_bytes : int
        Sizes of its files; the latter is 0 where no tomograms are wanted, or their shape is not
        known.
    free_bytes : int or None
        On the disk of the recording; None where its folder does not exist.
    problems : dict of str to str
        By field ("output", "tomograms", "sequence", "times", "positions", "autofocus",
        "background", "notes", "disk"): why it cannot be recorded.
    remarks : dict of str to str
        By field: what will not go as typed, without preventing it.
    """

    scans: int = 0
    seconds: float = 0.0
    scan_s: float = 0.0
    recording_bytes: int = 0
    tomogram_bytes: int = 0
    free_bytes: int | None = None
    problems: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordingState:
    """The state of the current or the last time-lapse.

    Parameters
    ----------
    output : str
    summary : str
        Activity, progress and time left, in one line.
    running, paused : bool
    done, total : int
        Scans.
    tomograms : int or None
        Tomograms made so far; None if none are wanted.
    drift : str
        Where the object was in the last scan, and how far the stages corrected it; "" while it is
        not kept in the middle.
    warning : str
        The last problem that did not end it.
    error : str
        Why it ended early; empty if it did not.
    """

    output: str
    summary: str
    running: bool = True
    paused: bool = False
    done: int = 0
    total: int = 0
    tomograms: int | None = None
    drift: str = ""
    warning: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class MeasuringRequest:
    """Whether the objects of live tomograms are to be measured, and how."""

    on: bool
    settings: MeasuringSettings = field(default_factory=MeasuringSettings)


@dataclass(frozen=True, slots=True)
class MeasuringState:
    """The state of the measuring process: ``message`` is one line on what it does.

    ``progress`` is how many scans of a file have been measured, and of how many, while all of them
    are being measured; else None.
    """

    message: str
    on: bool = False
    settings: MeasuringSettings = field(default_factory=MeasuringSettings)
    progress: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class DriftState:
    """Whether an object can be kept in the middle by stages, whether it is, and what was done."""

    possible: bool = False
    on: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class InstrumentState:
    """The instrument as a whole; ``message`` is one line for the status bar, never empty.

    ``quality`` is the status of the quality check, "" if there is none. ``constraint`` is that on
    the sign of the contrast, "" if it cannot be chosen. ``measuring`` is None if there is no
    process that measures objects, ``stage`` if there is no stage, ``snapped``, the scan of the last
    snap, if there is none. ``replay``: a recording takes the place of the microscope.
    """

    phase: Phase
    message: str
    scans: int = 0
    reconstructed: int = 0
    skipped: int = 0
    incomplete: int = 0
    scan_rate_hz: float = 0.0
    tomogram_rate_hz: float = 0.0
    latency_s: float = 0.0
    regularizer: str = "deep"
    regularizers: tuple[str, ...] = tuple(REGULARIZERS)
    constraint: str = "auto"
    processes: tuple[ProcessState, ...] = ()
    microscope: str = ""
    quality: str = ""
    recording: RecordingState | None = None
    measuring: MeasuringState | None = None
    stage: StageState | None = None
    drift: DriftState = DriftState()
    snapped: int | None = None
    replay: bool = False


@dataclass(frozen=True, slots=True)
class Playlist:
    """The scans of a file that are played, and their stage positions.

    Parameters
    ----------
    scans : tuple of int
        Numbers of the played scans, in order: all of the file, or those of one position.
    position_labels : tuple of str
        Label of the stage position of each scan in the file.
    selected : str
        The position whose scans are played; empty: all.
    """

    scans: tuple[int, ...] = ()
    position_labels: tuple[str, ...] = ()
    selected: str = ""

    @property
    def positions(self) -> tuple[str, ...]:
        """Labels of the positions with scans; empty if there is one only."""
        names = tuple(dict.fromkeys(self.position_labels))
        return names if len(names) > 1 else ()

    def position_of(self, scan: int) -> str:
        """Return the label of the position of a scan."""
        return self.position_labels[scan] if 0 <= scan < len(self.position_labels) else ""

    def row(self, scan: int) -> int:
        """Return the index in ``scans`` of a scan, or of the last one before it."""
        return max(bisect_right(self.scans, scan) - 1, 0)


CYCLE = -1  # instead of the number of an angle: another one with each scan


@dataclass(frozen=True, slots=True)
class InterferogramView:
    """The latest interferogram of one angle: (y, x) uint8 or uint16.

    ``picture`` is what the DMD showed for it, (rows, columns) uint8, 1 where a mirror was on; None
    until a client has chosen the angle.
    """

    frame: NDArray[np.uint8] | NDArray[np.uint16]
    angle: int
    angles: int
    sequence: int
    bit_depth: int
    picture: NDArray[np.uint8] | None = None


Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class LightPath:
    """Where the light of each angle of a scan was found, and how good it was; one entry an angle.

    Parameters
    ----------
    carrier : (kx, ky)
        Of the reference wave, cycles/um.
    planned : tuple of (kx, ky)
        Illumination wave vectors as planned, cycles/um; empty if there is no plan.
    found : tuple of (kx, ky) or None
        As measured in the background; None where its frame is unusable.
    reasons : dict of int to str
        Angles that are not in the tomogram, and the reason for each.
    outliers : tuple of int
        Angles whose light is not where it was planned, and which are used where it is.
    visibility : tuple of float
        Amplitude of the sideband over the zero order, relative to the background's.
    drift_rad, tilt_rad : tuple of float
        Change of the empty field's phase since the background, and from centre to border.
    saturation : tuple of float
        Share of the pixels at the highest grey value.
    """

    carrier: Place
    planned: tuple[Place, ...]
    found: tuple[Place | None, ...]
    reasons: dict[int, str]
    outliers: tuple[int, ...]
    visibility: tuple[float, ...]
    drift_rad: tuple[float, ...]
    tilt_rad: tuple[float, ...]
    saturation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TomogramView:
    """The tomogram of one scan: raw and regularized RI, both (z, y, x) float32.

    ``regularized`` is None where the method is "none". ``latency_s`` is the time from the start of
    the scan to the publication; ``stages_s`` divides it by stage. ``measured`` has one bit (numpy's
    packbits) for each voxel of the half spectrum (z, y, x//2 + 1), set where it was measured.
    ``data_residual`` is the distance of the regularized volume from the measured spectrum, over the
    norm of that. ``uncertainty`` is the standard deviation of the regularized RI, (z, y, x)
    float32, if the regularizer estimates it. ``constraint`` is the one on the sign of the contrast.
    ``total_variation`` is the RI by total variation, (z, y, x) float32, where the file that is
    played holds it beside ``regularized``. ``light`` says how good its interferograms were, if it
    was made from them now. ``oldest_s`` is the age of the oldest interferogram in a tomogram that
    was made in the middle of a scan, from the newest one of each angle, in seconds; else None.
    ``fluorescence`` has the channels, (z, y, x) float32 by name, of a file that is played.
    ``position`` is the label of the stage position; "" where it has none.
    ``correction_um`` is how far the field of view has been moved, (x, y, z) along the axes of the
    tomogram: a place in the tomogram plus it is a place in the sample. It counts from where the
    position began: its first scan, or where the stage was sent; without a label, where the stages
    were when the microscope was opened.

    ``window`` is None in a view for display. The quality check gets the whole volumes of the
    reconstruction; shape (z, y, x) and voxel size (dz, dy, dx) of ``window`` then describe the part
    that is displayed. ``fields`` are the measured fields, where the check asked for them.
    """

    raw: NDArray[np.float32]
    regularized: NDArray[np.float32] | None
    method: str
    voxel_size_um: tuple[float, float, float]
    medium_index: float
    sequence: int
    timestamp: float
    latency_s: float
    lost_angles: tuple[int, ...] = ()
    stages_s: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    optics: Optics | None = None
    measured: NDArray[np.uint8] | None = None
    data_residual: float | None = None
    uncertainty: NDArray[np.float32] | None = None
    constraint: str = "auto"
    total_variation: NDArray[np.float32] | None = None
    light: LightPath | None = None
    window: tuple[tuple[int, int, int], tuple[float, float, float]] | None = None
    oldest_s: float | None = None
    position: str = ""
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fields: MeasuredLight | None = None
    fluorescence: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QualityView:
    """The result of the quality check of one tomogram.

    Parameters
    ----------
    report : QualityReport
        It names its reference.
    reference : (z, y, x) float32
        RI by the reference.
    error : (z, y, x) float32
        RI of the compared tomogram minus ``reference``.
    voxel_size_um : (dz, dy, dx)
    sequence : int
        Number of the scan.
    timestamp : float
        Start of the scan, seconds since the epoch.
    seconds : float
        Duration of the check.
    position : str
        Label of the stage position, as in TomogramView.
    """

    report: QualityReport
    reference: NDArray[np.float32]
    error: NDArray[np.float32]
    voxel_size_um: tuple[float, float, float]
    sequence: int
    timestamp: float
    seconds: float
    position: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredView:
    """The objects of one tomogram.

    Parameters
    ----------
    objects : tuple of MeasuredObject
        The largest first; their numbers last from scan to scan. Their centroids are places in the
        sample: those in the tomogram plus ``correction_um``.
    labels : (z, y, x) uint8 or uint16
        On the voxels of the displayed tomogram: 0 outside of objects, ``i + 1`` where
        ``objects[i]`` is.
    voxel_size_um : (dz, dy, dx)
    medium_index : float
    method : str
        Regularizer of the measured volume; "none": the raw one was measured.
    threshold : float or None
        Index that found the objects; None where there was only noise.
    settings : MeasuringSettings
        How they were measured.
    sequence : int
        Number of the scan.
    timestamp : float
        Start of the scan, seconds since the epoch.
    seconds : float
        Duration of the measuring.
    correction_um : (x, y, z)
        How far the field of view had been moved, as in TomogramView.
    position : str
        Label of the stage position, as in TomogramView.
    """

    objects: tuple[MeasuredObject, ...]
    labels: NDArray[np.uint8] | NDArray[np.uint16]
    voxel_size_um: tuple[float, float, float]
    medium_index: float
    method: str
    threshold: float | None
    settings: MeasuringSettings
    sequence: int
    timestamp: float
    seconds: float
    correction_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    position: str = ""

    def place_of(self, row: int) -> tuple[float, float, float]:
        """Return where an object is in the tomogram, (z, y, x) in um from its middle."""
        x, y, z = self.correction_um
        return self.objects[row].moved(-z, -y, -x).centroid_um


@dataclass(frozen=True, slots=True)
class Updates:
    """The newest of each kind since the last poll; None if there is nothing new.

    ``light`` is that of the displayed scan of a file, which comes after its tomogram.
    """

    state: InstrumentState | None = None
    interferogram: InterferogramView | None = None
    tomogram: TomogramView | None = None
    quality: QualityView | None = None
    measured: MeasuredView | None = None
    light: LightPath | None = None
    scans: MeasuredScans | None = None
