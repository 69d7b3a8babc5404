"""Measures the objects of a tomogram file, and writes them as a table (CSV).

One row an object and time point; one volume is in memory at a time, however long the file is. The
objects of each stage position are followed by themselves. By how much the field of view has moved
since the position's first scan (``correction_um``) is added to their places, so that these are
places in the sample. Numbers go on from one position to the next: each is one object of the file.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acquisition.errors import ConfigurationError
from acquisition.scanning.timestamps import is_possible_time
from files.disk import check_output
from files.exporting.exported_image import ExportedImage, select_images
from files.measured_rows import HEADER, LIPID
from files.tomograms import TomogramSeries, read_tomograms
from measuring.following import Follower
from measuring.measure_volume import Measurement, measure_volume
from measuring.measured_object import COLUMNS, MeasuredObject
from measuring.measuring_settings import MeasuringSettings

__all__ = ["HEADER", "LIPID", "MeasuredPosition", "MeasuredTable", "measure_tomograms"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class MeasuredPosition:
    """What was measured at one stage position.

    Parameters
    ----------
    name : str
        Label of the position; "" where the file has only one.
    time_points : int
        How many were measured.
    numbers : tuple of int
        The objects found there.
    """

    name: str
    time_points: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """What was written.

    Parameters
    ----------
    output : Path
    volume : str
        The kind of volume that was measured: "deep", "tv", "gp" or "raw".
    rows : int
    positions : tuple of MeasuredPosition
    warnings : tuple of str
    """

    output: Path
    volume: str
    rows: int
    positions: tuple[MeasuredPosition, ...]
    warnings: tuple[str, ...]

    @property
    def objects(self) -> int:
        """Number of objects in the table."""
        return sum(len(position.numbers) for position in self.positions)


def measure_tomograms(
    file: Path,
    output: Path,
    settings: MeasuringSettings | None = None,
    volume: str | None = None,
    positions: Sequence[str] = (),
    progress: Progress = lambda what, done, total: None,
) -> MeasuredTable:
    """Measure a tomogram file and write the table.

    Parameters
    ----------
    file : Path
        The tomogram file; it may still be growing.
    output : Path
        A new file. It gets its name when it is complete.
    settings : MeasuringSettings or None
        None: the defaults.
    volume : str or None
        "deep", "tv", "gp" or "raw"; time points without it are left out. None: the best regularized
        volume that every time point has, else raw.
    positions : sequence of str
        Names or numbers (from 1) of stage positions; empty: all that have a scan.
    progress : callable
        Called with (what, done, total) after every tomogram.

    Raises
    ------
    LiveTomoError
        If the file cannot be measured or the table not be written. No partial table is left.
    """
    settings = settings or MeasuringSettings()
    check_output(output)
    series = read_tomograms(file)
    _check_thresholds(series, settings)
    images = select_images(series, () if volume is None else (volume,), positions)
    images = tuple(_with_best(image) for image in images)
    unfinished = output.with_name(f"{output.name}.unfinished")
    writing = _Writing(series, settings, sum(len(image.times) for image in images), progress)
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            lipid = () if settings.lipid_threshold is None else (LIPID,)
            rows.writerow((*HEADER, *lipid))
            for image in images:
                for row in writing.rows_of(image):
                    rows.writerow(row)
        unfinished.rename(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return MeasuredTable(
        output, images[0].channels[0], writing.count, tuple(writing.positions), writing.warnings()
    )


def _check_thresholds(series: TomogramSeries, settings: MeasuringSettings) -> None:
    if settings.threshold == series.optics.medium_index:
        raise ConfigurationError(
            f"--threshold must differ from the medium's index {series.optics.medium_index:g} in "
            f"{series.path}, got the same: above it objects are denser than the medium, below it "
            "lighter"
        )


def _with_best(image: ExportedImage) -> ExportedImage:
    """Return the image with one channel, the first."""
    return ExportedImage(image.series, image.channels[:1], image.times, image.label)


@dataclass(slots=True)
class _Writing:
    """The rows of a file, and what is counted while they are made."""

    series: TomogramSeries
    settings: MeasuringSettings
    total: int
    progress: Progress
    count: int = 0
    positions: list[MeasuredPosition] = field(default_factory=list)
    _done: int = 0
    _next: int = 1
    _empty: int = 0
    _cut: set[int] = field(default_factory=set)

    def rows_of(self, image: ExportedImage) -> Iterator[list[str]]:
        """Measure the time points of one position in order, and return their rows."""
        follower, numbers = Follower(first=self._next), dict[int, None]()
        for time in image.times.tolist():
            time_s = self._time_s(time)
            found = self._measured(image.channels[0], time)
            objects = follower.follow(self._in_the_sample(found, time), time_s)
            self._empty += not objects
            self._cut |= {one.number for one in objects if one.cut}
            numbers |= dict.fromkeys(one.number for one in objects)
            self.count += len(objects)
            yield from (_row(time_s, one) for one in objects)
            self._done += 1
            self.progress(f"time point {time + 1}", self._done, self.total)
        self._next = follower.next_number
        found_here = MeasuredPosition(image.label, len(image.times), tuple(sorted(numbers)))
        self.positions.append(found_here)

    def _in_the_sample(self, found: Measurement, time: int) -> tuple[MeasuredObject, ...]:
        """Return the objects with the way that the field of view has moved added to theirs."""
        x, y, z = self.series.positions.correction_at(time)
        return tuple(one.moved(z, y, x) for one in found.objects)

    def warnings(self) -> tuple[str, ...]:
        """Return what the user should know about the table."""
        found = []
        if not self._timed and self._done > 1:
            found.append(f"{self.series.path} has no timestamps: time_s counts its time points")
        if self._empty:
            found.append(f"no object was found at {self._empty} of {self._done} time points")
        if self._cut:
            found.append(
                f"{len(self._cut)} objects reach the edge of the tomogram, so that part of them "
                f"may be missing: {', '.join(map(str, sorted(self._cut)[:10]))}"
                f"{', ...' if len(self._cut) > 10 else ''}"
            )
        return tuple(found)

    def _time_s(self, time: int) -> float:
        """Return the seconds since the file's first time point."""
        timestamps = self.series.timestamps
        return float(timestamps[time] - timestamps[0]) if self._timed else float(time)

    @property
    def _timed(self) -> bool:
        stamps = self.series.timestamps
        return bool(stamps.any()) and all(map(is_possible_time, stamps.tolist()))

    def _measured(self, volume: str, time: int) -> Measurement:
        series = self.series
        found = series.raw(time) if volume == "raw" else series.regularized(volume, time)
        assert found is not None
        return measure_volume(
            np.asarray(found.index), series.voxel_size_um, series.optics, self.settings
        )


def _row(time_s: float, one: MeasuredObject) -> list[str]:
    columns = COLUMNS if one.lipid_fraction is None else (*COLUMNS, LIPID)
    figures = (f"{getattr(one, name):.7g}" for name in columns)
    return [f"{time_s:.10g}", str(one.number), *figures]
