"""Corrections on the way of a scan: command line, files, Python, the live processor, GPUs."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import livetomo
from acquisition.errors import ConfigurationError, DataError
from acquisition.interferograms import InterferogramStack
from commands.reconstruct import run_reconstruct
from files.recording import RecordingWriter
from files.tomograms import read_tomograms
from pipeline.live.light_to_check import PlannedLight
from pipeline.live.quality_comparison import check_view
from pipeline.tomograms.recipe import Recipe, scans_held
from pipeline.wire.messages import Message, TomogramHeader, decode, encode, tomogram_view
from pipeline.wire.state import TomogramView
from reconstruction.reconstructor import Reconstructor
from regularizer.registry import regularizer
from regularizer.scattering.defect_correction import Corrected
from regularizer.scattering.multislice_regularizer import MultisliceRegularizer
from regularizer.total_variation.total_variation import TotalVariation
from tests.partial_waves import sphere_fields
from tests.pretend_gpu import PretendGpu
from tests.processors import process
from tests.scans import CELL, interferograms

pytestmark = pytest.mark.usefixtures("logs")

RADIUS_UM, INDEX = 0.7, 1.397
Scan = tuple[InterferogramStack, InterferogramStack]


@pytest.fixture(scope="module")
def scan() -> Scan:
    """Return background and scan of a small sphere, strong enough that Rytov is wrong about it."""
    optics, k, frame = CELL.optics, CELL.angles.k[::5], (96, 96)
    fields = sphere_fields(optics, k, RADIUS_UM, INDEX, frame).numpy()
    return interferograms(optics, k, None, frame), interferograms(optics, k, fields, frame)


@pytest.fixture(scope="module")
def recording(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scattering") / "sphere.h5"
    with RecordingWriter(path, scan[0]) as writer:
        writer.append(scan[1])
    return path


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """End an inversion after a few steps, the ones that gain most."""
    monkeypatch.setattr("regularizer.scattering.full_inversion._SETTLED", 0.2)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendGpu]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**33, 2**34))  # free, in all
    with PretendGpu() as pretended:
        yield pretended


def test_the_command_writes_corrected_tomograms(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "corrected.h5"
    assert run_reconstruct(
        recording, output, "tv", "cpu", True, preset="tv-fast", corrections=2
    ) == 0  # fmt: skip
    (row,) = json.loads(capsys.readouterr().out)["scans"]
    assert " of 2; misfit of the light " in row["corrections"]
    assert int(row["corrections"].split()[0]) >= 1
    series = read_tomograms(output)
    assert series.provenance["corrections"] == 2
    assert series.provenance["tv"]["corrections"] == row["corrections"]
    held = series.regularized("tv", 0)
    assert held is not None
    scan = livetomo.open_recording(recording)[0]
    raw = livetomo.reconstruct(scan, device="cpu")
    same = livetomo.regularize(raw, "tv-fast", corrections=2)
    np.testing.assert_allclose(held.index.numpy(), same.index_array, atol=1e-5)
    plain = livetomo.regularize(raw, "tv-fast")
    assert abs(same.index_array.max() - INDEX) < abs(plain.index_array.max() - INDEX)

    assert scans_held(output, Recipe("tv", preset="tv-fast", corrections=2)) == {0}
    with pytest.raises(DataError, match="continued with the corrections it was made with"):
        scans_held(output, Recipe("tv", preset="tv-fast"))


@pytest.mark.parametrize(("method", "count"), [("none", 1), ("multislice", 1), ("tv", -1)])
def test_corrections_that_cannot_be_are_refused(
    recording: Path, tmp_path: Path, method: str, count: int
) -> None:
    with pytest.raises(ConfigurationError, match="corrections"):
        run_reconstruct(recording, tmp_path / "no.h5", method, "cpu", corrections=count)
    assert not (tmp_path / "no.h5").exists()


@pytest.mark.usefixtures("few_steps")
def test_multislice_has_a_volume_of_its_own(recording: Path, tmp_path: Path) -> None:
    output = tmp_path / "multislice.h5"
    assert run_reconstruct(recording, output, "multislice", "cpu") == 0
    series = read_tomograms(output)
    found = series.regularized("multislice", 0)
    assert found is not None
    assert "multislice:" in series.provenance["multislice"]["regularizer"]
    assert livetomo.open_tomograms(output).volumes == ("raw", "multislice")


def test_live_tomograms_are_corrected(scan: Scan, tmp_path: Path) -> None:
    empty, lit = scan
    microscope = tmp_path / "microscope.toml"
    microscope.write_text(
        '[processing]\ndevice = "cpu"\nregularizer = "tv-fast"\ncorrections = 1\n'
    )
    (view,), status = process(microscope, empty, [lit])
    assert status.failed == 0
    made = Reconstructor(empty, keep_fields=True)(lit)
    method = regularizer("tv-fast", warm=True, corrections=1)  # as there
    expected = method(made.tomogram, made.spectrum)
    assert expected.provenance["corrections"].startswith("1 of 1")
    assert view.regularized is not None
    np.testing.assert_allclose(view.regularized, expected.index.numpy(), atol=1e-4)


@pytest.fixture(scope="module")
def checked(scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> TomogramView:
    """Return what a processor whose tomograms are checked by multislice answers to the check."""
    empty, lit = scan
    microscope = tmp_path_factory.mktemp("checked") / "microscope.toml"
    microscope.write_text(
        '[processing]\ndevice = "cpu"\nregularizer = "tv-fast"\nquality_reference = "multislice"\n'
    )
    answers: list[Message] = []
    (shown,), _ = process(microscope, empty, [lit], fetched=answers)
    assert shown.fields is None  # the window does not need them
    (answer,) = (decode([bytes(part) for part in encode(one)]) for one in answers)
    assert isinstance(answer.header, TomogramHeader)
    return tomogram_view(answer.header, answer.arrays)


def test_the_check_gets_the_spectrum_with_its_fields(scan: Scan, checked: TomogramView) -> None:
    made = Reconstructor(scan[0], keep_fields=True)(scan[1]).spectrum
    assert checked.fields is not None
    planned = PlannedLight()
    found = planned.spectrum(checked.fields, CELL.optics)
    assert torch.allclose(found.values, made.values, atol=1e-5 * float(made.values.abs().max()))
    assert torch.equal(found.measured, made.measured)
    assert found.noise == pytest.approx(made.noise, rel=1e-3)
    assert found.fields is not None
    assert made.fields is not None
    again = planned.spectrum(checked.fields, CELL.optics).fields
    assert again is not None
    assert again.inversion is found.fields.inversion
    assert list(found.fields.used) == list(made.fields.used)


def test_a_live_tomogram_is_compared_with_multislice(checked: TomogramView) -> None:
    found = check_view(checked, reference="multislice")
    report = found.report
    assert (report.reference, report.method, found.sequence) == ("multislice", "tv-fast", 0)
    assert "misfit of the light" in report.note
    assert "against multi-slice inversion" in report.summary()
    assert checked.regularized is not None
    middle = tuple(n // 2 for n in found.reference.shape)
    assert abs(found.reference[middle] - INDEX) < abs(checked.regularized[middle] - INDEX)
    np.testing.assert_allclose(found.reference + found.error, checked.regularized, atol=1e-6)


def test_it_runs_on_a_gpu(gpu: PretendGpu, scan: Scan) -> None:
    empty, lit = scan
    volumes = []
    for device in ("cpu", "cuda"):
        made = Reconstructor(empty, device, keep_fields=True)(lit)
        method = MultisliceRegularizer(Corrected(TotalVariation("tv-fast", device), 1), 1)
        found = method(made.tomogram, made.spectrum)
        assert found.index.device.type == device
        assert found.provenance["regularizer"].startswith("multislice")
        volumes.append(found.index.cpu())
    difference = float((volumes[1] - volumes[0]).abs().max())
    assert difference <= 5e-3 * float(volumes[0].max() - volumes[0].min())
