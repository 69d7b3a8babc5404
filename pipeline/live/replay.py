"""A recording in place of a microscope: its scans, one after another, as if measured now."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.errors import DataError, ScanStopped
from acquisition.interferograms import InterferogramStack
from acquisition.scan_name import scan_name
from files.positions import Positions
from files.recording import read_recording
from files.series import RecordedScan
from pipeline.live.kept_snap import SnapOrigin
from pipeline.wire.places import ViewPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Replay"]

_LONGEST_WAIT_S = 2.0  # between two scans, however far they lie apart in the recording


class Replay:
    """Yields the scans of a recording at the pace at which they were taken, again and again.

    Parameters
    ----------
    path : Path
        A recording; it may still be growing.

    Attributes
    ----------
    background : InterferogramStack
        That of the last scan.
    view : ViewPlace
        Where its field of view was when it was recorded.
    origin : SnapOrigin
        What a file says of it, if it is saved by itself.

    Raises
    ------
    DataError
        If it is no recording, or has no finished scan.
    """

    def __init__(self, path: Path) -> None:
        self._recording = read_recording(path)
        if not len(self._recording):
            raise DataError(f"{path} must hold at least one finished scan to replay, found none")
        self.name = path.name
        self._scans: Iterator[RecordedScan] = iter(())
        self._next = self._following()
        self.background = self._next.background
        self.view, self.origin = ViewPlace(), SnapOrigin()
        series = self._recording.series
        self._labels = ("",) if series is None else Positions(series.positions).labels
        self._last_s: float | None = None  # time of the last scan in the recording
        self._shown_s = 0.0  # when it was replayed

    def _following(self) -> RecordedScan:
        """Return the next scan; after the last one, the first."""
        scan = next(self._scans, None)
        if scan is None:
            self._scans, self._last_s = self._recording.scans(), None
            scan = next(self._scans)
        return scan

    def _origin(self, scan: RecordedScan) -> SnapOrigin:
        source = {"replayed_from": f"{scan_name(scan.stack.sequence)} of {self.name}"}
        series = self._recording.series
        if series is None:
            return SnapOrigin(attributes=source)
        return SnapOrigin(series.microscope, series.reconstruction, scan.stage_um, source)

    def scan(self, stop: threading.Event) -> InterferogramStack:
        """Return the next scan when its time has come.

        Raises
        ------
        ScanStopped
            If ``stop`` was set meanwhile; the scan is returned by the next call.
        """
        stack = self._next.stack
        if self._last_s is not None:
            apart_s = min(max(stack.timestamp - self._last_s, 0.0), _LONGEST_WAIT_S)
            if stop.wait(max(self._shown_s + apart_s - time.monotonic(), 0.0)):
                raise ScanStopped
        self._last_s, self._shown_s = stack.timestamp, time.monotonic()
        self.background = self._next.background
        self.view = ViewPlace(self._labels[self._next.position], self._next.correction_um)
        self.origin = self._origin(self._next)
        self._next = self._following()
        return replace(stack, timestamp=time.time())
