"""Wave vectors refined on exact spheres, reconstructed with wrong ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import livetomo
from acquisition.choices import check_refine
from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from benchmarks.accuracy_cases import Sphere
from benchmarks.scattering_cases import sphere_contrast
from commands.reconstruct import run_reconstruct
from files.recording import RecordingWriter
from files.tomograms import read_tomograms
from pipeline.tomograms.recipe import Recipe, scans_held
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.scattering import refined_vectors
from regularizer.scattering.angle_steps import AngleSteps, angle_steps
from regularizer.scattering.object_box import object_box
from regularizer.scattering.refined_vectors import refined
from regularizer.scattering.vectors_report import RefinedVectors
from tests.partial_waves import sphere_fields
from tests.scans import CELL, interferograms

pytestmark = pytest.mark.usefixtures("logs")

OPTICS = CELL.optics
SPHERE = Sphere(1.2, 0.045, (0.6, -0.4, 0.5))
FRAME, K = (96, 96), CELL.angles.k[::5]
WRONG = np.random.default_rng(4).uniform(-0.01, 0.01, K.shape) * OPTICS.cutoff

Points = NDArray[np.float64]


def scan_of(k: Points) -> tuple[InterferogramStack, InterferogramStack]:
    """Return background and scan."""
    index = OPTICS.medium_index + SPHERE.contrast
    centre = SPHERE.centre_um
    fields = sphere_fields(OPTICS, k, SPHERE.radius_um, index, FRAME, centre, cut=True).numpy()
    return interferograms(OPTICS, k, None, FRAME), interferograms(OPTICS, k, fields, FRAME)


def rms(difference: Points) -> float:
    """Return the rms length in NA/wavelength."""
    return float(np.sqrt((difference**2).sum(axis=1).mean())) / OPTICS.cutoff


@pytest.fixture(scope="module")
def made() -> Reconstruction:
    """Return a reconstruction with the wave vectors of the light."""
    background, sample = scan_of(K)
    return Reconstructor(background, keep_fields=True)(sample)


def with_wrong(made: Reconstruction) -> tuple[Tomogram, Spectrum]:
    """Return raw tomogram and spectrum for wrong wave vectors."""
    fields = made.spectrum.fields
    assert fields is not None
    spectrum = fields.with_wave_vectors(K + WRONG).own_spectrum()
    index = index_from_contrast(contrast_of(spectrum), OPTICS.medium_index)
    return replace(made.tomogram, index=index), spectrum


def test_light_shows_the_way_of_each_angle(made: Reconstruction) -> None:
    fields = made.spectrum.fields
    assert fields is not None
    truth = sphere_contrast(made.spectrum, SPHERE)
    box = object_box(truth, made.spectrum.voxel_size_um, 0.2)
    assert box is not None
    compared = fields.model(box).within(0.96)
    inside = truth[box.slices].contiguous()
    wrong = angle_steps(fields, box, inside, K + WRONG, compared)
    assert rms(WRONG + wrong.single + wrong.common) < 0.65 * rms(WRONG)  # in so small a frame
    right = angle_steps(fields, box, inside, K, compared)
    assert rms(right.single) < 0.5 * rms(wrong.single)


def test_wave_vectors_come_nearer_to_the_true_ones(
    made: Reconstruction, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, less in (("_FIRST", 4), ("_NEXT", 2), ("_ROUNDS", 1)):
        monkeypatch.setattr(refined_vectors, name, less)
    tomogram, spectrum = with_wrong(made)
    shares: list[float] = []
    better, moved, vectors = refined(
        tomogram, spectrum, progress=lambda done, total: shares.append(done / total)
    )
    assert rms(vectors.k - K) < 0.8 * rms(WRONG)
    assert vectors.misfit < vectors.misfit_before
    assert better.provenance["wave_vectors"] == vectors.summary()
    assert moved.fields is not None
    np.testing.assert_array_equal(moved.fields.inversion.views.vectors.k, vectors.k)
    assert better.index.shape == tomogram.index.shape
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_steps_are_as_long_as_they_are_known() -> None:
    generator = np.random.default_rng(1)
    covariance = np.broadcast_to(0.01**2 * np.eye(2), (400, 2, 2))
    noise = 0.01 * generator.standard_normal((400, 2))
    unknown = AngleSteps(noise, covariance)
    assert not unknown.single.any()
    assert not unknown.common.any()
    clear = 0.03 * generator.standard_normal((400, 2)) + [0.02, 0.0]
    found = AngleSteps(clear + noise, covariance)
    wanted = clear + noise - (clear + noise).mean(axis=0)
    assert found.common == pytest.approx([0.02, 0.0], abs=5e-3)
    assert found.single == pytest.approx(0.9 * wanted, rel=0.05)


def test_the_command_reports_and_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With so few angles nothing can be refined."""
    background, stack = scan_of(K[::2])
    recording, output = tmp_path / "few.h5", tmp_path / "refined.h5"
    with RecordingWriter(recording, background) as writer:
        writer.append(stack)
    assert run_reconstruct(recording, output, "none", "cpu", True, refine="k") == 0
    (row,) = json.loads(capsys.readouterr().out)["scans"]
    assert row["refined_k"]["rms"] == 0
    assert "those of the calibration" in row["wave_vectors"]
    series = read_tomograms(output)
    assert series.provenance["refine"] == "k"
    assert series.refined_k is not None
    assert series.refined_k[0] == pytest.approx(K[::2], abs=1e-3)
    with pytest.raises(DataError, match="continued with the refine it was made with"):
        scans_held(output, Recipe("none"))
    tomogram = livetomo.reconstruct(livetomo.open_recording(recording)[0], refine="k")
    vectors = tomogram.refined_vectors
    assert vectors is not None
    livetomo.save_tomograms(tmp_path / "saved.h5", [tomogram])
    saved = read_tomograms(tmp_path / "saved.h5").refined_k
    assert saved is not None
    np.testing.assert_array_equal(saved, series.refined_k)


def test_what_cannot_be_refined_is_refused(made: Reconstruction) -> None:
    with pytest.raises(DataError, match="keep_fields"):
        refined(made.tomogram, replace(made.spectrum, fields=None))
    with pytest.raises(ConfigurationError, match="what is refined must be k"):
        check_refine("pixel")


def test_the_report_names_the_angle() -> None:
    k = K.copy()
    k[3] += [0.02 * OPTICS.cutoff, 0.0]
    used = tuple(i for i in range(len(K)) if i != 1)
    found = RefinedVectors(K, 1.01 * k, used, OPTICS.cutoff, 0.04, 0.03, 0.01)
    figures = found.figures()
    assert figures["angle"] == 3
    assert figures["scale"] == pytest.approx(1.01, abs=3e-3)
    assert "angle 3 most" in found.summary()
