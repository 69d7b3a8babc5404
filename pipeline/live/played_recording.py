"""A recording that is played back: each scan is reconstructed and regularized when it is shown.

Everything that needs torch is loaded by the thread that shows the first scan: a window is open by
then.
"""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acquisition.choices import REGULARIZERS, check_constraint
from files import recording
from pipeline.live.playback_source import ViewRequest
from pipeline.live.shown_frame import shown_angle, shown_frame
from pipeline.live.thumbnails import phase_picture, small
from pipeline.wire.file_state import CheckedScan, MeasuredScan
from pipeline.wire.state import (
    InterferogramView,
    LightPath,
    QualityView,
    TomogramView,
)

if TYPE_CHECKING:
    from acquisition.interferograms import InterferogramStack
    from reconstruction.reconstructor import Reconstruction, Reconstructor
    from regularizer.interface import Regularizer

__all__ = ["PlayedRecording"]


class PlayedRecording:
    """The scans of a recording.

    Parameters
    ----------
    path : Path
    device : str or None
        Where they are reconstructed; None: the best available.
    """

    constrained = True
    kept_bytes = 2**28  # computing again is slow
    measured_in_order = False

    def __init__(self, path: Path, device: str | None) -> None:
        self.path, self._named = path, device
        self._recording = recording.read_recording(path)
        self._positions = self._recording.log().positions
        self._labels = self._positions.scan_labels
        self._planned: tuple[InterferogramStack, Reconstructor] | None = None
        self._regularizers: dict[str, Regularizer] = {}
        self._made: tuple[int, Reconstruction] | None = None
        self._stack: tuple[int, InterferogramStack] | None = None
        self._lock = threading.Lock()  # of what is kept of the scan that was shown last

    @property
    def methods(self) -> tuple[str, ...]:
        """The volumes of the file, or the regularizers."""
        return tuple(REGULARIZERS)

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Start of each scan, (time,) in seconds since the epoch."""
        return self._recording.timestamps

    @property
    def checks(self) -> tuple[CheckedScan, ...]:
        """The comparisons with total variation."""
        return ()

    def position_labels(self) -> tuple[str, ...]:
        """Return the label of the stage position of each scan in the file now."""
        # rereading the background is slow
        if self._recording.count_complete() != len(self._recording):
            self._recording = recording.read_recording(self.path)
            self._positions = self._recording.log().positions
            self._labels = self._positions.scan_labels
        return self._labels

    def correction_um(self, scan: int) -> tuple[float, float, float]:
        """Return how far the view of a scan was moved, (x, y, z)."""
        return self._positions.correction_at(scan)

    def view(self, wanted: ViewRequest, stop: threading.Event) -> TomogramView:
        """Return a tomogram."""
        from pipeline.tomograms.torch_device import torch_device
        from pipeline.wire.tomogram_view import view_of, windowed
        from regularizer.constraint import Constrained
        from regularizer.registry import regularizer

        scan, method, constraint = wanted
        begin = time.perf_counter()
        made, light = self._reconstructed(scan)
        middle = time.perf_counter()
        regularized = None
        if method != "none":
            if method not in self._regularizers:
                self._regularizers[method] = regularizer(method, torch_device(self._named))
            regularize = self._regularizers[method]
            if isinstance(regularize, Constrained):
                regularize.requested = check_constraint(constraint)
            regularized = regularize(made.tomogram, made.spectrum, stop=stop)
        stages_s = {
            "reconstruction": middle - begin,
            "regularization": time.perf_counter() - middle,
        }
        warnings = (*made.report.warnings, *(regularized.warnings if regularized else ()))
        whole = view_of(made, regularized, method, stages_s, warnings, light=light)
        at = self._labels[scan]
        return replace(windowed(whole), position=at, correction_um=self.correction_um(scan))

    def _reconstructed(self, scan: int) -> "tuple[Reconstruction, LightPath]":
        """Return the reconstruction of a scan; the last one is kept for other regularizers."""
        from pipeline.tomograms.recipe import settings_for
        from pipeline.tomograms.torch_device import torch_device
        from pipeline.wire.tomogram_view import light_path
        from reconstruction.reconstructor import Reconstructor

        with self._lock:
            if self._made is None or self._made[0] != scan:
                recorded = next(self._recording.scans(scan))
                if self._planned is None or self._planned[0] is not recorded.background:
                    settings, device = settings_for(self._recording, {}), torch_device(self._named)
                    made = Reconstructor(
                        recorded.background, device, settings, keep_fields=True
                    )  # for any regularizer that may be chosen
                    self._planned = (recorded.background, made)
                self._made = (scan, self._planned[1](recorded.stack))
                self._stack = (scan, recorded.stack)
            assert self._planned is not None
            background, reconstructor = self._planned
            report = self._made[1].report
            light = light_path(reconstructor.wave_vectors, background.illumination_k, report)
            return self._made[1], light

    def check(self, view: TomogramView) -> QualityView | None:
        """Return the comparison of a scan with total variation, if the file has it."""
        return None

    def interferogram(
        self, scan: int, angle: int | None, *, shown_as: int | None = None
    ) -> InterferogramView | None:
        """Return it from the recording; ``shown_as`` is the number that it is shown with."""
        kept = self._stack
        if kept is None or kept[0] != scan:
            kept = self._stack = (scan, next(self._recording.scans(scan)).stack)
        number = scan if shown_as is None else shown_as
        return shown_frame(kept[1], shown_angle(kept[1], angle, number), number)

    def light(self, scan: int) -> LightPath | None:
        """Return the light of a scan, from the recording beside the file."""
        return None  # the view of a scan has it

    def light_of(self, scan: int) -> LightPath:
        """Return the light of a scan, which reconstructs it."""
        return self._reconstructed(scan)[1]

    def thumbnail(self, scan: int, method: str) -> NDArray[np.float32] | None:
        """Return a small section, or phase, (y, x)."""
        background = self._recording.background
        angle = shown_angle(background, None, scan)
        frame = self._recording.frame(scan, angle)
        return small(phase_picture(frame, background.frames[angle]))

    def measured_table(self) -> tuple[Path, tuple[MeasuredScan, ...]] | None:
        """Return the measured objects of the table beside the file."""
        return None
