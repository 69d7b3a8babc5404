"""The 3D view: its arithmetic, picking, and its pictures where there is OpenGL."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from files.exporting.surface_levels import surface_levels
from tests.recorded_session import cell
from tests.volume_scenes import (
    BALL_UM,
    COLOUR,
    INDEX,
    MEDIUM,
    PIXELS,
    RADIUS_UM,
    SHAPE,
    VOXEL_UM,
    ball,
    display,
)
from ui.sections.contrast import Contrast
from ui.sections.voxel_grid import VoxelGrid, X, Y, Z
from ui.volume.pace import FINEST, FULL, QUALITIES, Pace
from ui.volume.picking import interpolated, picked, visible
from ui.volume.prepared_volume import BRICK, prepare, shrunk
from ui.volume.scale_box import axis_scales, box_edges
from ui.volume.volume_camera import PRESETS, VolumeCamera
from ui.volume.volume_state import Kept, Mode, Surface, VolumeState

ROOT = Path(__file__).resolve().parents[1]
GRID = VoxelGrid(SHAPE, VOXEL_UM)
CONTRAST = Contrast(MEDIUM, INDEX)
LEVEL = (MEDIUM + INDEX) / 2


# --- camera ---


@pytest.mark.parametrize(
    ("preset", "right", "down", "ahead"),
    [
        ("XY", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
        ("XZ", (0, 0, 1), (1, 0, 0), (0, -1, 0)),
        ("YZ", (1, 0, 0), (0, 1, 0), (0, 0, -1)),
    ],
)
def test_presets_are_the_sections(preset: str, right: Any, down: Any, ahead: Any) -> None:
    directions = VolumeCamera().seen_from(preset, GRID).directions
    np.testing.assert_allclose(directions, [right, down, ahead], atol=1e-12)


def test_no_view_is_mirrored() -> None:
    cameras = [VolumeCamera().seen_from(preset, GRID) for preset in PRESETS]
    cameras += [cameras[-1].turned(33.0, -71.0).turned(5.0, 140.0)]
    for camera in cameras:
        right, down, ahead = camera.directions[:, ::-1]  # (x, y, z)
        np.testing.assert_allclose(np.cross(right, down), ahead, atol=1e-12)


def test_a_drag_moves_what_is_in_front_with_the_pointer() -> None:
    camera = VolumeCamera(PRESETS["XY"])
    near = np.array(camera.position_um(0.0, 0.0, -3.0))
    right, down, _ = camera.turned(10.0, 0.0).projected(near)
    assert right == pytest.approx(3 * math.sin(math.radians(10))) and abs(down) < 1e-9
    right, down, _ = camera.turned(0.0, 10.0).projected(near)
    assert down == pytest.approx(3 * math.sin(math.radians(10))) and abs(right) < 1e-9


def test_zoom_keeps_the_place_under_the_pointer_and_pan_follows_it() -> None:
    camera = VolumeCamera(centre_um=(0.4, -0.2, 1.0))
    place = camera.position_um(1.5, -0.7)
    closer = camera.zoomed(2.0, 1.5, -0.7)
    right, down, _ = closer.projected(place)
    assert (right, down) == pytest.approx((1.5 / 2, -0.7 / 2))  # half the um, twice the pixels
    assert closer.zoom == 2.0
    moved = camera.panned(0.5, 0.25).projected(place)
    assert moved[:2] == pytest.approx((2.0, -0.45))


def test_position_and_projection_are_inverse() -> None:
    camera = VolumeCamera(centre_um=(1.0, 2.0, 3.0)).turned(40.0, 20.0)
    np.testing.assert_allclose(
        camera.projected(camera.position_um(0.3, -0.8, 2.0)), (0.3, -0.8, 2.0)
    )


def test_zoom_one_shows_the_volume_from_every_side() -> None:
    corners = np.array([[GRID.edges_um(a)[i >> a & 1] for a in range(3)] for i in range(8)])
    camera = VolumeCamera(centre_um=GRID.middle_um)
    half = camera.um_per_pixel(300, 200, GRID) * 100
    for turned in range(0, 360, 15):
        seen = camera.turned(turned, 0.7 * turned).projected(corners)
        assert np.abs(seen[:, :2]).max() < half


# --- state ---


def test_cuts_keep_one_side_of_the_cursor() -> None:
    state = VolumeState(grid=GRID)
    cursor = (0.5, -0.5, 1.0)
    whole = tuple(zip(*(GRID.edges_um(a) for a in range(3)), strict=True))
    assert state.bounds_um(cursor) == whole
    low = state.cut(X)
    assert low.kept[X] is Kept.LOW
    assert low.bounds_um(cursor) == (whole[0], (whole[1][0], whole[1][1], 1.0))
    high = low.cut(X).cut(Z)
    assert high.kept == (Kept.LOW, Kept.BOTH, Kept.HIGH)
    assert high.bounds_um(cursor) == ((whole[0][0], whole[0][1], 1.0), (0.5, *whole[1][1:]))
    assert high.cut(X).cut(Z).cut(Z).kept == state.kept


def test_the_first_volume_sets_levels_and_later_ones_leave_them() -> None:
    volume = ball()
    state = VolumeState().for_volume(GRID, volume, MEDIUM)
    assert [surface.name for surface in state.surfaces] == ["membrane", "nucleoli", "lipid"]
    changed = state.with_surface(0, level=1.35, name="cell").with_surface(1, shown=False)
    assert changed.for_volume(GRID, volume + 1, MEDIUM) == changed
    assert [s.name for s in changed.drawn_surfaces] == ["cell", "lipid"]
    other = VoxelGrid((8, 8, 8), (1.0, 1.0, 1.0))
    assert changed.for_volume(other, volume, MEDIUM).camera.centre_um == other.middle_um


def test_start_levels_lie_at_the_edges_of_the_cell() -> None:
    # body 1.362, nucleus 1.375, nucleolus 1.392, granules 1.405 and 1.41
    rng = np.random.default_rng(0)
    volume = cell((40, 80, 80), (0.3, 0.15, 0.15), (0.0, 0.0, 0.0))
    volume += rng.normal(0, 5e-4, volume.shape).astype(np.float32)
    membrane, nucleoli, lipid = surface_levels(volume, MEDIUM)
    assert membrane == pytest.approx((1.362 + MEDIUM) / 2, abs=0.002)
    assert 1.376 < nucleoli < 1.392 < lipid < 1.41


def test_levels_of_something_lighter_lie_below_the_medium() -> None:
    (level,) = surface_levels(2 * MEDIUM - ball(), MEDIUM, 1)
    assert level == pytest.approx(2 * MEDIUM - LEVEL, abs=0.003)


@pytest.mark.parametrize("volume", [np.full((4, 4, 4), MEDIUM), np.full((4, 4, 4), np.nan)])
def test_an_empty_volume_has_levels_too(volume: NDArray[np.float64]) -> None:
    levels = surface_levels(volume.astype(np.float32), MEDIUM)
    assert len(levels) == 3 and all(math.isfinite(level) for level in levels)


# --- volume and pace ---


def test_prepared_voxels_are_the_volume_and_bricks_hold_their_range() -> None:
    volume = np.random.default_rng(1).uniform(1.33, 1.4, (13, 20, 9)).astype(np.float32)
    ready, coarse = prepare(volume, 10**6)
    back = ready.low + ready.voxels / 65535 * (ready.high - ready.low)
    assert np.abs(back - volume).max() < 1e-6
    assert ready.share(ready.low) == 0 and ready.share(ready.high) == 1
    assert ready.bricks.shape == (2, 3, 2, 2)
    assert coarse.voxels.shape == (7, 5, 9)  # at most a quarter
    # the voxels between which a sample in the brick is interpolated
    region = ready.voxels[BRICK - 1 : 13, 0 : BRICK + 1, 0 : BRICK + 1]
    assert ready.bricks[1, 0, 0].tolist() == [region.min(), region.max()]


def test_voxels_without_an_index_are_the_lowest() -> None:
    volume = ball()
    volume[3, 4, 5] = np.nan
    assert prepare(volume, 10**6)[0].voxels[3, 4, 5] == 0


def test_a_large_volume_is_shrunk_by_means() -> None:
    volume = np.arange(4 * 6 * 5, dtype=np.float32).reshape(4, 6, 5)
    small = shrunk(volume, 60)
    assert small.shape == (4, 3, 5)
    np.testing.assert_allclose(small, (volume[:, ::2] + volume[:, 1::2]) / 2)
    assert shrunk(volume, 120) is volume


def test_a_slow_machine_draws_coarsely_and_a_fast_one_finely() -> None:
    pixels = 250_000
    slow, fast = Pace(), Pace()
    for _ in range(12):
        slow = slow.measured(FULL, pixels, 2.0)
        fast = fast.measured(FULL, pixels, 0.002)
    assert slow.quality(pixels, 0.1).cost < 0.1 and fast.quality(pixels, 0.03) is FINEST
    assert slow.expected(slow.quality(pixels, 0.1), pixels) <= 0.1
    assert slow.quality(pixels, 0.0) is QUALITIES[0]
    # at rest: as far as anybody would wait
    assert slow.finer(slow.quality(pixels, 0.1), pixels) == (FULL,)
    assert fast.finer(FULL, pixels) == (FINEST,) and fast.finer(FINEST, pixels) == ()


# --- picking ---


def test_interpolation_is_exact_on_a_linear_field() -> None:
    z, y, x = np.meshgrid(np.arange(5), np.arange(6), np.arange(7), indexing="ij")
    volume = (2 * z + 3 * y - x).astype(np.float32)
    places = np.random.default_rng(2).uniform(0, 4, (50, 3))
    expected = places @ np.array([2, 3, -1])
    np.testing.assert_allclose(interpolated(volume, places), expected, rtol=1e-5, atol=1e-5)


def pick(state: VolumeState, at: tuple[float, float], volume: Any = None) -> Any:
    return picked(
        ball() if volume is None else volume,
        state,
        at,
        cursor_um=BALL_UM,
        medium=MEDIUM,
        contrast=CONTRAST,
    )


def looking(preset: str, mode: Mode) -> VolumeState:
    surface = Surface("ball", LEVEL, COLOUR, 1.0)
    camera = VolumeCamera(PRESETS[preset], centre_um=GRID.middle_um)
    return VolumeState(camera=camera, mode=mode, surfaces=(surface,), grid=GRID, opacity=8.0)


def towards(state: VolumeState, position_um: Any) -> tuple[float, float]:
    right, down, _ = state.camera.projected(np.array(position_um)).tolist()
    return right, down


@pytest.mark.parametrize("preset", PRESETS)
def test_a_click_takes_the_brightest_place_along_the_ray(preset: str) -> None:
    state = looking(preset, Mode.MAXIMUM)
    volume = np.full(SHAPE, MEDIUM, np.float32)
    voxel = (20, 17, 26)
    volume[voxel] = INDEX
    position = GRID.position_um(voxel)
    found = pick(state, towards(state, position), volume)
    assert found == pytest.approx(position, abs=0.11)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", [Mode.ATTENUATED, Mode.SURFACES])
def test_a_click_takes_the_surface_that_faces_the_viewer(preset: str, mode: Mode) -> None:
    state = looking(preset, mode)
    found = pick(state, towards(state, BALL_UM))
    ahead = state.camera.directions[2]
    front = np.array(BALL_UM) - ahead * RADIUS_UM
    tolerance = 0.2 if mode is Mode.SURFACES else 0.5  # light comes from a layer of a depth
    assert np.linalg.norm(np.array(found) - front) < tolerance


def test_a_click_beside_the_volume_or_the_surface_is_none() -> None:
    assert pick(looking("XY", Mode.MAXIMUM), (90.0, 0.0)) is None
    state = looking("XY", Mode.SURFACES)
    assert pick(state, towards(state, (0.0, 3.5, -3.0))) is None
    assert pick(state.with_surface(0, shown=False), towards(state, BALL_UM)) is None


def test_a_click_meets_the_cut_and_not_what_is_cut_away() -> None:
    state = replace(looking("XY", Mode.SURFACES), kept=(Kept.HIGH, Kept.BOTH, Kept.BOTH))
    assert pick(state, towards(state, BALL_UM)) == pytest.approx(BALL_UM, abs=0.11)
    hollow = pick(replace(state, filled=False), towards(state, BALL_UM))
    assert hollow[Z] == pytest.approx(BALL_UM[Z] + RADIUS_UM, abs=0.2)  # the far wall from inside


def test_the_crosshair_is_hidden_behind_a_surface_only() -> None:
    state = looking("XY", Mode.SURFACES)
    places = np.array([BALL_UM, (BALL_UM[0] + 2, *BALL_UM[1:]), (BALL_UM[0] - 2, *BALL_UM[1:])])

    def light(state: VolumeState) -> list[float]:
        values = visible(ball(), state, places, cursor_um=BALL_UM, medium=MEDIUM, contrast=CONTRAST)
        return [float(value) for value in values]

    assert light(state) == [0, 0, 1]  # inside, behind, in front
    assert light(state.with_surface(0, opacity=0.5)) == pytest.approx([0.5, 0.25, 1])
    assert light(replace(state, mode=Mode.MAXIMUM)) == [1, 1, 1]
    inside, behind, before = light(replace(state, mode=Mode.ATTENUATED))
    assert behind < inside < 0.1 and before == 1


# --- scale box ---


def test_three_edges_of_the_box_lie_behind() -> None:
    camera = VolumeCamera(centre_um=GRID.middle_um)
    edges = box_edges(camera, GRID)
    assert len(edges) == 12 and sum(edge.behind for edge in edges) == 3
    assert {edge.axis for edge in edges if edge.behind} == {Z, Y, X}


def test_ticks_are_at_round_positions_on_the_edge() -> None:
    camera = VolumeCamera(centre_um=GRID.middle_um)
    scales = axis_scales(camera, GRID, 2.0, 0.5)
    assert {scale.axis for scale in scales} == {Z, Y, X}
    for scale in scales:
        values = [tick.value_um for tick in scale.ticks]
        low, high = GRID.edges_um(scale.axis)
        assert values == [v for v in np.arange(-10, 11, 2.0) if low <= v <= high]
        for tick in scale.ticks:
            share = (tick.value_um - low) / (high - low)
            along = np.array(scale.edge.start) * (1 - share) + np.array(scale.edge.end) * share
            assert tick.at == pytest.approx(along)
    # seen along z there is no length to put a scale on
    assert {s.axis for s in axis_scales(camera.seen_from("XY", GRID), GRID, 2.0, 0.5)} == {Y, X}


# --- pictures, where there is OpenGL ---


@dataclass(frozen=True)
class Drawn:
    """What the process with a display has drawn, and what the widget did there."""

    pictures: dict[str, NDArray[np.uint8]]
    answers: dict[str, Any]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("volume")
    with display() as environment:
        if environment is None:
            pytest.skip("no OpenGL: neither a display nor Xvfb")
        command = [sys.executable, "-m", "tests.volume_scenes", str(folder)]
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    assert result.returncode == 0, result.stdout + result.stderr
    answers = json.loads((folder / "answers.json").read_text())
    if "problem" in answers:
        pytest.skip(f"no OpenGL: {answers['problem']}")
    with np.load(folder / "pictures.npz") as file:
        return Drawn({name: file[name] for name in file.files}, answers)


def expected_pixel(preset: str) -> tuple[float, float, float]:
    """Return where the ball's centre is (right, down), and um per pixel."""
    camera = VolumeCamera(PRESETS[preset], centre_um=GRID.middle_um)
    scale = camera.um_per_pixel(PIXELS, PIXELS, GRID)
    right, down, _ = camera.projected(np.array(BALL_UM)).tolist()
    return PIXELS / 2 + right / scale - 0.5, PIXELS / 2 + down / scale - 0.5, scale


