"""Objects of a tomogram: found, split and measured; volume and dry mass right on exact spheres."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from acquisition.errors import ConfigurationError, DataError
from benchmarks.accuracy_cases import Sphere, View, record
from measuring.measure_volume import Measurement, measure_volume
from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings
from reconstruction.reconstructor import Reconstructor
from regularizer.registry import regularizer
from tests.blurred_objects import MEDIUM, VOXEL_UM, Contrast, ball, blurred, sphere_um3, together
from tests.scans import CELL

INCREMENT = 0.19


def measured(contrast: Contrast, shape: Any = (40, 64, 64), **settings: Any) -> Measurement:
    index = blurred(contrast, shape)
    return measure_volume(index, VOXEL_UM, CELL.optics, MeasuringSettings(**settings))


def only(found: Measurement) -> MeasuredObject:
    (one,) = found.objects
    return one


@pytest.mark.parametrize(
    ("radius_um", "contrast", "centre_um"),
    [(1.0, 0.03, (0.0, 0.0, 0.0)), (1.6, 0.02, (-0.8, 0.4, 0.5))],
)
@pytest.mark.usefixtures("quick_trial")
def test_volume_and_dry_mass_of_an_exact_sphere_are_right(
    radius_um: float, contrast: float, centre_um: tuple[float, float, float]
) -> None:
    z, y, x = centre_um
    background, sample = record(
        (Sphere(radius_um, contrast, (x, y, z)),), View(photons=5000.0, frame=128)
    )
    made = Reconstructor(background)(sample)
    for method in ("tv", "deep"):
        seen = regularizer(method)(made.tomogram, made.spectrum).windowed()
        one = only(measure_volume(seen.index.numpy(), seen.voxel_size_um, seen.optics))
        volume = sphere_um3(radius_um)
        assert one.volume_um3 == pytest.approx(volume, rel=0.05), method
        assert one.dry_mass_pg == pytest.approx(volume * contrast / INCREMENT, rel=0.05), method
        assert one.mean_index - MEDIUM == pytest.approx(contrast, rel=0.09)
        assert one.centroid_um == pytest.approx(centre_um, abs=0.06)
        assert one.sphericity > 0.95
        assert not one.cut


def test_figures_agree_with_each_other() -> None:
    one = only(measured(ball(1.2), increment_ml_per_g=0.2))
    volume = sphere_um3(1.2)
    assert one.volume_um3 == pytest.approx(volume, rel=0.02)
    assert one.surface_um2 == pytest.approx(4 * math.pi * 1.2**2, rel=0.02)
    assert one.sphericity == pytest.approx(1, abs=0.02)
    assert one.sphericity == pytest.approx(
        4 * math.pi * (one.diameter_um / 2) ** 2 / one.surface_um2
    )
    assert one.dry_mass_pg == pytest.approx(volume * 0.03 / 0.2, rel=0.02)
    assert one.density_pg_per_um3 == pytest.approx((one.mean_index - MEDIUM) / 0.2)
    assert one.max_index == pytest.approx(MEDIUM + 0.03, abs=0.002)
    assert one.lipid_fraction is None


@pytest.mark.parametrize("radius_um", [0.7, 0.8, 1.0, 1.5])
def test_blur_takes_nothing_from_small_spheres(radius_um: float) -> None:
    """Its half maximum alone encloses 1 % (1.5 um) to 5 % (0.7 um) less."""
    one = only(measured(ball(radius_um, (0.05, 0.03, -0.02)), shape=(32, 48, 48)))
    assert one.volume_um3 == pytest.approx(sphere_um3(radius_um), rel=0.03)
    assert one.dry_mass_pg == pytest.approx(sphere_um3(radius_um) * 0.03 / INCREMENT, rel=0.02)


def cell(z: Any, y: Any, x: Any) -> Any:
    """Return an ellipsoid with nucleus, nucleolus, a droplet of lipid and a vacuole of medium."""

    def within(radius: float, cz: float, cy: float, cx: float) -> Any:
        return (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2

    found = 0.022 * ((z / 1.8) ** 2 + (y / 2.4) ** 2 + (x / 2.4) ** 2 < 1)
    found = np.where(within(1.1, 0, 0, 0.4), 0.028, found)
    found = np.where(within(0.4, 0, 0.2, 0.4), 0.045, found)
    found = np.where(within(0.35, 0.3, 1.4, -0.8), 0.11, found)
    return np.where(within(0.4, 0, -1.0, -1.0), 0.0, found)


def test_a_structured_cell_is_one_object_with_all_that_it_holds() -> None:
    index = blurred(cell, (40, 72, 72))
    added = float((blurred(cell, (40, 72, 72), noise=0) - MEDIUM).sum(dtype=np.float64))
    found = measure_volume(index, VOXEL_UM, CELL.optics, MeasuringSettings(lipid_threshold=1.39))
    one = only(found)
    volume = 4 / 3 * math.pi * 1.8 * 2.4**2
    assert one.volume_um3 == pytest.approx(volume, rel=0.02)  # with its vacuole
    assert one.dry_mass_pg == pytest.approx(added * math.prod(VOXEL_UM) / INCREMENT, rel=0.02)
    assert one.max_index > MEDIUM + 0.08
    assert one.lipid_fraction is not None
    assert one.lipid_fraction == pytest.approx(sphere_um3(0.35) / volume, rel=0.35)
    vacuole = np.array(found.labels.shape) // 2 + np.rint([0, -1 / 0.107, -1 / 0.107]).astype(int)
    assert found.labels[tuple(vacuole)] == 1


def test_touching_spheres_are_split_and_one_cell_is_not() -> None:
    pair = together(ball(1.3, (0, 0, -1.2)), ball(1.0, (0, 0, 1.09)))
    larger, smaller = measured(pair).objects
    assert larger.volume_um3 == pytest.approx(sphere_um3(1.3), rel=0.04)
    assert smaller.volume_um3 == pytest.approx(sphere_um3(1.0), rel=0.04)
    assert smaller.x_um == pytest.approx(1.09, abs=0.05)

    def rough(z: Any, y: Any, x: Any) -> Any:
        bumps = 0.15 * np.sin(4 * x) * np.cos(3 * y)
        return 0.03 * ((z / (0.9 + bumps)) ** 2 + (y / 2) ** 2 + (x / 3) ** 2 < 1)

    assert len(measured(rough).objects) == 1


def test_two_that_overlap_share_the_cut() -> None:
    height = 0.03

    def merged(z: Any, y: Any, x: Any) -> Any:
        parts = (ball(1.2, (0, 0, side))(z, y, x) for side in (-1.0, 1.0))
        return np.minimum(np.sum(list(parts), axis=0), height)

    first, second = measured(merged).objects
    assert first.volume_um3 == pytest.approx(second.volume_um3, rel=0.03)
    lens = math.pi * 0.2**2 * (3 * 1.2 - 0.2) / 3  # cap of each sphere beyond the middle
    assert first.volume_um3 == pytest.approx(sphere_um3(1.2) - lens, rel=0.04)
    assert not (first.cut or second.cut)


def test_small_objects_are_left_out() -> None:
    pair = together(ball(1.2, (0, 0, -1.5)), ball(0.5, (0, 0, 2.0)))
    assert len(measured(pair).objects) == 2
    assert only(measured(pair, minimum_um3=1.0)).x_um == pytest.approx(-1.5, abs=0.05)


def test_lighter_objects_are_measured_beside_denser_ones() -> None:
    pair = together(ball(1.3, (0, 0, -1.7)), ball(1.0, (0, 0, 1.7), height=-0.02))
    denser, lighter = measured(pair).objects
    assert denser.dry_mass_pg > 0
    assert lighter.dry_mass_pg == pytest.approx(-sphere_um3(1.0) * 0.02 / INCREMENT, rel=0.03)
    assert lighter.mean_index == pytest.approx(MEDIUM - 0.02, abs=0.001)
    assert lighter.max_index < MEDIUM - 0.018  # the furthest from the medium
    # a typed threshold says which ones
    assert only(measured(pair, threshold=MEDIUM - 0.01)).x_um > 0
    assert only(measured(pair, threshold=MEDIUM + 0.015)).x_um < 0


def test_a_vacuole_inside_of_a_cell_is_no_object() -> None:
    hollow = together(ball(1.8), ball(0.8, height=-0.06))  # 0.03 below the medium
    one = only(measured(hollow))
    assert one.volume_um3 == pytest.approx(sphere_um3(1.8), rel=0.03)


def test_a_typed_threshold_is_the_surface() -> None:
    index = blurred(ball(1.4))
    found = [
        only(measure_volume(index, VOXEL_UM, CELL.optics, MeasuringSettings(threshold=MEDIUM + t)))
        for t in (0.005, 0.015, 0.025)
    ]
    assert found[0].volume_um3 > found[1].volume_um3 > found[2].volume_um3
    assert found[1].volume_um3 == pytest.approx(sphere_um3(1.4), rel=0.02)


def test_noise_and_nothing_hold_no_objects() -> None:
    index = blurred(ball(0.1, height=0), noise=1e-3)
    found = measure_volume(index, VOXEL_UM, CELL.optics)
    assert found.objects == ()
    assert math.isnan(found.threshold)
    assert not found.labels.any()
    assert measure_volume(np.full_like(index, MEDIUM), VOXEL_UM, CELL.optics).objects == ()


def test_an_object_at_the_edge_is_marked() -> None:
    assert only(measured(ball(1.0, (0, 0, 3.0)))).cut


def test_labels_name_the_objects() -> None:
    pair = together(ball(1.3, (0, 0, -1.7)), ball(1.0, (0, 0, 1.7)))
    found = measured(pair)
    assert found.labels.dtype == np.uint16
    sizes = np.bincount(found.labels.ravel())[1:] * math.prod(VOXEL_UM)
    assert sizes == pytest.approx([one.volume_um3 for one in found.objects], rel=0.1)
    assert [one.number for one in found.objects] == [1, 2]


def test_figures_do_not_depend_on_the_voxels() -> None:
    index = blurred(ball(1.2))
    halved = index.reshape(40, 32, 2, 32, 2).mean((2, 4))
    fine = only(measure_volume(index, VOXEL_UM, CELL.optics))
    coarse = only(measure_volume(halved, (0.178, 0.214, 0.214), CELL.optics))
    assert coarse.volume_um3 == pytest.approx(fine.volume_um3, rel=0.03)
    assert coarse.dry_mass_pg == pytest.approx(fine.dry_mass_pg, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.5}, "threshold must be a refractive index between 1 and 3, got 0.5"),
        ({"lipid_threshold": math.nan}, "lipid_threshold must be"),
        ({"increment_ml_per_g": 0.0}, "increment_ml_per_g must be positive"),
        ({"minimum_um3": -1.0}, "minimum_um3 must be a volume of at least 0, got -1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MeasuringSettings(**settings)


def test_what_cannot_be_measured_is_refused() -> None:
    index = blurred(ball(1.0), (24, 32, 32))
    with pytest.raises(ConfigurationError, match=r"must differ from the medium's index 1\.337"):
        measure_volume(index, VOXEL_UM, CELL.optics, MeasuringSettings(threshold=MEDIUM))
    with pytest.raises(DataError, match="must be a \\(z, y, x\\) volume"):
        measure_volume(index[0], VOXEL_UM, CELL.optics)
    index[3, 3, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        measure_volume(index, VOXEL_UM, CELL.optics)


def test_an_object_can_be_renumbered() -> None:
    one = only(measured(ball(1.0), shape=(24, 32, 32)))
    assert one.renumbered(7, 0.5) == replace(one, number=7, speed_um_per_s=0.5)
