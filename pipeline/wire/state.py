"""What the running instrument shows to others: immutable snapshots, replaced as a whole.

Light on purpose (numpy only): the window imports this, not the code that computes.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from acquisition.choices import REGULARIZERS
from acquisition.optics import Optics
from regularizer.quality_report import QualityReport

__all__ = [
    "Course",
    "InstrumentState",
    "InterferogramView",
    "News",
    "Phase",
    "ProcessState",
    "QualityView",
    "RecordRequest",
    "RecordingState",
    "TomogramView",
]


class Phase(StrEnum):
    """What the instrument is doing."""

    STARTING = "starting"
    BACKGROUND = "background"
    LIVE = "live"
    IDLE = "idle"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process of the instrument: is it up, what is it doing, how often was it restarted."""

    name: str
    alive: bool
    restarts: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """A time-lapse to be recorded by the running instrument.

    Parameters
    ----------
    output : str
        A new file.
    stacks : int or None
        How many scans; None where there is a sequence.
    interval_s : float
        From the start of one to the start of the next.
    sequence : str or None
        File of a useq MDASequence.
    background_every_scans, background_every_min : int, float or None
        When the background is taken again.
    tomograms : str or None
        A new file for the tomograms of all scans.
    regularizer : str
        Of these tomograms.
    constraint : str
        On the sign of their contrast.
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


@dataclass(frozen=True, slots=True)
class RecordingState:
    """A time-lapse that is recorded, or was recorded last.

    Parameters
    ----------
    output : str
    sentence : str
        What it is doing, how far it is and how much time is left.
    running, paused : bool
    done, total : int
        Scans.
    tomograms : int or None
        How many are made; None where none are asked for.
    warning : str
        The last thing that went wrong without ending it.
    error : str
        Why it ended before its time.
    """

    output: str
    sentence: str
    running: bool = True
    paused: bool = False
    done: int = 0
    total: int = 0
    tomograms: int | None = None
    warning: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class InstrumentState:
    """The instrument as a whole; ``message`` is one line for the status bar, never empty.

    ``quality`` says what the quality check is doing, where there is one. ``constraint`` is that on
    the sign of the contrast, "" where it cannot be chosen.
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


@dataclass(frozen=True, slots=True)
class Course:
    """The scans of a file that is played, and where they were taken.

    Parameters
    ----------
    scans : tuple of int
        Those that are played, in order; all of the file, or those of one position.
    places : tuple of str
        What the stage position of each scan of the file is called.
    chosen : str
        The position whose scans are played; empty for all.
    """

    scans: tuple[int, ...] = ()
    places: tuple[str, ...] = ()
    chosen: str = ""

    @property
    def positions(self) -> tuple[str, ...]:
        """The positions that have scans, where there are several to choose from."""
        names = tuple(dict.fromkeys(self.places))
        return names if len(names) > 1 else ()

    def place(self, scan: int) -> str:
        """Return what the position of a scan is called."""
        return self.places[scan] if 0 <= scan < len(self.places) else ""

    def row(self, scan: int) -> int:
        """Return which of those that are played a scan is, or would come after."""
        return max(bisect_right(self.scans, scan) - 1, 0)


@dataclass(frozen=True, slots=True)
class InterferogramView:
    """The latest interferogram of one angle: (y, x) uint8 or uint16."""

    frame: NDArray[np.uint8] | NDArray[np.uint16]
    angle: int
    angles: int
    sequence: int
    bit_depth: int


@dataclass(frozen=True, slots=True)
class TomogramView:
    """One scan's tomogram: raw and regularized RI, both (z, y, x) float32.

    ``regularized`` is None where the method is "none". ``latency_s`` runs from the start of the
    scan to the publication; ``stages_s`` says where it went, stage name to seconds. ``measured``
    has one bit (numpy's packbits) for each voxel of the half spectrum (z, y, x//2 + 1), set where
    that was measured. ``data_residual`` is how far the regularized volume is from the measured
    spectrum, over its norm. ``uncertainty`` is the standard deviation of the regularized RI, where
    the regularizer estimates it, (z, y, x) float32.

    ``constraint`` is the one on the sign of the contrast that it was regularized with.

    ``window`` is None in a view to look at. The quality check gets the whole volumes that the
    reconstruction works on, of which shape (z, y, x) and voxel size (dz, dy, dx) of the window say
    what is shown.
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
    window: tuple[tuple[int, int, int], tuple[float, float, float]] | None = None


@dataclass(frozen=True, slots=True)
class QualityView:
    """What the quality check found out about one scan's tomogram.

    Parameters
    ----------
    report : QualityReport
    reference : (z, y, x) float32
        RI by total variation.
    error : (z, y, x) float32
        RI of the compared tomogram minus ``reference``.
    voxel_size_um : (dz, dy, dx)
    sequence : int
        Number of the scan.
    timestamp : float
        Start of the scan, seconds since the epoch.
    seconds : float
        How long the check took.
    """

    report: QualityReport
    reference: NDArray[np.float32]
    error: NDArray[np.float32]
    voxel_size_um: tuple[float, float, float]
    sequence: int
    timestamp: float
    seconds: float


@dataclass(frozen=True, slots=True)
class News:
    """The newest of each kind since the last poll; None where there is nothing new."""

    state: InstrumentState | None = None
    interferogram: InterferogramView | None = None
    tomogram: TomogramView | None = None
    quality: QualityView | None = None
