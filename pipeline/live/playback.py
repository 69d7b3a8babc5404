"""A file played back to the window: tomograms as they are, recordings as they are reconstructed.

A thread of its own reads or computes what is looked at; the window polls it like an
instrument. Both kinds of file may still be growing.
"""

import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from acquisition.choices import REGULARIZERS, VOLUMES, check_regularizer
from acquisition.closing import Closing
from acquisition.errors import DataError, LiveTomoError, Stopped
from files import hdf5, recording, tomograms
from pipeline.tomograms.job import settings_for
from pipeline.tomograms.torch_device import torch_device
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import Course, InstrumentState, News, Phase, RecordRequest, TomogramView
from pipeline.wire.tomogram_view import view_of, windowed
from reconstruction.reconstructor import Reconstruction, Reconstructor
from regularizer.constraint import Constrained, check_constraint
from regularizer.registry import regularizer

if TYPE_CHECKING:
    from regularizer.interface import Regularizer

__all__ = ["Playback", "open_playback"]

_RATE_HZ = 5.0  # of playing, where reading or computing is as fast
_LOOK_S = 2.0  # between looks at whether a file has grown
_TICK_S = 0.05
_KEPT_BYTES = 2**29  # of volumes that have been looked at


Wish = tuple[int, str, str]  # a scan, a regularizer, a constraint on the sign of the contrast


class Source(Protocol):
    """A file of scans."""

    path: Path

    constrained: bool  # whether a constraint on the sign of the contrast can be chosen

    @property
    def methods(self) -> tuple[str, ...]:
        """The volumes that the file has by now, or how a recording can be regularized."""

    def places(self) -> tuple[str, ...]:
        """Return what the stage position of each scan is called that there is by now."""

    def view(self, wish: Wish, stop: threading.Event) -> TomogramView:
        """Return the tomogram that is wished for; raise Stopped soon after ``stop`` is set."""


class _Tomograms:
    """The volumes of a tomogram file."""

    constrained = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._series = tomograms.read_tomograms(path)

    @property
    def methods(self) -> tuple[str, ...]:
        held = self._series.indices
        return tuple(name for name in VOLUMES if len(held.get(name, ()))) or ("none",)

    def places(self) -> tuple[str, ...]:
        self._series = tomograms.read_tomograms(self.path)
        return self._series.positions.each

    def view(self, wish: Wish, stop: threading.Event) -> TomogramView:
        scan, method, _ = wish
        raw, found = self._series.raw(scan), self._series.regularized(method, scan)
        return TomogramView(
            raw=raw.index.numpy(),
            regularized=None if found is None else found.index.numpy(),
            method="none" if found is None else method,
            voxel_size_um=raw.voxel_size_um,
            medium_index=raw.optics.medium_index,
            sequence=scan,
            timestamp=raw.timestamp,
            latency_s=0.0,
            optics=raw.optics,
        )


class _Recording:
    """The scans of a recording, each reconstructed and regularized when it is looked at."""

    constrained = True

    def __init__(self, path: Path, device: str | None) -> None:
        self.path = path
        self._recording = recording.read_recording(path)
        self._device = torch_device(device)
        self._planned: tuple[object, Reconstructor] | None = None
        self._regularizers: dict[str, Regularizer] = {}
        self._made: tuple[int, Reconstruction] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(REGULARIZERS)

    def places(self) -> tuple[str, ...]:
        if self._recording.finished() != len(self._recording):  # its background is long to read
            self._recording = recording.read_recording(self.path)
        return self._recording.log().positions.each

    def view(self, wish: Wish, stop: threading.Event) -> TomogramView:
        scan, method, constraint = wish
        begin = time.perf_counter()
        made = self._reconstructed(scan)
        middle = time.perf_counter()
        regularized = None
        if method != "none":
            if method not in self._regularizers:
                self._regularizers[method] = regularizer(method, self._device)
            regularize = self._regularizers[method]
            if isinstance(regularize, Constrained):
                regularize.requested = check_constraint(constraint)
            regularized = regularize(made.tomogram, made.spectrum, stop=stop)
        stages_s = {
            "reconstruction": middle - begin,
            "regularization": time.perf_counter() - middle,
        }
        warnings = (*made.report.warnings, *(regularized.warnings if regularized else ()))
        return windowed(view_of(made, regularized, method, stages_s, warnings))

    def _reconstructed(self, scan: int) -> Reconstruction:
        """Return the raw tomogram; the last one is kept for another regularizer."""
        if self._made is None or self._made[0] != scan:
            recorded = next(self._recording.scans(scan))
            if self._planned is None or self._planned[0] is not recorded.background:
                settings = settings_for(self._recording, {})
                made = Reconstructor(recorded.background, self._device, settings)
                self._planned = (recorded.background, made)
            self._made = (scan, self._planned[1](recorded.stack))
        return self._made[1]


