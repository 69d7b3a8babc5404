"""Goes on with a file after its writer was killed, and lets only one program write it.

A killed SWMR writer leaves two things wrong in the superblock, and nothing else (every row reached
the operating system in order): the "open for writing" flags, for which HDF5 refuses the file, and
the end of the allocated space, which still is that of the empty file. Clearing the flags alone
would be a disaster: what is written next would lie over the first scans. So the end is set to the
file's own, as ``h5clear --increment`` does, with a new checksum (Jenkins' lookup3).

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

__all__ = ["FileBusy", "lookup3", "mend", "reopen", "sole_writer"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CHECKED = 44  # bytes before the checksum
_FLAGS, _END = 11, slice(28, 36)
_MASK = 0xFFFFFFFF
_LOCK_PATIENCE_S = 2.0


class FileBusy(DataError):
    """Another program is writing the file."""


def reopen(path: Path, file_format: str) -> h5py.File:
    """Open a file of ours to write more rows; the caller cuts unfinished ones and turns SWMR on.

    Raises
    ------
    DataError
        If it is not such a file, or damaged.
    """
    mend(path)
    file = _for_writing(path)
    try:
        hdf5.check_format(file, file_format)
    except DataError:
        file.close()
        raise
    return file


def _for_writing(path: Path) -> h5py.File:
    """Open the file; a reader holds HDF5's lock for the moment in which it opens the file."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            return h5py.File(path, "r+", libver=hdf5.LIBRARY_VERSION, locking="best-effort")
        except OSError as error:
            if "lock" not in str(error) or time.monotonic() > deadline:
                raise DataError(f"{path} cannot be opened to go on with it: {error}") from error
            time.sleep(0.05)


def mend(path: Path) -> None:
    """Put the superblock right where a writer was killed; a file that was closed stays as it is."""
    with _opened(path) as file:
        block = bytearray(file.read(_CHECKED + 4))
        if len(block) < _CHECKED + 4 or block[:8] != _SIGNATURE or block[8:11] != b"\x03\x08\x08":
            raise DataError(
                f"{path} must be an HDF5 file with a superblock of version 3, as recordings and "
                "tomogram files of LiveTomo are: it cannot be resumed"
            )
        if lookup3(block[:_CHECKED]) != struct.unpack("<I", block[_CHECKED:])[0]:
            raise DataError(f"{path}: the checksum of its superblock is wrong: it is damaged")
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
    """Keep any other program from writing ``path``; a file beside it holds the lock.

    The system releases the lock when its holder dies. HDF5's own lock is given up in SWMR mode.

    Raises
    ------
    FileBusy
        If another program is writing it.
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
