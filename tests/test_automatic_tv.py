"""Automatic parameters of total variation, and the grid search that checks them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.angles import preset
from benchmarks.tv_by_network import GRID, Known, chosen_error, fitted, statistics
from commands.tune_grid import run_tune
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.registry import regularizer
from regularizer.total_variation.automatic import MU_RANGE, automatic_parameters, noise_and_norm
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.training_data import Sample, make_sample

OPTICS = preset("cell").optics
SIZE = 32


def ball(radius: float = 6, contrast: float = 0.05) -> torch.Tensor:
    axis = torch.arange(SIZE) - SIZE // 2
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    return contrast * (distance < radius).float()


def scan(truth: torch.Tensor, noise: float) -> Spectrum:
    """Measure a cube outside a double cone about z; ``noise`` is relative to the spectrum."""
    size = len(truth)
    kz, ky = torch.fft.fftfreq(size)[:, None, None], torch.fft.fftfreq(size)[:, None]
    mask = (ky**2 + torch.fft.rfftfreq(size) ** 2).sqrt() >= 1.2 * kz.abs()
    clean = torch.fft.rfftn(torch.fft.ifftshift(truth), norm="ortho") * mask
    generator = torch.Generator().manual_seed(1)
    white = torch.fft.rfftn(torch.randn(truth.shape, generator=generator), norm="ortho") * mask
    added = white * noise * torch.linalg.vector_norm(clean) / torch.linalg.vector_norm(white)
    voxel = (0.178, 0.1067, 0.1067)
    return Spectrum(clean + added, mask.float(), (size, size, size), voxel, OPTICS, noise)


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(found - truth) / torch.linalg.vector_norm(truth))


def test_they_come_near_to_a_grid_that_knows_the_truth() -> None:
    """On a scan of the simulated microscope; on more: benchmarks/results/automatic_tv.md."""
    sample = make_sample("bead", 9003, frame=64, tv=False)

    def wrong(parameters: TvParameters) -> float:
        return error(SplitBregman(sample.spectrum, parameters).run(), sample.truth)

    grid = [  # as far as 60 iterations without relaxation
        wrong(TvParameters(outer, 36, mu, 10, 1, relaxation=1.8))
        for outer in (1, 2)
        for mu in (0.5, 2, 8, 32, 128)
    ]
    found = wrong(automatic_parameters(sample.spectrum))
    assert found < 1.3 * min(grid)
    assert found < sorted(grid)[len(grid) // 2]
    assert found < 0.7 * error(sample.raw, sample.truth)


def test_the_empty_field_around_an_object_does_not_matter() -> None:
    spectra = [scan(ball(), 0.0), scan(torch.nn.functional.pad(ball(), (16,) * 6), 0.0)]
    narrow, wide = (noise_and_norm(replace(one, noise=0.0))[1] for one in spectra)
    assert wide == pytest.approx(narrow, rel=0.05)


def test_more_noise_and_more_contrast_ask_for_more_regularization() -> None:
    quiet, loud = (automatic_parameters(scan(ball(), noise)).mu for noise in (0.1, 0.8))
    faint, strong = (automatic_parameters(scan(ball(6, c), 0.3)).mu for c in (0.01, 0.05))
    assert loud < quiet
    assert strong < faint
    nothing = scan(ball(), 0.3)
    nothing = replace(nothing, values=torch.zeros_like(nothing.values))
    assert automatic_parameters(nothing).mu in MU_RANGE


def test_a_scan_of_unknown_noise_is_refused_with_a_remedy() -> None:
    with pytest.raises(DataError, match="choose a preset"):
        automatic_parameters(replace(scan(ball(), 0.3), noise=None))


def test_auto_is_a_regularizer_that_says_what_it_chose() -> None:
    spectrum = scan(ball(), 0.3)
    raw = Tomogram(
        index_from_contrast(contrast_of(spectrum), 1.337), (0.178, 0.1067, 0.1067), OPTICS
    )
    found = regularizer("auto")(raw, spectrum)
    mu = automatic_parameters(spectrum).mu
    assert f"mu={mu}" in found.provenance["regularizer"]
    assert error(found.contrast, ball()) < error(raw.contrast, ball())


def test_a_grid_of_parameters_is_drawn_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample("bead", 2, frame=64, tv=False)
    made: list[tuple[str, int]] = []

    def known(kind: str, seed: int, *, tv: bool) -> Sample:
        made.append((kind, seed))
        return sample

    monkeypatch.setattr("commands.tune_grid.make_sample", known)
    monkeypatch.setattr("regularizer.total_variation.automatic._INNER", 20)  # of 2 x 100
    picture = tmp_path / "grid.png"
    grid = {"mus": (5.0, 80.0), "outers": (1, 2), "inner": 8}
    assert run_tune(None, picture, simulate="bead", seed=2, as_json=True, **grid) == 0  # type: ignore[arg-type]  # one kind a key
    figures = json.loads(capsys.readouterr().out)
    sets = figures["sets"]
    assert [(s["outer"], s["mu"]) for s in sets[2:]] == [(1, 5), (1, 80), (2, 5), (2, 80)]
    assert [s["name"] for s in sets[:2]] == ["raw", "auto"]
    assert [s["iterations"] for s in sets[2:]] == [8, 8, 16, 16]
    assert sets[0]["residual"] < 1e-5 < sets[3]["residual"] < sets[2]["residual"]
    assert all(s["error"] < sets[0]["error"] for s in sets[1:])
    assert picture.read_bytes().startswith(b"\x89PNG")
    one = {"mus": (80.0,), "outers": (2,), "inner": 8}
    assert run_tune(None, tmp_path / "text.png", simulate="bead", seed=2, **one) == 0  # type: ignore[arg-type]  # one kind a key
    assert "| 2 x 8, mu 80 | 16 |" in capsys.readouterr().out
    assert made == [("bead", 2)] * 2


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="simulated sample"):
        run_tune(None, tmp_path / "a.png", simulate="whale")
    with pytest.raises(ConfigurationError, match="at least one mu"):
        run_tune(None, tmp_path / "a.png", mus=())
    (tmp_path / "b.png").write_text("precious")
    with pytest.raises(DataError, match="not overwritten"):
        run_tune(None, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_text() == "precious"


def test_a_network_learns_what_the_rule_leaves() -> None:
    """Of made-up scans whose best mu also falls with a statistic that the rule does not use."""
    rng = np.random.default_rng(0)
    found = scan(ball(), 0.3)
    sample = Sample("bead", 0, found, contrast_of(found), None, ball())
    seen = rng.normal(size=(40, len(statistics(found))))
    rule = rng.uniform(0, 2, 40)
    best = rule - seen[:, 5]
    errors = 0.2 + 0.05 * (np.log(GRID) - best[:, None]) ** 2
    both = np.stack([errors + 0.1, errors], axis=1)  # two outer iterations are better
    scans = [
        Known(f"{n}", sample, *one) for n, one in enumerate(zip(seen, rule, both, strict=True))
    ]
    chooser = fitted(scans[:30], 0.01)
    excess = [chosen_error(chooser, one) for one in scans[30:]]
    ruled = [0.25 * one.seen[5] ** 2 for one in scans[30:]]
    assert np.mean(excess) < 0.3 * np.mean(ruled)
    how = chooser.parameters_for(found)
    assert how.outer == 2 and MU_RANGE[0] <= how.mu <= MU_RANGE[1]


def test_what_a_network_sees_does_not_depend_on_the_empty_field() -> None:
    wide = torch.nn.functional.pad(ball(), (16,) * 6)
    found, other = (statistics(replace(scan(one, 0.0), noise=0.0)) for one in (ball(), wide))
    assert found[1:5] == pytest.approx(other[1:5], abs=0.15)
    assert found[6:] == pytest.approx(other[6:], abs=0.15)