def open_playback(path: Path, method: str = "deep", device: str | None = None) -> "Playback":
    """Open a recording or a tomogram file.

    Parameters
    ----------
    path : Path
    method : str
        Which volume is shown first, or how a recording is regularized.
    device : str or None
        Where a recording is reconstructed; None: the best there is.

    Raises
    ------
    DataError
        If it is neither, or has no scan.
    """
    check_regularizer(method)
    with hdf5.read_file(path) as file:
        kind = file.attrs.get("format")
    if kind not in (recording.FORMAT, tomograms.FORMAT):
        raise DataError(
            f"{path} must be a recording or a tomogram file of LiveTomo, its format is {kind!r}: "
            "import turns interferograms of other programs into a recording"
        )
    source = _Recording(path, device) if kind == recording.FORMAT else _Tomograms(path)
    if not source.places():
        raise DataError(f"{path} must hold at least one finished scan, found none")
    return Playback(source, method if method in source.methods else source.methods[0])


class Playback(Closing):
    """Plays a file to a window, which polls it as an instrument.

    Parameters
    ----------
    source : Source
    method : str
        One of the source's.
    """

    def __init__(self, source: Source, method: str) -> None:
        self._source, self._method = source, method
        self._places = source.places()
        self._position = ""
        self._constraint: str = "auto"
        self._scan, self._shown = 0, (-1, "", "")
        self._playing = False
        self._message = "reading the first scan"
        self._news = News(self._state())
        self._views: OrderedDict[Wish, TomogramView] = OrderedDict()
        self._changed = threading.Condition()
        self._stop = threading.Event()  # what is being computed is no longer wanted
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self._thread.start()

    # --- what the window asks for ---

    def poll(self, timeout_ms: int = 0) -> News:
        """Return what is new since the last poll."""
        with self._changed:
            news, self._news = self._news, News()
        return news

    @property
    def course(self) -> Course:
        """The scans that are played, and where they were taken."""
        with self._changed:
            return self._course()

    def seek(self, scan: int) -> None:
        """Show a scan, or the last one before it that is played; playing goes on from there."""
        with self._changed:
            course = self._course()
            self._scan = course.scans[course.row(scan)]
            self._ask()

    def look_at(self, position: str) -> None:
        """Play the scans of one stage position only; of all where the name is empty."""
        with self._changed:
            if position and position not in self._places:
                raise PipelineError(
                    f"{self._source.path.name} has scans at "
                    f"{', '.join(dict.fromkeys(self._places))}, got {position!r}"
                )
            self._position = position
            course = self._course()
            self._scan = course.scans[course.row(self._scan)]
            self._tell()
            self._ask()

    def _course(self) -> Course:
        at = self._position
        scans = tuple(n for n, place in enumerate(self._places) if place == at or not at)
        return Course(scans, self._places, at)

    def start(self) -> None:
        """Play on, from the beginning where the end was reached."""
        with self._changed:
            scans = self._course().scans
            if self._scan == scans[-1]:
                self._scan = scans[0]
            self._playing = True
            self._ask()

    def stop(self) -> None:
        """Stay at the scan on display."""
        with self._changed:
            self._playing = False
            self._tell()

    def set_regularizer(self, name: str) -> None:
        """Show another volume of the file, or regularize in another way."""
        if name not in self._source.methods:
            raise PipelineError(
                f"{self._source.path.name} has volumes by {', '.join(self._source.methods)}, "
                f"got {name!r}"
            )
        with self._changed:
            self._method = name
            self._ask()

    def set_constraint(self, name: str) -> None:
        """Regularize with this constraint on the sign of the contrast."""
        if not self._source.constrained:
            raise PipelineError(
                f"{self._source.path.name} has finished volumes: a constraint is for recordings"
            )
        with self._changed:
            self._constraint = check_constraint(name)
            self._ask()

    def retake_background(self) -> None:
        """Refuse: nothing is measured."""
        raise self._refused()

    def record(self, request: RecordRequest) -> None:
        """Refuse: nothing is measured."""
        raise self._refused()

    def pause_recording(self) -> None:
        """Refuse: nothing is measured."""
        raise self._refused()

    def continue_recording(self) -> None:
        """Refuse: nothing is measured."""
        raise self._refused()

    def finish_recording(self) -> None:
        """Refuse: nothing is measured."""
        raise self._refused()

    def close(self) -> None:
        """End the thread, soon also where it computes."""
        with self._changed:
            self._closed = True
            self._ask()
        self._thread.join()

    def _refused(self) -> PipelineError:
        return PipelineError(f"{self._source.path.name} is a file: `live` opens an instrument")

    # --- the thread ---

    def _run(self) -> None:
        looked = shown = time.monotonic()
        while not self._closed:
            wish, now = self._wish(), time.monotonic()
            if wish is not None:
                self._show(wish)
                shown = now
            elif self._playing and now - shown > 1 / _RATE_HZ:
                self._step()
            elif now - looked > _LOOK_S:
                self._look()
                looked = now
            else:
                self._rest()

    def _wish(self) -> Wish | None:
        """Return what is to be shown and is not."""
        with self._changed:
            wish = (self._scan, self._method, self._constraint)
            self._stop.clear()
            return None if wish == self._shown else wish

    def _rest(self) -> None:
        """Wait a moment, unless something is asked for."""
        with self._changed:
            self._changed.wait_for(self._stop.is_set, _TICK_S)

    def _step(self) -> None:
        """Go on to the next scan; stay at the last one."""
        with self._changed:
            course = self._course()
            following = course.row(self._scan) + 1
            if following < len(course.scans):
                self._scan = course.scans[following]
            else:
                self._playing = False
                self._tell()

    def _show(self, wish: Wish) -> None:
        try:
            view = self._views.get(wish) or self._made(wish)
        except Stopped:
            return
        except LiveTomoError as error:
            view, problem = None, f"scan {wish[0] + 1} cannot be shown: {error}"
        with self._changed:
            self._shown = wish
            if view is None:
                self._tell(problem)
                return
            self._keep(wish, view)
            self._tell()
            self._news = News(self._news.state, tomogram=view)

    def _made(self, wish: Wish) -> TomogramView:
        with self._changed:
            self._tell(f"{self._called(wish[0])}: {wish[1]}")
        return self._source.view(wish, self._stop)

    def _keep(self, wish: Wish, view: TomogramView) -> None:
        self._views[wish] = view
        self._views.move_to_end(wish)
        most = max(_KEPT_BYTES // (2 * view.raw.nbytes), 2)
        while len(self._views) > most:
            self._views.popitem(last=False)

    def _look(self) -> None:
        """See whether the file has grown."""
        try:
            places = self._source.places()
        except LiveTomoError:
            return  # its writer is at it; what is there stays on display
        with self._changed:
            if places and places != self._places:
                self._places = places
                if self._position not in places:
                    self._position = ""
                self._tell()

    def _ask(self) -> None:
        """Have the thread look at what is wanted now."""
        self._stop.set()
        self._changed.notify_all()

    def _tell(self, message: str = "") -> None:
        doing = "playing, " if self._playing else ""
        self._message = message or f"{doing}{self._called(self._scan)}"
        self._news = News(self._state(), tomogram=self._news.tomogram)

    def _called(self, scan: int) -> str:
        """Return which scan it is, and where it was taken if not all were in one place."""
        course = self._course()
        where = f" at {course.place(scan)}" if course.positions else ""
        return f"scan {scan + 1} of {len(self._places)}{where}"

    def _state(self) -> InstrumentState:
        return InstrumentState(
            Phase.LIVE if self._playing else Phase.STOPPED,
            self._message,
            scans=len(self._places),
            regularizer=self._method,
            regularizers=self._source.methods,
            constraint=self._constraint if self._source.constrained else "",
            microscope=self._source.path.name,
        )
