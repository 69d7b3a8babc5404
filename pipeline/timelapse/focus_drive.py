"""Autofocus: scan, measure the defocus, move the focus drive, and repeat.

The positive direction of a focus drive differs between microscope stands. The first move shows it:
if the sample is then farther out of focus, the direction is reversed from then on.
"""

import threading
from dataclasses import dataclass

from acquisition.interferograms import InterferogramStack
from acquisition.microscope import Microscope
from reconstruction.autofocus import RANGE_UM, Focus, find_focus
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings

__all__ = ["Autofocus", "FocusResult"]

_ROUNDS = 5
_FARTHER = 1.3  # times the previous distance: the move went the wrong way


@dataclass(frozen=True, slots=True)
class FocusResult:
    """The result of an autofocus search.

    Parameters
    ----------
    z_um : float
        Position of the drive now.
    problem : str
        Why the focus was not found, and the drive is back at its start; "" if it was found.
    """

    z_um: float
    problem: str = ""


class Autofocus:
    """Finds the focus of the sample in the field; remembers the direction of the drive.

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
    ) -> FocusResult:
        """Search from the current drive position.

        ScanStopped if ``stop`` is set; the drive is then back at its start.
        """
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
    ) -> FocusResult:
        stage, optics = self._microscope.stage, self._microscope.optics
        z, last = start, 0.0
        for _ in range(_ROUNDS):
            focus = self._look(reconstructor, stop)
            distance = focus.distance_um
            if not focus.found and not last:
                return FocusResult(
                    start, "nothing in the field is sharper at one depth than another"
                )
            if last and (not focus.found or abs(distance) > _FARTHER * abs(last)):
                self._upwards = -self._upwards
                z, distance = start, last
            elif abs(distance) <= optics.axial_resolution_um / 2:
                return FocusResult(z)
            z += self._upwards * distance
            if abs(z - start) > RANGE_UM:
                return FocusResult(start, f"the focus is more than {RANGE_UM:g} um away")
            stage.move_to(z_um=z)
            last = distance
        return FocusResult(start, f"not found in {_ROUNDS} rounds")

    def _look(self, reconstructor: Reconstructor, stop: threading.Event | None) -> Focus:
        return find_focus(reconstructor.field_stack(self._microscope.scan(stop)))

    def _reconstructor(self, background: InterferogramStack) -> Reconstructor:
        """Return the reconstructor of a background; only its field retrieval is used."""
        if self._planned is None or self._planned[0] is not background:
            plain = ReconstructionSettings(planes=1)
            self._planned = (background, Reconstructor(background, settings=plain))
        return self._planned[1]
