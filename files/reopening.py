"""Reopens a file whose writer was killed, and locks a file against a second writer.

A killed SWMR writer leaves two wrong entries in the superblock, and nothing else (every row reached
the operating system in order): the "open for writing" flags, for which HDF5 refuses the file, and
the end of the allocated space, which is still that of the empty file. Clearing the flags alone
would let new data overwrite the first scans. So the end is set to the file's size, as
``h5clear --increment`` does, and the checksum (Jenkins' lookup3) is renewed.

Superblock of version 2 and 3, little-endian, offsets of 8 bytes:
signature 8 | version | offset size | length size | flags | base 8 | extension 8 | end 8 | root 8 |
checksum 4.
"""

import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import h5py

from acquisition.errors import DataError
from acquisition.locking import lock
from files import hdf5

__all__ = ["FileBusy", "lookup3", "reopen", "repair_superblock", "sole_writer"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CHECKED = 44  # bytes before the checksum
_FLAGS, _END = 11, slice(28, 36)
_MASK = 0xFFFFFFFF
_LOCK_PATIENCE_S = 2.0


class FileBusy(DataError):
    """Another program is writing the file."""


def reopen(path: Path, file_format: str) -> h5py.File:
    """Open a LiveTomo file for appending, after repairing its superblock.

    The caller cuts off incomplete rows and switches SWMR on.

    Raises
    ------
    DataError
        If the file is of another format, or damaged.
    """
    repair_superblock(path)
    file = _for_writing(path)
    try:
        hdf5.check_format(file, file_format)
    except DataError:
        file.close()
        raise
    return file


def _for_writing(path: Path) -> h5py.File:
    """Open the file; retry for a while, since a reader holds HDF5's lock while it opens it."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            return h5py.File(path, "r+", libver=hdf5.LIBRARY_VERSION, locking="best-effort")
        except OSError as error:
            if "lock" not in str(error) or time.monotonic() > deadline:
                raise DataError(f"{path} cannot be opened for appending: {error}") from error
            time.sleep(0.05)


def repair_superblock(path: Path) -> None:
    """Repair the superblock that a killed writer left; a file that was closed is not changed."""
    with _opened(path) as file:
        block = bytearray(file.read(_CHECKED + 4))
        if len(block) < _CHECKED + 4 or block[:8] != _SIGNATURE or block[8:11] != b"\x03\x08\x08":
            raise DataError(
                f"{path} must be an HDF5 file with a superblock of version 3, as recordings and "
                "tomogram files of LiveTomo are: it cannot be resumed"
            )
        if lookup3(block[:_CHECKED]) != struct.unpack("<I", block[_CHECKED:])[0]:
            raise DataError(f"{path} is damaged: the checksum of its superblock is wrong")
        if not block[_FLAGS]:
            return
        block[_FLAGS] = 0
        block[_END] = struct.pack("<Q", file.seek(0, os.SEEK_END))
        block[_CHECKED:] = struct.pack("<I", lookup3(block[:_CHECKED]))
        file.seek(0)
        file.write(block)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("r+b")
    except OSError as error:
        raise DataError(f"{path} must exist and be writable to be resumed: {error}") from error


def lookup3(data: bytes | bytearray) -> int:
    """Return Bob Jenkins' hash ``hashlittle`` (2006) with an initial value of zero."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    words = struct.unpack(f"<{-(-len(data) // 4)}I", data.ljust(-(-len(data) // 4) * 4, b"\0"))
    triples = [(*words[i : i + 3], 0, 0)[:3] for i in range(0, len(words), 3)]
    for x, y, z in triples[:-1]:
        a, b, c = _mixed((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
    if triples:
        x, y, z = triples[-1]
        c = _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
    return c


def _turned(x: int, by: int) -> int:
    return ((x << by) | (x >> (32 - by))) & _MASK


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _turned(c, by)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, by)) & _MASK
        a, b, c = b, c, a
    return b  # after seven turns c stands there


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the write lock of ``path``, which is on the file ``path``.lock beside it.

    The system releases the lock when its holder dies. HDF5's own lock ends in SWMR mode.

    Raises
    ------
    FileBusy
        If another program holds the lock.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        holder = beside.open("a+b")
    except OSError as error:
        raise DataError(f"{beside} cannot be written: {error}") from error
    with holder:
        if not lock(holder.fileno()):
            raise FileBusy(f"{path} is being written by another program: wait until it has ended")
        try:
            yield
        finally:
            if sys.platform != "win32":  # while it is locked: nobody else can have taken it
                beside.unlink(missing_ok=True)
    if sys.platform == "win32":
        with suppress(OSError):
            beside.unlink()
