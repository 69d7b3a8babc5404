"""What is exported: one image of a tomogram file, its channels the volumes that were chosen.

Axes are (time, channel, z, y, x). All channels of an image hold the same time points; by default it
has one: the regularized volumes where they are complete, else the raw ones.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from pipeline.archive.tomograms import METHODS, TomogramSeries

__all__ = ["Image", "image_of"]

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is read volume by volume.

    Parameters
    ----------
    series : TomogramSeries
    channels : tuple of str
        "raw", "deep", "tv", "gp".
    times : (t,) int64
        Time points of the file.
    """

    series: TomogramSeries
    channels: tuple[str, ...]
    times: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(t, c, z, y, x)."""
        _, z, y, x = self.series.shape
        return len(self.times), len(self.channels), z, y, x

    @property
    def nbytes(self) -> int:
        """Of all volumes in float32."""
        return 4 * int(np.prod(self.shape))

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Times since the first one, (t,)."""
        stamps = self.series.timestamps[self.times]
        return np.asarray(stamps - stamps[0])

    @property
    def interval_s(self) -> float:
        """Mean time from one to the next; 0 for a single one."""
        return float(self.seconds[-1]) / max(len(self.times) - 1, 1)

    @property
    def begun(self) -> datetime | None:
        """When the first scan was taken; None where the file does not know."""
        stamp = float(self.series.timestamps[self.times[0]])
        return datetime.fromtimestamp(stamp, UTC) if stamp > 0 else None

    @property
    def name(self) -> str:
        """The file's name without ending."""
        return self.series.path.stem

    @property
    def story(self) -> str:
        """What made the volumes, as JSON."""
        return json.dumps(dict(self.series.provenance), default=str)

    def volume(self, time: int, channel: int) -> Volume:
        """Read one volume (z, y, x) of refractive index, places counted within the image."""
        at, name = int(self.times[time]), self.channels[channel]
        found = self.series.raw(at) if name == "raw" else self.series.regularized(name, at)
        assert found is not None  # ``image_of`` has looked
        return found.index.numpy()

    def volumes(self) -> Iterator[Volume]:
        """Read all volumes, the channels of a time point one after the other."""
        for time in range(len(self.times)):
            for channel in range(len(self.channels)):
                yield self.volume(time, channel)


def image_of(series: TomogramSeries, chosen: Sequence[str] = ()) -> Image:
    """Return the image with the channels that are chosen; nothing chosen: the best complete one.

    Raises
    ------
    DataError
        If the file is empty, lacks a volume that is chosen, or has them of different time points.
    """
    if len(series) == 0:
        raise DataError(f"{series.path} must hold at least one tomogram, found none")
    held = {"raw": np.arange(len(series))} | {
        method: np.unique(series.indices[method])
        for method in METHODS
        if len(series.indices.get(method, ()))
    }
    if not chosen:
        chosen = [next(n for n in (*METHODS, "raw") if len(held.get(n, ())) == len(series))]
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
    return Image(series, channels, times)
