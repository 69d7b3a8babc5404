"""What the window shows now, as far as it decides what a user can do; without Qt."""

from dataclasses import dataclass

from pipeline.wire.state import InstrumentState

__all__ = ["Situation"]


@dataclass(frozen=True, slots=True)
class Situation:
    """What the window shows now.

    Parameters
    ----------
    instrument : InstrumentState or None
        None: nothing has been heard of it yet.
    busy : bool
        A command to it has not been answered yet.
    file : bool
        A file is shown, not an instrument.
    tomogram : bool
        A tomogram is on display.
    channels : int
        Channels of fluorescence that it has.
    bench : bool
        The instrument was started by this program, on this machine.
    undoable, redoable : bool
        There is a former view to go back to, or one that was left by going back.
    """

    instrument: InstrumentState | None = None
    busy: bool = False
    file: bool = False
    tomogram: bool = False
    channels: int = 0
    bench: bool = False
    undoable: bool = False
    redoable: bool = False

    @property
    def recording(self) -> bool:
        """Whether a time-lapse is being recorded."""
        recording = self.instrument.recording if self.instrument is not None else None
        return recording is not None and recording.running
