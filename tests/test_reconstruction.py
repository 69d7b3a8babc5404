"""Reconstruction against exact scattering and against fields made to test one property each."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acquisition.errors import DataError
from acquisition.illumination.angles import AngleSet, circular_scan, spiral_scan
from acquisition.illumination.gratings import DmdGeometry
from acquisition.interferograms import InterferogramStack
from acquisition.simulation.bench import Illumination, OpticalBench, SimulationSettings
from acquisition.simulation.scene import Scene
from reconstruction.empty_field import fit_empty_field
from reconstruction.focus import Blend
from reconstruction.geometry import Views
from reconstruction.inversion import CapPlan, contrast_of
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, norm, to_centre, to_corner
from reconstruction.wave_vectors import WaveVectors, find_wave_vectors
from tests.exact_bead import INDEX, RADIUS_UM, exact_bead
from tests.partial_waves import sphere_fields
from tests.scans import (
    CARRIER,
    CELL,
    band_limited_sphere,
    correlation,
    distance_um,
    interferograms,
)

SMALL = ReconstructionSettings(slices=32)


def test_the_exact_bead_recording(ground_truth: Path) -> None:
    background, scan = exact_bead(ground_truth)
    result = Reconstructor(background)(scan)
    index = result.tomogram.index
    truth = band_limited_sphere(result.spectrum, RADIUS_UM, INDEX)
    r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um)
    assert float(index[r < 1.4].mean() - truth[r < 1.4].mean()) == pytest.approx(0, abs=0.001)
    assert float(index[r < 1.4].mean()) == pytest.approx(1.376, abs=0.001)
    assert correlation(index[r < 5], truth[r < 5]) >= 0.97
    assert float(index[r > 6].mean()) == pytest.approx(1.337, abs=0.0003)
    assert background.illumination_k is not None
    off = find_wave_vectors(background).k - background.illumination_k
    planned = np.hypot(*(off * 256 * 0.08).T)
    assert np.sqrt((planned**2).mean()) < 0.1  # frequency samples
    # this camera's sideband overlaps its folded conjugate in the 45 degree corner
    assert 31 in result.report.left_out
    assert len(result.report.left_out) < 12


def test_a_weak_exact_sphere_is_recovered_on_the_measured_voxels() -> None:
    """Where Rytov is exact, only gridding errors remain."""
    radius, index, frame = 1.5, 1.3372, (192, 192)
    fields = sphere_fields(CELL.optics, CELL.angles.k, radius, index, frame).numpy()
    empty, lit = (interferograms(CELL.optics, CELL.angles.k, f, frame) for f in (None, fields))
    result = Reconstructor(empty)(lit)
    truth = band_limited_sphere(result.spectrum, radius, index)
    r = distance_um(result.spectrum.shape, result.tomogram.voxel_size_um)
    assert correlation(result.tomogram.index[r < 4], truth[r < 4]) > 0.99
    found, true = (v[r < 1].mean() - 1.337 for v in (result.tomogram.index, truth))
    assert float(found) == pytest.approx(float(true), rel=0.03)


def test_an_off_centre_sphere_is_found_where_it_is() -> None:
    angles = circular_scan(25, 0.9 * CELL.optics.cutoff)
    centre = (1.6, -2.4, 0.9)  # x, y, z
    fields = sphere_fields(CELL.optics, angles.k, 1.0, 1.35, (192, 192), centre).numpy()
    background = interferograms(CELL.optics, angles.k, frame=(192, 192))
    result = Reconstructor(background)(interferograms(CELL.optics, angles.k, fields, (192, 192)))
    excess = (result.tomogram.index - 1.337).clamp_min(0.003) - 0.003
    axes = [
        (torch.arange(n) - n // 2) * d
        for n, d in zip(excess.shape, result.tomogram.voxel_size_um, strict=True)
    ]
    for axis, expected in enumerate(reversed(centre)):
        profile = excess.sum(dim=[a for a in range(3) if a != axis])
        found = float((profile * axes[axis]).sum() / profile.sum())
        assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    "angles",
    [
        circular_scan(13, 1.8),
        spiral_scan(17, 2.0),
        AngleSet(np.roll(circular_scan(13, 1.8).k, 5, axis=0)),
    ],
)
def test_wave_vectors_come_from_the_background(angles: AngleSet, planned: bool) -> None:
    background = interferograms(CELL.optics, angles.k, frame=(160, 224))
    if not planned:
        background = replace(background, illumination_k=None)
    found = find_wave_vectors(background)
    assert found.unusable == ()
    error = found.k - angles.k
    if not planned:
        # without a plan the sideband's sign and, on a spiral, the centre are free
        error = np.abs(found.k[:, None] - found.k[None]) - np.abs(
            angles.k[:, None] - angles.k[None]
        )
    assert np.abs(error).max() * 160 * 0.08 < 0.05  # frequency samples


@pytest.mark.parametrize("declared", [True, False])
def test_a_normal_angle_is_the_carrier_where_there_is_no_plan(declared: bool) -> None:
    """A spiral is not centred on its smallest circle; its normal angle gives the axis."""
    angles = spiral_scan(31, 2.0)
    background = interferograms(CELL.optics, angles.k, frame=(160, 160))
    unknown = replace(background, illumination_k=None, normal=0 if declared else None)
    found = find_wave_vectors(unknown).k
    sign = np.sign((found * angles.k).sum())  # either sideband
    assert np.abs(sign * found - angles.k).max() * 160 * 0.08 < 0.05  # frequency samples


def test_a_declared_normal_angle_without_light_is_an_error() -> None:
    background = interferograms(CELL.optics, circular_scan(5, 1.8).k, frame=(96, 96))
    background.frames[2] = background.frames[2].mean()
    with pytest.raises(DataError, match="normal angle 2 must show fringes"):
        find_wave_vectors(replace(background, illumination_k=None, normal=2))


def test_a_sample_that_bends_light_too_much_is_named() -> None:
    angles = circular_scan(9, 1.8)
    background = interferograms(CELL.optics, angles.k, frame=(160, 160))
    said = {}
    for index in (1.36, 1.43):
        fields = sphere_fields(CELL.optics, angles.k, 2.0, index, (160, 160)).numpy()
        scan = interferograms(CELL.optics, angles.k, fields, (160, 160))
        said[index] = Reconstructor(background, settings=SMALL)(scan).report.warnings
    assert said[1.36] == ()
    assert any("Rytov approximation" in note for note in said[1.43])


def test_no_fringes_is_an_error_that_says_so() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(90, 110, (5, 64, 64)).astype(np.uint8)
    with pytest.raises(DataError, match="must show fringes"):
        find_wave_vectors(InterferogramStack(frames, CELL.optics, np.zeros((5, 2))))


def test_a_plan_that_does_not_fit_is_refused() -> None:
    angles = circular_scan(13, 1.8)
    background = interferograms(CELL.optics, angles.k, frame=(128, 128))
    shuffled = replace(background, illumination_k=angles.k[::-1] * [1.0, 0.5])
    with pytest.raises(DataError, match="check pixel size and angle order, or calibrate"):
        find_wave_vectors(shuffled)


@functools.cache
def small_scan() -> tuple[Reconstructor, InterferogramStack]:
    angles = circular_scan(13, 1.8)
    fields = sphere_fields(CELL.optics, angles.k, 0.8, 1.36, (128, 128)).numpy()
    background = interferograms(CELL.optics, angles.k, frame=(128, 128))
    sample = interferograms(CELL.optics, angles.k, fields, (128, 128))
    return Reconstructor(background, settings=SMALL), sample


def test_lost_angles_are_left_out_and_named() -> None:
    reconstructor, whole = small_scan()
    frames = whole.frames.copy()
    frames[[3, 7]] = 0
    sample = replace(whole, frames=frames, lost=(3, 7))
    result = reconstructor(sample)
    assert result.report.left_out == (3, 7)
    assert result.tomogram.provenance["left_out"] == "3, 7"
    assert any("3, 7" in note for note in result.report.warnings)
    kept = [i for i in range(13) if i not in (3, 7)]
    k = circular_scan(13, 1.8).k[kept]
    fewer = InterferogramStack(reconstructor.background.frames[kept], CELL.optics, k)
    alone = Reconstructor(fewer, settings=SMALL)(
        InterferogramStack(sample.frames[kept], CELL.optics, fewer.illumination_k)
    )
    assert torch.allclose(result.tomogram.index, alone.tomogram.index, atol=2e-5)


def test_dead_illumination_is_left_out_and_named() -> None:
    reconstructor, sample = small_scan()
    frames = sample.frames.copy()
    frames[5] = np.uint16(frames[5].mean())
    report = reconstructor(replace(sample, frames=frames)).report
    assert report.left_out == (5,)
    assert "fringe visibility" in report.reasons[5]


def test_light_away_from_the_plan_is_named_and_used_where_it_is() -> None:
    angles = circular_scan(13, 1.8)
    strayed = angles.k.copy()
    strayed[6] += (0.3, -0.2)
    background = replace(
        interferograms(CELL.optics, strayed, frame=(128, 128)), illumination_k=angles.k
    )
    found = find_wave_vectors(background)
    assert found.outliers == (6,)
    assert np.abs(found.k - strayed).max() * 128 * 0.08 < 0.05


@pytest.mark.parametrize("flip", [1, -1])
def test_without_a_plan_the_sample_tells_which_sideband(flip: int) -> None:
    """A denser object retards the wave, whichever way the reference beam is tilted."""
    angles = circular_scan(13, 1.8)
    carrier = (flip * CARRIER[0], flip * CARRIER[1])
    fields = sphere_fields(CELL.optics, angles.k, 0.8, 1.36, (128, 128)).numpy()
    background = interferograms(CELL.optics, angles.k, None, (128, 128), carrier)
    sample = interferograms(CELL.optics, angles.k, fields, (128, 128), carrier)
    unknown = replace(background, illumination_k=None)
    guessed = Reconstructor(unknown, settings=SMALL)(replace(sample, illumination_k=None))
    known = Reconstructor(background, settings=SMALL)(sample)
    assert float((guessed.tomogram.index - known.tomogram.index).abs().max()) < 2e-3


def test_refocusing_moves_the_volume() -> None:
    reconstructor, sample = small_scan()
    dz = reconstructor.inversion.caps.grid.voxel_size_um[0]
    above = Reconstructor(
        reconstructor.background, settings=ReconstructionSettings(slices=32, refocus_um=3 * dz)
    )(sample)
    here = reconstructor(sample)
    moved = torch.roll(above.tomogram.index, 3, dims=0)
    assert float((moved - here.tomogram.index)[8:24].abs().max()) < 3e-3


def test_born_and_rytov_agree_on_a_weak_object() -> None:
    angles = circular_scan(13, 1.8)
    fields = sphere_fields(CELL.optics, angles.k, 0.8, 1.3375, (128, 128)).numpy()
    background = interferograms(CELL.optics, angles.k, frame=(128, 128))
    sample = interferograms(CELL.optics, angles.k, fields, (128, 128))
    rytov, born = (
        Reconstructor(background, settings=ReconstructionSettings(slices=32, approximation=how))(
            sample
        ).tomogram.index
        - 1.337
        for how in ("rytov", "born")
    )
    assert float((rytov - born).norm() / rytov.norm()) < 0.02


def test_drift_and_tilt_do_not_change_the_fields() -> None:
    reconstructor, sample = small_scan()
    fields = reconstructor.field_stack(sample).values
    line = torch.linspace(-1, 1, fields.shape[1] + 1)[:-1]
    tilt_y, tilt_x = torch.linspace(-6, 6, 13), torch.linspace(4, -5, 13)
    phase = torch.linspace(-3, 3, 13)[:, None, None] + tilt_y[:, None, None] * line[:, None]
    phase = phase + tilt_x[:, None, None] * line
    power = torch.linspace(0.8, 1.2, 13)[:, None, None].expand_as(phase)
    drifted = fields * torch.polar(power, phase)
    clean, again = (fit_empty_field(f).remove(f) for f in (fields, drifted))
    assert float((again - clean).abs().max()) < 5e-3
    found = fit_empty_field(drifted)
    assert torch.allclose(found.tilt[:, 0], tilt_y, atol=0.02)
    assert torch.allclose(found.tilt[:, 1], tilt_x, atol=0.02)
    assert bool((found.share > 0.5).all())


@pytest.mark.parametrize("change", ["shape", "optics", "lost"])
def test_a_scan_that_does_not_fit_the_background_is_refused(change: str) -> None:
    reconstructor, sample = small_scan()
    wrong = {
        "shape": replace(sample, frames=sample.frames[:, :64]),
        "optics": replace(sample, optics=replace(sample.optics, medium_index=1.34)),
        "lost": replace(sample, lost=tuple(range(13))),
    }[change]
    with pytest.raises(DataError):
        reconstructor(wrong)


def test_saturated_frames_are_named() -> None:
    reconstructor, sample = small_scan()
    bright = sample.frames.copy()
    bright[4] = np.minimum(bright[4].astype(float) * 6, 65535).astype(np.uint16)
    report = reconstructor(replace(sample, frames=bright)).report
    assert report.quality.saturated() == (4,)
    assert not any("background saturated" in note for note in report.warnings)
    background = replace(reconstructor.background, frames=bright)
    again = Reconstructor(background, settings=SMALL)(sample).report
    assert any("background saturated" in n and n.endswith("angles 4") for n in again.warnings)
    assert any("angles 4" in note for note in report.warnings)


def test_caps_average_overlapping_samples_and_stay_hermitian() -> None:
    """A spectrum of a real object, sampled on caps, comes back as that object's values."""
    k = np.array([[0.0, 0.0], [1.0, 0.5], [-1.2, 0.8]])
    vectors = WaveVectors(CARRIER, k, ())
    settings = ReconstructionSettings(slices=32, dz_um=0.178)
    views = Views(vectors, CELL.optics, (96, 96), (0.1067, 0.1067))
    plan = CapPlan(views, settings, torch.device("cpu"))
    psi = torch.randn(3, 96, 96, dtype=torch.complex64)

    def spectrum_of(psi: torch.Tensor) -> Spectrum:
        (averaged,) = plan.average([plan.samples(psi)])
        return plan.spectrum(plan.place(averaged), averaged.sides())

    spectrum = spectrum_of(psi)
    volume = contrast_of(spectrum)
    again = torch.fft.rfftn(torch.fft.ifftshift(volume), norm="ortho")
    assert torch.allclose(again, spectrum.values, atol=1e-5)  # the half spectrum was consistent
    assert bool((spectrum.values[spectrum.measured == 0] == 0).all())
    (averaged,) = plan.average([plan.samples(psi)])
    assert torch.equal(plan.from_columns(plan.columns(averaged)), plan.place(averaged))
    exact = float(torch.linalg.vector_norm(torch.view_as_real(spectrum.values).double()))
    assert norm(spectrum.values) == pytest.approx(exact, rel=1e-6)
    assert torch.allclose(spectrum_of(2 * psi).values, 2 * spectrum.values, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6, 8), (2, 5, 7, 9), (1, 3, 2)])
