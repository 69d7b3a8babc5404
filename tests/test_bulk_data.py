"""Training samples in bulk: their spectrum is the real pipeline's, and so is their noise."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from acquisition.illumination.angles import preset
from acquisition.simulation.phantom import Phantom
from acquisition.simulation.specimens import bead
from reconstruction.tomogram import Spectrum
from regularizer.metrics import compare
from regularizer.training.bulk_samples import (
    BULK_SEED,
    EmptyScan,
    bulk_sample,
    make_bulk,
    measured_spectrum,
    spectrum_on_caps,
)
from regularizer.training.training_data import load, make_sample, sample_files, save
from tests.scans import perfect_scan

CHOSEN = preset("cell")
POSITION_UM = (0.6, -0.4, 0.5)  # x, y, z
FRAME = 128


@pytest.fixture(scope="module")
def scan() -> EmptyScan:
    return EmptyScan(CHOSEN, BULK_SEED, FRAME)


def weak_bead() -> Phantom:
    pixel = CHOSEN.optics.pixel_size_um
    return bead((2 * pixel, pixel, pixel), 1.5, 0.001)


def relative_difference(spectrum: Spectrum, expected: torch.Tensor) -> float:
    difference = torch.linalg.vector_norm(spectrum.values - expected)
    return float(difference / torch.linalg.vector_norm(expected))


def test_a_weak_object_is_what_the_whole_instrument_makes_of_it(scan: EmptyScan) -> None:
    """Multi-slice scattering, interferograms of a perfect camera, field retrieval, Rytov."""
    made = measured_spectrum(scan, weak_bead(), POSITION_UM, noisy=False)
    real = perfect_scan(weak_bead(), POSITION_UM, CHOSEN, FRAME).spectrum
    assert float(((made.measured > 0) != (real.measured > 0)).float().mean()) < 1e-3
    assert relative_difference(made, real.values) < 0.05


def test_a_sphere_has_the_spectrum_of_a_sphere_on_the_caps(scan: EmptyScan) -> None:
    made = spectrum_on_caps(weak_bead(), POSITION_UM, scan)
    K, grid = scan.positions, scan.inversion.caps.grid
    q = 2 * np.pi * 1.5 * np.linalg.norm(K, axis=1).clip(1e-3)
    ball = 4 / 3 * np.pi * 1.5**3 * 3 * (np.sin(q) - q * np.cos(q)) / q**3
    contrast = (1 + 0.001 / CHOSEN.optics.medium_index) ** 2 - 1
    unitary = np.prod(grid.voxel_size_um) * np.sqrt(np.prod(grid.fine_shape))
    exact = contrast / unitary * ball * np.exp(-2j * np.pi * (K @ POSITION_UM[::-1]))
    difference = np.linalg.norm(made.numpy() - exact) / np.linalg.norm(exact)
    assert difference < 0.02


def test_what_is_measured_more_often_has_less_noise(scan: EmptyScan) -> None:
    """Averaging two halves the variance of shot noise; drift, common to frames, falls less."""
    nothing = Phantom(np.zeros((4, 4, 4), np.float32), (0.16, 0.08, 0.08))
    made = measured_spectrum(scan, nothing, POSITION_UM)
    rows, columns = made.values.shape[1:]
    lateral = np.hypot(np.fft.fftfreq(rows, 1 / rows)[:, None], np.arange(columns))
    outer = torch.tensor(lateral > 0.35 * columns)
    power, count = made.values.abs().square(), made.measured
    once, twice = (float(power[(count == often) & outer].mean()) for often in (1, 2))
    assert 1.2 < once / twice < 2.2
    assert made.noise == pytest.approx(1.0, abs=0.3)


def test_bulk_samples_depend_on_their_seed_alone() -> None:
    first, again, other = (
        bulk_sample(EmptyScan(CHOSEN, BULK_SEED, FRAME), "cocci", seed)
        for seed in (BULK_SEED, BULK_SEED, BULK_SEED + 1)
    )
    assert torch.equal(first.spectrum.values, again.spectrum.values)
    assert torch.equal(first.truth, again.truth)
    assert not torch.equal(first.truth, other.truth)


def test_the_truth_lies_where_the_object_is(scan: EmptyScan, tmp_path: Path) -> None:
    made = bulk_sample(scan, "cell", BULK_SEED)
    assert compare(made.raw, made.truth).correlation > 0.8
    save(made, tmp_path / "cell-10000.npz")
    assert load(tmp_path / "cell-10000.npz").tv is None


def test_bulk_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(
        make: Callable[..., None], tasks: Sequence[tuple[object, ...]], jobs: int, what: str
    ) -> None:  # processes that import torch take seconds, and know their own kinds
        for task in tasks:
            make(*task, frame=64)

    monkeypatch.setattr("regularizer.training.bulk_samples.in_processes", here)
    monkeypatch.setattr("regularizer.training.bulk_samples.KINDS", ("bead", "rods"))
    make_bulk(tmp_path, 1, 1)
    made = sample_files(tmp_path, BULK_SEED, 10 * BULK_SEED)
    times = [path.stat().st_mtime_ns for path in made]
    assert len(made) == 2
    make_bulk(tmp_path, 1, 1)
    assert [path.stat().st_mtime_ns for path in made] == times


def test_scans_with_random_optics_lose_angles(monkeypatch: pytest.MonkeyPatch) -> None:
    """And are the same otherwise."""
    lossy = make_sample("bead", 1, frame=96, varied=True, tv=False)
    monkeypatch.setattr("regularizer.training.training_data._LOST", 0.0)
    complete = make_sample("bead", 1, frame=96, varied=True, tv=False)
    assert torch.equal(lossy.truth, complete.truth)
    assert 0.7 < float(lossy.spectrum.measured.sum() / complete.spectrum.measured.sum()) < 1
