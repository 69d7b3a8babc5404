"""Whether a network trained on own data is better than the one it started from.

Both run on the scans that were held out. Two things are compared on each: how far the result is
from what the slow method makes of that scan, ||f - target|| / ||target||, which is what the
training aims at; and how far it is from the measured spectrum, which no target enters.

The new network is called better if its mean error is lower by 2 % or more, if most of the held-out
files say so, and if it does not pay for that with the measurement: its mean residual must not be
more than 5 % above that of the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from regularizer.deep import DeepRegularizer
from regularizer.metrics import compare, relative_error
from regularizer.training.own_samples import OWN, OwnScan
from regularizer.training.training_data import load, sample_file

__all__ = ["Judged", "Verdict", "judge", "report_page", "verdict_on"]

_BETTER: Final = 0.98  # of the error, at most
_RESIDUAL: Final = 1.05  # of the residual, at most


@dataclass(frozen=True, slots=True)
class Judged:
    """Two networks on one held-out scan.

    Parameters
    ----------
    file : str
    scan : int
    error_before, error_after : float
        ||f - target|| / ||target|| of the network that training started from, and of the new one.
    ssim_before, ssim_after : float
        Strict SSIM against the target.
    residual_before, residual_after : float
        Distance from the measured spectrum, over the norm of that.
    """

    file: str
    scan: int
    error_before: float
    error_after: float
    ssim_before: float
    ssim_after: float
    residual_before: float
    residual_after: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the held-out scans say of the new network.

    Parameters
    ----------
    better : bool
    why : str
        The figures in a sentence.
    files, improved : int
        Held-out files, and those on which its mean error is lower.
    """

    better: bool
    why: str
    files: int
    improved: int


def judge(
    network: str, before: Path | None, after: Path, data: Path, scans: Sequence[OwnScan],
    device: torch.device,
) -> list[Judged]:  # fmt: skip
    """Return both networks' figures on the held-out scans.

    Parameters
    ----------
    network : str
        A name in ``regularizer.networks.trained.NETWORKS``.
    before : Path or None
        Weights that training started from; None: the shipped ones.
    after : Path
        The new weights.
    data : Path
        Folder of the samples.
    scans : sequence of OwnScan
        Those that are held out are judged.
    device : torch.device
    """
    networks = [DeepRegularizer(device, network, weights=path) for path in (before, after)]
    found = []
    for one in scans:
        if not one.held_out:
            continue
        sample = load(sample_file(data, OWN, one.seed)).to(device)
        medium = sample.spectrum.optics.medium_index
        errors, ssims, residuals = [], [], []
        for method in networks:
            made = method(sample.tomogram, sample.spectrum)
            errors.append(relative_error(made.contrast, sample.truth))
            ssims.append(compare(made.contrast, sample.truth, medium).ssim)
            residuals.append(made.data_residual)
        found.append(Judged(one.file, one.scan, *errors, *ssims, *residuals))
    return found


def verdict_on(judged: Sequence[Judged]) -> Verdict:
    """Return whether the new network is better, by the rule of the module's docstring."""
    by_file: dict[str, list[Judged]] = {}
    for one in judged:
        by_file.setdefault(one.file, []).append(one)
    improved = sum(
        _mean(own, "error_after") < _mean(own, "error_before") for own in by_file.values()
    )
    before, after = _mean(judged, "error_before"), _mean(judged, "error_after")
    fits, fitted = _mean(judged, "residual_before"), _mean(judged, "residual_after")
    better = (
        after <= _BETTER * before and 2 * improved > len(by_file) and fitted <= _RESIDUAL * fits
    )
    why = (
        f"on {len(judged)} held-out scans of {len(by_file)} files the mean error against the "
        f"target goes from {before:.3f} to {after:.3f}, lower on {improved} of the files, and the "
        f"residual from {fits:.3f} to {fitted:.3f}"
    )
    return Verdict(better, why, len(by_file), improved)


def _mean(judged: Sequence[Judged], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in judged]))


def report_page(judged: Sequence[Judged], verdict: Verdict, about: Mapping[str, str]) -> str:
    """Return the report as Markdown; ``about`` are lines on the training, by title."""
    advice = (
        "The new network is better on data like these: use it."
        if verdict.better
        else "The new network is not better on data like these: keep the former one."
    )
    rows = [_row(one) for one in judged]
    lines = [f"- {title}: {text}" for title, text in about.items()]
    return _PAGE.format(
        advice=advice,
        why=verdict.why[0].upper() + verdict.why[1:],
        about="\n".join(lines),
        rows="\n".join(rows),
    )


def _row(one: Judged) -> str:
    held = asdict(one)
    figures = [f"{value:.3f}" for value in held.values() if isinstance(value, float)]
    return f"| {one.file} | {one.scan} | {' | '.join(figures)} |"


_PAGE = """# Training on own data

{advice} {why}.

{about}

"Error" is ||f - target|| / ||target||, SSIM the strict one against the target, "residual" the
distance from the measured spectrum, over its norm; each of the former network, then of the new one.

| held-out file | scan | error | error, new | SSIM | SSIM, new | residual | residual, new |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}
"""
