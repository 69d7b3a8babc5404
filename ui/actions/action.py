"""One thing that a user can do, and what decides whether it can be done now; without Qt."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.wire.state import InstrumentState, Phase

if TYPE_CHECKING:
    from ui.window import Window

__all__ = ["STRIDE", "Action", "Situation", "always"]

_RESTING = (Phase.IDLE, Phase.STOPPED)
STRIDE = 10  # steps of a cursor key with Shift


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
    def answers(self) -> bool:
        """Whether the instrument or the file takes a command now."""
        return self.instrument is not None and not self.busy

    @property
    def live(self) -> bool:
        """Whether an instrument takes a command now."""
        return self.answers and not self.file

    @property
    def keeps(self) -> bool:
        """Whether an object can be kept in the middle: there are stages."""
        return self.live and self.instrument is not None and self.instrument.drift.possible

    @property
    def recording(self) -> bool:
        """Whether a time-lapse is being recorded."""
        recording = self.instrument.recording if self.instrument is not None else None
        return recording is not None and recording.running

    @property
    def releasable(self) -> bool:
        """Whether the microscope can be released to another program now."""
        return self.live and self.bench and not self.recording

    @property
    def rests(self) -> bool:
        """Whether an instrument takes a command now and no scan is being taken."""
        state = self.instrument
        return self.live and not self.recording and state is not None and state.phase in _RESTING

    @property
    def snapped(self) -> bool:
        """Whether there is a snap that can be saved."""
        return self.instrument is not None and not self.file and self.instrument.snapped is not None

    @property
    def movable(self) -> bool:
        """Whether there is a stage that may be moved now."""
        state = self.instrument
        return self.live and not self.recording and state is not None and state.stage is not None


def always(situation: Situation) -> bool:
    """Return True: the action needs nothing."""
    return True


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a user can do in the window.

    Parameters
    ----------
    name : str
        Its name in the code.
    title : str
        Its words on a button, in a menu and in the search.
    help : str
        What it does, as one sentence: its tooltip, and its line in the help.
    group : str
        The menu that it is in.
    does : callable
        Called with the window and the number of steps, 1 or STRIDE.
    keys : tuple of str
        Key sequences, in Qt's words; the first one is shown.
    enabled : callable
        Whether it can be used in a Situation.
    checked : callable or None
        Whether the switch is on, for a window; None: it is not a switch.
    strides : bool
        With Shift its keys make STRIDE steps.
    icon : str
        Name of its icon in ui/actions/icons.py; "": none.
    where : str
        "" everywhere, or only with an "instrument" or a "file".
    """

    name: str
    title: str
    help: str
    group: str
    does: "Callable[[Window, int], object]"
    keys: tuple[str, ...] = ()
    enabled: Callable[[Situation], bool] = always
    checked: "Callable[[Window], bool] | None" = None
    strides: bool = False
    icon: str = ""
    where: str = ""

    def fits(self, *, file: bool) -> bool:
        """Return whether a window on a file, or on an instrument, has it."""
        return self.where in ("", "file" if file else "instrument")