def bright(picture: NDArray[np.uint8], mode: Mode) -> NDArray[np.bool_]:
    # in a maximum projection the medium is opaque and black
    return picture[..., 0] > 127 if mode is Mode.MAXIMUM else picture[..., 3] > 127


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mode", Mode)
def test_the_ball_is_where_it_is_and_as_large(drawn: Drawn, mode: Mode, preset: str) -> None:
    mask = bright(drawn.pictures[f"{mode} {preset}"], mode)
    right, down, scale = expected_pixel(preset)
    rows, columns = np.nonzero(mask)
    assert (columns.mean(), rows.mean()) == pytest.approx((right, down), abs=0.7)
    radius = math.sqrt(mask.sum() / math.pi) * scale
    assert radius == pytest.approx(RADIUS_UM, rel=0.1)


def test_a_surface_has_its_colour_and_its_opacity(drawn: Drawn) -> None:
    solid, glass = drawn.pictures["surfaces XY"], drawn.pictures["glass"]
    right, down, _ = expected_pixel("XY")
    at = (round(down), round(right))
    red, green, blue, alpha = (int(v) for v in solid[at])
    assert alpha == 255 and red > 150 and red > 2 * green > 2 * blue
    # two walls of opacity 0.3, seen face on
    assert glass[at][3] / 255 == pytest.approx(1 - 0.7**2, abs=0.03)
    assert not drawn.pictures["hidden"].any()


