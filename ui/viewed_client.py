"""What the window needs of an instrument: anything with these methods can be viewed."""

from typing import Protocol

from pipeline.wire.state import Playlist, RecordRequest, Updates

__all__ = ["Client", "Timeline"]


class Client(Protocol):
    """A live instrument, or a file played back.

    ``poll`` runs on the window's thread and must not wait. The commands run on one worker thread,
    one after the other; they raise LiveTomoError on refusal or after their time limit.
    """

    def poll(self, timeout_ms: int = 0) -> Updates:
        """Return the newest of each kind since the last poll."""

    def start(self) -> None:
        """Start live imaging."""

    def stop(self) -> None:
        """Stop live imaging; the last tomogram stays."""

    def set_regularizer(self, name: str) -> None:
        """Regularize the next scans with the method ``name``."""

    def set_constraint(self, name: str) -> None:
        """Regularize the next scans with this constraint on the sign of the contrast."""

    def retake_background(self) -> None:
        """Record the empty field again."""

    def record(self, request: RecordRequest) -> None:
        """Record a time-lapse while live imaging goes on."""

    def pause_recording(self) -> None:
        """Take no more scans for the time-lapse, until it is told to go on."""

    def continue_recording(self) -> None:
        """Go on with the time-lapse that was paused."""

    def finish_recording(self) -> None:
        """End the time-lapse after the scan that runs."""


class Timeline(Protocol):
    """A client that plays a file: ``start`` and ``stop`` are play and pause."""

    @property
    def playlist(self) -> Playlist:
        """The scans that are played, and where they were taken."""

    def seek(self, scan: int) -> None:
        """Show that scan; does not wait, and may be called from the window's thread."""

    def select_position(self, position: str) -> None:
        """Play the scans of one stage position only; of all where the name is empty."""
