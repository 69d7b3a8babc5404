"""Training on a lab's own data: how files are divided, what is learned, what the report says.

The recordings are of exact spheres (partial waves), which share nothing with the product's own
simulation.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acquisition.errors import ConfigurationError, DataError, Stopped
from acquisition.simulation.phantom import Phantom
from commands.command_line import parse
from files.recording import RecordingWriter, read_recording
from reconstruction.finished.finished_volume import FinishedVolume, KnownOptics
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum
from regularizer.deep import DeepRegularizer
from regularizer.metrics import relative_error
from regularizer.networks.trained import load_network
from regularizer.registry import regularizer
from regularizer.training.own_objects import object_sample
from regularizer.training.own_report import Judged, report_page, verdict_on
from regularizer.training.own_samples import OwnScan, divided, own_sample, seeds_of, spread
from regularizer.training.training_data import (
    TEST_SEED,
    VALIDATION_SEED,
    draw_position,
    load,
)
from tests.finished_volumes import steps as ten_thousandths
from tests.finished_volumes import write_tcf
from tests.partial_waves import sphere_fields
from tests.scans import CELL, Centre, distance_um, interferograms, sphere_spectrum

FRAME = (64, 64)
RADIUS_UM, INDEX = 0.8, 1.37
WORDS = ["--steps", "1", "--batch", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a recording of each of three exact spheres, and a file that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    optics, k = CELL.optics, CELL.angles.k
    background = interferograms(optics, k, frame=FRAME)
    for number in range(3):
        centre = (0.1 * number, 0.0, 0.0)
        fields = sphere_fields(optics, k, RADIUS_UM, INDEX, FRAME, centre).numpy()
        with RecordingWriter(folder / f"sphere-{number}.h5", background) as writer:
            writer.append(interferograms(optics, k, fields, frame=FRAME))
    (folder / "notes.h5").write_text("measured on a Monday")
    return folder


def train(folder: Path, option: str, source: Path, *more: str) -> int:
    """Run the command with its files in ``folder``."""
    words = ["train", option, str(source), *WORDS, "--data", str(folder / "data")]
    words += ["--run", str(folder / "run"), "--output", str(folder / "own.safetensors"), *more]
    options = parse(words)
    status: int = options.run(options)
    return status


# ---- Files and scans -----------------------------------------------------------------------------


@pytest.mark.parametrize(("files", "sizes"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (20, (12, 4, 4))])
def test_files_are_divided_into_three_parts(files: int, sizes: tuple[int, int, int]) -> None:
    parts = divided(files, seed=0)
    assert tuple(map(len, parts)) == sizes
    assert sorted(number for part in parts for number in part) == list(range(files))
    assert divided(files, seed=0) == parts


def test_too_few_files_are_refused() -> None:
    with pytest.raises(DataError, match=r"at least 3 files, .* found 2: scans of one file show"):
        divided(2, seed=0)


def test_scans_of_a_file_stay_together() -> None:
    taken = seeds_of([4, 1, 30, 2, 5, 0], most=3)
    held: dict[int, set[int]] = {}
    for seed, file, _ in taken:
        held.setdefault(file, set()).add(seed // VALIDATION_SEED)
    assert all(len(parts) == 1 for parts in held.values())
    assert {seed // VALIDATION_SEED for seed, *_ in taken} == {0, 1, 2}
    assert [scan for _, file, scan in taken if file == 2] == [0, 14, 29]
    assert 5 not in held  # it has no scan
    assert spread(3, 5) == [0, 1, 2]


# ---- The verdict ---------------------------------------------------------------------------------


def judged(file: str, before: float, after: float, fitted: float = 0.3) -> Judged:
    return Judged(file, 0, before, after, 0.9, 0.9, 0.3, fitted)


@pytest.mark.parametrize(
    ("rows", "better"),
    [
        ([judged("a", 0.20, 0.15), judged("b", 0.20, 0.15)], True),
        ([judged("a", 0.20, 0.199), judged("b", 0.20, 0.199)], False),  # too little
        ([judged("a", 0.40, 0.10), judged("b", 0.10, 0.11)], False),  # on half of the files only
        ([judged("a", 0.20, 0.15, 0.35), judged("b", 0.20, 0.15, 0.35)], False),  # fits worse
        ([judged("a", 0.20, 0.25)], False),
    ],
)
def test_a_network_is_better_by_error_files_and_measurement(
    rows: list[Judged], better: bool
) -> None:
    verdict = verdict_on(rows)
    assert verdict.better == better
    page = report_page(rows, verdict, {"data": "spheres"})
    assert ("use it" in page) == better and ("keep the former" in page) != better
    assert "| a | 0 | " in page and "- data: spheres" in page


def test_scans_of_one_file_have_one_vote() -> None:
    many = [judged("a", 0.20, 0.25), *[replace(judged("a", 0.20, 0.21), scan=n) for n in (1, 2)]]
    verdict = verdict_on([*many, judged("b", 0.90, 0.10), judged("c", 0.90, 0.10)])
    assert (verdict.files, verdict.improved, verdict.better) == (3, 2, True)


# ---- The command ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_trial")
def test_recordings_train_the_shipped_network_and_are_reported(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--recordings", recordings) == 0
    page = capsys.readouterr().out
    assert "held-out file" in page and "residual" in page
    assert "notes.h5 is left out: " in page
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    (row,) = report["scans"]
    assert (tmp_path / "run" / "report.md").read_text("utf-8") in page
    sample = load(tmp_path / "data" / f"own-{TEST_SEED:05d}.npz")

    # the held-out scan, reconstructed here; the target and the former network's error
    recording = read_recording(recordings / row["file"])
    made = Reconstructor(recording.background)(next(recording.stacks()))
    target = regularizer("auto")(made.tomogram, made.spectrum).contrast
    assert relative_error(sample.truth, target) < 1e-3  # kept in half precision
    shipped = DeepRegularizer("cpu", "light-unet")(sample.tomogram, sample.spectrum).contrast
    assert row["error_before"] == pytest.approx(relative_error(shipped, sample.truth), rel=0.02)

    own = load_network("light-unet", tmp_path / "own.safetensors")
    assert "1 scans of 1 files, recordings, with the target auto" in own.metadata["training_data"]
    former = load_network("light-unet").network.state_dict()
    changed = [name for name, w in own.network.state_dict().items() if not w.equal(former[name])]
    assert any("encode" in name for name in changed)
    low, high = own.range.limits["numerical_aperture"]
    assert low == high == pytest.approx(CELL.optics.aperture, rel=1e-4)

    first = (tmp_path / "data" / "own-00000.npz").stat().st_mtime_ns
    with pytest.raises(DataError, match="must hold samples of the same files, scans, target"):
        train(tmp_path, "--recordings", recordings, "--scans", "2", "--target", "multislice")
    assert (tmp_path / "data" / "own-00000.npz").stat().st_mtime_ns == first


@pytest.mark.usefixtures("quick_trial")
def test_finished_volumes_train_as_well(recordings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    for number in range(3):
        recording = read_recording(recordings / f"sphere-{number}.h5")
        raw = Reconstructor(recording.background)(next(recording.stacks())).tomogram.windowed()
        steps = ten_thousandths(raw.index.numpy())
        write_tcf(folder / f"{number}.TCF", [steps], raw.voxel_size_um, CELL.optics)
    assert train(tmp_path, "--volumes", folder, "--network", "light-unet-tv") == 0
    own = load_network("light-unet-tv", tmp_path / "own.safetensors")
    assert "1 scans of 1 files, volumes" in own.metadata["training_data"]
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert np.isfinite(
        [report["scans"][0]["error_after"], report["scans"][0]["residual_after"]]
    ).all()


def test_a_target_by_scattering_is_what_that_regularizer_makes(
    monkeypatch: pytest.MonkeyPatch, recordings: Path
) -> None:
    recording = read_recording(recordings / "sphere-0.h5")
    made = Reconstructor(recording.background, keep_fields=True)(next(recording.stacks()))
    asked: list[str] = []

    def noted(name: str, *rest: object, **options: object) -> Callable[..., object]:
        asked.append(name)
        return regularizer("tv-fast", constraint="non-negative")

    monkeypatch.setattr("regularizer.training.own_samples.regularizer", noted)
    sample = own_sample(made.tomogram, made.spectrum, "multislice", 3)
    fast = regularizer("tv-fast")(made.tomogram, made.spectrum).contrast
    assert asked == ["multislice"]
    assert sample.truth.equal(fast) and sample.tv is not None and sample.tv.equal(fast)
    lighter = replace(made.spectrum, values=-made.spectrum.values)
    turned = own_sample(made.tomogram, lighter, "multislice", 3)
    assert torch.allclose(turned.spectrum.values, made.spectrum.values)


def ball(spectrum: Spectrum, centre_um: Centre) -> torch.Tensor:
    """Return the contrast of the sphere on the voxels of a spectrum, blurred by a voxel."""
    voxel = spectrum.voxel_size_um
    depth_um = RADIUS_UM - distance_um(spectrum.shape, voxel, centre_um)
    inside = (depth_um / voxel[2] + 0.5).clamp(0, 1)
    return ((INDEX / spectrum.optics.medium_index) ** 2 - 1) * inside


def test_a_volume_that_is_the_object_is_scanned_in_simulation() -> None:
    """The scan measures what the analytic spectrum of the sphere says."""
    optics, shape, voxel = CELL.optics, (48, 48, 48), (0.08, 0.08, 0.08)
    inside = ((RADIUS_UM - distance_um(shape, voxel)) / voxel[0] + 0.5).clamp(0, 1).numpy()
    index = (optics.medium_index + inside * (INDEX - optics.medium_index)).astype(np.float32)
    known = KnownOptics(optics.wavelength_um, optics.numerical_aperture, optics.medium_index)
    sample = object_sample(FinishedVolume(index, voxel), known, 7)
    at = draw_position(np.random.default_rng([7, 1]))
    exact = sphere_spectrum(sample.spectrum, RADIUS_UM, INDEX, at).to(torch.complex64)
    measured = sample.spectrum.measured > 0
    found, expected = sample.spectrum.values[measured], exact[measured]
    scale = torch.vdot(expected, found) / torch.vdot(expected, expected)
    assert abs(complex(scale) - 1) < 0.12  # scattered light falls short of the first order
    assert float((found - expected).norm() / expected.norm()) > 0.05  # it has noise
    # the truth is the sphere, in the medium
    assert relative_error(sample.truth, ball(sample.spectrum, at)) < 0.25  # a voxel off: 0.4
    with pytest.raises(ConfigurationError, match=r"wavelength and NA .* give them with --optics"):
        object_sample(FinishedVolume(index, voxel), KnownOptics(), 7)


def test_scans_of_a_volume_have_fields_of_several_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the object needs to what the volume does, so that tight fields are learned, too."""
    shape, voxel = (24, 96, 96), (0.1, 0.1, 0.1)
    inside = (distance_um(shape, voxel, (0.5, 0.0, 0.0)) < RADIUS_UM).numpy()
    index = np.where(inside, np.float32(INDEX), np.float32(1.337))
    seen: list[tuple[Phantom, int]] = []

    def noted(phantom: Phantom, *rest: Any, **more: Any) -> None:
        seen.append((phantom, rest[-1]))
        raise Stopped("enough is known")

    monkeypatch.setattr("regularizer.training.own_objects.simulate_sample", noted)
    for seed in range(8):
        with pytest.raises(Stopped):
            object_sample(FinishedVolume(index, voxel), KnownOptics(0.532, 1.2, 1.337), seed)
    pixel = seen[0][0].voxel_size_um[2]
    sides_um = [frame * pixel for _, frame in seen]
    assert 2 * (0.5 + RADIUS_UM) + 4 <= min(sides_um) < max(sides_um) <= 9.6 + 4 + 16 * pixel
    assert len(set(sides_um)) > 3
    whole = max((phantom for phantom, _ in seen), key=lambda one: one.contrast.size)
    for phantom, frame in seen:
        assert max(phantom.contrast.shape[1:]) <= frame
        assert phantom.contrast.sum() == pytest.approx(whole.contrast.sum(), rel=1e-4)
        y, x = (n // 2 for n in phantom.contrast.shape[1:])
        middle = [n // 2 for n in whole.contrast.shape[1:]]
        assert phantom.contrast[12, y, x] == whole.contrast[12, middle[0], middle[1]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recordings", ".", "--target", "volume"], "the target volume is of --volumes"),
        (["--target", "auto"], "--target needs --recordings or --volumes"),
        (["--recordings", ".", "--minutes", "1"], "--minutes does not go with own data"),
        (["--volumes", ".", "--target", "multislice"], "multislice needs interferograms"),
        (["--volumes", ".", "--scans", "0"], "--scans must be at least 1, got 0"),
        (["--recordings", ".", "--network", "unet", "scnas"], "one network at a time"),
        (["--recordings", ".", "--optics", "a.toml"], "--optics is of --volumes"),
    ],
)
def test_options_that_exclude_each_other_are_refused(words: list[str], message: str) -> None:
    options = parse(["train", *words, "--device", "cpu"])
    with pytest.raises(ConfigurationError, match=message):
        options.run(options)


def test_several_processes_are_for_simulated_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for words in (["--recordings", "."], ["--minutes", "1"]):
        options = parse(["train", *words])
        with pytest.raises(ConfigurationError, match="start one process for own data"):
            options.run(options)


def test_volumes_that_cannot_be_opened_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", np.full((8, 8, 8), 1.34, np.float32))
    (tmp_path / "torn.TCF").write_bytes(b"")
    with pytest.raises(DataError, match="found 0"):
        train(tmp_path, "--volumes", tmp_path)
    said = capsys.readouterr().out
    assert said.count("is left out: the voxel size must be known") == 2
    assert "torn.TCF is left out" in said
    with pytest.raises(DataError, match="found 2"):
        train(tmp_path, "--volumes", tmp_path, "--volume-um", "0.2", "0.1", "0.1")
    with pytest.raises(ConfigurationError, match="--volume-um needs --recordings or --volumes"):
        train(tmp_path, "--start", tmp_path, "--volume-um", "0.2", "0.1", "0.1")


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 0"):
        train(tmp_path, "--recordings", tmp_path)
    with pytest.raises(DataError, match="must be in a folder"):
        train(tmp_path, "--recordings", tmp_path / "absent")
    assert OwnScan(TEST_SEED, "a", 0).held_out and not OwnScan(VALIDATION_SEED, "a", 0).held_out
