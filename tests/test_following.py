"""Objects from scan to scan: lasting numbers, gaps, gates, speed."""

import math
from typing import Any

import numpy as np
import pytest

from acquisition.errors import ConfigurationError
from measuring.following import Follower, FollowingLimits
from measuring.measured_object import MeasuredObject

Place = tuple[float, float, float]


def seen(place: Place, volume_um3: float = 4.0, mass_pg: float = 1.0) -> MeasuredObject:
    z, y, x = place
    return MeasuredObject(1, volume_um3, 12.0, 1.36, 1.37, mass_pg, z, y, x)


def numbers(objects: tuple[MeasuredObject, ...]) -> list[int]:
    return [one.number for one in objects]


def test_objects_that_cross_keep_their_numbers() -> None:
    """Each is nearest to where the other has been: all pairs together decide."""
    follower = Follower()
    assert numbers(follower.follow([seen((0, 0, 0)), seen((0, 0, 2))], 0.0)) == [1, 2]
    # in another order, and both moved by 1.2 um in the same direction
    found = follower.follow([seen((0, 0, 3.2)), seen((0, 0, 1.2))], 2.0)
    assert numbers(found) == [2, 1]
    assert [one.speed_um_per_s for one in found] == pytest.approx([0.6, 0.6])


def test_many_that_diffuse_keep_their_numbers() -> None:
    rng = np.random.default_rng(3)
    places = np.stack(np.meshgrid(*[np.arange(4) * 3.0] * 3), -1).reshape(-1, 3)
    follower = Follower()
    for step in range(12):
        order = rng.permutation(len(places))
        found = follower.follow([seen(tuple(places[n])) for n in order], float(step))
        if step == 0:
            names = dict(zip(order.tolist(), numbers(found), strict=True))
        assert numbers(found) == [names[n] for n in order.tolist()]
        places = places + rng.normal(0, 0.25, places.shape)


def test_an_object_is_missing_for_some_scans_and_comes_back() -> None:
    follower = Follower(FollowingLimits(gap=2))
    follower.follow([seen((0, 0, 0)), seen((0, 0, 9))], 0.0)
    for time_s in (1.0, 2.0):
        assert numbers(follower.follow([seen((0, 0, 9))], time_s)) == [2]
    found = follower.follow([seen((0, 0, 0.9)), seen((0, 0, 9))], 3.0)
    assert numbers(found) == [1, 2]
    assert found[0].speed_um_per_s == pytest.approx(0.3)  # over all the time
    for time_s in (4.0, 5.0, 6.0):
        follower.follow([seen((0, 0, 9))], time_s)
    assert numbers(follower.follow([seen((0, 0, 0.9))], 7.0)) == [3]  # for longer: a new one


@pytest.mark.parametrize(
    "other",
    [
        seen((0, 0, 3.0)),  # further than its diameter of 2 um
        seen((0, 0, 0), volume_um3=9.0),  # more than twice as large
        seen((0, 0, 0), volume_um3=1.9),
        seen((0, 0, 0), mass_pg=-1.0),  # lighter than the medium
    ],
)
def test_another_object_gets_another_number(other: MeasuredObject) -> None:
    follower = Follower()
    follower.follow([seen((0, 0, 0))], 0.0)
    assert numbers(follower.follow([other], 1.0)) == [2]


def test_a_division_keeps_the_number_of_neither_and_a_newcomer_is_new() -> None:
    follower = Follower()
    follower.follow([seen((0, 0, 0), 10.0)], 0.0)
    found = follower.follow([seen((0, 0, -1), 4.9), seen((0, 0, 1), 4.9)], 1.0)
    assert numbers(found) == [2, 3]
    assert all(one.speed_um_per_s is None for one in found)


def test_nothing_and_no_time() -> None:
    follower = Follower(first=5)
    assert follower.follow([], 0.0) == ()
    assert numbers(follower.follow([seen((0, 0, 0))], 0.0)) == [5]
    (again,) = follower.follow([seen((0, 0, 0))], 0.0)
    assert (again.number, again.speed_um_per_s) == (5, None)
    assert follower.next_number == 6


@pytest.mark.parametrize(
    "limits",
    [{"volume_ratio": 1.0}, {"least_um": 0.0}, {"diameters": math.nan}, {"gap": -1}],
)
def test_impossible_limits_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        FollowingLimits(**limits)
