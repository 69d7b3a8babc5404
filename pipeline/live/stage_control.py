"""What clients may do with the stage in the acquirer: ask where it is, and move it.

It is asked on the thread of the command server: the core serves several threads, and the answer
takes as long as the device. It is moved by the thread that scans, between two scans. That thread
also asks where the view of a scan is, so that places in its tomogram become places in the sample.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from acquisition.configuration.sections import StageSection
from acquisition.errors import DataError, DeviceError
from acquisition.scanning.stage import Stage
from acquisition.scanning.view_axes import Xyz, in_view
from pipeline.wire.places import StagePlace, StageState
from pipeline.wire.sockets import PipelineError

__all__ = ["StageControl"]

_PLACE = TypeAdapter(StagePlace)


class StageControl:
    """The stage of the open microscope, if there is one."""

    def __init__(self) -> None:
        self._stage: Stage | None = None
        self._wanted: StagePlace | None = None
        self._state: StageState | None = None
        self._lock = threading.Lock()  # two threads write the state
        self._section = StageSection()
        self._home: Sequence[float] = ()
        self._correction_um: Xyz = (0.0, 0.0, 0.0)
        self.last_um: Xyz = (math.nan, math.nan, math.nan)  # of the stage, at the last scan
        self._mute = False  # it did not say where it is, which costs its time limit

    def open(self, stage: Stage, section: StageSection) -> None:
        """Use the stage of a microscope that was just opened, and its directions."""
        home = stage.position_um()
        place = _place(home)
        if place != StagePlace():
            self._section, self._home = section, home
            self._stage, self._state = stage, StageState(place)

    @property
    def state(self) -> StageState | None:
        """What is known of the stage; None if there is none, or it is not known yet."""
        return self._state

    # ---- Called by the command server ----

    def where(self) -> str:
        """Return where the stage is now, as the JSON of a StagePlace."""
        stage, _ = self._there("where")
        place = _place(stage.position_um())
        with self._lock:
            self._state = replace(self._there("where")[1], place=place)
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

    # ---- Done by the thread that scans ----

    def correction_um(self) -> Xyz:
        """Return how far the view has been moved since the start, (x, y, z) in the tomogram's axes.

        A stage that does not answer is taken to be where it was, and not asked again before the
        next move.
        """
        if self._stage is not None and not self._mute:
            try:
                here = self._stage.position_um()
            except DeviceError:
                self._mute = True
            else:
                self.last_um = here
                way = [at - home for at, home in zip(here, self._home, strict=True)]
                self._correction_um = in_view(self._section, way)
        return self._correction_um

    def carry_out(self) -> bool:
        """Make the requested move; return whether there was one. The state says how it ended."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is None or self._stage is None:
            return False
        problem, self._mute = "", False
        try:
            self._stage.move_to(wanted.x_um, wanted.y_um, wanted.z_um)
            place = _place(self._stage.position_um())
        except DeviceError as error:  # the user sees it and decides; scans go on
            problem, place = str(error), self._state.place if self._state else StagePlace()
        with self._lock:
            self._state = StageState(place, moving=self._wanted is not None, problem=problem)
        return True


def _place(position_um: Sequence[float]) -> StagePlace:
    x, y, z = (None if math.isnan(um) else um for um in position_um)
    return StagePlace(x, y, z)
