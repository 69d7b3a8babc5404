"""The pieces for scripts and notebooks: what they promise, and that they are the instrument's."""

import re
from pathlib import Path

import numpy as np
import pytest

import livetomo
from commands.reconstruct import run_reconstruct
from files.tomograms import read_tomograms
from tests.children import output_of
from tests.exact_bead import INDEX, write_middle

MICROSCOPE = """
[optics]
preset = "cell"
pixel_size_um = 0.07
[camera]
width = 96
height = 96
[illumination.circle]
angles = 9
[background]
scans = 1
[scan]
patience_s = 20.0
[reconstruction]
slices = 32
"""


@pytest.fixture(scope="module")
def simulated() -> livetomo.Recording:
    return livetomo.simulate_scan("bead", seed=1, frame=96)


@pytest.fixture(scope="module")
def raw(simulated: livetomo.Recording) -> livetomo.Tomogram:
    return livetomo.reconstruct(simulated[0], device="cpu")


def test_a_recording_becomes_a_file_of_tomograms(
    simulated: livetomo.Recording, raw: livetomo.Tomogram, tmp_path: Path
) -> None:
    """The first script, line by line."""
    tomogram = raw
    better = livetomo.regularize(tomogram, "tv")
    assert better.index_array.dtype == np.float32
    assert better.index_array.shape[0] == 64
    assert better.index_array.shape[1] == better.index_array.shape[2] > 32
    assert better.voxel_size_um == tomogram.voxel_size_um
    assert better.optics == simulated.optics
    assert better.provenance["regularizer"].startswith("tv")
    assert better.warnings == ()
    truth = simulated.truth
    assert truth is not None
    gained, before = (livetomo.compare(one, truth) for one in (better, tomogram))
    assert gained.ssim > before.ssim
    assert gained.correlation > 0.97
    livetomo.save_tomograms(tmp_path / "out.h5", [better])
    again = livetomo.open_tomograms(tmp_path / "out.h5")
    assert (len(again), again.volumes) == (1, ("raw", "tv"))
    np.testing.assert_array_equal(again[0].index_array, better.index_array)
    assert again[-1].raw is not None
    np.testing.assert_array_equal(again[-1].raw.index_array, tomogram.index_array)
    assert again[0].method == "tv"


def test_it_does_what_the_command_does(ground_truth: Path, tmp_path: Path) -> None:
    path = write_middle(ground_truth, tmp_path / "bead.h5")
    recording = livetomo.open_recording(path)
    assert len(recording) == len(list(recording)) == len(recording[:]) == 1
    assert recording.truth is None
    assert "1 scans of 49 angles" in repr(recording)
    tomogram = livetomo.reconstruct(recording[0], device="cpu", slices=32)
    better = livetomo.regularize(tomogram, "gp")
    assert run_reconstruct(path, tmp_path / "cli.h5", "gp", "cpu", chosen={"slices": 32}) == 0
    expected = read_tomograms(tmp_path / "cli.h5").regularized("gp", 0)
    assert expected is not None
    np.testing.assert_array_equal(better.index_array, expected.index.numpy())
    assert better.voxel_size_um == expected.voxel_size_um
    assert better.index_array.max() == pytest.approx(INDEX, abs=0.01)


def test_the_microscope_takes_scans_that_can_be_reconstructed(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(MICROSCOPE, "utf-8")
    with livetomo.open_microscope(path) as scope:
        early = scope.scan()
        with pytest.raises(livetomo.LiveTomoError, match=re.escape("call background() before")):
            livetomo.reconstruct(early)
        background = scope.background()
        scan = scope.scan()
        assert scan.frames.shape == background.frames.shape == (9, 96, 96)
        assert scope.snap().shape == (96, 96)
        assert scope.core.getCameraDevice() == "Camera"
    tomogram = livetomo.reconstruct(scan, device="cpu")
    assert tomogram.index_array.shape[0] == 32  # as its file says
    assert tomogram.timestamp == scan.timestamp > early.timestamp


def test_a_tomogram_shows_itself(raw: livetomo.Tomogram) -> None:
    shown = raw._repr_html_()  # a notebook's name for it
    assert shown.startswith('<img src="data:image/png;base64,iVBORw0KGgo')
    assert "index 1.3" in shown


def test_a_regularizer_may_be_an_object(raw: livetomo.Tomogram, tmp_path: Path) -> None:
    class Halved:
        def __call__(self, tomogram, spectrum, progress=None, stop=None):  # type: ignore[no-untyped-def]
            assert spectrum is raw.spectrum
            medium = tomogram.optics.medium_index
            return replaced(tomogram, index=medium + (tomogram.index - medium) / 2)

    from dataclasses import replace as replaced

    made = livetomo.regularize(raw, Halved())
    medium = raw.optics.medium_index
    np.testing.assert_allclose(made.index_array - medium, (raw.index_array - medium) / 2, atol=1e-6)
    with pytest.raises(livetomo.LiveTomoError, match="has none for 'Halved'"):
        livetomo.save_tomograms(tmp_path / "out.h5", [made])
    assert not (tmp_path / "out.h5").exists()
    made.method = "tv"
    livetomo.save_tomograms(tmp_path / "out.h5", [raw, made])  # of one scan: one time point
    assert len(livetomo.open_tomograms(tmp_path / "out.h5")) == 1


def test_what_cannot_be_is_said(
    simulated: livetomo.Recording, raw: livetomo.Tomogram, tmp_path: Path
) -> None:
    refused = pytest.raises(livetomo.LiveTomoError, match="got slizes")
    with refused:
        livetomo.reconstruct(simulated[0], slizes=3)
    with pytest.raises(livetomo.LiveTomoError, match="kind must be one of cell, "):
        livetomo.simulate_scan("bird")
    with pytest.raises(livetomo.LiveTomoError, match="regularizer must be one of"):
        livetomo.regularize(raw, "magic")
    with pytest.raises(livetomo.LiveTomoError, match=r"cannot be read|must exist|no such"):
        livetomo.open_recording(tmp_path / "absent.h5")
    with pytest.raises(livetomo.LiveTomoError, match="at least one tomogram"):
        livetomo.save_tomograms(tmp_path / "out.h5", [])
    livetomo.save_tomograms(tmp_path / "raw.h5", [raw])
    read = livetomo.open_tomograms(tmp_path / "raw.h5")[0]
    with pytest.raises(livetomo.LiveTomoError, match="reconstruct it from its recording"):
        livetomo.regularize(read, "tv")
    with pytest.raises(livetomo.LiveTomoError, match="must have the same voxels"):
        livetomo.compare(raw, livetomo.reconstruct(simulated[0], device="cpu", dz_um=0.1))
    with pytest.raises(IndexError):
        simulated[1]


def test_importing_it_loads_next_to_nothing() -> None:
    loaded = output_of("import sys, livetomo; print(*sys.modules)").split()
    assert not {"numpy", "torch", "h5py", "pydantic", "pymmcore_plus", "PySide6"} & set(loaded)
