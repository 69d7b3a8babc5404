"""Evaluation of the regularizers on objects outside the training: docs/explanation/evaluation.md.

Every method runs on the same simulated scans, whose seeds are never used in training. The results
are compared with the true object and with converged TV, by the strict metrics of
``regularizer.metrics``.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from reconstruction.tomogram import index_from_contrast
from regularizer.deep import DeepRegularizer
from regularizer.interface import Regularizer
from regularizer.metrics import Comparison, compare, relative_error
from regularizer.networks.trained import shipped_networks
from regularizer.registry import regularizer
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.training_data import CONVERGED, TEST_SEED, Sample, cached_sample

__all__ = ["Row", "evaluate", "page"]

_CLASSICAL = ("none", "gp", "tv-fast", "tv", "auto", "beads", "s-pyogenes", "oci-aml3")
_NAMES = {
    "none": "raw",
    "beads": "the paper's, beads: 2 x 400, mu 10",
    "s-pyogenes": "the paper's, S. pyogenes: 5 x 100, mu 50",
    "oci-aml3": "the paper's, OCI-AML3: 3 x 60, mu 150",
}
_FINISH = 12  # iterations, which bring it closer to converged TV than the 20 of tv-fast
_SEEN = 0.1  # share of the highest true contrast above which a voxel counts as object


@dataclass(frozen=True, slots=True)
class Row:
    """Time and metrics of one method on one object, against the truth and converged TV."""

    kind: str
    seed: int
    method: str
    seconds: float
    error: float  # ||f - truth|| / ||truth||
    residual: float
    truth: Comparison
    tv: Comparison


def methods(device: torch.device) -> dict[str, Regularizer]:
    """Return the methods by name: classical ones, shipped networks, one finished by TV."""
    found = {name: regularizer(name, device) for name in _CLASSICAL}
    for name in shipped_networks():
        found[f"network {name}"] = DeepRegularizer(device, name)
    if "light-unet-tv" in shipped_networks():
        finished = DeepRegularizer(device, "light-unet-tv", finish=_FINISH)
        found[f"network light-unet-tv, {_FINISH} iterations"] = finished
    return found


def evaluate_sample(sample: Sample, chosen: dict[str, Regularizer]) -> list[Row]:
    """Return a row for each method."""
    tomogram, spectrum = sample.tomogram, sample.spectrum
    converged = SplitBregman(spectrum, CONVERGED).run()
    medium = spectrum.optics.medium_index
    rows = []
    for name, method in chosen.items():
        start = time.perf_counter()
        result = method(tomogram, spectrum)
        contrast, seconds = result.contrast, time.perf_counter() - start
        rows.append(
            Row(
                sample.kind,
                sample.seed,
                name,
                seconds,
                relative_error(contrast, sample.truth),
                result.data_residual,
                compare(contrast, sample.truth, medium),
                compare(contrast, converged, medium),
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class UncertaintyCalibration:
    """The uncertainty that ``deep`` predicts and its actual error, in the object of one scan."""

    kind: str
    error: float  # rms, RI
    uncertainty: float  # rms, RI
    within_one: float  # share of the voxels whose error is below the uncertainty
    within_two: float  # below twice the uncertainty


def uncertainty_calibration(sample: Sample, method: Regularizer) -> UncertaintyCalibration:
    """Compare uncertainty and error in voxels with contrast in the truth or the result."""
    tomogram = sample.tomogram
    result = method(tomogram, sample.spectrum)
    assert result.uncertainty is not None
    truth = index_from_contrast(sample.truth, tomogram.optics.medium_index)
    seen = torch.maximum(result.contrast, sample.truth) > _SEEN * float(sample.truth.max())
    error, uncertainty = (result.index - truth).abs()[seen], result.uncertainty[seen]
    return UncertaintyCalibration(
        sample.kind,
        float(error.square().mean().sqrt()),
        float(uncertainty.square().mean().sqrt()),
        float((error < uncertainty).float().mean()),
        float((error < 2 * uncertainty).float().mean()),
    )


def evaluate(kinds: Sequence[str], objects: int, cache: Path, device: torch.device) -> list[Row]:
    """Evaluate on ``objects`` test objects of each kind; simulated scans are kept in ``cache``."""
    chosen = methods(device)
    rows: list[Row] = []
    for kind in kinds:
        for seed in range(TEST_SEED, TEST_SEED + objects):
            rows += evaluate_sample(cached_sample(kind, seed, cache).to(device), chosen)
            print(f"{kind} {seed} done", flush=True)
    return rows


def page(rows: Sequence[Row], calibrations: Sequence[UncertaintyCalibration] = ()) -> str:
    """Return the Markdown page: a table over all kinds, then one per kind; means over objects."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    lines = [_HEAD, _table("All kinds", rows)]
    lines += [_table(kind, [row for row in rows if row.kind == kind]) for kind in kinds]
    if calibrations:
        lines += [_CALIBRATION, *_calibration_table(calibrations)]
    return "\n".join(lines) + "\n"


