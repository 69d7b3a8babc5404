"""Keeps an object in the middle of the field and in focus, from scan to scan, with the stages.

After a scan the object is looked for in its tomogram, and before the next one at this position the
stages go where they bring it back. Nothing here ends a time-lapse: an object that is not found, a
scan that cannot be reconstructed and a stage that does not move are said and kept with the scan,
and the next scan is taken where the stages are. torch is loaded with the first look only.
"""

import math
from typing import TYPE_CHECKING

from acquisition.errors import DeviceError, LiveTomoError
from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from acquisition.scanning.view_axes import in_view, on_stage
from files.drift_log import SeenObject
from measuring.sighting import Sighting
from pipeline.timelapse.drift_control import DriftControl, Xyz

if TYPE_CHECKING:
    from pipeline.timelapse.object_look import ObjectLook

__all__ = ["ObjectKeeper", "can_move"]

Target = tuple[float | None, float | None, float | None]

_ORIGIN: Xyz = (0.0, 0.0, 0.0)
_SHORTEST_UM = 1e-6  # shorter moves are rounding


def can_move(microscope: Microscope) -> tuple[bool, bool, bool]:
    """Return whether the field of view can be moved along x, y and z."""
    core = microscope.core
    sideways = bool(core.getXYStageDevice())
    return sideways, sideways, bool(core.getFocusDevice())


class ObjectKeeper:
    """Looks for the object of each stage position, and moves the stages.

    Parameters
    ----------
    microscope : Microscope

    Attributes
    ----------
    on : bool
        Whether objects are kept in the middle; may be changed between scans. While it is off the
        stages stay as far from the planned places as they are.
    status, problem : str
        What was last seen and done; why the object is not in the middle, "" if nothing hinders.
    """

    def __init__(self, microscope: Microscope) -> None:
        self._microscope = microscope
        self._settings = microscope.config.drift
        self._controls: dict[int, DriftControl] = {}
        self._homes: dict[int, Xyz] = {}  # where the stages were at the first scan of a position
        self._applied = _ORIGIN  # the offset that the stages have now
        self._look: ObjectLook | None = None
        self.on = self._settings.keep_in_middle
        self.status = self.problem = ""

    # ---- Before a scan ----

    def go_to(self, position: int, planned: Target) -> None:
        """Move to the planned place of a position, and as far from it as its object has drifted.

        Parameters
        ----------
        position : int
        planned : (x, y, z)
            In um; None: the plan does not say, so this axis stays where it is, but for the offset.

        Raises
        ------
        DeviceError
            If the stages do not even reach the planned place.
        """
        stage, control = self._microscope.stage, self._control(position)
        offset = control.offset_um
        if offset == self._applied == _ORIGIN:
            stage.move_to(*planned)
            return
        try:
            here = stage.position_um()
        except DeviceError as error:
            self._give_up(control, self._applied, str(error))
            stage.move_to(*planned)
            return
        before, wanted = self._on_stage(self._applied), self._on_stage(offset)
        base = [h - b if p is None else p for h, b, p in zip(here, before, planned, strict=True)]
        target = [
            p if math.isnan(b) or abs(b + w - h) < _SHORTEST_UM else b + w
            for p, b, w, h in zip(planned, base, wanted, here, strict=True)
        ]
        try:
            stage.move_to(*target)
        except DeviceError as error:
            stage.move_to(*planned)
            here = stage.position_um()
            reached = self._in_view([h - b for h, b in zip(here, base, strict=True)])
            self._give_up(control, reached, str(error))
        else:
            self._applied = offset

    def _give_up(self, control: DriftControl, reached: Xyz, problem: str) -> None:
        """Go on from where the view is, and say why it is not where it should be."""
        control.not_moved(_between(reached, control.offset_um), problem)
        self._applied = reached
        self._say(control)

    def focused(self, position: int, z_um: float) -> float:
        """Return the planned z at which, with the offset of the position, the drive is at z."""
        return z_um - self._on_stage(self._control(position).offset_um)[2]

    # ---- After it ----

    def correction_um(self, position: int, here: Xyz) -> Xyz:
        """Return how far the view is from that of the position's first scan, the stages at here."""
        home = self._homes.setdefault(position, here)
        return self._in_view([h - at for h, at in zip(here, home, strict=True)])

    def look(
        self, position: int, scan: InterferogramStack, background: InterferogramStack
    ) -> SeenObject:
        """Look for the object in a scan that was just taken; the stages move before the next."""
        if not self.on:
            return SeenObject()
        control = self._control(position)
        sighting = self._sighting(control, scan, background)
        control.see(sighting)
        self._say(control)
        if sighting.place is None:
            return SeenObject(note=control.problem)
        z, y, x = sighting.place.centre_um
        return SeenObject((x, y, z), control.problem)

    def _sighting(
        self, control: DriftControl, scan: InterferogramStack, background: InterferogramStack
    ) -> Sighting:
        try:
            if self._look is None:
                from pipeline.timelapse.object_look import ObjectLook  # with torch: when needed

                self._look = ObjectLook(self._microscope.config)
            return self._look(scan, background, control.expected)
        except (LiveTomoError, RuntimeError, MemoryError) as error:  # torch: out of memory
            return Sighting(None, f"no tomogram of this scan: {error}")

    # ---- Beginnings ----

    def forget(self) -> None:
        """Take the objects that are nearest to the middle from now on; the stages stay."""
        for control in self._controls.values():
            control.forget()
        self.status = self.problem = ""

    def home_um(self, position: int) -> Xyz | None:
        """Return where the stages were at the first scan of a position; None before it."""
        return self._homes.get(position)

    def sent(self) -> None:
        """Take note that somebody else sent the stages to a planned place, without an offset."""
        self._applied = _ORIGIN

    def leave(self, position: int) -> None:
        """Know nothing of a position any more; its object and its place are no longer the same."""
        self._controls.pop(position, None)
        self._homes.pop(position, None)
        self.status = self.problem = ""

    def restore(self, position: int, home_um: Xyz, correction_um: Xyz, *, newest: bool) -> None:
        """Go on with a position of a recording.

        Parameters
        ----------
        position : int
        home_um : (x, y, z)
            Of the stages at its first scan.
        correction_um : (x, y, z)
            Of its last scan.
        newest : bool
            Whether that is the last scan of the recording.
        """
        self._homes[position] = home_um
        if not self.on:
            return
        self._control(position).offset_um = correction_um
        if newest:
            here = self._microscope.stage.position_um()
            self._applied = self._in_view([h - at for h, at in zip(here, home_um, strict=True)])

    def _control(self, position: int) -> DriftControl:
        if position not in self._controls:
            self._controls[position] = DriftControl(self._settings, can_move(self._microscope))
        return self._controls[position]

    def _say(self, control: DriftControl) -> None:
        self.status, self.problem = control.status, control.problem

    def _in_view(self, stage_um: list[float]) -> Xyz:
        return in_view(self._microscope.config.stage, stage_um)

    def _on_stage(self, view_um: Xyz) -> Xyz:
        return on_stage(self._microscope.config.stage, view_um)


def _between(first: Xyz, second: Xyz) -> Xyz:
    x, y, z = (b - a for a, b in zip(first, second, strict=True))
    return x, y, z