def test_volumes_are_moved_as_fftshift_does(shape: tuple[int, ...]) -> None:
    volume, axes = torch.rand(shape), (-3, -2, -1)
    assert torch.equal(to_centre(volume), torch.fft.fftshift(volume, dim=axes))
    assert torch.equal(to_corner(volume), torch.fft.ifftshift(volume, dim=axes))


def test_depths_are_blended_by_their_distance_from_the_planes() -> None:
    """As the volumes are: moved to their planes, weighted linearly between them, and added."""
    steps, slices, along_z = (-5, 1, 6), 16, torch.tensor([0, 1, 2, 3, 13, 14, 15])
    parts = [torch.randn(4, len(along_z), dtype=torch.complex64) for _ in steps]
    blended = Blend(steps, slices, along_z, torch.device("cpu"))(iter(parts))
    total = torch.zeros(4, slices, dtype=torch.complex64)
    for step, part, one in zip(steps, parts, np.eye(3), strict=True):
        columns = torch.zeros_like(total)
        columns[:, along_z] = part
        volume = torch.fft.fftshift(torch.fft.ifft(columns, dim=1), dim=1).roll(step, dims=1)
        share = np.interp(np.arange(slices) - slices // 2, steps, one)
        total += volume * torch.tensor(share, dtype=torch.float32)
    expected = torch.fft.fft(torch.fft.ifftshift(total, dim=1), dim=1)[:, along_z]
    assert torch.allclose(blended, expected, atol=1e-5)


def test_a_scan_of_the_simulated_bench_from_12_bit_frames() -> None:
    """An empty field stays empty despite drift, dust, wavefront error and noise of the bench."""
    settings = SimulationSettings(frame_shape=(128, 128), bit_depth=12, phase_drift_period_s=1.0)
    scene = Scene(CELL.optics, (128, 128), ())
    bench = OpticalBench(scene, DmdGeometry((8, 8), (0.34, 0.24), 0.06, 0.2), settings)
    k = circular_scan(13, 1.8).k

    def record(start: float) -> InterferogramStack:
        frames = [
            bench.expose(Illumination((kx, ky), 1.0), start + 0.01 * i, (0, 0, 0), 2.0)
            for i, (kx, ky) in enumerate(k)
        ]
        return InterferogramStack(np.stack(frames), CELL.optics, k, provenance={"bit_depth": "12"})

    index = Reconstructor(record(0.0), settings=SMALL)(record(0.4)).tomogram.index
    assert float(index.mean()) == pytest.approx(1.337, abs=1e-4)
    assert float(index.std()) < 2e-3
