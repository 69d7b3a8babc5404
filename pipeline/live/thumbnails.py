"""Small pictures of the time points of a file, made in the background; few are kept.

A strip asks for as many as it has room for. A thread of low priority reads the coarsest choice
first, so that the strip soon shows the whole file, and waits while a time point is being shown.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from acquisition.closing import Closing
from acquisition.errors import LiveTomoError

__all__ = ["Thumbnails", "coarse_first", "lower_thread_priority", "phase_picture", "small"]

_PIXELS = 64  # of a picture, along its longer side
_MOST = 256  # pictures that are kept
_NICENESS = 15
_RING = 0.12  # of the sampling rate: the zero order, where no sideband is sought

Picture = NDArray[np.float32]


def small(picture: NDArray[np.float32]) -> Picture:
    """Return a picture (y, x) of at most 64 pixels a side; each is the mean of those it covers."""
    step = -(-max(picture.shape) // _PIXELS)
    y, x = (n // step * step for n in picture.shape)
    blocks = picture[:y, :x].reshape(y // step, step, x // step, step)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def phase_picture(frame: NDArray[np.generic], empty: NDArray[np.generic]) -> Picture:
    """Return what a sample adds to the phase of an interferogram, wrapped: (y, x) in rad.

    The sideband (Takeda et al., J. Opt. Soc. Am. 72, 156, 1982) is sought in ``empty``, the
    background of the same angle. A picture to recognise a scan by, not a measurement.
    """
    before, after = (np.fft.fft2(np.asarray(one, np.float32)) for one in (empty, frame))
    ky, kx = (np.fft.fftfreq(n) for n in before.shape)
    away = np.hypot(ky[:, None], kx) > _RING
    half = (kx > 0) | ((kx == 0) & (ky[:, None] > 0))  # of the two sidebands, one
    peak = np.unravel_index(np.argmax(np.abs(before) * (away & half)), before.shape)
    wide = np.hypot(_turned(ky - ky[peak[0]])[:, None], _turned(kx - kx[peak[1]])) < _RING
    field, reference = (np.fft.ifft2(one * wide) for one in (after, before))
    phase = np.angle(field * reference.conj())
    phase -= np.median(phase)
    # either sideband may be the true one: most samples are denser than their medium, and bright
    return np.asarray(phase if phase.max() > -phase.min() else -phase, np.float32)


def _turned(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return frequencies from -0.5 to 0.5, into which the others fold."""
    return (frequency + 0.5) % 1.0 - 0.5


def coarse_first(scans: Sequence[int]) -> list[int]:
    """Return the same scans in another order: the ends, the middle, the quarters, ..."""
    order: dict[int, None] = dict.fromkeys((*scans[:1], *scans[-1:]))
    step = max(len(scans) // 2, 1)
    while True:
        order |= dict.fromkeys(scans[::step])
        if step == 1:
            return list(order)
        step //= 2


class Thumbnails(Closing):
    """Reads the wanted pictures one after the other.

    Parameters
    ----------
    read : callable
        Returns the picture of a scan, (y, x) float32; None if there is none.
    free : threading.Event
        Set while nothing is being shown: only then a picture is read.
    """

    def __init__(self, read: Callable[[int], Picture | None], free: threading.Event) -> None:
        self._read, self._free = read, free
        self._kept: dict[int, Picture | None] = {}
        self._wanted: list[int] = []
        self._new: dict[int, Picture] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="thumbnails", daemon=True)
        self._thread.start()

    def want(self, scans: Sequence[int]) -> None:
        """Make the pictures of these scans, at most 256; the others are forgotten."""
        wanted = coarse_first(scans[:_MOST])
        with self._changed:
            known = set(wanted)
            self._kept = {scan: one for scan, one in self._kept.items() if scan in known}
            self._new = {scan: one for scan, one in self._kept.items() if one is not None}
            self._wanted = [scan for scan in wanted if scan not in self._kept]
            self._changed.notify_all()

    def take(self) -> dict[int, Picture]:
        """Return the pictures since the last call, by scan; of ``want``, all that are known."""
        with self._changed:
            new, self._new = self._new, {}
        return new

    def forget(self) -> None:
        """Forget all pictures: the file shows another volume, or another file is shown."""
        with self._changed:
            self._wanted = [*self._kept, *self._wanted]
            self._kept, self._new = {}, {}
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._free.set()
        self._thread.join()

    def _run(self) -> None:
        lower_thread_priority()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                scan = self._wanted.pop(0)
                kept = self._kept
            self._free.wait()
            try:
                picture = self._read(scan)
            except (LiveTomoError, OSError):
                picture = None  # showing the scan says why
            with self._changed:
                if kept is self._kept:  # else it was forgotten meanwhile
                    self._kept[scan] = picture
                    if picture is not None:
                        self._new[scan] = picture


def lower_thread_priority() -> None:
    """Lower the priority of this thread, where the system gives one to threads (Linux)."""
    if hasattr(os, "setpriority") and threading.current_thread().native_id:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
