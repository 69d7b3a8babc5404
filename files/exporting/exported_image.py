"""What is exported: an image for each stage position, its channels the volumes that were chosen.

Axes are (time, channel, z, y, x). All channels of an image hold the same time points, those of its
position alone; by default it has one channel: the regularized volumes where they are complete, else
the raw ones.
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
from files.positions import Place
from files.tomograms import TomogramSeries

__all__ = ["Image", "Volume", "images_of", "time_warnings"]

Volume = NDArray[np.float32]
_EVEN = 0.1  # steps in time that differ by less from each other are one interval


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is read volume by volume.

    Parameters
    ----------
    series : TomogramSeries
    channels : tuple of str
        "raw", "deep", "tv", "gp".
    times : (t,) int64
        Time points of the file; at least one.
    label : str
        Of the stage position; empty where there is but one.
    """

    series: TomogramSeries
    channels: tuple[str, ...]
    times: NDArray[np.int64]
    label: str = ""

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(t, c, z, y, x)."""
        _, z, y, x = self.series.shape
        return len(self.times), len(self.channels), z, y, x

    @property
    def nbytes(self) -> int:
        """Of all volumes in float32."""
        return 4 * math.prod(self.shape)

    @property
    def timestamps(self) -> NDArray[np.float64] | None:
        """When each scan began, seconds since the epoch or some other zero, (t,).

        None where the file has no times, or numbers that cannot be times in seconds.
        """
        stamps = self.series.timestamps[self.times]
        known = self.series.timestamps.any() and all(map(is_possible_time, stamps.tolist()))
        return stamps if known else None

    @property
    def seconds(self) -> NDArray[np.float64] | None:
        """Times since the first one, (t,); None where they are unknown."""
        stamps = self.timestamps
        return None if stamps is None else np.asarray(stamps - stamps[0])

    @property
    def interval_s(self) -> float | None:
        """Time from one to the next; None where it is unknown or not the same for all."""
        if self.seconds is None or len(self.times) < 2:
            return None
        steps = np.diff(self.seconds)
        middle = float(np.median(steps))
        if middle <= 0 or np.abs(steps - middle).max() > _EVEN * middle:
            return None
        return float(steps.mean())  # so that the last one is where it was taken, too

    @property
    def begun(self) -> datetime | None:
        """When the first scan was taken; None where the file does not know."""
        return utc_date(float(self.series.timestamps[self.times[0]]))

    @property
    def places_um(self) -> tuple[Place, ...]:
        """Return x, y and z of the stage at each time; nan where unknown."""
        return tuple(self.series.positions.place(int(time)) for time in self.times)

    @property
    def name(self) -> str:
        """The position's name; the file's, without ending, where it has none."""
        return self.label or self.series.path.stem

    @property
    def of(self) -> str:
        """Which position's it is, in a sentence."""
        return f" of {self.label}" if self.label else ""

    @property
    def story(self) -> str:
        """What made the volumes, as JSON."""
        story = dict(self.series.provenance)
        if self.label:
            story["position"] = self.label
        return json.dumps(story, default=str)

    def volume(self, time: int, channel: int) -> Volume:
        """Read one volume (z, y, x) of refractive index, places counted within the image."""
        at, name = int(self.times[time]), self.channels[channel]
        found = self.series.raw(at) if name == "raw" else self.series.regularized(name, at)
        assert found is not None  # ``images_of`` has looked
        return found.index.numpy()

    def volumes(self) -> Iterator[Volume]:
        """Read all volumes, the channels of a time point one after the other."""
        for time in range(len(self.times)):
            for channel in range(len(self.channels)):
                yield self.volume(time, channel)


def images_of(
    series: TomogramSeries, chosen: Sequence[str] = (), positions: Sequence[str] = ()
) -> tuple[Image, ...]:
    """Return an image for each position, in their order.

    Parameters
    ----------
    series : TomogramSeries
    chosen : sequence of str
        The channels; nothing chosen: the best complete one.
    positions : sequence of str
        Names or numbers of positions; nothing chosen: all that have these volumes.

    Raises
    ------
    DataError
        If the file is empty, lacks a volume that is chosen, or has them of different time points.
    ConfigurationError
        If there is no such position.
    """
    channels, times = _channels(series, chosen)
    where = series.positions
    labels = where.labels
    found = tuple(
        Image(series, channels, held, labels[position])
        for position in where.chosen(positions)
        if len(held := np.intersect1d(times, where.times(position)))
    )
    if not found:
        raise DataError(
            f"{series.path} must hold {', '.join(channels)} at the positions that are chosen, "
            f"{', '.join(positions)}, found none there"
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
            f"{len(series)}: export them one by one"
        )
    return channels, times


def time_warnings(images: Sequence[Image]) -> list[str]:
    """Return why times are not what they should be, whatever the format."""
    series = images[0].series
    if any(image.timestamps is None for image in images) and series.timestamps.any():
        stamps = series.timestamps.tolist()
        unit = guessed_unit(stamps)
        likely = f", they are probably {unit}" if unit else ""
        wrong = next(stamp for stamp in stamps if not is_possible_time(stamp))
        return [
            f"timestamps of {series.path.name} cannot be seconds since the epoch (one is "
            f"{wrong:.15g}{likely}): where they are, the export has no times"
        ]
    return [
        f"the scans{image.of} do not follow the order of time: the file's order is kept"
        for image in images
        if image.seconds is not None and (np.diff(image.seconds) < 0).any()
    ]
