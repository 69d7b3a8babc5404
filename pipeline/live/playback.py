"""Plays a file back to the window: a tomogram file, or a recording that is reconstructed.

A thread reads or computes the requested scan; the window polls it like an instrument. Two more
threads make small pictures and measure objects, each with a lower priority. Both kinds of file may
still be growing. Nothing here loads torch: a recording does, in the thread, once it is shown.
"""

import threading
import time
import traceback
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np

from acquisition.choices import check_constraint, check_regularizer
from acquisition.closing import Closing
from acquisition.errors import LiveTomoError, Stopped
from acquisition.scan_name import scan_name
from files.kinds import kind_of
from pipeline.live.file_measuring import FileMeasuring
from pipeline.live.playback_source import PlaybackSource, ViewRequest
from pipeline.live.played_recording import PlayedRecording
from pipeline.live.played_tomograms import PlayedTomograms
from pipeline.live.playing_clock import PlayingClock
from pipeline.live.refusals import RefusesInstrument
from pipeline.live.thumbnails import Picture, Thumbnails
from pipeline.wire.file_state import CheckedScan, PlaySpeed
from pipeline.wire.pipeline_error import PipelineError
from pipeline.wire.state import (
    InstrumentState,
    MeasuringRequest,
    Phase,
    Playlist,
    QualityView,
    TomogramView,
    Updates,
)

__all__ = ["Playback", "open_playback"]

_LOOK_S = 1.0  # between checks whether the file has grown
_TICK_S = 0.05
_UNREADABLE = (LiveTomoError, OSError)
_GONE = "has gone from the disk: put it back to go on"
_NOTHING: ViewRequest = (-1, "", "")


def open_playback(path: Path, method: str = "deep", device: str | None = None) -> "Playback":
    """Open a recording or a tomogram file.

    Parameters
    ----------
    path : Path
    method : str
        The volume shown first, or the regularizer for a recording.
    device : str or None
        Where a recording is reconstructed; None: the best available.

    Raises
    ------
    DataError
        If the file is neither, or has no scan.
    """
    check_regularizer(method)
    source = _source(path, device)
    return Playback(source, _method(source, method), device)


def _source(path: Path, device: str | None) -> PlaybackSource:
    if kind_of(path) == "recording":
        return PlayedRecording(path, device)
    return PlayedTomograms(path, device)


def _method(source: PlaybackSource, wanted: str) -> str:
    return wanted if wanted in source.methods else source.methods[0]


