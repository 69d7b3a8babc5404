"""Brings the sample into focus: scan, find how far it is out of focus, move the drive, look again.

Which way a focus drive counts differs between stands. The first move tells: where it has taken the
sample farther away, the drive counts the other way round, and is moved so from then on.
"""

import threading
from dataclasses import dataclass

from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from reconstruction.autofocus import RANGE_UM, Focus, find_focus
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings

__all__ = ["Autofocus", "Focusing"]

_ROUNDS = 5
_FARTHER = 1.3  # times the distance before: the move went the wrong way


@dataclass(frozen=True, slots=True)
class Focusing:
    """How a search ended.

    Parameters
    ----------
    z_um : float
        Where the drive is now.
    problem : str
        Why the focus was not found; the drive is then where it was. Empty where it was.
    """

    z_um: float
    problem: str = ""


class Autofocus:
    """Searches the focus of whatever is in the field; keeps which way the drive counts.

    Parameters
    ----------
    microscope : Microscope
        With a focus drive.
    """

    def __init__(self, microscope: Microscope) -> None:
        self._microscope = microscope
        self._upwards = 1.0
        self._planned: tuple[InterferogramStack, Reconstructor] | None = None

    def __call__(
        self, background: InterferogramStack, stop: threading.Event | None = None
    ) -> Focusing:
        """Search from where the drive is; ScanStopped if ``stop`` is set, the drive back there."""
        stage = self._microscope.stage
        start = stage.position_um()[2]
        try:
            found = self._search(start, self._reconstructor(background), stop)
        except BaseException:
            stage.move_to(z_um=start)
            raise
        if found.problem:
            stage.move_to(z_um=start)
        return found

    def _search(
        self, start: float, reconstructor: Reconstructor, stop: threading.Event | None
    ) -> Focusing:
        stage, optics = self._microscope.stage, self._microscope.optics
        z, last = start, 0.0
        for _ in range(_ROUNDS):
            focus = self._look(reconstructor, stop)
            distance = focus.distance_um
            if not focus.found and not last:
                return Focusing(start, "nothing in the field is sharper at one depth than another")
            if last and (not focus.found or abs(distance) > _FARTHER * abs(last)):
                self._upwards = -self._upwards
                z, distance = start, last
            elif abs(distance) <= optics.axial_resolution_um / 2:
                return Focusing(z)
            z += self._upwards * distance
            if abs(z - start) > RANGE_UM:
                return Focusing(start, f"it would be more than {RANGE_UM:g} um away")
            stage.move_to(z_um=z)
            last = distance
        return Focusing(start, f"not found in {_ROUNDS} rounds")

    def _look(self, reconstructor: Reconstructor, stop: threading.Event | None) -> Focus:
        return find_focus(reconstructor.field_stack(self._microscope.scan(stop)))

    def _reconstructor(self, background: InterferogramStack) -> Reconstructor:
        """Return one for the background; of its plan only the fields are used."""
        if self._planned is None or self._planned[0] is not background:
            plain = ReconstructionSettings(planes=1)
            self._planned = (background, Reconstructor(background, settings=plain))
        return self._planned[1]
