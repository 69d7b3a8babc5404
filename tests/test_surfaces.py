"""Surfaces of constant RI as meshes: right on a sphere, closed, outwards; STL and PLY read back."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from commands.export import run_export
from files.exporting.surface_files import PaintedSurface, save_surfaces
from files.exporting.surfaces import Mesh, surface_mesh
from tests.tomogram_files import VOXEL, write
from tests.volume_scenes import INDEX, MEDIUM, ball

VOXEL_UM = (0.2, 0.1, 0.12)
SHAPE = (40, 70, 60)
CENTRE_UM = (0.5, -0.8, 0.6)
RADIUS_UM = 2.0
LEVEL = (MEDIUM + INDEX) / 2


def sphere() -> NDArray[np.float32]:
    return ball(SHAPE, VOXEL_UM, CENTRE_UM, RADIUS_UM)


def test_the_mesh_of_a_sphere_is_right_closed_and_outwards() -> None:
    volume = sphere()
    mesh = surface_mesh(volume, VOXEL_UM, LEVEL, MEDIUM)
    voxels_um3 = float((volume > LEVEL).sum()) * math.prod(VOXEL_UM)
    assert mesh.volume_um3 == pytest.approx(voxels_um3, rel=0.01)
    assert mesh.volume_um3 == pytest.approx(4 / 3 * math.pi * RADIUS_UM**3, rel=0.01)
    assert mesh.area_um2 == pytest.approx(4 * math.pi * RADIUS_UM**2, rel=0.02)
    assert mesh.closed
    centre = np.array(CENTRE_UM[::-1])
    away = mesh.corners_um.mean(axis=1) - centre
    distances = np.linalg.norm(away, axis=1)
    assert np.abs(distances - RADIUS_UM).max() < 0.05
    faces_out = np.einsum("ij,ij->i", mesh.normals, away / distances[:, None])
    large = np.linalg.norm(mesh._crossed(), axis=1) > 1e-5  # noqa: SLF001
    assert faces_out[large].min() > 0.5


def test_a_bubble_is_enclosed_too() -> None:
    volume = 2 * np.float32(MEDIUM) - sphere()
    mesh = surface_mesh(volume, VOXEL_UM, 2 * MEDIUM - LEVEL, MEDIUM)
    assert mesh.closed
    assert mesh.volume_um3 == pytest.approx(4 / 3 * math.pi * RADIUS_UM**3, rel=0.01)


def test_an_object_that_leaves_the_volume_is_closed_by_its_face() -> None:
    volume = np.full((6, 8, 10), INDEX, np.float32)
    mesh = surface_mesh(volume, (0.3, 0.2, 0.1), LEVEL, MEDIUM)
    assert mesh.closed
    low, high = mesh.vertices_um.min(axis=0), mesh.vertices_um.max(axis=0)
    np.testing.assert_allclose(low, [-0.55, -0.9, -1.05], atol=1e-6)  # x, y, z: outer faces
    np.testing.assert_allclose(high, [0.45, 0.7, 0.75], atol=1e-6)
    assert mesh.volume_um3 == pytest.approx(1.0 * 1.6 * 1.8, rel=0.15)  # edges are chamfered


def test_voxels_at_the_level_itself_leave_no_hole() -> None:
    rng = np.random.default_rng(3)
    volume = rng.choice([1.34, 1.35, 1.36], (14, 15, 16)).astype(np.float32)
    assert surface_mesh(volume, VOXEL_UM, 1.35, MEDIUM).closed


def test_a_mesh_with_a_hole_is_not_closed() -> None:
    mesh = surface_mesh(sphere(), VOXEL_UM, LEVEL, MEDIUM)
    assert not Mesh(mesh.vertices_um, mesh.faces[1:]).closed
    turned = mesh.faces.copy()
    turned[0] = turned[0, ::-1]
    assert not Mesh(mesh.vertices_um, turned).closed


def test_what_cannot_be_a_surface_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1.5000 is not: the volume has 1.3370 to 1.3770"):
        surface_mesh(sphere(), VOXEL_UM, 1.5, MEDIUM)
    hollow = sphere()
    hollow[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="an index in every voxel"):
        surface_mesh(hollow, VOXEL_UM, LEVEL, MEDIUM)
    surface = PaintedSurface("cell", LEVEL)
    with pytest.raises(ConfigurationError, match=r"must end in .stl or .ply"):
        save_surfaces(tmp_path / "a.obj", sphere(), VOXEL_UM, [surface], MEDIUM)
    with pytest.raises(ConfigurationError, match="at least one surface"):
        save_surfaces(tmp_path / "a.stl", sphere(), VOXEL_UM, [], MEDIUM)
    assert list(tmp_path.iterdir()) == []


def read_stl(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read corners and normals by the format's definition."""
    data = path.read_bytes()
    assert not data.startswith(b"solid") and len(data) == 84 + 50 * int.from_bytes(
        data[80:84], "little"
    )
    rows = np.frombuffer(data[84:], np.uint8).reshape(-1, 50)
    numbers = np.ascontiguousarray(rows[:, :48]).view("<f4").reshape(-1, 4, 3)
    return numbers[:, 1:], numbers[:, 0]


