"""A DMD conjugate to the pupil: a spot's position gives the angle of its light."""

import math
from typing import Any

import numpy as np
import pytest

from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import AngleSet
from acquisition.illumination.spots import PupilGeometry
from acquisition.simulation.bench import build_bench
from tests.simulated import ANGLES, angle_of, small_config, small_microscope

TURN = math.radians(30)
CORRECTION = ((math.cos(TURN), -math.sin(TURN)), (math.sin(TURN), math.cos(TURN)))
PUPIL = {"conjugate": "pupil", "mirrors_per_k": 95.0, "spot_radius": 2.5, "picture_ms": 4.0}


@pytest.mark.parametrize("correction", [((1.0, 0.0), (0.0, 1.0)), CORRECTION])
def test_a_spot_is_where_its_angle_is(correction: Any) -> None:
    geometry = PupilGeometry((300, 400), 60.0, 4.0, (180.0, 150.0), correction)
    for k in [(0.0, 0.0), (1.5, 0.0), (-0.7, 1.1)]:
        plane = geometry.spot(*k)
        y, x = np.nonzero(plane)
        # by hand: turned back by the image's rotation, from the centre
        turned = np.linalg.solve(np.array(correction), k) * 60.0 + (180.0, 150.0)
        np.testing.assert_allclose((x.mean(), y.mean()), turned, atol=0.2)
        assert np.hypot(x - turned[0], y - turned[1]).max() <= 4.0
        light = geometry.light(plane)
        assert light is not None
        np.testing.assert_allclose(light.k, k, atol=0.3 / 60)
        assert light.amplitude == pytest.approx(1, rel=0.15)
        assert light.spread == pytest.approx(4 / 60, rel=0.1)


def test_what_is_no_single_spot_makes_no_wave() -> None:
    geometry = PupilGeometry((100, 100), 30.0, 3.0)
    assert geometry.light(np.zeros((100, 100), np.uint8)) is None
    assert geometry.light(np.ones((100, 100), np.uint8)) is None
    assert geometry.light(geometry.spot(1.0, 0.0) | geometry.spot(-1.0, 0.0)) is None


def test_spots_beyond_the_mirrors_are_refused() -> None:
    geometry = PupilGeometry((100, 100), 30.0, 3.0)
    geometry.check(AngleSet(np.array([[0.0, 0.0], [1.5, 0.0]])))
    with pytest.raises(ConfigurationError, match=r"spot of angle 1 must lie on the 100 x 100"):
        geometry.check(AngleSet(np.array([[0.0, 0.0], [1.6, 0.0]])))


def test_a_spot_lights_the_field_as_the_sum_of_its_waves() -> None:
    """Against the sum over the spot's mirrors, each a plane wave."""
    config = small_config(dmd={**PUPIL, "spot_radius": 12.0})
    quiet = {"wavefront_rad": 0.0, "dust": 0, "phantom": "bead", "read_noise": 0.0}
    config = config.model_copy(update={"simulation": config.simulation.model_copy(update=quiet)})
    geometry = config.dmd.geometry()
    assert isinstance(geometry, PupilGeometry)
    bench = build_bench(config.build_optics(), geometry, config.simulation_settings())
    plane = geometry.spot(0.0, 0.0)
    light = bench.illuminate(plane)
    assert light.k == pytest.approx((0, 0), abs=1e-9)
    empty = (200.0, 0.0, 0.0)
    picture = bench.expose(light, 0.0, empty, config.camera.exposure_ms).astype(float)
    position = (np.arange(64) - 32) * bench.optics.pixel_size_um
    rows, columns = np.nonzero(plane)
    waves = np.zeros((64, 64), complex)
    for row, column in zip(rows, columns, strict=True):
        kx, ky = geometry.wave_vector(float(column), float(row))
        waves = waves + np.exp(2j * np.pi * (ky * position[:, None] + kx * position))
    field = waves / len(rows) * light.amplitude
    cx, cy = bench.carrier
    reference = np.exp(-2j * np.pi * (cy * position[:, None] + cx * position))
    expected = np.abs(reference + field) ** 2 * 0.7 / 4 * 255
    # within the disk that 440 mirrors are of a true one, and the rounding of grey values
    assert np.abs(picture - expected).max() < 2.5
    assert np.ptp(np.abs(field)) > 0.1  # the cone is wide enough to be seen


def test_a_scan_with_spots_shows_every_angle() -> None:
    with small_microscope(dmd=PUPIL) as microscope:
        stack = microscope.scan()
        assert stack.complete
        assert [angle_of(frame, microscope) for frame in stack.frames] == list(range(ANGLES))
