"""Follows objects from scan to scan: which object of this scan is which of the last ones.

All pairs of a scan are assigned at once (Jaqaman et al., Nature Methods 5, 695, 2008): the sum of
their costs is smallest, where an object may also be new, or missing. A pair costs how far it is
apart and how much its volume differs, each over what is allowed; beyond that it is no pair. An
object that is not seen keeps its number for a few scans. It may then have moved further, as in
diffusion with the square root of the time.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from acquisition.errors import ConfigurationError
from measuring.measured_object import MeasuredObject

__all__ = ["Follower", "FollowingLimits", "PositionsFollower"]

_NONE = 1.0  # cost of an object without a pair; a pair at one of the limits costs as much
_NEVER = 1e6


@dataclass(frozen=True, slots=True)
class FollowingLimits:
    """What an object may do from one scan to the next.

    Parameters
    ----------
    diameters : float
        The furthest that it moves, in its own diameters ...
    least_um : float
        ... and at least this far.
    volume_ratio : float
        The most that its volume grows or shrinks by.
    gap : int
        In how many scans in a row it may be missing.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """

    diameters: float = 1.0
    least_um: float = 1.5
    volume_ratio: float = 2.0
    gap: int = 3

    def __post_init__(self) -> None:
        if not (self.diameters >= 0 and self.least_um > 0 and self.volume_ratio > 1):
            raise ConfigurationError(
                "objects can be followed over a positive distance and a volume ratio above 1, got "
                f"{self.diameters} diameters, {self.least_um} um and a ratio of {self.volume_ratio}"
            )
        if self.gap < 0:
            raise ConfigurationError(f"gap must be a number of scans from 0, got {self.gap}")


@dataclass(frozen=True, slots=True)
class _Track:
    """An object as it was last seen."""

    last: MeasuredObject
    time_s: float
    missed: int = 0


class Follower:
    """Numbers the objects of successive scans of one place.

    Parameters
    ----------
    limits : FollowingLimits or None
        None: the defaults.
    first : int
        Number of the first new object.
    """

    def __init__(self, limits: FollowingLimits | None = None, first: int = 1) -> None:
        self._limits = limits or FollowingLimits()
        self._tracks: list[_Track] = []
        self.next_number = first

    def follow(
        self, objects: Sequence[MeasuredObject], time_s: float
    ) -> tuple[MeasuredObject, ...]:
        """Return the objects of a scan, in the same order, with lasting numbers and speeds.

        Parameters
        ----------
        objects : sequence of MeasuredObject
        time_s : float
            When the scan was taken. Speeds are None where time has not passed.
        """
        pairs = self._pairs(objects)
        tracks, found = [], []
        for row, one in enumerate(objects):
            track = self._tracks[pairs[row]] if row in pairs else None
            if track is None:
                one, self.next_number = one.renumbered(self.next_number), self.next_number + 1
            else:
                one = one.renumbered(track.last.number, _speed(track, one, time_s))
            found.append(one)
            tracks.append(_Track(one, time_s))
        taken = set(pairs.values())
        missing = (track for n, track in enumerate(self._tracks) if n not in taken)
        tracks += [
            _Track(track.last, track.time_s, track.missed + 1)
            for track in missing
            if track.missed < self._limits.gap
        ]
        self._tracks = tracks
        return tuple(found)

    def _pairs(self, objects: Sequence[MeasuredObject]) -> dict[int, int]:
        """Return the track of each object that has one, by their places in the lists."""
        n, m = len(objects), len(self._tracks)
        if not n or not m:
            return {}
        # an object for each track to be missing, a track for each object to be new
        costs = np.full((n + m, n + m), _NEVER)
        costs[:n, :m] = self._costs(objects)
        costs[:n, m:][np.diag_indices(n)] = _NONE
        costs[n:, :m][np.diag_indices(m)] = _NONE
        costs[n:, m:] = 0
        rows, columns = linear_sum_assignment(costs)
        return {
            int(row): int(column)
            for row, column in zip(rows, columns, strict=True)
            if row < n and column < m and costs[row, column] < _NEVER
        }

    def _costs(self, objects: Sequence[MeasuredObject]) -> NDArray[np.float64]:
        """Return what each pair costs, (objects, tracks): 0 where nothing changed, 2 at most."""
        limits = self._limits
        here = np.array([one.centroid_um for one in objects])
        there = np.array([track.last.centroid_um for track in self._tracks])
        distance = np.linalg.norm(here[:, None] - there[None], axis=2)  # (objects, tracks)
        reach = np.array(
            [
                max(limits.diameters * track.last.diameter_um, limits.least_um)
                * math.sqrt(1 + track.missed)
                for track in self._tracks
            ]
        )
        volumes = np.log([one.volume_um3 for one in objects])
        before = np.log([track.last.volume_um3 for track in self._tracks])
        far = distance / reach
        changed = np.abs(volumes[:, None] - before[None]) / math.log(limits.volume_ratio)
        opposite = np.sign([one.dry_mass_pg for one in objects])[:, None] != np.sign(
            [track.last.dry_mass_pg for track in self._tracks]
        )
        return np.where((far > 1) | (changed > 1) | opposite, _NEVER, far + changed)


class PositionsFollower:
    """Follows the objects of several stage positions, each position by itself.

    An object has a number that no object of another position has, in the order in which they are
    found.
    """

    def __init__(self) -> None:
        self._followers: dict[str, Follower] = {}
        self._next = 1

    def follow(
        self, position: str, objects: Sequence[MeasuredObject], time_s: float
    ) -> tuple[MeasuredObject, ...]:
        """Return the objects of the next scan of a position, as ``Follower.follow``."""
        follower = self._followers.setdefault(position, Follower())
        follower.next_number = self._next
        found = follower.follow(objects, time_s)
        self._next = follower.next_number
        return found

    def ahead(
        self, position: str, objects: Sequence[MeasuredObject], time_s: float
    ) -> tuple[MeasuredObject, ...]:
        """Return those of a later scan, as if nothing lay between; nothing is kept of them."""
        follower = copy.deepcopy(self._followers.get(position, Follower()))
        follower.next_number = self._next
        return follower.follow(objects, time_s)


def _speed(track: _Track, one: MeasuredObject, time_s: float) -> float | None:
    """Return the speed in um/s since an object was last seen."""
    passed_s = time_s - track.time_s
    if passed_s <= 0:
        return None
    return math.dist(one.centroid_um, track.last.centroid_um) / passed_s