@pytest.mark.parametrize("mode", Mode)
def test_a_cut_hides_one_side_only(drawn: Drawn, mode: Mode) -> None:
    # the cut is at x = 0, the ball at x = 1.2 um with a radius of 1
    whole = bright(drawn.pictures[f"{mode} XY"], mode)
    assert np.array_equal(bright(drawn.pictures[f"{mode} kept"], mode), whole)
    assert whole.any() and not bright(drawn.pictures[f"{mode} cut away"], mode).any()


def test_a_filled_cut_shows_the_index_and_a_hollow_one_the_far_wall(drawn: Drawn) -> None:
    right, down, _ = expected_pixel("XY")
    at = (round(down), round(right))
    filled, hollow = drawn.pictures["filled half"][at], drawn.pictures["hollow half"][at]
    assert filled.min() > 245  # the ball's index is the top of the contrast: white
    assert hollow[3] == 255 and hollow[0] > 2 * hollow[1]


def test_coarse_and_fine_pictures_show_the_same(drawn: Drawn) -> None:
    coarse, fine = drawn.pictures["coarse"], drawn.pictures["fine"]
    assert coarse.shape[:2] == (PIXELS // 4, PIXELS // 4) and fine.shape[:2] == (PIXELS, PIXELS)
    right, down, scale = expected_pixel("XY")
    for picture, pixel in ((coarse, 4), (fine, 1)):
        rows, columns = np.nonzero(picture[..., 3] > 127)
        assert columns.mean() * pixel == pytest.approx(right, abs=2 * pixel)
        assert rows.mean() * pixel == pytest.approx(down, abs=2 * pixel)
        radius = math.sqrt(len(rows) / math.pi) * scale * pixel
        assert radius == pytest.approx(RADIUS_UM, rel=0.15)


def test_the_widget_draws_sharpens_and_picks(drawn: Drawn) -> None:
    answers = drawn.answers
    assert answers["first"] and answers["sharpened"] >= 1
    assert answers["picked_um"][1:] == pytest.approx(BALL_UM[1:], abs=0.25)
    assert answers["turned"] and answers["clicks"] == 1  # a drag is no click
    assert answers["background"] == "#000000"  # the medium is the darkest of the contrast


def test_a_lost_context_is_said_and_can_be_tried_again(drawn: Drawn) -> None:
    text, in_place = drawn.answers["lost"]
    assert "context is lost" in text and in_place and drawn.answers["again"]
