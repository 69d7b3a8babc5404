"""The place of an object in a tomogram."""

from collections.abc import Callable

import pytest

from benchmarks.accuracy_cases import Sphere, View, record
from measuring.object_place import find_place
from measuring.sighting import ObjectPlace, Sighting
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from tests.blurred_objects import VOXEL_UM, Contrast, ball, blurred, together
from tests.large_cells import large_cell
from tests.scans import CELL

Xyz = tuple[float, float, float]

SHAPE = (40, 64, 96)
RADIUS = 1.2
ALONE = ball(RADIUS, (0.3, -0.4, -0.5))


def seen(contrast: Contrast, expected: ObjectPlace | None = None) -> Sighting:
    return find_place(blurred(contrast, SHAPE), VOXEL_UM, CELL.optics, expected)


def known_at(z: float, y: float, x: float) -> ObjectPlace:
    """Return what a ball of the tests is known as after it was seen."""
    place = seen(ALONE).place
    assert place is not None
    return ObjectPlace((z, y, x), place.volume_um3)


@pytest.mark.parametrize("height", [0.03, 0.005, -0.02])
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (0.5, 0.31, -0.7), (-1.0, -1.2, 2.4)])
def test_a_ball_is_where_it_was_put(centre: Xyz, height: float) -> None:
    place = seen(ball(RADIUS, centre, height)).place
    assert place is not None
    assert place.centre_um == pytest.approx(centre, abs=0.01)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (0.7, -0.5, 1.1), (-0.3, 0.8, -1.6)])
def test_an_exact_sphere_is_found_in_one_plane(centre: Xyz) -> None:
    """The scattering is the partial-wave solution, not this project's forward model."""
    sphere = Sphere(1.0, 0.03, centre)
    background, sample = record((sphere,), View(photons=5000.0, frame=112), seed=3)
    look = Reconstructor(background, settings=ReconstructionSettings(planes=1))
    tomogram = look(sample).tomogram.windowed()
    place = find_place(tomogram.index.numpy(), tomogram.voxel_size_um, tomogram.optics).place
    assert place is not None
    assert place.centre_um[1:] == pytest.approx(centre[1::-1], abs=0.02)
    assert place.centre_um[0] == pytest.approx(centre[2], abs=0.08)


def test_the_object_is_the_one_where_it_is_expected() -> None:
    two = together(ball(RADIUS, (0, 0, -0.6)), ball(1.1, (0, 0.4, 2.6)))
    nearest, followed = seen(two).place, seen(two, known_at(0.0, 0.2, 2.2)).place
    assert nearest is not None and followed is not None
    assert nearest.centre_um == pytest.approx((0, 0, -0.6), abs=0.02)
    assert followed.centre_um == pytest.approx((0, 0.4, 2.6), abs=0.02)


@pytest.mark.parametrize("distance", [2.4, 2.2, 2.0, 1.6])
def test_a_touching_neighbour_does_not_pull_it(distance: float) -> None:
    """Either the two are told apart, or nothing is found."""
    both = together(ball(RADIUS, (0, 0, -0.5)), ball(RADIUS, (0, 0, -0.5 + distance)))
    found = seen(both, known_at(0.0, 0.0, -0.5))
    if distance >= 2.0:
        assert found.place is not None
    if found.place is None:
        assert "times the volume" in found.problem
    else:
        assert found.place.centre_um == pytest.approx((0, 0, -0.5), abs=0.05)


def test_a_small_neighbour_pulls_it_by_less_than_a_fifth_of_its_radius() -> None:
    both = together(ball(RADIUS, (0, 0, -0.5)), ball(RADIUS / 2, (0, 0, -0.5 + 1.5 * RADIUS)))
    place = seen(both, known_at(0.0, 0.0, -0.5)).place
    assert place is not None
    assert place.centre_um == pytest.approx((0, 0, -0.5), abs=RADIUS / 5)


@pytest.mark.parametrize(
    ("contrast", "problem"),
    [
        (ball(RADIUS, height=0.0), "nothing in the field stands out"),
        (ball(0.3), "nothing in the field is as large as an object"),
        (ball(RADIUS, (0, 0, 4.4)), "reaches the edge"),
        (ball(RADIUS, (0, -3.0, 0)), "reaches the edge"),
        (ball(RADIUS, (3.2, 0, 0)), "reaches the edge"),
    ],
)
def test_what_is_not_whole_is_not_found(contrast: Contrast, problem: str) -> None:
    found = seen(contrast)
    assert found.place is None
    assert problem in found.problem


def test_another_object_is_not_taken_for_a_lost_one() -> None:
    assert "no object within" in seen(ALONE, known_at(0.3, 2.4, 2.4)).problem
    assert "times the volume" in seen(ball(2.0), known_at(0, 0, 0)).problem


# ---- Cells that are too large for the field ------------------------------------------------------


@pytest.fixture(scope="module")
def at_place() -> Callable[[Xyz | None], Tomogram]:
    return large_cell(every=2)


def located(tomogram: Tomogram, expected: ObjectPlace | None = None) -> Sighting:
    index = tomogram.index.numpy()
    return find_place(index, tomogram.voxel_size_um, tomogram.optics, expected)


@pytest.mark.parametrize("start", [(2.5, 0.5, 0.0), (0.0, 0.0, 0.0)])
def test_a_cell_that_is_cut_by_the_edge_or_fills_the_field_is_followed(
    at_place: Callable[[Xyz | None], Tomogram], start: Xyz
) -> None:
    known = located(at_place(start)).place
    assert known is not None and known.centre_um == (0.0, 0.0, 0.0)  # it is kept where it is
    moved = (-1.2, 0.8, -0.6)
    x, y, z = (a + b for a, b in zip(start, moved, strict=True))
    seen_at = located(at_place((x, y, z)), known).place
    assert seen_at is not None
    assert seen_at.centre_um[1:] == pytest.approx(moved[1::-1], abs=0.06)
    assert seen_at.centre_um[0] == pytest.approx(moved[2], abs=0.1)


def test_an_empty_field_is_no_large_cell(at_place: Callable[[Xyz | None], Tomogram]) -> None:
    known, empty = located(at_place((2.5, 0.5, 0.0))).place, at_place(None)
    assert "nothing in the field stands out" in located(empty).problem
    assert "does not look like" in located(empty, known).problem
