"""Joins tomogram files that hold parts of one series into the file of the whole.

The workers of a batch write a part each; one writer, this, appends them to the result. Rows are
appended in the order in which ``files.tomograms`` writes them, the timestamp last, so that a crash
leaves every finished time point readable and the file can be continued.
"""

from pathlib import Path
from typing import Any

import h5py

from acquisition.choices import VOLUMES
from acquisition.closing import Closing
from files import hdf5
from files.reopening import reopen
from files.tomograms import FORMAT, resume_tomograms

__all__ = ["TomogramJoiner"]

_GROUP = "tomograms"
_FIXED = ("positions",)  # the same in every part
_LAST = ("scan", "timestamps")


class TomogramJoiner(Closing):
    """Appends parts to a tomogram file; a context manager that closes it.

    Parameters
    ----------
    output : Path
        The file of the whole; made with the first part, or continued where it exists.

    Raises
    ------
    DataError
        If the existing file is not a tomogram file, or damaged.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._file: h5py.File | None = None
        if output.exists():
            resume_tomograms(output).close()  # cuts off what a crash left incomplete
            self._file = reopen(output, FORMAT)
            hdf5.start_swmr(self._file)

    def append(self, part: Path) -> int:
        """Append all time points of a part; return how many there were.

        Raises
        ------
        DataError
            If the part cannot be read.
        """
        with hdf5.read_file(part) as source:
            hdf5.check_format(source, FORMAT)
            if self._file is None:
                self._file = _empty_like(source, self.output)
                hdf5.start_swmr(self._file)
            count = len(source[_GROUP]["timestamps"])
            for time in range(count):
                _append_time(self._file, source, time)
        return count

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _append_time(target: h5py.File, source: h5py.File, time: int) -> None:
    """Append one time point: volumes, place, time, then what it was compared with."""
    to, part = target[_GROUP], source[_GROUP]
    number = len(to["timestamps"])
    regularized = [name for name in VOLUMES if name in part]
    indices = {f"{name}_index" for name in regularized}
    hdf5.copy_row(to["raw"], part["raw"], time)
    for name in regularized:
        _append_volume(to, part, name, time, number)
    for name in sorted(set(part) - {"raw", *regularized, *indices, *_FIXED, *_LAST}):
        hdf5.append_row(to[name], part[name][time])
    for name in _LAST:
        hdf5.append_row(to[name], part[name][time])
    for row in source["quality"]:
        if row["time"] == time:
            moved = row.copy()
            moved["time"] = number
            hdf5.append_row(target["quality"], moved)


def _append_volume(to: Any, part: Any, name: str, time: int, number: int) -> None:
    for row, held in enumerate(part[f"{name}_index"]):
        if held == time:
            hdf5.copy_row(to[name], part[name], row)
            hdf5.append_row(to[f"{name}_index"], number)


def _empty_like(source: h5py.File, output: Path) -> h5py.File:
    """Create the file of the whole: all that a part has, without its time points."""
    attributes = {k: v for k, v in source.attrs.items() if k not in ("format", "version")}
    file = hdf5.create_file(output, FORMAT, attributes)

    def copy(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Group):
            made = file.create_group(name)
        elif name == f"{_GROUP}/positions":
            source.copy(item, file, name)
            return
        else:
            made = file.create_dataset(
                name, (0, *item.shape[1:]), item.dtype, maxshape=item.maxshape, chunks=item.chunks
            )
        for key, value in item.attrs.items():
            made.attrs[key] = value

    source.visititems(copy)
    return file
