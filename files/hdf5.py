"""Shared by both HDF5 formats: SWMR files, optics, growing datasets, checked reading.

Files are written in HDF5's single-writer-multiple-reader (SWMR) mode and flushed after every scan.
A reader can follow a growing file, and a killed writer leaves every complete scan readable. All
datasets are created before SWMR is switched on, because none can be created afterwards. A file
whose writer was killed stays marked as open for writing, so readers must open it with
``swmr=True``, as here.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from acquisition.optics import Optics

__all__ = [
    "Attributes",
    "append_row",
    "check_finite",
    "check_format",
    "checked_dataset",
    "copy_row",
    "create_file",
    "create_growing",
    "other_attributes",
    "read_file",
    "read_optics",
    "required_attribute",
    "start_swmr",
    "write_optics",
]

Attributes = Mapping[str, Any]
VERSION = 1
_PLANES = 16
_SWMR_TRIES, _WHOLE_TRIES, _SWMR_PAUSE_S = 20, 5, 0.05
_SUPERBLOCK = b"\x89HDF\r\n\x1a\n\x03\x08\x08"  # version 3, as all of ours
_END_OF_FILE = slice(28, 36)  # of the superblock
# HDF5 1.10 introduced SWMR; a newer bound would shut out readers built on an older library.
LIBRARY_VERSION = ("v110", "v110")


def create_file(path: Path, file_format: str, attributes: Attributes) -> h5py.File:
    """Create a file with its format attributes.

    Create all datasets, then switch SWMR on.

    Raises
    ------
    DataError
        If the file exists (it is never overwritten) or cannot be created.
    """
    try:
        file = h5py.File(path, "x", libver=LIBRARY_VERSION, locking="best-effort")
    except FileExistsError as error:
        raise DataError(f"{path} exists and is not overwritten: choose another name") from error
    except OSError as error:
        raise DataError(f"{path} cannot be created: {error}") from error
    for name, value in {**attributes, "format": file_format, "version": VERSION}.items():
        file.attrs[name] = value
    return file


@contextmanager
def read_file(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading: one that is closed, still growing, or whose writer was killed.

    Raises
    ------
    DataError
        If it is no HDF5 file, or was cut off, or HDF5 finds it damaged while it is read.
    """
    _check_whole(path)
    try:
        file = h5py.File(path, "r", swmr=True, locking="best-effort")
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5: {error}") from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError) as error:
            if not _is_damage(error):
                raise
            raise DataError(f"{path} cannot be read, it was cut off or damaged: {error}") from error


def _check_whole(path: Path) -> None:
    """Refuse a file that ends before its superblock says.

    HDF5 leaves that to the reader in SWMR mode, and waits there for what is missing: it tries a
    hundred times, each after twice the pause.
    """
    size, needed = 0, 0
    for _ in range(_WHOLE_TRIES):  # a writer may be about to write the rest
        try:
            with path.open("rb") as file:
                block = file.read(_END_OF_FILE.stop)
                size = file.seek(0, os.SEEK_END)
        except OSError:
            return  # h5py says why
        needed = int.from_bytes(block[_END_OF_FILE], "little")
        if not block.startswith(_SUPERBLOCK) or size >= needed:
            return
        time.sleep(_SWMR_PAUSE_S)
    raise DataError(
        f"{path} cannot be read, it was cut off: it must have {needed} bytes and has {size}: copy "
        "it anew"
    )


def _is_damage(error: Exception) -> bool:
    """Return whether it is HDF5's word for a file that it cannot follow, not for an absent name."""
    text = str(error).lstrip("'\"")
    absent = isinstance(error, KeyError) and ("doesn't exist" in text or "not found" in text)
    return text.startswith(("Can't", "Unable to", "Unspecified")) and not absent


def create_growing(
    group: h5py.Group, name: str, row: tuple[int, ...], dtype: Any, widest: int | None = None
) -> h5py.Dataset:
    """Create an empty dataset that grows by rows of shape ``row``.

    A chunk is one row, of a volume at most 16 planes, ``widest`` rows and columns (None: all).
    """
    edges = (_PLANES, *(widest or edge for edge in row[1:]))
    planes = tuple(map(min, row, edges)) if len(row) > 2 else row
    chunk = (1, *planes) if row else (64,)
    return group.create_dataset(name, (0, *row), dtype, maxshape=(None, *row), chunks=chunk)


def copy_row(target: h5py.Dataset, source: h5py.Dataset, row: int) -> None:
    """Append a row (z, y, x) of another dataset, 16 planes at a time, and flush it."""
    target.resize(len(target) + 1, axis=0)
    for first in range(0, source.shape[1], _PLANES):
        planes = slice(first, first + _PLANES)
        target[-1, planes] = source[row, planes]
    target.flush()


def append_row(target: h5py.Dataset, row: Any) -> None:
    """Append one row and flush it to the disk."""
    target.resize(len(target) + 1, axis=0)
    target[-1] = row
    target.flush()


