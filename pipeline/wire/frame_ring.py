"""Frames in shared memory: the acquirer writes scans into a ring of slots, the processor reads.

Only tokens travel (``RingPlace``): frames are written once, by the scan, and read where they lie. A
slot is used again after a few scans. The reader says which slot it reads, and the writer passes
over that one; a place whose slot has been used again is refused. So the writer never waits, and
nothing is read while it is written.

Where there is no shared memory with a name (macOS), or too little of it (some containers), scans
are sent as messages.
"""

import contextlib
import mmap
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from acquisition.errors import DataError

__all__ = ["FrameRing", "RingPlace", "RingReader"]

SLOTS = 4  # one is written, one is read, one is ready to be read, and one is on its way
_HEAD = 128  # bytes before the first slot: what is read, the turns, the size of a slot
_NONE = -1
_FOLDER = Path("/dev/shm")  # Linux: memory with names; only its user can open a ring


class RingPlace(BaseModel):
    """Where the frames of one scan lie: the name of the ring, the slot, and its turn of use."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    ring: Annotated[str, Field(pattern=r"^livetomo-[0-9]+-[0-9a-f]{8}$")]
    slot: Annotated[NonNegativeInt, Field(lt=SLOTS)]
    turn: PositiveInt
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    dtype: Literal["|u1", "<u2"]

    @property
    def nbytes(self) -> int:
        """Size of the scan in bytes, as a Python integer: a forged shape cannot overflow."""
        angles, rows, columns = self.shape
        return angles * rows * columns * np.dtype(self.dtype).itemsize


class FrameRing:
    """The writer's side: memory for scans, one after another.

    Notes
    -----
    Not thread-safe. What a writer that was killed left behind is removed by the next one.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._name = ""
        self._bytes = 0  # of a slot
        self._turn = self._slot = 0
        self._frames: NDArray[Any] | None = None  # of the last scan

    def begin(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory for the frames (angles, y, x) of the next scan, with any content.

        It is ordinary memory where there is not enough shared memory.
        """
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size > self._bytes:
            self.close()
            self._bytes = -(-size // _HEAD) * _HEAD
            self._name = f"livetomo-{os.getpid()}-{secrets.token_hex(4)}"
            self._memory = _created(self._name, self._bytes)
        if self._memory is None:
            self._frames = None
            return np.empty(shape, dtype)
        self._take_slot(_head(self._memory))
        self._frames = _frames(self._memory, self._slot, self._bytes, shape, dtype)
        return self._frames

    def _take_slot(self, head: NDArray[np.int64]) -> None:
        """Choose the next slot that is not being read, and declare it used."""
        self._turn += 1
        while True:
            self._slot = (self._slot + 1) % SLOTS
            before = int(head[1 + self._slot])
            if head[0] == self._slot:
                continue
            head[1 + self._slot] = self._turn
            if head[0] != self._slot:  # asked again: a reader that comes now finds it used
                return
            head[1 + self._slot] = before

    def place(self, frames: NDArray[Any]) -> RingPlace | None:
        """Return where these frames lie if they are the last scan of this ring, else None."""
        if self._frames is None or frames is not self._frames:
            return None
        return RingPlace(
            ring=self._name,
            slot=self._slot,
            turn=self._turn,
            shape=frames.shape,
            dtype="|u1" if frames.dtype == np.uint8 else "<u2",
        )

    def close(self) -> None:
        """Give the memory back; what is being read stays until it has been read."""
        if self._memory is not None and _FOLDER.is_dir():
            (_FOLDER / self._name).unlink(missing_ok=True)
        self._memory, self._frames, self._bytes = None, None, 0


class RingReader:
    """The reader's side; there may be one reader of a ring at a time."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._name = ""

    @contextmanager
    def frames(self, place: RingPlace) -> Iterator[NDArray[Any] | None]:
        """Provide the frames (angles, y, x) of a place; None where its slot has been used again.

        They are valid within the context only.

        Raises
        ------
        DataError
            If the place is not one of the ring.
        """
        memory = self._attached(place.ring)
        if memory is None:
            yield None
            return
        head = _head(memory)
        size = int(head[1 + SLOTS])
        if place.nbytes > size or _HEAD + SLOTS * size > len(memory):
            raise DataError(
                f"frames {place.shape} {place.dtype} must fit into a slot of {size} bytes, they "
                f"have {place.nbytes}"
            )
        head[0] = place.slot
        try:
            if head[1 + place.slot] == place.turn:
                yield _frames(memory, place.slot, size, place.shape, np.dtype(place.dtype))
            else:
                yield None
        finally:
            head[0] = _NONE

    def _attached(self, name: str) -> mmap.mmap | None:
        """Return the memory of a ring; None if it has gone with its writer."""
        if self._memory is None or self._name != name:
            self._memory, self._name = _found(name), name
            if self._memory is not None:
                _head(self._memory)[0] = _NONE  # a reader before this one may have died reading
        return self._memory


def _created(name: str, size: int) -> mmap.mmap | None:
    """Return shared memory for a ring with slots of ``size`` bytes; None if it cannot be had."""
    whole = _HEAD + SLOTS * size
    try:
        if sys.platform == "win32":
            memory = mmap.mmap(-1, whole, tagname=name)
        elif _FOLDER.is_dir():
            _remove_abandoned()
            memory = _created_file(_FOLDER / name, whole)
        else:
            return None
    except OSError:
        return None
    head = _head(memory)
    head[:] = 0
    head[0], head[1 + SLOTS] = _NONE, size
    return memory


def _created_file(path: Path, size: int) -> mmap.mmap:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        os.posix_fallocate(file, 0, size)  # else too little memory would kill the process later
        return mmap.mmap(file, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(file)


def _found(name: str) -> mmap.mmap | None:
    """Return the shared memory of that name; None if there is none."""
    if sys.platform == "win32":
        head = _head(mmap.mmap(-1, _HEAD, tagname=name))
        size = _HEAD + SLOTS * int(head[1 + SLOTS])
        return mmap.mmap(-1, size, tagname=name) if size > _HEAD else None
    try:
        with (_FOLDER / name).open("r+b") as file:
            return mmap.mmap(file.fileno(), 0)
    except (OSError, ValueError):
        return None


def _remove_abandoned() -> None:
    """Remove the rings of processes that no longer run."""
    for path in _FOLDER.glob("livetomo-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):  # another user's
                path.unlink()


def _head(memory: mmap.mmap) -> NDArray[np.int64]:
    """Return the slot being read, the turn of each slot, and the size of a slot in bytes."""
    return np.frombuffer(memory, np.int64, 2 + SLOTS)


def _frames(
    memory: mmap.mmap, slot: int, size: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(memory, dtype, count, _HEAD + slot * size).reshape(shape)
