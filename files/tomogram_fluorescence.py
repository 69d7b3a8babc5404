"""Fluorescence channels in a tomogram file, beside the tomograms that they belong to.

    /fluorescence            group; optional
    /fluorescence/CH0        (n, z, y, x) float32, on the voxels of the tomograms: the first n time
                             points; attrs are what the source says of the channel

They are written after the last tomogram, in one piece: the group appears whole or not at all.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from files import hdf5

if TYPE_CHECKING:
    from files.volumes.volume_source import Fluorescence  # with torch, which a window opens without

__all__ = [
    "fluorescence_at",
    "fluorescence_channels",
    "read_fluorescence",
    "write_fluorescence",
]

_GROUP, _PARTIAL = "fluorescence", "fluorescence.partial"


def write_fluorescence(
    path: Path, channels: "Sequence[Fluorescence]", tell: Callable[[str], None] = lambda what: None
) -> None:
    """Add channels to a tomogram file that no one else writes; one that has them is left alone."""
    if not channels:
        return
    with h5py.File(path, "r+", libver=hdf5.LIBRARY_VERSION) as file:
        if _GROUP in file:
            return
        if _PARTIAL in file:
            del file[_PARTIAL]
        group, shape = file.create_group(_PARTIAL), file["tomograms/raw"].shape
        for channel in channels:
            tell(f"fluorescence {channel.name}")
            count = min(channel.count, shape[0])
            held = group.create_dataset(
                channel.name, (count, *shape[1:]), np.float32, chunks=(1, 1, *shape[2:]),
                compression="gzip", shuffle=True,
            )  # fmt: skip
            for key, value in channel.about.items():
                held.attrs[key] = value
            for time in range(count):
                held[time] = channel.read(time)
        file.move(_PARTIAL, _GROUP)


def fluorescence_channels(path: Path) -> tuple[str, ...]:
    """Return the names of the fluorescence channels of a tomogram file."""
    with hdf5.read_file(path) as file:
        return tuple(file[_GROUP]) if _GROUP in file else ()


def fluorescence_at(path: Path, time: int) -> dict[str, NDArray[np.float32]]:
    """Read all channels that a tomogram file has at a time point, (z, y, x) each, by name."""
    with hdf5.read_file(path) as file:
        held = file[_GROUP].items() if _GROUP in file else ()
        return {
            name: np.asarray(channel[time], np.float32)
            for name, channel in held
            if 0 <= time < len(channel)
        }


def read_fluorescence(path: Path, name: str, time: int) -> NDArray[np.float32] | None:
    """Read a channel at a time point, (z, y, x); None where the channel has none.

    Raises
    ------
    DataError
        If the file has no such channel.
    """
    with hdf5.read_file(path) as file:
        held = file.get(f"{_GROUP}/{name}")
        if not isinstance(held, h5py.Dataset):
            names = ", ".join(file[_GROUP]) if _GROUP in file else "none"
            raise DataError(f"{path} must hold the fluorescence {name!r}, found {names}")
        return np.asarray(held[time], np.float32) if 0 <= time < len(held) else None
