"""The protocols of a client that the window can show."""

import threading
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.wire.file_state import CheckedScan, PlaySpeed
from pipeline.wire.places import SnapRequest, StagePlace
from pipeline.wire.state import (
    ForecastRequest,
    MeasuringRequest,
    Playlist,
    RecordingForecast,
    RecordRequest,
    TomogramView,
    Updates,
)

__all__ = ["TimePoints", "Timeline", "ViewedClient"]


class TimePoints(Protocol):
    """Reads the tomograms of a file, in one thread."""

    def view(self, wanted: tuple[int, str, str], stop: threading.Event) -> TomogramView:
        """Return a scan (its number, the method, the constraint); raise Stopped after ``stop``."""


class ViewedClient(Protocol):
    """A live instrument, or a file played back.

    ``poll`` runs on the thread of the window and must not block. The commands run one at a time on
    a worker thread; they raise LiveTomoError if refused or after their time limit.
    """

    def poll(self, timeout_ms: int = 0) -> Updates:
        """Return the newest of each kind since the last poll."""

    def start(self) -> None:
        """Start live imaging."""

    def stop(self) -> None:
        """Stop live imaging; the last tomogram stays."""

    def show_angle(self, angle: int | None) -> None:
        """Show the interferograms of this angle; CYCLE: of each in turn; None: the normal one."""

    def set_regularizer(self, name: str) -> None:
        """Regularize the next scans with the method ``name``."""

    def set_constraint(self, name: str) -> None:
        """Regularize the next scans with this constraint on the sign of the contrast."""

    def set_measuring(self, request: MeasuringRequest) -> None:
        """Measure the objects of live tomograms from now on, or do not."""

    def keep_in_middle(self, on: bool) -> None:
        """Keep the object in the middle of the field and in focus from now on, or do not."""

    def retake_background(self) -> None:
        """Retake the background."""

    def snap(self) -> None:
        """Take one scan and make its tomogram, while live imaging is stopped."""

    def save_snap(self, request: SnapRequest) -> None:
        """Write the last snap as a recording; may be called beside other commands."""

    def stage_place(self) -> StagePlace:
        """Return where the stage is now."""

    def move_stage(self, place: StagePlace) -> None:
        """Move the stage before the next scan; the state says when it is there."""

    def forecast(self, request: ForecastRequest) -> RecordingForecast:
        """Return what a time-lapse would take, and what is wrong with it."""

    def record(self, request: RecordRequest) -> None:
        """Record a time-lapse while live imaging goes on."""

    def pause_recording(self) -> None:
        """Pause the time-lapse."""

    def continue_recording(self) -> None:
        """Continue the paused time-lapse."""

    def finish_recording(self) -> None:
        """End the time-lapse after the current scan."""


class Timeline(Protocol):
    """A client that plays a file: ``start`` and ``stop`` are play and pause."""

    @property
    def playlist(self) -> Playlist:
        """The played scans and their stage positions."""

    @property
    def tomogram_file(self) -> Path | None:
        """The file, if it holds tomograms; None if they are computed from a recording."""

    def reader(self) -> TimePoints:
        """Open the file once more, for another thread: what it reads does not change the view."""

    @property
    def path(self) -> Path:
        """The file that is shown."""

    @property
    def checks(self) -> tuple[CheckedScan, ...]:
        """The comparisons with total variation that the file holds."""

    @property
    def speed(self) -> PlaySpeed:
        """How fast the file is played."""

    @property
    def following(self) -> bool:
        """Whether the newest scan is shown as the file grows."""

    def open(self, path: Path) -> None:
        """Show another file in place of this one."""

    def set_speed(self, speed: PlaySpeed) -> None:
        """Play as fast as that; refused where the file does not know its times."""

    def follow(self, on: bool) -> None:
        """Show the newest scan as the file grows, or stay; returns at once."""

    def want_thumbnails(self, scans: tuple[int, ...]) -> None:
        """Make small pictures of these scans in the background; returns at once."""

    def take_thumbnails(self) -> dict[int, NDArray[np.float32]]:
        """Return the small pictures (y, x) made since the last call, by scan."""

    def want_light(self, wanted: bool) -> None:
        """Compute the light of the displayed scans, or not; returns at once."""

    def measure_all(self, wanted: bool) -> None:
        """Measure all scans in the background, or no more than are displayed; returns at once."""

    def seek(self, scan: int) -> None:
        """Show a scan; returns at once."""

    def select_position(self, position: str) -> None:
        """Play only the scans of one stage position; "": of all."""
