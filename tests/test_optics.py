"""Optics, angle sets and gratings: held to the paper's figures and to their own definitions."""

import math

import numpy as np
import pytest

from acquisition.dlpc900.images import compress, pack
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import (
    AngleSet,
    check_wave_vectors,
    circular_scan,
    preset,
    spiral_scan,
)
from acquisition.illumination.gratings import DmdGeometry, diffracted_order, lee_grating
from acquisition.optics import Optics

GEOMETRY = DmdGeometry((270, 480), carrier=(0.34, 0.24), mirror_pitch_um=0.06, stop_radius=0.2)


@pytest.mark.parametrize(
    ("name", "lateral_nm", "axial_nm"), [("cell", 110, 355), ("bacteria", 166, 1000)]
)
def test_presets_have_the_papers_resolution(name: str, lateral_nm: float, axial_nm: float) -> None:
    optics = preset(name).optics
    assert optics.lateral_resolution_um * 1000 == pytest.approx(lateral_nm, abs=1.5)
    assert optics.axial_resolution_um * 1000 == pytest.approx(axial_nm, abs=3)


@pytest.mark.parametrize(("name", "angles"), [("cell", 49), ("bacteria", 71)])
def test_presets_scan_within_the_pupil(name: str, angles: int) -> None:
    chosen = preset(name)
    assert len(chosen.angles) == angles
    chosen.angles.check_within(chosen.optics)
    assert chosen.angles.normal is not None
    assert np.allclose(chosen.angles.k[chosen.angles.normal], 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((-0.5, 1.2, 1.337, 0.08), "wavelength_um must be a positive number, got -0.5"),
        ((0.532, 1.2, math.nan, 0.08), "medium_index must be a positive number"),
        ((532, 1.2, 1.337, 0.08), "wavelength_um .* got 532, .* nanometres: give 0.532"),
        ((0.000633, 1.2, 1.337, 0.08), "wavelength_um .* millimetres: give 0.633"),
        ((5.32e-7, 1.2, 1.337, 0.08), "wavelength_um .* metres: give 0.532"),
        ((53.2, 1.2, 1.337, 0.08), "wavelength_um .* got 53.2: check the unit"),
        ((0.532, 1.2, 13.37, 0.08), "medium_index .* got 13.37, .* give 1.337"),
        ((0.532, 1.2, 1337, 0.08), "medium_index .* give 1.337"),
        ((0.532, 0.2, 0.337, 0.08), "medium_index must be 1 .* that of water is 1.337"),
        ((0.532, 12, 1.337, 0.08), "numerical_aperture .* got 12, .* give 1.2"),
        ((0.532, 60, 1.337, 0.08), "numerical_aperture .* got 60, .* magnification"),
        ((0.532, 1.2, 1.337, 5.5), "pixel_size_um .* got 5.5, .* divide it by the magnification"),
        ((0.532, 1.2, 1.337, 80), "pixel_size_um .* got 80, .* nanometres: give 0.08"),
        ((0.532, 1.2, 1.337, 8e-5), "pixel_size_um .* millimetres: give 0.08"),
        ((0.532, 1.2, 1.337, 8e-8), "pixel_size_um .* metres: give 0.08"),
        ((0.532, 1.2, 1.337, 0.3), "pixel_size_um .* 0.222 .* check magnification and binning"),
    ],
)
def test_impossible_optics_are_refused(
    values: tuple[float, float, float, float], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Optics(*values)


@pytest.mark.parametrize(
    "values",
    [
        (0.633, 0.45, 1.335, 0.107),  # measured holograms
        (0.532, 1.0, 1.333, 0.08475),
        (0.647, 1.3, 1.335, 0.139),
        (4.0, 0.4, 1.333, 1.0),
        (0.405, 0.95, 1.0003, 0.1),
        (1.55, 0.5, 3.48, 0.5),
    ],
)
def test_unusual_optics_are_taken(values: tuple[float, float, float, float]) -> None:
    optics = Optics(*values)
    assert optics.remarks == ()
    assert optics.cutoff == values[1] / values[0]


def test_an_oil_objective_on_a_watery_sample_is_limited_to_what_enters_it() -> None:
    optics = Optics(0.532, 1.4, 1.337, 0.08)
    assert optics.numerical_aperture == 1.4
    assert 0.98 * 1.337 < optics.aperture < 1.337
    assert optics.cutoff == pytest.approx(optics.aperture / 0.532)
    assert optics.cutoff < optics.k_medium
    assert optics.lateral_resolution_um == pytest.approx(0.532 / 4 / optics.aperture)
    assert 0.2 < optics.axial_resolution_um < 0.35
    assert optics.axial_frequency(optics.cutoff, 0.0) > 0.1 * optics.k_medium
    assert "NA 1.4 exceeds the medium's index 1.337" in optics.remarks[0]


@pytest.mark.parametrize(
    ("scale", "aperture", "said"),
    [
        (2 * math.pi, 1.2, "not rad/um"),
        (1.0, 1.0, "numerical_aperture is at least 1.08"),
        (180 / math.pi, 1.2, "not in degrees"),
    ],
)
def test_wave_vectors_beyond_the_pupil_are_refused(
    scale: float, aperture: float, said: str
) -> None:
    k = circular_scan(49, 0.9 * 1.2 / 0.532).k
    with pytest.raises(ConfigurationError, match=said):
        check_wave_vectors(scale * k, Optics(0.532, aperture, 1.337, 0.08))
    single = k.copy()
    single[7] *= 50
    check_wave_vectors(single, Optics(0.532, 1.2, 1.337, 0.08))


def test_a_scan_steeper_than_the_objective_is_refused() -> None:
    optics = preset("cell").optics
    with pytest.raises(ConfigurationError, match="choose a smaller scan radius"):
        circular_scan(9, 1.1 * optics.cutoff).check_within(optics)


def test_angle_sets_cannot_be_changed_from_outside() -> None:
    k = np.zeros((3, 2))
    angles = AngleSet(k)
    k[0] = 1
    assert np.allclose(angles.k, 0)
    with pytest.raises(ValueError, match="read-only"):
        angles.k[0, 0] = 1


def test_spiral_fills_the_pupil_evenly() -> None:
    radius = np.hypot(*spiral_scan(400, 1.0).k.T)
    assert radius.max() == pytest.approx(1)
    assert (radius < math.sqrt(0.5)).mean() == pytest.approx(0.5, abs=0.01)  # half of the area


@pytest.mark.parametrize("k", [(0.0, 0.0), (1.9, 0.3), (-1.2, -1.5)])
def test_the_first_order_tells_the_wave_vector(k: tuple[float, float]) -> None:
    order = diffracted_order(lee_grating(GEOMETRY.shape, GEOMETRY.frequency(*k)), GEOMETRY)
    assert order is not None
    found = GEOMETRY.wave_vector(order.fx, order.fy)
    assert found == pytest.approx(k, abs=1e-3)
    assert abs(order.amplitude) == pytest.approx(1 / math.pi, rel=0.01)


@pytest.mark.parametrize("value", [0, 1])
def test_a_blank_picture_has_no_order(value: int) -> None:
    assert diffracted_order(np.full(GEOMETRY.shape, value, np.uint8), GEOMETRY) is None


def test_a_grating_outside_the_stop_is_blocked() -> None:
    assert diffracted_order(lee_grating(GEOMETRY.shape, (0.0, 0.25)), GEOMETRY) is None


def test_a_stop_that_lets_the_second_order_through_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="second order"):
        DmdGeometry((10, 10), (0.2, 0.0), 0.06, 0.12)


def test_a_grating_on_a_disk_makes_the_same_wave_vector_from_less_data() -> None:
    frequency = GEOMETRY.frequency(1.9, 0.3)
    radius = min(GEOMETRY.shape) / 4
    disk = lee_grating(GEOMETRY.shape, frequency, disk_radius=radius)
    full = lee_grating(GEOMETRY.shape, frequency)
    order = diffracted_order(disk, GEOMETRY)
    assert order is not None
    assert GEOMETRY.wave_vector(order.fx, order.fy) == pytest.approx((1.9, 0.3), abs=0.01)
    assert disk.sum() == pytest.approx(math.pi * radius**2 / 2, rel=0.05)
    assert np.array_equal(disk[disk > 0], full[disk > 0])
    fraction = len(compress(pack([disk]))) / len(compress(pack([full])))
    assert fraction < 2.5 * math.pi * radius**2 / full.size
