"""How far the field of view is moved after an object was seen off the middle; no devices.

A proportional controller with a dead band: of the distance it corrects the share ``gain``, axis by
axis, and leaves alone what is within ``dead_band_um`` of the middle. A steady drift of v um from
scan to scan so settles v / gain away from the middle. One correction is at most ``step_um`` long,
and all together stay within ``total_um`` of where they began: an object that runs away is given up
there, and no wrong measurement drives the stage far.

Vectors are (x, y, z) in um along the axes of the tomogram. A view that has moved by +1 um shows an
object 1 um farther on the other side.
"""

import math
from dataclasses import dataclass, field

from acquisition.configuration.sections import DriftSection
from measuring.sighting import ObjectPlace, Sighting

__all__ = ["DriftControl", "Xyz"]

Xyz = tuple[float, float, float]

_STILL: Xyz = (0.0, 0.0, 0.0)
_FORGOTTEN = 5  # scans in a row without the object; then the one nearest to the middle is taken
_WRONG_WAY = -0.5  # of the way that an object should have come back; it went the other way
_TELLING_UM = 0.3  # shorter corrections do not tell a wrong direction from drift
_TWICE = 2  # wrong ways in a row: once may be the object's own motion


@dataclass(slots=True)
class _Axes:
    """Some axes that one device moves, and whether the object follows its moves."""

    numbers: tuple[int, ...]
    device: str
    key: str
    wrong: int = 0

    @property
    def given_up(self) -> bool:
        return self.wrong >= _TWICE


@dataclass(slots=True)
class DriftControl:
    """Keeps one object in the middle; one for each stage position.

    Parameters
    ----------
    settings : DriftSection
    axes : tuple of bool
        Which of x, y and z can be moved.

    Attributes
    ----------
    offset_um : (x, y, z)
        How far the view is to be from where it began.
    status : str
        What was last seen and done, for the user.
    problem : str
        Why the object is not, or not fully, kept in the middle; "" if it is.
    """

    settings: DriftSection
    axes: tuple[bool, bool, bool] = (True, True, True)
    offset_um: Xyz = _STILL
    status: str = ""
    problem: str = ""
    _known: ObjectPlace | None = None
    _missed: int = 0
    _last: tuple[Xyz, Xyz] | None = None  # the place before a correction, and the correction
    _groups: tuple[_Axes, _Axes] = field(
        default_factory=lambda: (
            _Axes((0, 1), "sample stage", "[stage] axes"),
            _Axes((2,), "focus drive", "[stage] focus_direction"),
        )
    )

    @property
    def expected(self) -> ObjectPlace | None:
        """The object as the next tomogram should show it; None: not known yet."""
        return self._known

    def forget(self) -> None:
        """Take the object that is then nearest to the middle, from where the view is now."""
        self._known, self._missed, self._last = None, 0, None
        for group in self._groups:
            group.wrong = 0

    def see(self, sighting: Sighting) -> Xyz:
        """Take note of a measurement; return by how much the view is to be moved, and was added."""
        if sighting.place is None:
            return self._miss(sighting.problem)
        self._missed = 0
        z, y, x = sighting.place.centre_um
        place: Xyz = (x, y, z)
        self._check_directions(place)
        move = self._move(place)
        self._last = (place, move)
        self._known = sighting.place.moved((-move[2], -move[1], -move[0]))
        self.offset_um = _added(self.offset_um, move)
        large = sighting.place.field is not None  # it has no middle that could be seen
        what, where = ("large object", "its place") if large else ("object", "the middle")
        self.status = f"{what} {_length(place):.1f} um from {where}"
        if any(move):
            self.status += f", corrected by {_length(move):.1f} um"
        return move

    def not_moved(self, move: Xyz, problem: str) -> None:
        """Take back a move that the stages could not make."""
        self.offset_um = _added(self.offset_um, move, -1)
        if self._known is not None:
            self._known = self._known.moved((move[2], move[1], move[0]))
        self._last = None
        self.status = self.problem = f"not corrected: {problem}"

    def _miss(self, problem: str) -> Xyz:
        self._last = None
        self._missed += 1
        if self._missed >= _FORGOTTEN:
            self._known = None
        self.status = self.problem = f"not corrected: {problem}"
        return _STILL

    def _move(self, place: Xyz) -> Xyz:
        """Return the correction, within its limits; sets ``problem``."""
        settings = self.settings
        movable = [
            axis
            for group in self._groups
            for axis in group.numbers
            if self.axes[axis] and not group.given_up
        ]
        wanted = [
            settings.gain * place[axis]
            if axis in movable and abs(place[axis]) > settings.dead_band_um
            else 0.0
            for axis in range(3)
        ]
        length = math.hypot(*wanted)
        share = min(1.0, settings.step_um / length) if length else 1.0
        x, y, z = (share * along for along in wanted)
        move: Xyz = (x, y, z)
        self.problem = "; ".join(_lost(g) for g in self._groups if g.given_up)
        ahead_um = _length(_added(self.offset_um, move))
        if ahead_um > max(settings.total_um, _length(self.offset_um)):
            self.problem = (
                f"the object is {_length(_added(self.offset_um, place)):.0f} um from where it "
                f"began, and [drift] total_um lets the stages follow {settings.total_um:g} um"
            )
            return _STILL
        return move

    def _check_directions(self, place: Xyz) -> None:
        """Count corrections after which the object is farther away by what it should be nearer."""
        if self._last is None:
            return
        before, move = self._last
        for group in self._groups:
            made = [move[axis] for axis in group.numbers]
            length = math.hypot(*made)
            if length < _TELLING_UM:
                continue
            came = [before[axis] - place[axis] for axis in group.numbers]
            share = sum(a * b for a, b in zip(came, made, strict=True)) / length**2
            group.wrong = group.wrong + 1 if share < _WRONG_WAY else 0


def _lost(group: _Axes) -> str:
    return (
        f"the {group.device} is left alone, since the object went away when it was to come back: "
        f"correct {group.key}"
    )


def _added(a: Xyz, b: Xyz, sign: int = 1) -> Xyz:
    x, y, z = (one + sign * other for one, other in zip(a, b, strict=True))
    return x, y, z


def _length(vector: Xyz) -> float:
    return math.hypot(*vector)
