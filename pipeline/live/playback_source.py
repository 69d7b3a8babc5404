"""What a file that is played back has to offer; one reader for each kind of file."""

import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.file_state import CheckedScan, MeasuredScan
from pipeline.wire.state import (
    InterferogramView,
    LightPath,
    QualityView,
    TomogramView,
)

__all__ = ["PlaybackSource", "ViewRequest"]

# a scan, a regularizer, a constraint on the sign of the contrast
ViewRequest = tuple[int, str, str]


class PlaybackSource(Protocol):
    """A file of scans. Its methods may be called from several threads."""

    path: Path
    constrained: bool  # whether a constraint on the sign of the contrast can be chosen
    kept_bytes: int  # of volumes that are kept once they were shown
    measured_in_order: bool  # whether reading the file from end to end to measure it is cheap

    @property
    def methods(self) -> tuple[str, ...]:
        """The volumes in the file now, or the regularizers for a recording."""

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Start of each scan, seconds since the epoch; zero where it is unknown."""

    @property
    def checks(self) -> tuple[CheckedScan, ...]:
        """The comparisons with total variation that the file holds, in order of their scans."""

    def position_labels(self) -> tuple[str, ...]:
        """Return the label of the stage position of each scan in the file now."""

    def correction_um(self, scan: int) -> tuple[float, float, float]:
        """Return how far the view of a scan was moved, (x, y, z), as in ``TomogramView``."""

    def view(self, wanted: ViewRequest, stop: threading.Event) -> TomogramView:
        """Return the requested tomogram; raise Stopped soon after ``stop`` is set."""

    def check(self, view: TomogramView) -> QualityView | None:
        """Return how far the volume of a view is from total variation, if the file has both."""

    def interferogram(self, scan: int, angle: int | None) -> InterferogramView | None:
        """Return an interferogram of a scan as ``show_angle`` chose it; None if it has none."""

    def light(self, scan: int) -> LightPath | None:
        """Return the light of a scan from its interferograms; None if its view has it already."""

    def thumbnail(self, scan: int, method: str) -> NDArray[np.float32] | None:
        """Return a small picture of a scan, (y, x); None if there is none."""

    def measured_table(self) -> tuple[Path, tuple[MeasuredScan, ...]] | None:
        """Return the table of measured objects that lies beside the file, if one does."""