_CALIBRATION = """
## How sure the network is

The uncertainty of `deep` (`uncertainty = true` in microscope.toml) against its errors, where truth
or result has more than a tenth of the highest true contrast. A normal distribution would have 0.68
of the errors below the uncertainty, and 0.95 below twice that; theirs have longer tails.
"""


def _calibration_table(calibrations: Sequence[UncertaintyCalibration]) -> list[str]:
    lines = [
        "| kind | rms error, RI | rms uncertainty, RI | within 1 | within 2 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind in dict.fromkeys(one.kind for one in calibrations):
        chosen = [one for one in calibrations if one.kind == kind]
        error, uncertainty, one, two = (
            float(np.mean([getattr(s, name) for s in chosen]))
            for name in ("error", "uncertainty", "within_one", "within_two")
        )
        lines.append(f"| {kind} | {error:.4f} | {uncertainty:.4f} | {one:.2f} | {two:.2f} |")
    return lines


_HEAD = """# The regularizers on objects that no training saw

The scans are simulated end to end: scattering, noise, reconstruction. Figures are means over the
objects. The metrics are strict: contrast over the range of the reference, SSIM with a window of 7^3
and that range. "Error" is ||f - truth|| / ||truth||, "residual" the distance from the measured
spectrum. These and the columns before them compare with the true object, those after them with
converged total variation (`tv` with 200 iterations). The last column is SSIM on the paper's looser
scale (index, range 1), on which any two tomograms look alike.

`python launcher.py evaluate --output docs/explanation/evaluation.md` makes this page.
"""
_COLUMNS = (
    "s", "SSIM", "PSNR", "MSE", "corr.", "error", "residual",
    "SSIM to TV", "MSE to TV", "corr. to TV", "paper's SSIM to TV",
)  # fmt: skip


def _table(title: str, rows: Sequence[Row]) -> str:
    count = len({(row.kind, row.seed) for row in rows})
    lines = [
        f"\n## {title} ({count} unseen object{'s' if count > 1 else ''})\n",
        f"| method | {' | '.join(_COLUMNS)} |",
        f"| --- |{' ---: |' * len(_COLUMNS)}",
    ]
    for method in dict.fromkeys(row.method for row in rows):
        lines += [_line(method, [row for row in rows if row.method == method])]
    return "\n".join(lines)


def _line(method: str, rows: Sequence[Row]) -> str:
    def mean(pick: Callable[[Row], float]) -> float:
        return float(np.mean([pick(row) for row in rows]))

    figures = (
        f"{mean(lambda r: r.seconds):.2f}",
        f"{mean(lambda r: r.truth.ssim):.3f}",
        f"{mean(lambda r: r.truth.psnr_db):.1f}",
        f"{mean(lambda r: r.truth.mse):.1e}",
        f"{mean(lambda r: r.truth.correlation):.4f}",
        f"{mean(lambda r: r.error):.3f}",
        f"{mean(lambda r: r.residual):.3f}",
        f"{mean(lambda r: r.tv.ssim):.3f}",
        f"{mean(lambda r: r.tv.mse):.1e}",
        f"{mean(lambda r: r.tv.correlation):.4f}",
        f"{mean(lambda r: r.tv.paper_ssim):.4f}",
    )
    return f"| {_NAMES.get(method, method)} | {' | '.join(figures)} |"
