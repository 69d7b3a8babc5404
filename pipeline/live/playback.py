"""Plays a file back to the window: a tomogram file, or a recording that is reconstructed.

A thread reads or computes the requested scan; the window polls it like an instrument. Both kinds of
file may still be growing.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from acquisition.choices import REGULARIZERS, VOLUMES, check_regularizer
from acquisition.closing import Closing
from acquisition.errors import DataError, LiveTomoError, Stopped
from files import hdf5, recording, tomograms
from pipeline.live.refusals import RefusesInstrument
from pipeline.live.shown_frame import shown_angle, shown_frame
from pipeline.tomograms.job import settings_for
from pipeline.tomograms.torch_device import torch_device
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import (
    InstrumentState,
    InterferogramView,
    Phase,
    Playlist,
    TomogramView,
    Updates,
)
from pipeline.wire.tomogram_view import light_path, view_of, windowed
from reconstruction.reconstructor import Reconstruction, Reconstructor
from regularizer.constraint import Constrained, check_constraint
from regularizer.registry import regularizer

if TYPE_CHECKING:
    from acquisition.interferograms import InterferogramStack
    from regularizer.interface import Regularizer

__all__ = ["Playback", "open_playback"]

_RATE_HZ = 5.0  # of playing, if reading or computing keeps up
_LOOK_S = 2.0  # between checks whether the file has grown
_TICK_S = 0.05
_KEPT_BYTES = 2**29  # of cached volumes
_OF_RECORDING = "_tomograms"  # in the name of a file of tomograms made while recording


# a scan, a regularizer, a constraint on the sign of the contrast
ViewRequest = tuple[int, str, str]


class PlaybackSource(Protocol):
    """A file of scans."""

    path: Path

    constrained: bool  # whether a constraint on the sign of the contrast can be chosen

    @property
    def methods(self) -> tuple[str, ...]:
        """The volumes in the file now, or the regularizers for a recording."""

    def position_labels(self) -> tuple[str, ...]:
        """Return the label of the stage position of each scan in the file now."""

    def view(self, wanted: ViewRequest, stop: threading.Event) -> TomogramView:
        """Return the requested tomogram; raise Stopped soon after ``stop`` is set."""

    def interferogram(self, scan: int, angle: int | None) -> InterferogramView | None:
        """Return an interferogram of a scan as ``show_angle`` chose it; None if it has none."""


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

    def position_labels(self) -> tuple[str, ...]:
        self._series = tomograms.read_tomograms(self.path)
        return self._series.positions.scan_labels

    def view(self, wanted: ViewRequest, stop: threading.Event) -> TomogramView:
        scan, method, _ = wanted
        raw, found = self._series.raw(scan), self._series.regularized(method, scan)
        reference = found if method == "tv" else self._series.regularized("tv", scan)
        return TomogramView(
            raw=raw.index.numpy(),
            regularized=None if found is None else found.index.numpy(),
            total_variation=None if reference is None else reference.index.numpy(),
            method="none" if found is None else method,
            voxel_size_um=raw.voxel_size_um,
            medium_index=raw.optics.medium_index,
            sequence=scan,
            timestamp=raw.timestamp,
            latency_s=0.0,
            optics=raw.optics,
        )

    def interferogram(self, scan: int, angle: int | None) -> InterferogramView | None:
        """Return it from the recording that lies beside the file, NAME.h5 of NAME_tomograms.h5."""
        beside = self.path.with_name(self.path.name.replace(_OF_RECORDING, ""))
        if beside == self.path or not beside.is_file():
            return None
        recorded = next(recording.read_recording(beside).scans(int(self._series.scans[scan])))
        stack = recorded.stack
        return shown_frame(stack, shown_angle(stack, angle, scan), scan)


class _Recording:
    """The scans of a recording, each reconstructed and regularized on request."""

    constrained = True

    def __init__(self, path: Path, device: str | None) -> None:
        self.path = path
        self._recording = recording.read_recording(path)
        self._device = torch_device(device)
        self._planned: tuple[InterferogramStack, Reconstructor] | None = None
        self._regularizers: dict[str, Regularizer] = {}
        self._made: tuple[int, Reconstruction] | None = None
        self._stack: tuple[int, InterferogramStack] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(REGULARIZERS)

    def position_labels(self) -> tuple[str, ...]:
        # rereading the background is slow
        if self._recording.count_complete() != len(self._recording):
            self._recording = recording.read_recording(self.path)
        return self._recording.log().positions.scan_labels

    def view(self, wanted: ViewRequest, stop: threading.Event) -> TomogramView:
        scan, method, constraint = wanted
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
        assert self._planned is not None
        background, reconstructor = self._planned
        light = light_path(reconstructor.wave_vectors, background.illumination_k, made.report)
        return windowed(view_of(made, regularized, method, stages_s, warnings, light=light))

    def _reconstructed(self, scan: int) -> Reconstruction:
        """Return the reconstruction of a scan; the last one is kept for other regularizers."""
        if self._made is None or self._made[0] != scan:
            recorded = next(self._recording.scans(scan))
            if self._planned is None or self._planned[0] is not recorded.background:
                settings = settings_for(self._recording, {})
                made = Reconstructor(recorded.background, self._device, settings)
                self._planned = (recorded.background, made)
            self._made = (scan, self._planned[1](recorded.stack))
            self._stack = (scan, recorded.stack)
        return self._made[1]

    def interferogram(self, scan: int, angle: int | None) -> InterferogramView | None:
        """Return it from the recording."""
        if self._stack is None or self._stack[0] != scan:
            self._stack = (scan, next(self._recording.scans(scan)).stack)
        stack = self._stack[1]
        return shown_frame(stack, shown_angle(stack, angle, scan), scan)


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
    with hdf5.read_file(path) as file:
        kind = file.attrs.get("format")
    if kind not in (recording.FORMAT, tomograms.FORMAT):
        raise DataError(
            f"{path} must be a recording or a tomogram file of LiveTomo, got format {kind!r}: "
            "import interferograms of other programs with `launcher.py import`"
        )
    source = _Recording(path, device) if kind == recording.FORMAT else _Tomograms(path)
    if not source.position_labels():
        raise DataError(f"{path} must hold at least one finished scan, found none")
    return Playback(source, method if method in source.methods else source.methods[0])


class Playback(RefusesInstrument, Closing):
    """Plays a file to a window, which polls it like an instrument.

    Parameters
    ----------
    source : PlaybackSource
    method : str
        One of the methods of the source.
    """

    def __init__(self, source: PlaybackSource, method: str) -> None:
        self._source, self._method = source, method
        self._position_labels = source.position_labels()
        self._position = ""
        self._constraint: str = "auto"
        self._scan, self._shown = 0, (-1, "", "")
        self._playing = False
        self._message = "reading the first scan"
        self._updates = Updates(self._state())
        self._views: OrderedDict[ViewRequest, TomogramView] = OrderedDict()
        self._angle: int | None = None
        self._angle_asked = False
        self._changed = threading.Condition()
        self._stop = threading.Event()  # the running computation is no longer wanted
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self._thread.start()

    # --- called by the window ---

    def poll(self, timeout_ms: int = 0) -> Updates:
        """Return what is new since the last poll."""
        with self._changed:
            updates, self._updates = self._updates, Updates()
        return updates

    @property
    def playlist(self) -> Playlist:
        """The played scans and their stage positions."""
        with self._changed:
            return self._playlist()

    def seek(self, scan: int) -> None:
        """Show a scan, or the last one before it in the playlist; playing continues there."""
        with self._changed:
            playlist = self._playlist()
            self._scan = playlist.scans[playlist.row(scan)]
            self._ask()

    def select_position(self, position: str) -> None:
        """Play only the scans of one stage position; "": of all."""
        with self._changed:
            if position and position not in self._position_labels:
                raise PipelineError(
                    f"the position must be one with scans "
                    f"({', '.join(dict.fromkeys(self._position_labels))}), got {position!r}"
                )
            self._position = position
            playlist = self._playlist()
            self._scan = playlist.scans[playlist.row(self._scan)]
            self._tell()
            self._ask()

    def _playlist(self) -> Playlist:
        at = self._position
        scans = tuple(n for n, place in enumerate(self._position_labels) if place == at or not at)
        return Playlist(scans, self._position_labels, at)

    def start(self) -> None:
        """Play, from the beginning if the end was reached."""
        with self._changed:
            scans = self._playlist().scans
            if self._scan == scans[-1]:
                self._scan = scans[0]
            self._playing = True
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
                f"{self._source.path.name} has the volumes {', '.join(self._source.methods)}, "
                f"got {name!r}"
            )
        with self._changed:
            self._method = name
            self._ask()

    def set_constraint(self, name: str) -> None:
        """Regularize with this constraint on the sign of the contrast."""
        if not self._source.constrained:
            raise PipelineError(
                f"{self._source.path.name} is a tomogram file: a constraint is for recordings"
            )
        with self._changed:
            self._constraint = check_constraint(name)
            self._ask()

    def close(self) -> None:
        """End the thread; a running computation is stopped."""
        with self._changed:
            self._closed = True
            self._ask()
        self._thread.join()

    @property
    def shown_name(self) -> str:
        """Name of the file."""
        return self._source.path.name

    # --- the thread ---

    def _run(self) -> None:
        looked = shown = time.monotonic()
        while not self._closed:
            wanted, now = self._wanted(), time.monotonic()
            if self._angle_asked and self._shown[0] >= 0:
                self._show_interferogram(self._shown[0])
            if wanted is not None:
                self._show(wanted)
                shown = now
            elif self._playing and now - shown > 1 / _RATE_HZ:
                self._step()
            elif now - looked > _LOOK_S:
                self._look()
                looked = now
            else:
                self._rest()

    def _wanted(self) -> ViewRequest | None:
        """Return the wanted view if it is not displayed yet."""
        with self._changed:
            wanted = (self._scan, self._method, self._constraint)
            self._stop.clear()
            return None if wanted == self._shown else wanted

    def _rest(self) -> None:
        """Wait a moment, or until something is requested."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or self._angle_asked, _TICK_S)

    def _step(self) -> None:
        """Go to the next scan; pause at the last one."""
        with self._changed:
            playlist = self._playlist()
            following = playlist.row(self._scan) + 1
            if following < len(playlist.scans):
                self._scan = playlist.scans[following]
            else:
                self._playing = False
                self._tell()

    def _show(self, wanted: ViewRequest) -> None:
        try:
            view = self._views.get(wanted) or self._made(wanted)
        except Stopped:
            return
        except LiveTomoError as error:
            view, problem = None, f"scan {wanted[0] + 1} cannot be shown: {error}"
        with self._changed:
            self._shown = wanted
            if view is None:
                self._tell(problem)
                return
            self._keep(wanted, view)
            self._tell()
            self._updates = replace(self._updates, tomogram=view)
        self._show_interferogram(wanted[0])

    def _show_interferogram(self, scan: int) -> None:
        with self._changed:
            angle, self._angle_asked = self._angle, False
        try:
            frame = self._source.interferogram(scan, angle)
        except LiveTomoError:
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
        most = max(_KEPT_BYTES // (2 * view.raw.nbytes), 2)
        while len(self._views) > most:
            self._views.popitem(last=False)

    def _look(self) -> None:
        """Check whether the file has grown."""
        try:
            labels = self._source.position_labels()
        except LiveTomoError:
            return  # it is being written; the display stays
        with self._changed:
            if labels and labels != self._position_labels:
                self._position_labels = labels
                if self._position not in labels:
                    self._position = ""
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
        return f"scan {scan + 1} of {len(self._position_labels)}{where}"

    def _state(self) -> InstrumentState:
        return InstrumentState(
            Phase.LIVE if self._playing else Phase.STOPPED,
            self._message,
            scans=len(self._position_labels),
            regularizer=self._method,
            regularizers=self._source.methods,
            constraint=self._constraint if self._source.constrained else "",
            microscope=self._source.path.name,
        )
