"""Keeping the object in the middle while the instrument runs: the switch, and live scans.

A time-lapse corrects the stages between its own scans (``pipeline.timelapse.object_keeper``). While
there is none, some of the live scans are looked at: looking takes about as long as a few scans, so
it may take at most a tenth of the time. Each position that the stage is sent to by name has an
object and an offset of its own, to which it comes back.
"""

import time

from acquisition.errors import DeviceError
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from pipeline.timelapse.object_keeper import ObjectKeeper, can_move
from pipeline.wire.sockets import PipelineError
from pipeline.wire.state import DriftState

__all__ = ["LiveCentring"]

_SHARE = 0.1  # of the time that looking may take


class LiveCentring:
    """The switch of a running microscope; its object is kept in the middle of live scans.

    Parameters
    ----------
    on : bool
        Whether it is on from the start.
    """

    def __init__(self, on: bool) -> None:
        self._microscope: Microscope | None = None
        self._keeper: ObjectKeeper | None = None
        self._numbers = {"": 0}  # of the positions that the keeper knows
        self._position = 0
        self._wanted = on
        self._next_look_s = 0.0
        self._failed = ""

    def open(self, microscope: Microscope) -> None:
        """Take the stages of a microscope."""
        if any(can_move(microscope)):
            self._microscope = microscope

    @property
    def possible(self) -> bool:
        """Whether there is a stage or a focus drive."""
        return self._microscope is not None

    @property
    def on(self) -> bool:
        """Whether objects are kept in the middle."""
        return self._wanted and self.possible

    def switch(self, argument: str) -> str:
        """Switch "on" or "off"; return the answer.

        Raises
        ------
        PipelineError
            If it is neither, or there is no stage.
        """
        if argument not in ("on", "off"):
            raise PipelineError(f'keep: must be "on" or "off", got {argument!r}')
        if argument == "on" and not self.possible:
            raise PipelineError(
                "keep: an object is kept in the middle by a sample stage or a focus drive, and "
                "this microscope has neither: name them in [stage]"
            )
        self._wanted = argument == "on"
        self.forget()
        return "the object is kept in the middle" if self._wanted else "the stages stay"

    def after_scan(self, scan: InterferogramStack, background: InterferogramStack | None) -> None:
        """Look at a live scan if it is time to, and move the stages; raises nothing."""
        microscope, begin_s = self._microscope, time.monotonic()
        if not self.on or microscope is None or background is None or begin_s < self._next_look_s:
            return
        keeper = self._keeper or ObjectKeeper(microscope)
        keeper.on, self._keeper = True, keeper
        keeper.look(self._position, scan, background)
        self._correct(keeper)
        now_s = time.monotonic()
        self._next_look_s = now_s + (now_s - begin_s) * (1 / _SHARE - 1)

    def _correct(self, keeper: ObjectKeeper) -> None:
        try:
            keeper.go_to(self._position, (None, None, None))
            self._failed = ""
        except DeviceError as error:
            self._failed = f"not corrected: {error}"

    def enter(self, position: str) -> None:
        """Go on at the position that the stages were just sent to.

        Parameters
        ----------
        position : str
            Its name; the stages go on to where its object was seen last. "": no position by name,
            so that the object nearest to the middle is taken.
        """
        self._position = self._numbers.setdefault(position, len(self._numbers))
        self._next_look_s = 0.0  # at the first scan there
        keeper = self._keeper
        if keeper is None:
            return
        keeper.sent()
        if not position:
            keeper.leave(self._position)
        elif self.on:
            self._correct(keeper)

    def forget(self) -> None:
        """Take the object nearest to the middle from the next live scan on, at all positions."""
        self._keeper, self._failed = None, ""

    def state(self, recorded: str | None) -> DriftState:
        """Return the state; ``recorded`` is the status of the time-lapse that runs, if one does."""
        if recorded is None:
            recorded = self._failed or ("" if self._keeper is None else self._keeper.status)
        return DriftState(self.possible, self.on, recorded if self.on else "")
