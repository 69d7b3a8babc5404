"""The images that are exported: one for each stage position, one channel for each chosen volume.

Axes are (time, channel, z, y, x). All channels of an image have the same time points, those of its
position. By default there is one channel: the regularized volumes if complete, else the raw ones.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from acquisition.choices import VOLUMES
from acquisition.errors import DataError
from acquisition.scanning.timestamps import guessed_unit, is_possible_time, utc_date
from files.positions import StageXYZ
from files.tomograms import TomogramSeries

__all__ = ["ExportedImage", "Volume", "select_images", "time_warnings"]

Volume = NDArray[np.float32]
_EVEN = 0.1  # steps in time that differ by less from each other are one interval


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """One stage position of a tomogram file, read volume by volume.

    Parameters
    ----------
    series : TomogramSeries
    channels : tuple of str
        "raw", "deep", "tv", "gp".
    times : (t,) int64
        Time points of the file; at least one.
    label : str
        Label of the stage position; "" where there is one only.
    whole: ExportedImage or None
        The image that this one is a single scan of; None: it is whole itself.
    """

    series: TomogramSeries
    channels: tuple[str, ...]
    times: NDArray[np.int64]
    label: str = ""
    whole: "ExportedImage | None" = None

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Shape as (t, c, z, y, x)."""
        _, z, y, x = self.series.shape
        return len(self.times), len(self.channels), z, y, x

    @property
    def nbytes(self) -> int:
        """Bytes of all volumes as float32."""
        return 4 * math.prod(self.shape)

    @property
    def timestamps(self) -> NDArray[np.float64] | None:
        """Start of each scan in seconds since the epoch, or since another zero, (t,).

        None where the file has no times, or numbers that cannot be seconds.
        """
        stamps = self.series.timestamps[self.times]
        known = self.series.timestamps.any() and all(map(is_possible_time, stamps.tolist()))
        return stamps if known else None

    @property
    def seconds(self) -> NDArray[np.float64] | None:
        """Seconds since the first scan of the position, (t,); None where times are unknown."""
        stamps, first = self.timestamps, (self.whole or self).timestamps
        return None if stamps is None or first is None else np.asarray(stamps - first[0])

    @property
    def interval_s(self) -> float | None:
        """Seconds between scans of the position; None where unknown or not even."""
        if self.whole is not None:
            return self.whole.interval_s
        if self.seconds is None or len(self.times) < 2:
            return None
        steps = np.diff(self.seconds)
        middle = float(np.median(steps))
        if middle <= 0 or np.abs(steps - middle).max() > _EVEN * middle:
            return None
        return float(steps.mean())  # so that the last one is where it was taken, too

    @property
    def begun(self) -> datetime | None:
        """Date of the first scan; None where unknown."""
        return utc_date(float(self.series.timestamps[self.times[0]]))

    @property
    def stage_um(self) -> tuple[StageXYZ, ...]:
        """Stage x, y and z at each time, in um; nan where unknown."""
        return tuple(self.series.positions.stage_at(int(time)) for time in self.times)

    @property
    def name(self) -> str:
        """The label of the position; the stem of the file name where it has none."""
        return self.label or self.series.path.stem

    @property
    def of_position(self) -> str:
        """For messages: "of" and the label; "" where there is no label."""
        return f" of {self.label}" if self.label else ""

    @property
    def provenance(self) -> str:
        """The provenance of the volumes, as JSON."""
        provenance = dict(self.series.provenance)
        if self.label:
            provenance["position"] = self.label
        return json.dumps(provenance, default=str)

    def volume(self, time: int, channel: int) -> Volume:
        """Read one volume (z, y, x) of RI; ``time`` and ``channel`` count within the image."""
        at, name = int(self.times[time]), self.channels[channel]
        found = self.series.raw(at) if name == "raw" else self.series.regularized(name, at)
        assert found is not None  # ``select_images`` has looked
        return found.index.numpy()

    def volumes(self, *, by_channel: bool = False) -> Iterator[Volume]:
        """Read all volumes: the channels of a time point one after the other, or the reverse."""
        t, c = self.shape[:2]
        for number in range(t * c):
            time, channel = (number % t, number // t) if by_channel else divmod(number, c)
            yield self.volume(time, channel)


def select_images(
    series: TomogramSeries, chosen: Sequence[str] = (), positions: Sequence[str] = ()
) -> tuple[ExportedImage, ...]:
    """Return an image for each stage position, in order.

    Parameters
    ----------
    series : TomogramSeries
    chosen : sequence of str
        The channels; empty: the regularized volume if complete, else raw.
    positions : sequence of str
        Names or numbers (from 1) of positions; empty: all that have these volumes.

    Raises
    ------
    DataError
        If the file is empty, lacks a chosen volume, or has them for different time points.
    ConfigurationError
        If there is no such position.
    """
    channels, times = _channels(series, chosen)
    where = series.positions
    labels = where.labels
    found = tuple(
        ExportedImage(series, channels, held, labels[position])
        for position in where.select(positions)
        if len(held := np.intersect1d(times, where.scans_at(position)))
    )
    if not found:
        raise DataError(
            f"{series.path} must hold {', '.join(channels)} at the chosen positions "
            f"({', '.join(positions)}), found none there"
        )
    return found


def _channels(
    series: TomogramSeries, chosen: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the channels and the time points that all of them hold."""
    if len(series) == 0:
        raise DataError(f"{series.path} must hold at least one tomogram, found none")
    held = {"raw": np.arange(len(series))} | {
        method: np.unique(series.indices[method])
        for method in VOLUMES
        if len(series.indices.get(method, ()))
    }
    if not chosen:
        chosen = [next(n for n in (*VOLUMES, "raw") if len(held.get(n, ())) == len(series))]
    if missing := [name for name in chosen if name not in held]:
        raise DataError(
            f"{series.path} must hold the volumes {', '.join(missing)}, found {', '.join(held)}"
        )
    channels = tuple(dict.fromkeys(chosen))
    times = held[channels[0]]
    if any(not np.array_equal(held[name], times) for name in channels):
        counts = ", ".join(f"{name} {len(held[name])}" for name in channels)
        raise DataError(
            f"{series.path}: volumes in one image must be of the same time points, got {counts} of "
            f"{len(series)}: export each in a file of its own"
        )
    return channels, times


def time_warnings(images: Sequence[ExportedImage]) -> list[str]:
    """Return warnings about impossible or unordered times, for every format."""
    series = images[0].series
    if any(image.timestamps is None for image in images) and series.timestamps.any():
        stamps = series.timestamps.tolist()
        unit = guessed_unit(stamps)
        likely = f" (probably {unit})" if unit else ""
        wrong = next(stamp for stamp in stamps if not is_possible_time(stamp))
        return [
            f"timestamps of {series.path.name} must be in seconds since the epoch, one is "
            f"{wrong:.15g}{likely}: the images with such timestamps are exported without times"
        ]
    return [
        f"the scans{image.of_position} are not in order of time: the order of the file is kept"
        for image in images
        if image.seconds is not None and (np.diff(image.seconds) < 0).any()
    ]