def volume_of(corners: NDArray[Any]) -> float:
    a, b, c = np.moveaxis(corners.astype(np.float64), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


def test_stl_has_the_sphere_in_um(tmp_path: Path) -> None:
    written = save_surfaces(
        tmp_path / "cell.stl", sphere(), VOXEL_UM, [PaintedSurface("cell", LEVEL)], MEDIUM
    )
    assert written == [tmp_path / "cell.stl"]
    corners, normals = read_stl(written[0])
    assert volume_of(corners) == pytest.approx(4 / 3 * math.pi * RADIUS_UM**3, rel=0.01)
    middle = (corners.reshape(-1, 3).min(axis=0) + corners.reshape(-1, 3).max(axis=0)) / 2
    np.testing.assert_allclose(middle, CENTRE_UM[::-1], atol=0.03)
    assert np.einsum("ij,ij->i", normals, corners.mean(axis=1) - middle).min() >= 0
    assert b"unit um, RI 1.3570, cell" in written[0].read_bytes()[:80]


def test_several_surfaces_are_several_stl_files(tmp_path: Path) -> None:
    surfaces = [PaintedSurface("cell wall", LEVEL), PaintedSurface("core/2", 1.37)]
    written = save_surfaces(tmp_path / "cell.stl", sphere(), VOXEL_UM, surfaces, MEDIUM)
    assert [file.name for file in written] == ["cell_cell-wall.stl", "cell_core-2.stl"]
    outer, inner = (volume_of(read_stl(file)[0]) for file in written)
    assert inner < outer


def read_ply(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Read vertices, colours and faces by the header."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    vertices, faces = (int(line.split()[-1]) for line in lines if line.startswith("element"))
    kinds = {"float": "<f4", "uchar": "u1"}
    kind = np.dtype(
        [
            (n, kinds[t])
            for _, t, n in (
                x.split() for x in lines if x.count(" ") == 2 and x.startswith("property")
            )
        ]
    )
    points = np.frombuffer(body, kind, vertices)
    triangles = np.frombuffer(body[points.nbytes :], np.dtype([("n", "u1"), ("v", "<i4", 3)]))
    assert len(triangles) == faces and (triangles["n"] == 3).all()
    places = np.stack([points[axis] for axis in "xyz"], axis=1)
    colours = np.stack([points[name] for name in ("red", "green", "blue", "alpha")], axis=1)
    return places, colours, triangles["v"]


def test_ply_has_all_surfaces_with_their_colours(tmp_path: Path) -> None:
    surfaces = [
        PaintedSurface("cell", LEVEL, "#102030", 0.5),
        PaintedSurface("core", 1.37, "#ff8000", 1.0),
    ]
    (file,) = save_surfaces(tmp_path / "cell.PLY", sphere(), VOXEL_UM, surfaces, MEDIUM)
    places, colours, faces = read_ply(file)
    assert np.unique(colours, axis=0).tolist() == [[16, 32, 48, 128], [255, 128, 0, 255]]
    first = colours[faces[:, 0], 0] == 16
    outer, inner = volume_of(places[faces[first]]), volume_of(places[faces[~first]])
    assert outer == pytest.approx(4 / 3 * math.pi * RADIUS_UM**3, rel=0.01) and inner < outer
    assert b"comment surface at RI 1.3700: core" in file.read_bytes()


# --- the command ---


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return write(tmp_path / "cells.h5", [0, 1], {"deep": {0: 10, 1: 11}})


def test_export_writes_a_mesh_for_each_scan(
    series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_export(series, "stl", as_json=True, levels=(1.36,)) == 0
    told = json.loads(capsys.readouterr().out)
    names = ["cells_0000.stl", "cells_0001.stl"]
    assert [Path(image["output"]).name for image in told["images"]] == names
    volumes = [volume_of(read_stl(series.with_name(name))[0]) for name in names]
    box_um3 = math.prod(n * d for n, d in zip((9, 70, 67), VOXEL, strict=True))
    assert all(0.2 < volume / box_um3 < 0.8 for volume in volumes)
    assert volumes[0] != volumes[1] and told["warnings"] == []


def test_without_a_level_the_command_finds_one_and_says_it(
    series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_export(series, "ply") == 0
    told = capsys.readouterr().out
    assert "without --level, the surface of scan 2 is at RI 1.3" in told
    assert read_ply(series.with_name("cells_0001.ply"))[2].size


def test_export_refuses_what_a_format_cannot_hold(series: Path) -> None:
    with pytest.raises(ConfigurationError, match="--level is for surfaces"):
        run_export(series, "tcf", levels=(1.36,))
    with pytest.raises(DataError, match="an STL holds one surface, got 2 levels"):
        run_export(series, "stl", levels=(1.35, 1.36))
    with pytest.raises(DataError, match="one kind of volume"):
        run_export(series, "ply", volumes=("raw", "deep"))
    with pytest.raises(DataError, match="must be passed by some voxel"):
        run_export(series, "stl", levels=(1.6,))
    assert [file.name for file in series.parent.iterdir()] == ["cells.h5"]
