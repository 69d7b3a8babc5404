"""What clients may do with the stage in the acquirer: ask where it is, and move it.

It is asked on the thread of the command server: the core serves several threads, and the answer
takes as long as the device. It is moved by the thread that scans, between two scans. That thread
also asks where the view of a scan is, so that places in its tomogram become places in the sample.
Each stage position has an origin of its own there: where its visits are to go, or where its first
scan was taken.

A stage that does not answer costs its time limit each time. So scans ask it no more, and a thread
of its own does, at growing intervals, until it answers.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from acquisition.configuration.sections import StageSection
from acquisition.errors import DataError, DeviceError
from acquisition.scanning.stage import Stage
from acquisition.scanning.view_axes import Xyz, in_view
from pipeline.wire.places import StagePlace, StageState, ViewPlace
from pipeline.wire.sockets import PipelineError

__all__ = ["StageControl"]

_PLACE = TypeAdapter(StagePlace)
_UNKNOWN: Xyz = (math.nan, math.nan, math.nan)
_FIRST_WAIT_S = 2.0  # until a stage that fell silent is asked again; twice as long each time
_LONGEST_WAIT_S = 60.0


class StageControl:
    """The stage of the open microscope, if there is one.

    Attributes
    ----------
    position : str
        Label of the position that the stage is at; "" where it has none.
    last_um : (x, y, z)
        Of the stage at the last scan; nan where it did not say.
    """

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._wanted: StagePlace | None = None
        self._state: StageState | None = None
        self._lock = threading.Lock()  # several threads write the state
        self._section = StageSection()
        self.position = ""
        self._homes: dict[str, Xyz] = {}  # of the stage, where each position began
        self._correction_um: Xyz = (0.0, 0.0, 0.0)
        self.last_um = _UNKNOWN
        self._closed = threading.Event()
        self._asks, self._thread = False, threading.Thread()
        self._wait_s, self._answered_s = _FIRST_WAIT_S, -math.inf

    def open(self, stage: Stage, section: StageSection) -> None:
        """Use the stage of a microscope that was just opened, and its directions."""
        home = stage.position_um()
        place = _place(home)
        if place != StagePlace():
            self._section, self._homes = section, {"": home}
            self._stage, self._state = stage, StageState(place)

    def close(self) -> None:
        """Ask no more; call this before the microscope is closed."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def state(self) -> StageState | None:
        """What is known of the stage; None if there is none, or it is not known yet."""
        return self._state

    @property
    def silent(self) -> bool:
        """Whether it did not answer when it was asked last."""
        state = self._state
        return state is not None and state.silent_since_s is not None

    # ---- Called by the command server ----

    def where(self) -> str:
        """Return where the stage is now, as the JSON of a StagePlace."""
        stage, _ = self._there("where")
        place = _place(stage.position_um())
        self._note(place)
        return _PLACE.dump_json(place).decode()

    def request(self, text: str) -> str:
        """Accept a StagePlace in JSON to move to, before the next scan.

        Raises
        ------
        LiveTomoError
            If an axis is not there, or a coordinate is no number.
        """
        stage, state = self._there("move")
        try:
            wanted = _PLACE.validate_json(text)
        except ValidationError as error:
            raise DataError(f"move: {error.errors()[0]['msg']}") from error
        axes = (wanted.x_um, wanted.y_um, wanted.z_um)
        if axes == (None, None, None) or not all(
            math.isfinite(um) for um in axes if um is not None
        ):
            raise DataError(f"move: must have at least one finite coordinate, got {axes}")
        try:
            stage.require(sideways=axes[:2] != (None, None), focus=wanted.z_um is not None)
        except DeviceError as error:
            raise PipelineError(f"move: {error}") from error
        with self._lock:
            self._wanted, self._state = wanted, replace(state, moving=True, problem="")
        return f"moving to {wanted.text}"

    def _there(self, command: str) -> tuple[Stage, StageState]:
        if self._stage is None or self._state is None:
            raise PipelineError(
                f"{command}: the microscope is still starting, or has no stage: name it in [stage] "
                "of microscope.toml"
            )
        return self._stage, self._state

    def _note(self, place: StagePlace, **more: bool | str) -> None:
        """Take note of an answer of the stage."""
        with self._lock:
            if self._state is not None:
                answers: dict[str, Any] = {"silent_since_s": None, "silence": "", **more}
                self._state = replace(self._state, place=place, position=self.position, **answers)

    # ---- Done by the thread that scans ----

    def enter(self, position: str, home: Xyz | None) -> None:
        """Take the stage to be at a position from now on.

        Parameters
        ----------
        position : str
        home : (x, y, z) or None
            Of the stage, where the position began; None: where it is at the next scan.
        """
        self._begin(position)
        if home is None:
            self._homes.pop(position, None)
        else:
            self._homes[position] = home

    def _begin(self, position: str) -> None:
        if position == self.position:
            return
        self.position, self._correction_um = position, (0.0, 0.0, 0.0)
        with self._lock:
            if self._state is not None:
                self._state = replace(self._state, position=position)

    def locate(self) -> ViewPlace:
        """Return the position, and how far the view has been moved from where that began.

        A stage that does not answer is taken to be where it was.
        """
        stage = self._stage
        if stage is not None and not self.silent:
            try:
                here = stage.position_um()
            except DeviceError as error:
                self._fall_silent(stage, str(error))
            else:
                self._note(_place(here))
                self.last_um = here
                home = self._homes.setdefault(self.position, here)
                way = [at - began for at, began in zip(here, home, strict=True)]
                self._correction_um = in_view(self._section, way)
        return ViewPlace(self.position, self._correction_um)

    def carry_out(self) -> bool:
        """Make the requested move; return whether there was one. The state says how it ended."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is None or self._stage is None:
            return False
        try:
            self._stage.move_to(wanted.x_um, wanted.y_um, wanted.z_um)
            here = self._stage.position_um()
        except DeviceError as error:  # the user sees it and decides; scans go on
            self._begin("")  # it may have gone a part of the way
            with self._lock:
                assert self._state is not None
                moving = self._wanted is not None
                self._state = replace(self._state, moving=moving, problem=str(error))
            return True
        self._arrive(wanted, here)
        return True

    def _arrive(self, wanted: StagePlace, here: Xyz) -> None:
        """Begin, or go on, with the position that the stage was sent to."""
        self._begin(wanted.name)
        if wanted.name:
            known = self._homes.get(wanted.name, here)
            x, y, z = (
                began if um is None else um
                for um, began in zip((wanted.x_um, wanted.y_um, wanted.z_um), known, strict=True)
            )
            self._homes[wanted.name] = (x, y, z)
        self._note(_place(here), moving=self._wanted is not None, problem="")

    # ---- A stage that does not answer ----

    def _fall_silent(self, stage: Stage, why: str) -> None:
        """Say since when it is silent, and have it asked again beside the scans."""
        self.last_um = _UNKNOWN
        with self._lock:
            assert self._state is not None
            self._state = replace(self._state, silent_since_s=time.time(), silence=why)
            if self._asks:
                return  # it has just heard an answer, and will see that there is none again
            self._asks = True
        if time.monotonic() - self._answered_s > _LONGEST_WAIT_S:
            self._wait_s = _FIRST_WAIT_S  # else it comes and goes, and each time costs a scan
        self._thread = threading.Thread(
            target=self._ask_again, args=(stage,), name="silent stage", daemon=True
        )
        self._thread.start()

    def _ask_again(self, stage: Stage) -> None:
        while not self._closed.wait(self._wait_s):
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
            try:
                place = _place(stage.position_um())
            except DeviceError:
                continue  # the state says since when, and goes on saying it
            self._answered_s = time.monotonic()
            self._note(place)
            with self._lock:
                if not self.silent:
                    self._asks = False
                    return


def _place(position_um: Sequence[float]) -> StagePlace:
    x, y, z = (None if math.isnan(um) else um for um in position_um)
    return StagePlace(x, y, z)
