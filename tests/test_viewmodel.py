"""The view model of the window, without a Qt application or widgets."""

import math
from dataclasses import replace

import numpy as np
import pytest

from pipeline.wire.state import InterferogramView, TomogramView
from tests.recorded_session import MEDIUM, fringes, volumes
from ui.bars.sidebar import exposure_hint
from ui.sections.colour_bar import ticks
from ui.sections.contrast import Contrast, auto_contrast
from ui.sections.displayed import displayed_volume, sections, warning_line
from ui.sections.view_scale import PLANES, Camera, arrange, round_length_um
from ui.sections.voxel_grid import VoxelGrid, X, Y, Z
from ui.style import signed
from ui.viewmodel import ViewState

VOXEL_UM = (0.36, 0.22, 0.24)
SHAPE = (28, 50, 46)


@pytest.fixture(scope="module")
def tomograms() -> list[TomogramView]:
    return volumes(3, SHAPE, VOXEL_UM)


def test_position_zero_is_the_centre_voxel_and_every_voxel_is_found_at_its_position() -> None:
    grid = VoxelGrid((5, 8, 7), (0.5, 0.1, 0.25))
    assert grid.position_um(grid.centre) == (0, 0, 0)
    for voxel in np.ndindex(*grid.shape):
        assert grid.voxel(grid.position_um(voxel)) == voxel


def test_edges_are_half_a_voxel_outside_the_outermost_positions() -> None:
    grid = VoxelGrid((4, 5, 6), (0.5, 0.1, 0.25))
    last = grid.position_um((3, 4, 5))
    for axis in (Z, Y, X):
        low, high = grid.edges_um(axis)
        half = grid.voxel_size_um[axis] / 2
        assert low == pytest.approx(grid.position_um((0, 0, 0))[axis] - half)
        assert high == pytest.approx(last[axis] + half)


@pytest.mark.parametrize(
    ("axis", "steps", "expected"),
    [
        (Z, -1, (13, 25, 23)),
        (Y, 1, (14, 26, 23)),
        (X, 10, (14, 25, 33)),
        (Z, -1000, (0, 25, 23)),
        (Y, 1000, (14, 49, 23)),
        (X, 1000, (14, 25, 45)),
    ],
)
def test_cursor_moves_are_clamped(
    tomograms: list[TomogramView], axis: int, steps: int, expected: tuple[int, int, int]
) -> None:
    assert ViewState().for_tomogram(tomograms[0]).moved(axis, steps).cursor == expected


def test_sections_pass_through_the_cursor(tomograms: list[TomogramView]) -> None:
    volume = tomograms[0].raw
    z, y, x = cursor = (5, 20, 33)
    xy, xz, yz = sections(volume, cursor, False)
    assert xy.shape == (50, 46) and xz.shape == (28, 46) and yz.shape == (50, 28)
    assert xy[y, x] == xz[z, x] == yz[y, z] == volume[cursor]


def test_projections_are_the_maximum_along_the_axis_a_panel_cuts(
    tomograms: list[TomogramView],
) -> None:
    volume = tomograms[0].raw
    for plane, image in zip(PLANES, sections(volume, (0, 0, 0), True), strict=True):
        expected = volume.max(axis=plane.cut)
        assert np.array_equal(image, expected.T if plane.right < plane.down else expected)


def test_a_new_grid_keeps_the_cursor_at_its_place_in_the_sample(
    tomograms: list[TomogramView],
) -> None:
    state = ViewState().for_tomogram(tomograms[0]).cursor_at({Z: 1.44, Y: -2.2, X: 2.4})
    finer = replace(
        tomograms[0],
        raw=np.full((56, 100, 92), MEDIUM, np.float32),
        regularized=None,
        voxel_size_um=(0.18, 0.11, 0.12),
    )
    assert state.for_tomogram(finer).position_um == pytest.approx(state.position_um)


def test_contrast_is_chosen_on_the_first_tomogram_and_then_left_alone(
    tomograms: list[TomogramView],
) -> None:
    state = ViewState().for_tomogram(tomograms[0])
    assert tomograms[0].regularized is not None
    brighter = replace(tomograms[1], regularized=tomograms[1].raw + 0.05)
    assert state.for_tomogram(brighter) == state


@pytest.mark.parametrize("kind", ["raw", "regularized"])
def test_automatic_contrast_spans_medium_and_object(
    tomograms: list[TomogramView], kind: str
) -> None:
    volume = getattr(tomograms[0], kind)
    contrast = auto_contrast(volume, MEDIUM)
    assert MEDIUM - 0.3 * (contrast.high - contrast.low) <= contrast.low <= MEDIUM
    above = (volume > contrast.high + 0.001).mean()
    assert 0 <= above < 0.002
    assert contrast.high > np.percentile(volume, 99)


