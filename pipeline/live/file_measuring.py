"""Measures the objects of a file that is played, and follows them in the order of the file.

A child process of low priority computes; a thread hands it one time point after the other. The
displayed time point comes first, with numbers that are provisional until those before it have been
measured. Of the others the figures are kept, not the outlines, so that memory hardly grows: a few
hundred bytes an object.

Volumes of a tomogram file are cheap to read: all are measured. Scans of a recording have to be
reconstructed first: only the displayed ones are measured until all are asked for. The recording is
then opened once more, and what is displayed comes first still.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from acquisition.closing import Closing
from acquisition.errors import LiveTomoError, Stopped
from pipeline.live.measuring_order import Measured, MeasuringOrder
from pipeline.live.playback_source import PlaybackSource, ViewRequest
from pipeline.live.thumbnails import lower_thread_priority
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
    from measuring.following import PositionsFollower
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

    request: MeasuringRequest
    method: str
    constraint: str
    ordered: bool  # in the order of the file; else in that in which the scans were displayed
    scans: dict[int, "tuple[MeasuredObject, ...]"] = field(default_factory=dict)
    next: int = 0
    left_out: int = 0
    _follower: "PositionsFollower | None" = None

    def add(self, scan: int, position: str, time_s: float, found: Measured) -> MeasuredScan:
        """Follow the objects of the next time point."""
        self.scans[scan] = self._following().follow(position, found.objects, time_s)
        return MeasuredScan(scan, time_s, self.scans[scan])

    def provisional(
        self, position: str, time_s: float, found: Measured
    ) -> "tuple[MeasuredObject, ...]":
        """Return the objects of a later time point, as if nothing lay between."""
        return self._following().ahead(position, found.objects, time_s)

    def _following(self) -> "PositionsFollower":
        if self._follower is None:
            from measuring.following import PositionsFollower  # with scipy: when it is used

            self._follower = PositionsFollower()
        return self._follower


class FileMeasuring(Closing):
    """Measures a file in the background, while it is switched on.

    Parameters
    ----------
    source : PlaybackSource
    told : callable
        Called without arguments when there is something new.
    reopen : callable
        Opens the file once more, for this thread.
    free : Event
        Set while nothing is being computed to be displayed.
    """

    def __init__(
        self,
        source: PlaybackSource,
        told: Callable[[], None],
        reopen: Callable[[], PlaybackSource],
        free: threading.Event,
    ) -> None:
        self._source, self._told = source, told
        self._reopen, self._free = reopen, free
        self._own: PlaybackSource | None = None
        self._stop = threading.Event()  # the running computation is not wanted, or has to wait
        self._all = source.measured_in_order
        self._request = MeasuringRequest(False)
        self._message = "off"
        self._changed = threading.Condition()
        self._displayed: tuple[TomogramView, ViewRequest] | None = None
        self._progress: tuple[int, int] | None = None
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
        request = self._request
        return MeasuringState(self._message, request.on, request.settings, self._progress)

    def set(self, request: MeasuringRequest) -> None:
        """Measure from now on, or do not."""
        with self._changed:
            self._request, self._outlined = request, False
            self._message, self._progress = "measuring" if request.on else "off", None
            self._all = self._source.measured_in_order
            self._interrupt()

    def measure_all(self, wanted: bool) -> None:
        """Measure all time points, or only the displayed one from now on."""
        with self._changed:
            self._all = wanted
            if not self._request.on and wanted:
                self._request, self._outlined = replace(self._request, on=True), False
            self._message = "measuring" if wanted else f"{self._message}, stopped"
            self._progress = None
            self._interrupt()

    def _interrupt(self) -> None:
        self._stop.set()
        self._changed.notify_all()

    def make_way(self) -> None:
        """Stop computing while something is computed to be displayed."""
        self._stop.set()

    def show(self, view: TomogramView, wanted: ViewRequest) -> None:
        """Measure this time point before the others; ``wanted`` is what it was made for."""
        with self._changed:
            self._displayed, self._outlined = (view, wanted), False
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
            self._interrupt()
        if child is not None:
            child.kill()
        self._thread.join()
        self._stop_child()

    # --- the thread ---

    def _run(self) -> None:
        lower_thread_priority()
        self._read_table()
        followed: _Followed | None = None
        while not self._closed:
            with self._changed:
                self._stop.clear()
                request, shown, outlined = self._request, self._displayed, self._outlined
                every = self._all
            if not request.on or shown is None:
                followed = self._own = None
                self._stop_child()
                self._wait()
                continue
            view, (_, method, constraint) = shown
            how = (request, method, constraint)
            if (
                followed is None
                or (followed.request, followed.method, followed.constraint) != how
                or (every and not followed.ordered)
            ):
                followed = _Followed(*how, ordered=every)
                with self._changed:
                    self._new, self._anew = [], True
            try:
                if not outlined:
                    self._outline(followed, view)
                elif not every or not self._advance(followed):
                    self._own = None  # it holds plans and volumes
                    self._wait(1.0 if every else None)  # the file may grow
            except Stopped:
                self._wait_until_free()
            except (LiveTomoError, OSError) as error:
                self._message = f"not measured: {error}"
                self._told()
                self._stop_child()
                self._wait()

    def _wait(self, seconds: float | None = None) -> None:
        """Wait until something else is wanted."""
        with self._changed:
            request, shown, every = self._request, self._displayed, self._all
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or self._request is not request
                    or self._displayed is not shown
                    or self._all != every
                ),
                seconds,
            )

    def _wait_until_free(self) -> None:
        while not self._closed and not self._free.wait(0.1):
            pass

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
        order = _order(self._source, followed, view)
        found = self._in_the_sample(self._measure(order), view.sequence)
        scan, position = view.sequence, self._source.position_labels()[view.sequence]
        objects = followed.scans.get(scan)
        if objects is None and (scan == followed.next or not followed.ordered):
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
            settings=followed.request.settings,
            sequence=scan,
            timestamp=view.timestamp,
            seconds=0.0,
            correction_um=self._source.correction_um(scan),
            position=position,
        )
        with self._changed:
            shown = self._displayed
            if shown is not None and shown[0] is view and self._request == followed.request:
                self._view, self._outlined = made, True
        self._say(followed)

    def _advance(self, followed: _Followed) -> bool:
        """Measure the next time point of the file; False if all of them have been."""
        labels = self._source.position_labels()
        if followed.next >= len(labels):
            return False
        scan = followed.next
        try:
            order = self._order_of(scan, followed)
        except Stopped:
            raise
        except (LiveTomoError, OSError):  # showing the scan says why
            followed.next, followed.left_out = scan + 1, followed.left_out + 1
            self._say(followed)
            return True
        found = self._in_the_sample(self._measure(order), scan)
        time_s = float(self._source.timestamps[scan])
        self._note(followed.add(scan, labels[scan], time_s, found))
        followed.next += 1
        with self._changed:
            if self._displayed is not None and self._displayed[0].sequence == scan:
                self._outlined = False  # its numbers were provisional
        self._say(followed)
        return True

    def _order_of(self, scan: int, followed: _Followed) -> MeasuringOrder:
        """Return the order to measure a scan that is not displayed.

        Raises
        ------
        Stopped
            If something else was wanted meanwhile.
        """
        if self._source.measured_in_order:
            settings = followed.request.settings
            return MeasuringOrder(settings, self._source.path, scan, followed.method)
        if not self._free.is_set():
            raise Stopped("a scan is being computed to be displayed")
        if self._own is None:
            self._own = self._reopen()
        wanted = (scan, followed.method, followed.constraint)
        return _order(self._source, followed, self._own.view(wanted, self._stop))

    def _in_the_sample(self, found: Measured, scan: int) -> Measured:
        """Return the objects with their places in the sample: what the stages did is no motion."""
        x, y, z = self._source.correction_um(scan)
        return replace(found, objects=tuple(one.moved(z, y, x) for one in found.objects))

    def _note(self, scan: MeasuredScan) -> None:
        with self._changed:
            self._new.append(scan)

    def _say(self, followed: _Followed) -> None:
        count, left_out = len(self._source.position_labels()), followed.left_out
        said = f"measured {len(followed.scans)} of {count} scans"
        with self._changed:
            self._message = said + (f", {left_out} cannot be shown" if left_out else "")
            going_on = self._all and followed.ordered and followed.next < count
            self._progress = (followed.next, count) if going_on else None
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
            view = None if self._displayed is None else self._displayed[0]
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
    settings = followed.request.settings
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
        correction_um=view.correction_um,
        position=view.position,
    )
