"""A tomogram file that is played back: volumes, checks, and the recording it came from.

It opens without torch, which takes seconds to load. What a file holds is read once, and again when
it has grown; volumes are read when they are shown.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acquisition.choices import VOLUMES
from acquisition.errors import DataError, LiveTomoError
from acquisition.scan_name import scan_name
from files import tomograms
from files.measured_rows import read_measured, table_beside
from files.tomogram_extent import extent
from files.tomogram_fluorescence import fluorescence_at
from pipeline.live.playback_source import ViewRequest
from pipeline.live.thumbnails import small
from pipeline.wire.file_state import CheckedScan, MeasuredScan
from pipeline.wire.state import (
    InterferogramView,
    LightPath,
    QualityView,
    TomogramView,
)
from regularizer.quality_report import QualityReport

if TYPE_CHECKING:
    from pipeline.live.played_recording import PlayedRecording

__all__ = ["PlayedTomograms"]

_CURVES = ("time", "ssim", "residual", "residual_tv", "ssim_z")
_OF_RECORDING = "_tomograms"  # in the name of a file of tomograms made while recording


class PlayedTomograms:
    """The volumes of a tomogram file.

    Parameters
    ----------
    path : Path
    device : str or None
        Where the light path of its recording is computed; None: the best available.
    """

    constrained = False
    kept_bytes = 2**26  # reading again is fast
    measured_in_order = True

    def __init__(self, path: Path, device: str | None = None) -> None:
        self.path, self._device = path, device
        self._extent = extent(path)
        self._series = tomograms.read_tomograms(path)
        self._labels = self._series.positions.scan_labels
        self._checks = _checks(self._series)
        self._recording: PlayedRecording | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The volumes of the file, or the regularizers."""
        held = self._series.indices
        return tuple(name for name in VOLUMES if len(held.get(name, ()))) or ("none",)

    @property
    def timestamps(self) -> NDArray[np.float64]:
        """Start of each scan, (time,) in seconds since the epoch."""
        return self._series.timestamps

    @property
    def checks(self) -> tuple[CheckedScan, ...]:
        """The comparisons with total variation."""
        return self._checks

    def position_labels(self) -> tuple[str, ...]:
        """Return the label of the stage position of each scan in the file now."""
        now = extent(self.path)
        if now != self._extent:
            series = tomograms.read_tomograms(self.path)
            self._labels, self._checks = series.positions.scan_labels, _checks(series)
            self._series, self._extent = series, now
        return self._labels

    def correction_um(self, scan: int) -> tuple[float, float, float]:
        """Return how far the view of a scan was moved, (x, y, z)."""
        return self._series.positions.correction_at(scan)

    def view(self, wanted: ViewRequest, stop: threading.Event) -> TomogramView:
        """Return a tomogram."""
        scan, method, _ = wanted
        series = self._series
        raw, found = series.volume("raw", scan), series.volume(method, scan)
        if raw is None:
            raise DataError(f"{self.path} must have a raw volume of {scan_name(scan)}, found none")
        return TomogramView(
            raw=raw,
            regularized=found,
            total_variation=found if method == "tv" else series.volume("tv", scan),
            method="none" if found is None else method,
            voxel_size_um=series.voxel_size_um,
            medium_index=series.optics.medium_index,
            sequence=scan,
            timestamp=float(series.timestamps[scan]),
            latency_s=0.0,
            optics=series.optics,
            fluorescence=fluorescence_at(self.path, scan),
            correction_um=self.correction_um(scan),
            position=self._labels[scan],
        )

    def check(self, view: TomogramView) -> QualityView | None:
        """Return the comparison of a scan with total variation, if the file has it."""
        rows = self._series.quality
        at = np.flatnonzero(rows.get("time", np.empty(0)) == view.sequence)
        reference = view.total_variation
        if not len(at) or reference is None:
            return None
        row = int(at[-1])
        report = QualityReport(
            method=bytes(rows["method"][row]).decode(errors="replace"),
            ssim_z=tuple(rows["ssim_z"][row].tolist()),
            reference="tv",
            note="",
            **{
                name: float(rows[name][row])
                for name in (
                    "ssim", "mse", "correlation", "data_range",
                    "residual_raw", "residual", "residual_tv",
                )
            },
        )  # fmt: skip
        compared = self._compared(report.method, view)
        if compared is None:
            return None
        return QualityView(
            report=report,
            reference=reference,
            error=compared - reference,
            voxel_size_um=view.voxel_size_um,
            sequence=view.sequence,
            timestamp=view.timestamp,
            seconds=0.0,
            position=view.position,
        )

    def _compared(self, method: str, view: TomogramView) -> NDArray[np.float32] | None:
        if method == "none":
            return view.raw
        if method == view.method:
            return view.regularized
        return self._series.volume(method, view.sequence)

    def interferogram(self, scan: int, angle: int | None) -> InterferogramView | None:
        """Return an interferogram, from the recording beside the file."""
        source = self._recorded()
        if source is None:
            return None
        return source.interferogram(int(self._series.scans[scan]), angle, shown_as=scan)

    def light(self, scan: int) -> LightPath | None:
        """Return the light of a scan, from the recording beside the file."""
        source = self._recorded()
        return None if source is None else source.light_of(int(self._series.scans[scan]))

    def _recorded(self) -> "PlayedRecording | None":
        """Return the recording that the tomograms came from, if it lies beside them."""
        if self._recording is None:
            path = self._beside()
            if path is not None:
                from pipeline.live.played_recording import PlayedRecording

                self._recording = PlayedRecording(path, self._device)
        return self._recording

    def _beside(self) -> Path | None:
        """Return the recording by the name that the file notes, or NAME.h5 of NAME_tomograms.h5."""
        noted = str(self._series.provenance.get("recording", ""))
        names = (Path(noted).name, self.path.name.replace(_OF_RECORDING, ""))
        for name in names:
            beside = self.path.with_name(name) if name else self.path
            if beside != self.path and beside.is_file():
                return beside
        return None

    def thumbnail(self, scan: int, method: str) -> NDArray[np.float32] | None:
        """Return a small section, or phase, (y, x)."""
        series, middle = self._series, self._series.shape[1] // 2
        planes = slice(middle, middle + 1)
        found = series.volume(method, scan, planes)
        found = series.volume("raw", scan, planes) if found is None else found
        return None if found is None else small(found[0])

    def measured_table(self) -> tuple[Path, tuple[MeasuredScan, ...]] | None:
        """Return the measured objects of the table beside the file."""
        table = table_beside(self.path)
        if table is None:
            return None
        try:
            found = read_measured(table, self._series.timestamps)
        except LiveTomoError:
            return None  # of another file, or edited since: it is not needed
        times = self._series.timestamps
        return table, tuple(
            MeasuredScan(scan, float(times[scan]), objects) for scan, objects in found.items()
        )


def _checks(series: tomograms.TomogramSeries) -> tuple[CheckedScan, ...]:
    rows = series.quality
    if not rows:
        return ()
    found = [
        CheckedScan(
            time_s=float(series.timestamps[time]),
            sequence=time,
            ssim=ssim,
            residual=residual,
            residual_tv=residual_tv,
            ssim_z=tuple(by_slice),
        )
        for time, ssim, residual, residual_tv, by_slice in zip(
            *(rows[name].tolist() for name in _CURVES),
            strict=True,
        )
        if 0 <= time < len(series)
    ]
    return tuple(sorted(found, key=lambda check: check.sequence))