def start_swmr(file: h5py.File) -> None:
    """Let others read the file while it grows; no dataset can be created afterwards.

    HDF5 refuses it as long as an attribute is open. Profilers, such as that of a Dask worker, keep
    those that were just written alive for some milliseconds.
    """
    file.flush()
    for _ in range(_SWMR_TRIES):
        try:
            file.swmr_mode = True
            return
        except RuntimeError:
            time.sleep(_SWMR_PAUSE_S)
    file.swmr_mode = True


def check_format(file: h5py.File, expected: str) -> None:
    """Raise DataError unless the root attributes name this format and version."""
    found = required_attribute(file, "format", repr(expected))
    if isinstance(found, bytes):
        found = found.decode(errors="replace")
    if found != expected:
        raise _wrong(file, "attribute 'format' of /", repr(expected), repr(found))
    version = required_attribute(file, "version", str(VERSION))
    if version != VERSION:
        raise _wrong(file, "attribute 'version' of /", str(VERSION), repr(version))


def write_optics(file: h5py.File, optics: Optics) -> None:
    """Create /optics."""
    group = file.create_group("optics")
    for name, value in asdict(optics).items():
        group.attrs[name] = value


def read_optics(file: h5py.File) -> Optics:
    """Read /optics; a missing or impossible attribute raises DataError with its name."""
    if not isinstance(file.get("optics"), h5py.Group):
        raise _wrong(file, "group /optics", "a group with attributes", "nothing")
    values = {field.name: _number(file["optics"], field.name) for field in fields(Optics)}
    try:
        return Optics(**values)
    except ConfigurationError as error:
        raise DataError(f"{file.filename}: attributes of /optics: {error}") from error


def checked_dataset(
    file: h5py.File, name: str, shape: tuple[int | None, ...], dtypes: tuple[Any, ...]
) -> h5py.Dataset:
    """Return a dataset after checking its shape (None: any length) and dtype.

    Where float64, int64 or bool is expected, any type is accepted whose values it can hold: other
    programs write times as integers, wave vectors as float32 and flags as bytes.

    Raises
    ------
    DataError
        If the dataset is missing or differs.
    """
    wanted = f"shape ({', '.join('any' if n is None else str(n) for n in shape)}) and dtype " + (
        " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
    )
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise _wrong(file, f"dataset /{name}", wanted, "nothing")
    fits = len(found.shape) == len(shape) and all(
        n in (None, m) for n, m in zip(shape, found.shape, strict=True)
    )
    if not fits or not any(_holds(np.dtype(dtype), found.dtype) for dtype in dtypes):
        received = f"shape {found.shape} and dtype {found.dtype}"
        raise _wrong(file, f"dataset /{name}", wanted, received)
    return found


_CONVERTIBLE = {"f": "iuf", "i": "iu", "b": "biu"}  # wanted kind of number: kinds that it can hold


def _holds(wanted: np.dtype[Any], found: np.dtype[Any]) -> bool:
    """Return whether numbers of a type can be taken as those of the wanted one."""
    if wanted == np.dtype(bool) or wanted.itemsize == 8:
        return found.kind in _CONVERTIBLE[wanted.kind] and found.itemsize <= 8
    # a file may hold big-endian numbers: the kind and the size decide
    return (found.kind, found.itemsize) == (wanted.kind, wanted.itemsize)


def other_attributes(file: h5py.File, known: Mapping[str, set[str]]) -> dict[str, Any]:
    """Return the attributes that the format does not define, by path such as ``optics/comment``."""
    found = {str(name): value for name, value in file.attrs.items() if name not in known["/"]}

    def collect(path: str, item: h5py.HLObject) -> None:
        for name, value in item.attrs.items():
            if name not in known.get(path, set()):
                found[f"{path}/{name}"] = value

    file.visititems(collect)
    return found


def check_finite(file: h5py.File, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of a dataset; DataError unless all of them are finite."""
    if not np.isfinite(values).all():
        raise _wrong(file, f"dataset /{name}", "finite numbers", "nan or infinity")
    return values


def _number(group: h5py.Group, name: str) -> float:
    value = np.asarray(required_attribute(group, name, "a positive number"))
    if value.size != 1 or value.dtype.kind not in "fiu":  # MATLAB writes a number as a list of one
        found = repr(group.attrs[name])
        raise _wrong(group.file, f"attribute '{name}' of {group.name}", "a number", found)
    return float(value.item())


def required_attribute(group: h5py.Group, name: str, expected: str) -> Any:
    """Return an attribute; DataError, with what was expected, if it is missing."""
    if name not in group.attrs:
        raise _wrong(group.file, f"attribute '{name}' of {group.name}", expected, "nothing")
    return group.attrs[name]


def _wrong(file: h5py.File, what: str, expected: str, found: str) -> DataError:
    return DataError(f"{file.filename}: {what} must be {expected}, found {found}")
