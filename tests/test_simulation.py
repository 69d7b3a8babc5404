"""The simulated bench, against exact scattering and the properties of real frames."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import acquisition.simulation.kept_spectra as kept
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import preset
from acquisition.illumination.gratings import DmdGeometry, lee_grating
from acquisition.simulation.bench import Illumination, OpticalBench, SimulationSettings, build_bench
from acquisition.simulation.multislice import scattered_spectra
from acquisition.simulation.phantom import Phantom
from acquisition.simulation.phantoms import make_phantom
from acquisition.simulation.scene import Motion, Scene, SceneObject
from acquisition.simulation.specimens import SPECIMENS, bead
from tests.partial_waves import sphere_field

CELL = preset("cell")
PIXEL = CELL.optics.pixel_size_um
VOXEL = (2 * PIXEL, PIXEL, PIXEL)
GEOMETRY = DmdGeometry((90, 160), (0.34, 0.24), 0.06, 0.2)
PERFECT = SimulationSettings(
    frame_shape=(96, 96), bit_depth=16, read_noise=0, dust=0, wavefront_rad=0, phase_drift_rad=0,
    phantom="bead", motion=False,
)  # fmt: skip


def band_of_exact_sphere(
    k: tuple[float, float], radius: float, contrast: float, n: int
) -> NDArray[np.complex128]:
    field = sphere_field(CELL.optics, k, radius, CELL.optics.medium_index + contrast, (n, n)) - 1
    return np.fft.fft2(np.fft.ifftshift(field)) / n**2


@pytest.mark.parametrize(
    ("radius", "contrast", "allowed"), [(1.0, 0.043, 0.03), (2.0, 0.043, 0.02), (2.0, 0.01, 0.015)]
)
def test_multislice_agrees_with_the_exact_sphere(
    radius: float, contrast: float, allowed: float
) -> None:
    n = 288
    k = CELL.angles.k[[0, 1, 6, 17]]
    spectra = scattered_spectra(bead(VOXEL, radius, contrast), CELL.optics, k, n * PIXEL)
    for band, values in zip(spectra.bands, spectra.values, strict=True):
        exact = band_of_exact_sphere(band.k, radius, contrast, n)
        rows, columns = ((first + np.arange(band.size)) % n for first in band.first)
        seen = exact[np.ix_(rows, columns)]
        assert np.linalg.norm(seen) == pytest.approx(np.linalg.norm(exact))  # nothing left out
        assert np.linalg.norm(values - seen) < allowed * np.linalg.norm(seen)


def test_scattered_light_is_kept_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_folder", lambda: tmp_path / "kept")
    small = bead(VOXEL, 0.5, 0.03)
    computed = scattered_spectra(small, CELL.optics, CELL.angles.k, 96 * PIXEL)

    def again(phantom: Phantom = small, medium_index: float = CELL.optics.medium_index) -> bool:
        """Return whether nothing had to be computed."""
        before = set(tmp_path.glob("kept/*"))
        optics = dataclasses.replace(CELL.optics, medium_index=medium_index)
        spectra = kept.kept_spectra(phantom, optics, CELL.angles.k, 96 * PIXEL)
        if phantom is small and optics == CELL.optics:
            assert spectra.bands == computed.bands
            assert np.array_equal(spectra.values, computed.values)
        return set(tmp_path.glob("kept/*")) == before

    assert not again()
    assert again()
    assert not again(bead(VOXEL, 0.5, 0.04)) and not again(medium_index=1.34)
    newest = max(tmp_path.glob("kept/*"), key=lambda file: file.stat().st_mtime_ns)
    for file in tmp_path.glob("kept/*"):
        file.write_bytes(file.read_bytes()[:-100])  # as after a crash
    size = newest.stat().st_size
    assert again() and {file.stat().st_size for file in tmp_path.glob("kept/*")} == {
        size,
        size + 100,
    }
    monkeypatch.setattr(kept, "_LIMIT", size + 100)
    assert not again(bead(VOXEL, 0.5, 0.05))
    assert len(list(tmp_path.glob("kept/*"))) == 1
    (tmp_path / "a file").touch()
    monkeypatch.setattr(kept, "_folder", lambda: tmp_path / "a file" / "no folder")
    assert again()  # computed, and not kept


def test_moving_an_object_is_scattering_by_the_moved_object() -> None:
    phantom = bead(VOXEL, 0.8, 0.03)
    padded = np.pad(phantom.contrast, ((4, 4), (6, 6), (6, 6)))
    moved = Phantom(np.roll(padded, (2, -3, 5), axis=(0, 1, 2)), VOXEL)
    offset = (5 * PIXEL, -3 * PIXEL, 2 * VOXEL[0])
    frame = (96, 96)
    k = (1.2, -0.9)
    by_phase = Scene(CELL.optics, frame, (SceneObject(Phantom(padded, VOXEL), offset),))
    by_scattering = Scene(CELL.optics, frame, (SceneObject(moved),))
    there, here = (scene.field(k, 0.0, (0, 0, 0))[0] for scene in (by_phase, by_scattering))
    assert np.linalg.norm(there - here) < 1e-5 * np.linalg.norm(here)


def test_the_stage_moves_the_objects_out_of_sight() -> None:
    bench = build_bench(CELL.optics, GEOMETRY, PERFECT)
    light = Illumination((0.5, 0.5), 1.0)
    empty = bench.expose(light, 0.0, (500.0, 0.0, 0.0), 2.0).astype(float)
    seen = bench.expose(light, 0.0, (0.0, 0.0, 0.0), 2.0).astype(float)
    assert np.abs(seen - empty).max() > 0.2 * empty.max()
    alone = OpticalBench(Scene(CELL.optics, (96, 96), ()), GEOMETRY, PERFECT)
    assert np.array_equal(empty, alone.expose(light, 0.0, (0.0, 0.0, 0.0), 2.0))


def test_the_camera_sees_what_the_dmd_shows() -> None:
    bench = build_bench(CELL.optics, GEOMETRY, PERFECT)
    for k in ((0.0, 0.0), (1.5, -0.7)):
        grating = lee_grating(GEOMETRY.shape, GEOMETRY.frequency(*k))
        picture = bench.expose(bench.illuminate(grating), 0.0, (500.0, 0.0, 0.0), 2.0)
        y, x = (np.arange(96) - 48) * PIXEL, (np.arange(96) - 48) * PIXEL
        kx, ky = k[0] + bench.carrier[0], k[1] + bench.carrier[1]
        wave = np.exp(-2j * np.pi * (ky * y[:, None] + kx * x[None, :]))
        visibility = 2 * abs((picture * wave).mean()) / picture.mean()
        assert visibility > 0.97
    blank = bench.illuminate(np.zeros(GEOMETRY.shape, np.uint8))
    assert blank.k is None
    assert np.ptp(bench.expose(blank, 0.0, (0, 0, 0), 2.0)) == 0
    with pytest.raises(ConfigurationError, match="mirrors"):
        bench.illuminate(np.zeros((4, 4), np.uint8))


def test_shot_noise_follows_the_photons() -> None:
    settings = dataclasses.replace(PERFECT, read_noise=5.0, full_well=10_000.0)
    bench = OpticalBench(Scene(CELL.optics, (96, 96), ()), GEOMETRY, settings)
    frames = np.stack([bench.expose(Illumination(None), 0.0, (0, 0, 0), 2.0) for _ in range(200)])
    electrons = frames.astype(np.float64) / (2**16 - 1) * settings.full_well
    expected = electrons.mean() + settings.read_noise**2
    assert electrons.var(axis=0).mean() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("power", "bits", "lowest", "highest"),
    [(0.0, 8, 0, 2), (8.0, 8, 255, 255), (1.0, 12, 1500, 4095)],
)
def test_laser_power_and_bit_depth(power: float, bits: int, lowest: int, highest: int) -> None:
    settings = dataclasses.replace(PERFECT, bit_depth=bits)
    bench = OpticalBench(Scene(CELL.optics, (96, 96), ()), GEOMETRY, settings)
    bench.laser_power = power
    picture = bench.expose(Illumination((0.0, 0.0), 1.0), 0.0, (0, 0, 0), 2.0)
    assert picture.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert lowest <= picture.max() <= highest


def test_motion_is_a_confined_walk_with_its_drift() -> None:
    motion = Motion(drift_um_s=(0.0, 0.0, -0.1), range_um=(0.5, 0.5, 0.0), relaxation_s=5.0, seed=3)
    offsets = np.array([motion.offset(t) for t in np.linspace(0, 4000, 4001)])
    assert offsets[:, :2].std(axis=0) == pytest.approx(0.5, rel=0.3)
    assert offsets[-1, 2] == pytest.approx(-400.0)
    assert np.abs(np.diff(offsets[:, :2], axis=0)).max() < 1.0  # smooth: no jumps in a second
    assert motion.offset(12.0) == Motion((0, 0, -0.1), (0.5, 0.5, 0), 5.0, 3).offset(12.0)


@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_phantoms_are_confined_and_deterministic(name: str) -> None:
    phantom, again = (make_phantom(name, VOXEL, 1.337, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(phantom.contrast, again.contrast)
    for axis in range(3):
        rim = np.take(phantom.contrast, [0, -1], axis=axis)
        assert np.abs(rim).max() < 1e-6
    assert 0.02 < phantom.contrast.max() < 0.13
    assert phantom.contrast.min() >= 0


def test_an_unknown_phantom_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"one of \['adherent', 'bead', 'cell', 'cocci'"):
        make_phantom("yeast", VOXEL, 1.337, np.random.default_rng(0))
