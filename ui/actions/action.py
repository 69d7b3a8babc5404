"""One thing that a user can do, and what decides whether it can be done now; without Qt."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ui.actions.hindrances import nothing
from ui.actions.situation import Situation

if TYPE_CHECKING:
    from ui.window import Window

__all__ = ["STRIDE", "Action", "Situation"]

STRIDE = 10  # steps of a cursor key with Shift


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
    hindrance : callable
        Why it cannot be used in a Situation; "" where it can.
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
    hindrance: Callable[[Situation], str] = nothing
    checked: "Callable[[Window], bool] | None" = None
    strides: bool = False
    icon: str = ""
    where: str = ""

    def enabled(self, situation: Situation) -> bool:
        """Return whether it can be used in a situation."""
        return not self.hindrance(situation)

    def fits(self, *, file: bool) -> bool:
        """Return whether a window on a file, or on an instrument, has it."""
        return self.where in ("", "file" if file else "instrument")
