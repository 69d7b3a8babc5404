"""Measures the objects of a file that is played, and follows them in the order of the file.

A child process of low priority computes; a thread hands it one time point after the other. The
displayed time point comes first, with numbers that are provisional until those before it have been
measured. Of the others the figures are kept, not the outlines, so that memory hardly grows: a few
hundred bytes an object.
"""

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from acquisition.closing import Closing
from acquisition.errors import LiveTomoError
from pipeline.live.measuring_order import Measured, MeasuringOrder
from pipeline.live.playback_source import PlaybackSource
from pipeline.tomograms.child_processes import child_environment
from pipeline.wire.file_state import MeasuredScan, MeasuredScans
from pipeline.wire.pipeline_error import PipelineError
from pipeline.wire.state import (
    MeasuredView,
    MeasuringRequest,
    MeasuringState,
    TomogramView,
)

if TYPE_CHECKING:
    from measuring.following import Follower
    from measuring.measured_object import MeasuredObject

__all__ = ["FileMeasuring"]


class _Child(Closing):
    """The process that measures."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "pipeline.live.measuring_child"]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(threads),
            creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),
            start_new_session=os.name != "nt",  # Ctrl+C is for the window
        )

    def measure(self, order: MeasuringOrder) -> Measured:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump(order, self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise PipelineError(
                "the process that measures has ended: switch measuring off and on again"
            ) from error
        if isinstance(answer, str):
            raise PipelineError(answer)
        assert isinstance(answer, Measured)
        return answer

    def kill(self) -> None:
        """End it; who waits for an answer gets an error."""
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # what was not written goes to a process that has ended
        self._process.wait()


@dataclass(slots=True)
class _Followed:
    """The objects of all time points so far, each position followed by itself."""

    settings: MeasuringRequest
    method: str
    scans: dict[int, "tuple[MeasuredObject, ...]"] = field(default_factory=dict)
    next: int = 0
    _followers: "dict[str, Follower]" = field(default_factory=dict)
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, scan: int, position: str, time_s: float, found: Measured) -> MeasuredScan:
        """Follow the objects of the next time point."""
        objects = self._follower(position).follow(found.objects, time_s)
        self.scans[scan] = self._numbered(position, objects, self._numbers)
        return MeasuredScan(scan, time_s, self.scans[scan])

    def provisional(
        self, position: str, time_s: float, found: Measured
    ) -> "tuple[MeasuredObject, ...]":
        """Return the objects of a later time point, as if nothing lay between."""
        objects = copy.deepcopy(self._follower(position)).follow(found.objects, time_s)
        return self._numbered(position, objects, dict(self._numbers))

    def _follower(self, position: str) -> "Follower":
        from measuring.following import Follower  # with scipy: not before it is used

        return self._followers.setdefault(position, Follower())

    @staticmethod
    def _numbered(
        position: str,
        objects: "tuple[MeasuredObject, ...]",
        numbers: dict[tuple[str, int], int],
    ) -> "tuple[MeasuredObject, ...]":
        """Return objects with numbers that no object of another position has."""
        return tuple(
            one.renumbered(
                numbers.setdefault((position, one.number), len(numbers) + 1), one.speed_um_per_s
            )
            for one in objects
        )


class FileMeasuring(Closing):
    """Measures a file in the background, while it is switched on.

    Parameters
    ----------
    source : PlaybackSource
    told : callable
        Called without arguments when there is something new.
    """

    def __init__(self, source: PlaybackSource, told: Callable[[], None]) -> None:
        self._source, self._told = source, told
        self._request = MeasuringRequest(False)
        self._message = "off"
        self._changed = threading.Condition()
        self._displayed: TomogramView | None = None
        self._outlined = False  # the displayed one was measured
        self._view: MeasuredView | None = None
        self._new: list[MeasuredScan] = []
        self._anew = False
        self._table: dict[int, MeasuredScan] = {}
        self._closed = False
        self._child: _Child | None = None
        self._thread = threading.Thread(target=self._run, name="file-measuring", daemon=True)
        self._thread.start()

    @property
    def state(self) -> MeasuringState:
        """What it does, in one line, and how it measures."""
        return MeasuringState(self._message, self._request.on, self._request.settings)

    def set(self, request: MeasuringRequest) -> None:
        """Measure from now on, or do not."""
        with self._changed:
            self._request, self._outlined = request, False
            self._message = "measuring" if request.on else "off"
            self._changed.notify_all()

    def show(self, view: TomogramView) -> None:
        """Measure this time point before the others."""
        with self._changed:
            self._displayed, self._outlined = view, False
            if not self._request.on and view.sequence in self._table:
                self._view = _of_table(view, self._table[view.sequence])
            self._changed.notify_all()

    def take(self) -> tuple[MeasuredView | None, MeasuredScans | None]:
        """Return what is new since the last call."""
        with self._changed:
            view, self._view = self._view, None
            scans = MeasuredScans(tuple(self._new), self._anew) if self._new or self._anew else None
            self._new, self._anew = [], False
        return view, scans

    def close(self) -> None:
        """End the thread and its process."""
        with self._changed:
            self._closed = True
            child = self._child
            self._changed.notify_all()
        if child is not None:
            child.kill()
        self._thread.join()
        self._stop_child()

    # --- the thread ---

    def _run(self) -> None:
        self._read_table()
        followed: _Followed | None = None
        while not self._closed:
            with self._changed:
                request, view, outlined = self._request, self._displayed, self._outlined
            if not request.on or view is None:
                followed = None
                self._stop_child()
                self._wait()
                continue
            method = view.method
            if followed is None or (followed.settings, followed.method) != (request, method):
                followed = _Followed(request, method)
                with self._changed:
                    self._new, self._anew = [], True
            try:
                if not outlined:
                    self._outline(followed, view)
                elif not self._advance(followed):
                    self._wait(1.0)  # the file may grow
            except LiveTomoError as error:
                self._message = f"not measured: {error}"
                self._told()
                self._stop_child()
                self._wait()

    def _wait(self, seconds: float | None = None) -> None:
        """Wait until something else is wanted."""
        with self._changed:
            request, view = self._request, self._displayed
            self._changed.wait_for(
                lambda: self._closed or self._request is not request or self._displayed is not view,
                seconds,
            )

    def _measure(self, order: MeasuringOrder) -> Measured:
        with self._changed:
            if self._closed:
                raise PipelineError("the file was closed")
            if self._child is None:
                self._child = _Child()
            child = self._child
        return child.measure(order)

    def _stop_child(self) -> None:
        with self._changed:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    def _outline(self, followed: _Followed, view: TomogramView) -> None:
        """Measure the displayed time point; its numbers are those of the file if they are known."""
        found = self._measure(_order(self._source, followed, view))
        scan, position = view.sequence, self._source.position_labels()[view.sequence]
        objects = followed.scans.get(scan)
        if objects is None and (scan == followed.next or not self._source.measured_in_order):
            self._note(followed.add(scan, position, view.timestamp, found))
            objects, followed.next = followed.scans[scan], followed.next + 1
        if objects is None or len(objects) != len(found.objects):
            objects = followed.provisional(position, view.timestamp, found)
        made = MeasuredView(
            objects=objects,
            labels=found.labels,
            voxel_size_um=view.voxel_size_um,
            medium_index=view.medium_index,
            method=found.method,
            threshold=found.threshold if np.isfinite(found.threshold) else None,
            settings=followed.settings.settings,
            sequence=scan,
            timestamp=view.timestamp,
            seconds=0.0,
        )
        with self._changed:
            if self._displayed is view and self._request == followed.settings:
                self._view, self._outlined = made, True
        self._say(followed)

    def _advance(self, followed: _Followed) -> bool:
        """Measure the next time point of the file; False if all of them have been."""
        labels = self._source.position_labels()
        if not self._source.measured_in_order or followed.next >= len(labels):
            return False
        scan = followed.next
        order = MeasuringOrder(followed.settings.settings, self._source.path, scan, followed.method)
        found = self._measure(order)
        time_s = float(self._source.timestamps[scan])
        self._note(followed.add(scan, labels[scan], time_s, found))
        followed.next += 1
        self._say(followed)
        return True

    def _note(self, scan: MeasuredScan) -> None:
        with self._changed:
            self._new.append(scan)

    def _say(self, followed: _Followed) -> None:
        count = len(self._source.position_labels())
        self._message = f"measured {len(followed.scans)} of {count} time points"
        self._told()

    def _read_table(self) -> None:
        found = self._source.measured_table()
        if found is None:
            return
        path, scans = found
        with self._changed:
            self._table = {scan.sequence: scan for scan in scans}
            self._new, self._anew = list(scans), True
            self._message = f"{len(scans)} time points from {path.name}"
            view = self._displayed
            if view is not None and view.sequence in self._table:
                self._view = _of_table(view, self._table[view.sequence])
        self._told()


def _order(source: PlaybackSource, followed: _Followed, view: TomogramView) -> MeasuringOrder:
    """Return the order to measure a displayed view: read from its file, or else handed over."""
    volume = None
    if not source.measured_in_order:
        assert view.optics is not None
        shown = view.raw if view.regularized is None else view.regularized
        volume = (shown, view.voxel_size_um, view.optics)
    settings = followed.settings.settings
    return MeasuringOrder(settings, source.path, view.sequence, view.method, volume)


def _of_table(view: TomogramView, scan: MeasuredScan) -> MeasuredView:
    """Return the objects of a table; it has no outlines."""
    from measuring.measuring_settings import MeasuringSettings

    return MeasuredView(
        objects=scan.objects,
        labels=np.broadcast_to(np.uint8(0), view.raw.shape),
        voxel_size_um=view.voxel_size_um,
        medium_index=view.medium_index,
        method=view.method,
        threshold=None,
        settings=MeasuringSettings(),
        sequence=scan.sequence,
        timestamp=scan.timestamp,
        seconds=0.0,
    )
