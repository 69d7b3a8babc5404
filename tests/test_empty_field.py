"""Samples that fill the field: recognised by their uneven "empty" part, and their anchors."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import circular_scan
from acquisition.interferograms import InterferogramStack
from reconstruction.empty_field import fit_empty_field, with_anchor
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import Anchor, ReconstructionSettings
from tests.partial_waves import sphere_fields
from tests.scans import CELL, distance_um, interferograms

ANGLES = circular_scan(9, 2.0)
FIELD = 160  # pixels: 12.8 um


@cache
def background(electrons: float = 0.0) -> InterferogramStack:
    """Return the scan of nothing; 0 electrons: without noise."""
    exact = interferograms(CELL.optics, ANGLES.k, frame=(FIELD, FIELD))
    return counted(exact, electrons, 1) if electrons else exact


@cache
def exact_scan(radius_um: float, index: float) -> InterferogramStack:
    """Return the scan of a sphere, of which a field of 12.8 um is recorded.

    Computed on a field wide enough for its shadow under the steepest light.
    """
    grid = 2 * round(radius_um / 0.55 / CELL.optics.pixel_size_um) + FIELD
    fields = sphere_fields(CELL.optics, ANGLES.k, radius_um, index, (grid, grid)).numpy()
    first = grid // 2 - FIELD // 2
    seen = fields[:, first : first + FIELD, first : first + FIELD]
    return interferograms(CELL.optics, ANGLES.k, seen, (FIELD, FIELD))


def counted(stack: InterferogramStack, electrons: float, seed: int) -> InterferogramStack:
    """Return the frames of a camera whose full scale is so many electrons."""
    found = np.random.default_rng(seed).poisson(stack.frames * (electrons / 65535))
    frames = np.minimum(np.rint(found * (60000 / electrons)), 65535).astype(np.uint16)
    return replace(stack, frames=frames)


@cache
def planned(electrons: float, anchor: Anchor = "field", offset: float = 0) -> Reconstructor:
    settings = ReconstructionSettings(anchor=anchor, offset=offset, planes=1)
    return Reconstructor(background(electrons), settings=settings)


def reconstructed(
    radius_um: float,
    index: float,
    electrons: float = 0.0,
    anchor: Anchor = "field",
    offset: float = 0,
) -> Reconstruction:
    sample = exact_scan(radius_um, index)
    sample = counted(sample, electrons, 2) if electrons else sample
    return planned(electrons, anchor, offset)(sample)


def inside(result: Reconstruction, radius_um: float) -> float:
    z, y, x = result.tomogram.index.shape
    r = distance_um((z, y, x), result.tomogram.voxel_size_um)
    return float(result.tomogram.index[r < 0.7 * radius_um].mean())


def says_full(result: Reconstruction) -> bool:
    return any("fills the field" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("electrons", [0.0, 3_000.0, 300.0])
@pytest.mark.parametrize(("radius_um", "index"), [(6.0, 1.350), (6.0, 1.340), (11.0, 1.345)])
def test_a_sample_without_an_empty_part_is_seen(
    radius_um: float, index: float, electrons: float
) -> None:
    result = reconstructed(radius_um, index, electrons)
    assert says_full(result)
    assert inside(result, min(radius_um, 5.0)) < index - 0.001


@pytest.mark.parametrize("electrons", [0.0, 3_000.0, 300.0])
@pytest.mark.parametrize(("radius_um", "index"), [(2.0, 1.380), (2.5, 1.340), (1.0, 1.345)])
def test_a_sample_with_an_empty_part_is_not_mistaken(
    radius_um: float, index: float, electrons: float
) -> None:
    result = reconstructed(radius_um, index, electrons)
    assert not says_full(result)


def test_an_empty_field_is_not_full() -> None:
    again = counted(background(), 1_000.0, 5)
    assert not says_full(planned(1_000.0)(again))


@pytest.mark.parametrize("anchor", ["background", "lowest"])
@pytest.mark.parametrize("index", [1.350, 1.340])
def test_a_stated_zero_brings_the_index_back(anchor: Anchor, index: float) -> None:
    result = reconstructed(6.0, index, anchor=anchor)
    assert inside(result, 5.0) == pytest.approx(index, abs=0.0012)
    assert not says_full(result)


def test_an_offset_is_added_everywhere() -> None:
    plain, raised = (reconstructed(6.0, 1.350, offset=offset) for offset in (0.0, 0.006))
    shift = raised.tomogram.index - plain.tomogram.index
    assert float(shift.mean()) == pytest.approx(0.006, abs=1e-4)
    assert float(shift.std()) < 2e-4
    assert not says_full(raised)
    with pytest.raises(ConfigurationError, match=r"offset must be -0\.5 to 0\.5, got"):
        ReconstructionSettings(offset=1.35)


def test_the_highest_phase_is_the_zero_of_lighter_objects() -> None:
    """The fields of a denser sphere, conjugated, are those of a sample that advances the wave."""
    line = (torch.arange(96) - 48) / 48.0
    bump = torch.exp(-4 * (line[:, None] ** 2 + line**2))
    advanced = torch.polar(torch.ones(96, 96), 0.4 - 1.5 * bump)[None]
    empty = fit_empty_field(advanced)
    removed = with_anchor(empty, advanced, "highest").remove(advanced)
    assert float(removed.angle().max()) == pytest.approx(0, abs=0.05)