@pytest.mark.parametrize("value", [MEDIUM, math.nan])
def test_automatic_contrast_of_an_empty_or_broken_volume_is_a_range(value: float) -> None:
    contrast = auto_contrast(np.full((4, 8, 8), value, np.float32), MEDIUM)
    assert contrast.low < MEDIUM < contrast.high


def test_the_ends_of_the_contrast_push_each_other() -> None:
    contrast = Contrast(1.33, 1.36)
    raised = contrast.with_low(1.40)
    assert raised.low == 1.40 < raised.high
    lowered = contrast.with_high(1.30)
    assert lowered.low < lowered.high == 1.30
    assert contrast.shifted(-9).low == 1.0
    wider = contrast.scaled(2)
    assert (wider.low, wider.high) == pytest.approx((1.315, 1.375))


def test_ticks_are_round_and_inside() -> None:
    assert ticks(Contrast(1.337, 1.392), 10) == pytest.approx(np.arange(1.34, 1.3901, 0.01))
    assert len(ticks(Contrast(1.337, 1.3375), 10)) == 1


@pytest.mark.parametrize(
    ("longest", "expected"), [(1, 1), (0.99, 0.5), (7.3, 5), (49, 20), (0.03, 0.02), (1000, 1000)]
)
def test_scale_bars_have_round_lengths(longest: float, expected: float) -> None:
    assert round_length_um(longest) == pytest.approx(expected)


def test_zoom_keeps_the_point_under_the_pointer() -> None:
    grid = VoxelGrid((64, 192, 192), (0.2, 0.1, 0.1))
    layout = arrange(900, 700, grid)
    camera, anchor = Camera(centre_um=grid.middle_um), (1.0, 3.0, -4.0)
    nearer = camera.zoomed(3, anchor, grid)
    for axis in (Z, Y, X):
        before, after = (c.range_um(axis, 400, layout) for c in (camera, nearer))
        share = [(anchor[axis] - low) / (high - low) for low, high in (before, after)]
        assert share[0] == pytest.approx(share[1])
    assert nearer.zoomed(0.01, anchor, grid) == camera


@pytest.mark.parametrize("size", [(860, 700), (1300, 900), (500, 900), (300, 200)])
@pytest.mark.parametrize("depth", [4, 64, 400])
def test_the_whole_volume_fits_into_every_layout(size: tuple[int, int], depth: int) -> None:
    grid = VoxelGrid((depth, 192, 160), (0.2, 0.1, 0.1))
    layout = arrange(*size, grid)
    for plane in PLANES:
        width, height = layout.size_px(plane)
        assert width * layout.fit_um_per_pixel >= grid.extent_um[plane.right]
        assert height * layout.fit_um_per_pixel >= grid.extent_um[plane.down]
    assert sum(layout.columns) < size[0] and sum(layout.rows) < size[1]


def test_cautions_name_what_was_lost(tomograms: list[TomogramView]) -> None:
    tomogram = replace(tomograms[0], warnings=("laser saturated",), lost_angles=(0, 16))
    text = warning_line(tomogram, displayed_volume(tomogram, "regularized"))
    assert text == "laser saturated"
    tomogram = replace(tomogram, warnings=())
    assert warning_line(tomogram, displayed_volume(tomogram, "regularized")) == "lost angles: 0, 16"
    assert warning_line(tomograms[0], displayed_volume(tomograms[0], "regularized")) == ""


@pytest.mark.parametrize(
    ("gain", "bits", "words", "tone"),
    [
        (1.0, 8, "peak 67% of full scale", ""),
        (4.0, 8, "saturated", "error"),
        (0.1, 8, "too little light", "warning"),
        (1.0, 12, "too little light", "warning"),
    ],
)
def test_exposure_hint(gain: float, bits: int, words: str, tone: str) -> None:
    hint = exposure_hint(InterferogramView(fringes((64, 64), 3, gain), 3, 49, 1, bits))
    assert words in hint[0] and hint[1] == tone


@pytest.mark.parametrize("shift", [0, 4])
def test_exposure_hint_of_twelve_bits(shift: int) -> None:
    """The bits of the camera may be the lower or the upper ones of 16."""
    frame = fringes((64, 64), 3, 1.0).astype(np.uint16) * 16
    for bright, words in ((frame, "peak 66% of full scale"), (frame * 4, "saturated")):
        pixels = (np.minimum(bright, 4095) << shift).astype(np.uint16)
        view = InterferogramView(pixels, 3, 49, 1, 12)
        assert words in exposure_hint(view)[0]


def test_signed_numbers() -> None:
    assert signed(0.004, 2) == signed(-0.004, 2) == "0.00"
    assert signed(1.25, 1) == "+1.2" and signed(-1.0, 1) == "\N{MINUS SIGN}1.0"