class Playback(RefusesInstrument, Closing):
    """Plays a file to a window, which polls it like an instrument.

    Parameters
    ----------
    source : PlaybackSource
    method : str
        One of the methods of the source.
    device : str or None
        For other recordings that are opened in its place.
    """

    def __init__(self, source: PlaybackSource, method: str, device: str | None = None) -> None:
        self._device = device
        self._changed = threading.Condition()
        self._stop = threading.Event()  # the running computation is no longer wanted
        self._free = threading.Event()  # nothing is being shown
        self._closed = False
        self._following = False
        self._clock = PlayingClock()
        self._angle: int | None = None
        self._angle_asked = self._light_wanted = False
        self._take_up(source, method)
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self._thread.start()

    def _take_up(self, source: PlaybackSource, method: str) -> None:
        """Begin with a file."""
        self._source, self._method = source, method
        self._position_labels = source.position_labels()
        self._position = ""
        self._kept_playlist: Playlist | None = None
        self._constraint: str = "auto"
        self._scan, self._shown = 0, _NOTHING
        self._light_of = -1
        self._playing = False
        self._message = "reading the first scan"
        self._views: OrderedDict[ViewRequest, TomogramView] = OrderedDict()
        self._thumbnails = Thumbnails(lambda n: source.thumbnail(n, self._method), self._free)
        self._measured_news = False
        self._measuring = FileMeasuring(
            source, self._note_measuring, lambda: _source(source.path, self._device), self._free
        )
        self._updates = Updates(self._state())

    # --- called by the window ---

    @property
    def tomogram_file(self) -> Path | None:
        """The file, if it holds tomograms; None for a recording."""
        return self._source.path if isinstance(self._source, PlayedTomograms) else None

    def reader(self) -> PlaybackSource:
        """Open the file once more, for another thread."""
        return _source(self._source.path, self._device)

    def poll(self, timeout_ms: int = 0) -> Updates:
        """Return what is new since the last poll."""
        measured, scans = self._measuring.take()
        with self._changed:
            if self._measured_news:
                self._measured_news = False
                self._updates = replace(self._updates, state=self._state())
            updates, self._updates = self._updates, Updates()
        return replace(updates, measured=measured, scans=scans)

    @property
    def path(self) -> Path:
        """The file that is shown."""
        return self._source.path

    def open(self, path: Path) -> None:
        """Show another file in place of this one.

        Raises
        ------
        DataError
            If it is no recording or tomogram file, or has no scan; this one is then still shown.
        """
        source = _source(path, self._device)
        with self._changed:
            before = self._thumbnails, self._measuring
            self._take_up(source, _method(source, self._method))
            self._ask()
        for thread in before:
            thread.close()

    @property
    def playlist(self) -> Playlist:
        """The played scans and their stage positions."""
        with self._changed:
            return self._playlist()

    @property
    def checks(self) -> tuple[CheckedScan, ...]:
        """The comparisons with total variation that the file holds."""
        return self._source.checks

    @property
    def speed(self) -> PlaySpeed:
        """How fast the file is played."""
        return self._clock.speed

    @property
    def following(self) -> bool:
        """Whether the newest scan is shown as the file grows."""
        return self._following

    def want_thumbnails(self, scans: tuple[int, ...]) -> None:
        """Make small pictures of these scans, in the background."""
        self._thumbnails.want(scans)

    def take_thumbnails(self) -> dict[int, Picture]:
        """Return the small pictures that were made since the last call, by scan."""
        return self._thumbnails.take()

    def want_light(self, wanted: bool) -> None:
        """Compute the light of the displayed scans from the recording beside the file, or not."""
        with self._changed:
            self._light_wanted = wanted
            self._changed.notify_all()

    def set_speed(self, speed: PlaySpeed) -> None:
        """Play as fast as that from now on.

        Raises
        ------
        PipelineError
            If it is a multiple of the real time, which the file does not know.
        """
        if not speed.value > 0:
            raise PipelineError(f"the speed of playing must be above 0, got {speed.value:g}")
        if speed.real_time and not np.ptp(self._source.timestamps) > 0:
            raise PipelineError(
                f"{self.shown_name} does not say when its scans were taken: choose a number of "
                "time points a second"
            )
        with self._changed:
            self._clock.set_speed(speed)
            self._changed.notify_all()

    def follow(self, on: bool) -> None:
        """Show the newest scan as the file grows, or stay where the user is."""
        with self._changed:
            self._following = on
            if on:
                self._scan = self._playlist().scans[-1]
                self._clock.restart()
            self._ask()
            self._tell()

    def seek(self, scan: int) -> None:
        """Show a scan, or the last one before it in the playlist; playing continues there."""
        with self._changed:
            playlist = self._playlist()
            self._scan = playlist.scans[playlist.row(scan)]
            self._following = self._following and self._scan == playlist.scans[-1]
            self._clock.restart()
            self._ask()

    def select_position(self, position: str) -> None:
        """Play only the scans of one stage position; "": of all."""
        with self._changed:
            if position and position not in self._position_labels:
                known = ", ".join(dict.fromkeys(self._position_labels))
                raise PipelineError(f"the position must be one of {known}, got {position!r}")
            self._position, self._kept_playlist = position, None
            playlist = self._playlist()
            self._clock.restart()
            self._scan = playlist.scans[playlist.row(self._scan)]
            self._tell()
            self._ask()

    def _playlist(self) -> Playlist:
        if self._kept_playlist is None:
            at, labels = self._position, self._position_labels
            scans = tuple(n for n, place in enumerate(labels) if place == at or not at)
            self._kept_playlist = Playlist(scans, labels, at)
        return self._kept_playlist

    def start(self) -> None:
        """Play, from the beginning if the end was reached."""
        with self._changed:
            scans = self._playlist().scans
            if self._scan == scans[-1]:
                self._scan = scans[0]
            self._playing = True
            self._clock.restart()
            self._ask()

    def stop(self) -> None:
        """Pause at the displayed scan."""
        with self._changed:
            self._playing = False
            self._tell()

    def show_angle(self, angle: int | None) -> None:
        """Show the interferogram of this angle, of the displayed scan."""
        with self._changed:
            self._angle, self._angle_asked = angle, True
            self._changed.notify_all()

    def set_regularizer(self, name: str) -> None:
        """Show another volume of the file, or use another regularizer."""
        if name not in self._source.methods:
            raise PipelineError(
                f"{self.shown_name} has the volumes {', '.join(self._source.methods)}, got {name!r}"
            )
        with self._changed:
            self._method = name
            self._ask()
        self._thumbnails.forget()

    def set_constraint(self, name: str) -> None:
        """Regularize with this constraint on the sign of the contrast."""
        if not self._source.constrained:
            raise PipelineError(
                f"{self.shown_name} is a tomogram file: a constraint is for recordings"
            )
        with self._changed:
            self._constraint = check_constraint(name)
            self._ask()

    def set_measuring(self, request: MeasuringRequest) -> None:
        """Measure the objects of the file from now on, or do not."""
        self._measuring.set(request)
        self._note_measuring()

    def measure_all(self, wanted: bool) -> None:
        """Measure all scans in the background, or stop at those that have been measured."""
        self._measuring.measure_all(wanted)
        self._note_measuring()

    def close(self) -> None:
        """End the threads; a running computation is stopped."""
        with self._changed:
            self._closed = True
            self._ask()
        self._thread.join()
        self._thumbnails.close()
        self._measuring.close()

    @property
    def shown_name(self) -> str:
        """Name of the file."""
        return self.path.name

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._play()
        except Exception as error:  # the end of the thread: bugs are shown to the user, too
            traceback.print_exc()
            with self._changed:
                self._tell(f"playing has ended, open the file again: {error!r}")

    def _play(self) -> None:
        looked = time.monotonic()
        while not self._closed:
            wanted = self._wanted()
            if self._angle_asked and self._shown[0] >= 0:
                self._show_interferogram(self._shown[0])
            if wanted is not None:
                self._free.clear()
                self._measuring.make_way()
                self._show(wanted)
                self._clock.note_shown()
                continue
            self._free.set()
            if self._playing:
                self._step()
            if self._light_wanted and self._light_of != self._shown[0] and not self._playing:
                self._show_light(self._shown[0])
            if time.monotonic() - looked > _LOOK_S:
                self._look()
                looked = time.monotonic()
            self._rest()

    def _wanted(self) -> ViewRequest | None:
        """Return the wanted view if it is not displayed yet."""
        with self._changed:
            wanted = (self._scan, self._method, self._constraint)
            self._stop.clear()
            return None if wanted == self._shown else wanted

    def _rest(self) -> None:
        """Wait a moment, or until something is requested or the next scan is due."""
        with self._changed:
            due_s = self._clock.due_s() if self._playing else _TICK_S
            if (self._scan, self._method, self._constraint) == self._shown:
                self._changed.wait_for(
                    lambda: self._stop.is_set() or self._angle_asked, min(max(due_s, 0), _TICK_S)
                )

    def _step(self) -> None:
        """Go to the scan that is due; pause at the last one, unless the file is followed."""
        with self._changed:
            playlist = self._playlist()
            row = playlist.row(self._scan)
            if row + 1 < len(playlist.scans):
                times = self._source.timestamps
                stamps = times[np.array(playlist.scans)] if self._clock.speed.real_time else times
                self._scan = playlist.scans[self._clock.due_row(row, stamps, len(playlist.scans))]
            elif not self._following:
                self._playing = False
                self._tell()

    def _show(self, wanted: ViewRequest) -> None:
        source = self._source
        try:
            view = self._views.get(wanted) or self._made(wanted)
        except Stopped:
            return
        except _UNREADABLE as error:
            why = error if source.path.exists() else f"{self.shown_name} {_GONE}"
            view, problem = None, f"{scan_name(wanted[0])} cannot be shown: {why}"
        check = None if view is None else self._checked(view)
        with self._changed:
            if source is not self._source:
                return  # another file was opened meanwhile
            self._shown = wanted
            if view is None:
                self._tell(problem)
                return
            self._keep(wanted, view)
            self._tell()
            self._updates = replace(self._updates, tomogram=view, quality=check)
            self._measuring.show(view, wanted)
        self._show_interferogram(wanted[0])

    def _checked(self, view: TomogramView) -> QualityView | None:
        try:
            return self._source.check(view)
        except _UNREADABLE:
            return None  # the file is being written: the tomogram is shown without it

    def _show_light(self, scan: int) -> None:
        try:
            light = self._source.light(scan)
        except _UNREADABLE:
            light = None  # its recording does not fit, or is being written
        with self._changed:
            self._light_of = scan
            self._updates = replace(self._updates, light=light)

    def _note_measuring(self) -> None:
        with self._changed:
            self._measured_news = True

    def _show_interferogram(self, scan: int) -> None:
        with self._changed:
            angle, self._angle_asked = self._angle, False
        try:
            frame = self._source.interferogram(scan, angle)
        except _UNREADABLE:
            return  # of a recording that was moved or is being written: the tomogram is shown
        with self._changed:
            self._updates = replace(self._updates, interferogram=frame)

    def _made(self, wanted: ViewRequest) -> TomogramView:
        with self._changed:
            self._tell(f"{self._called(wanted[0])}: {wanted[1]}")
        return self._source.view(wanted, self._stop)

    def _keep(self, wanted: ViewRequest, view: TomogramView) -> None:
        self._views[wanted] = view
        self._views.move_to_end(wanted)
        most = max(self._source.kept_bytes // (3 * view.raw.nbytes), 2)
        while len(self._views) > most:
            self._views.popitem(last=False)

    def _look(self) -> None:
        """Check whether the file has grown."""
        try:
            labels = self._source.position_labels()
        except _UNREADABLE:
            if not self._source.path.exists() and _GONE not in self._message:
                with self._changed:
                    self._tell(f"{self.shown_name} {_GONE}")
            return  # else it is being written; the display stays
        with self._changed:
            if labels and (labels != self._position_labels or _GONE in self._message):
                self._position_labels, self._kept_playlist = labels, None
                if self._position not in labels:
                    self._position = ""
                if self._following and not self._playing:
                    self._scan = self._playlist().scans[-1]
                if self._shown not in self._views:
                    self._shown = _NOTHING  # it could not be shown: try again
                self._tell()

    def _ask(self) -> None:
        """Wake the thread for a new request."""
        self._stop.set()
        self._changed.notify_all()

    def _tell(self, message: str = "") -> None:
        doing = "playing, " if self._playing else ""
        self._message = message or f"{doing}{self._called(self._scan)}"
        self._updates = replace(self._updates, state=self._state())

    def _called(self, scan: int) -> str:
        """Return the number of a scan, and its position if there are several."""
        playlist = self._playlist()
        where = f" at {playlist.position_of(scan)}" if playlist.positions else ""
        return f"{scan_name(scan)} of {len(self._position_labels)}{where}"

    def _state(self) -> InstrumentState:
        return InstrumentState(
            Phase.LIVE if self._playing else Phase.STOPPED,
            self._message,
            scans=len(self._position_labels),
            regularizer=self._method,
            regularizers=self._source.methods,
            constraint=self._constraint if self._source.constrained else "",
            microscope=self._source.path.name,
            measuring=self._measuring.state,
        )
