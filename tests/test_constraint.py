"""Objects lighter than their medium: recognised in the data, and kept or warned about."""

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

from acquisition.choices import check_constraint
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import circular_scan
from acquisition.interferograms import InterferogramStack
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram
from regularizer.constraint import (
    negated_tomogram,
    resolve_constraint,
    share_below_medium,
    with_objects,
)
from regularizer.quality_check import check
from regularizer.registry import regularizer
from regularizer.total_variation.parameters import TvParameters
from tests.partial_waves import sphere_fields
from tests.scans import CELL, MIDDLE, Centre, distance_um, interferograms

ANGLES = circular_scan(17, 1.9)
FRAME = (112, 112)
RADIUS_UM = 1.2
MEDIUM = CELL.optics.medium_index


@functools.cache
def scan(*spheres: tuple[float, Centre]) -> tuple[InterferogramStack, InterferogramStack]:
    """Return background and sample of exact spheres (index, centre) far from each other."""
    fields = torch.ones(len(ANGLES.k), *FRAME, dtype=torch.complex64)
    for index, centre in spheres:
        fields = fields * sphere_fields(CELL.optics, ANGLES.k, RADIUS_UM, index, FRAME, centre)
    background = interferograms(CELL.optics, ANGLES.k, frame=FRAME)
    return background, interferograms(CELL.optics, ANGLES.k, fields.numpy(), FRAME)


@pytest.fixture(scope="module")
def denser() -> Reconstruction:
    background, sample = scan((1.365, MIDDLE))
    return Reconstructor(background)(sample)


@pytest.fixture(scope="module")
def lighter() -> Reconstruction:
    """Return a sphere of 1.310, 1 um above the focus."""
    background, sample = scan((1.310, (0.0, 0.0, 1.0)))
    return Reconstructor(background)(sample)


@pytest.fixture(scope="module")
def pair() -> Reconstruction:
    """Return a denser and a lighter sphere beside each other."""
    background, sample = scan((1.365, (-2.0, 0.0, 0.0)), (1.310, (2.0, 0.0, 0.0)))
    return Reconstructor(background)(sample)


def inside(tomogram: Tomogram, centre: Centre = MIDDLE) -> float:
    z, y, x = tomogram.index.shape
    r = distance_um((z, y, x), tomogram.voxel_size_um, centre)
    return float(tomogram.index[r < 0.7 * RADIUS_UM].mean())


@pytest.mark.parametrize("method", ["gp", "tv-fast", "deep"])
def test_a_lighter_sphere_is_kept_and_said(lighter: Reconstruction, method: str) -> None:
    found = regularizer(method)(lighter.tomogram, lighter.spectrum)
    assert inside(found, (0.0, 0.0, 1.0)) == pytest.approx(1.310, abs=0.005)
    assert float(found.index.max()) <= MEDIUM + 1e-6
    assert any("lighter than its medium" in warning for warning in found.warnings)
    assert any("wrong sign" in warning for warning in found.warnings)
    assert found.provenance["constraint"] == "non-positive"


@pytest.mark.parametrize("method", ["tv-fast", "deep"])
def test_denser_and_lighter_spheres_are_both_kept(pair: Reconstruction, method: str) -> None:
    found = regularizer(method)(pair.tomogram, pair.spectrum)
    assert inside(found, (-2.0, 0.0, 0.0)) == pytest.approx(1.365, abs=0.006)
    assert inside(found, (2.0, 0.0, 0.0)) == pytest.approx(1.310, abs=0.006)
    assert any("denser and parts lighter" in warning for warning in found.warnings)
    assert found.provenance["constraint"] == "none"


def test_a_constraint_that_was_asked_for_is_kept_and_its_cost_said(pair: Reconstruction) -> None:
    for constraint, where in (("non-negative", "below"), ("non-positive", "above")):
        regularize = regularizer("tv-fast", constraint=check_constraint(constraint))
        found = regularize(pair.tomogram, pair.spectrum)
        sign = 1 if constraint == "non-negative" else -1
        assert bool((sign * (found.index - MEDIUM) >= -1e-6).all())
        (warning,) = found.warnings
        assert f"lies {where} the medium's index" in warning
        assert "of the measurement unexplained" in warning


def test_a_denser_sphere_is_regularized_as_ever(denser: Reconstruction) -> None:
    raw, spectrum = denser.tomogram, denser.spectrum
    found = regularizer("tv-fast")(raw, spectrum)
    asked = regularizer("tv-fast", constraint="non-negative")(raw, spectrum)
    assert torch.equal(found.index, asked.index)
    assert found.warnings == ()
    assert share_below_medium(spectrum) == pytest.approx(0, abs=0.02)


def test_noise_is_no_evidence_of_lighter_objects(denser: Reconstruction) -> None:
    spectrum = denser.spectrum
    noise = torch.randn(spectrum.values.shape, generator=torch.Generator().manual_seed(1))
    empty = replace(spectrum, values=noise * (spectrum.measured > 0) + 0j)
    assert resolve_constraint("auto", empty) == ("non-negative", "")


def test_the_opposite_of_the_opposite_is_the_tomogram(pair: Reconstruction) -> None:
    sure = replace(pair.tomogram, uncertainty=torch.full_like(pair.tomogram.index, 0.01))
    again = negated_tomogram(negated_tomogram(sure))
    assert torch.allclose(again.index, sure.index, atol=1e-6)
    assert again.uncertainty is not None
    assert torch.allclose(again.uncertainty, torch.tensor(0.01), atol=1e-6)
    assert torch.allclose(negated_tomogram(sure).contrast, -sure.contrast, atol=1e-6)


def test_the_quality_check_has_the_same_sign(lighter: Reconstruction) -> None:
    parameters = TvParameters(1, 20, 20.0, 10.0, 1.0)
    found = regularizer("tv-fast")(lighter.tomogram, lighter.spectrum)
    result = check(found.contrast, lighter.spectrum, "tv-fast", parameters=parameters)
    assert result.report.ssim > 0.95
    assert float(result.reference.max()) <= 0 < float(-result.reference.min())


def without_k(stack: InterferogramStack) -> InterferogramStack:
    return replace(stack, illumination_k=None)


@pytest.mark.parametrize(
    ("settings", "index", "z_um"),
    [
        (ReconstructionSettings(), 1.364, -1.0),  # taken for denser: mirrored
        (ReconstructionSettings(objects="lighter"), 1.310, 1.0),
        (with_objects(ReconstructionSettings(), "non-positive"), 1.310, 1.0),
    ],
)
def test_without_wave_vectors_the_orientation_is_stated(
    settings: ReconstructionSettings, index: float, z_um: float
) -> None:
    background, sample = scan((1.310, (0.0, 0.0, 1.0)))
    made = Reconstructor(without_k(background), settings=settings)(without_k(sample))
    assert inside(made.tomogram, (0.0, 0.0, z_um)) == pytest.approx(index, abs=0.006)
    (warning,) = made.report.warnings
    assert f"assumed to be {settings.objects} than its medium" in warning


def test_wave_vectors_of_the_wrong_sign_are_pointed_out() -> None:
    background, sample = (replace(one, illumination_k=-ANGLES.k) for one in scan((1.365, MIDDLE)))
    made = Reconstructor(background)(sample)
    found = regularizer("tv-fast")(made.tomogram, made.spectrum)
    assert any("the wave vectors have the wrong sign" in warning for warning in found.warnings)


@pytest.mark.parametrize("name", ["positive", "", "Non-negative"])
def test_a_constraint_that_there_is_not_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="constraint must be one of auto, non-negative"):
        check_constraint(name)
