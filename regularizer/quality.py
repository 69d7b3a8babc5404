"""The quality check: total variation of the same scan, and how a tomogram compares with it."""

import threading
from dataclasses import dataclass

import torch

from acquisition.errors import DataError
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum
from regularizer.metrics import (
    WINDOW,
    correlation,
    data_residual,
    normalised_mse,
    structural_similarity,
)
from regularizer.report import QualityReport
from regularizer.total_variation import PARAMETERS, Progress, SplitBregman, TvParameters

__all__ = ["Check", "check"]


@dataclass(frozen=True, slots=True)
class Check:
    """The figures, and the total-variation contrast (z, y, x) that they refer to."""

    report: QualityReport
    reference: torch.Tensor


def check(
    contrast: torch.Tensor | None,
    spectrum: Spectrum,
    method: str,
    *,
    parameters: TvParameters = PARAMETERS["tv"],
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Check:
    """Compare a contrast (z, y, x) with total variation on the spectrum it was made from.

    Parameters
    ----------
    contrast : (z, y, x) or None
        Centre at n//2; None: the raw one.
    spectrum : Spectrum
    method : str
        How ``contrast`` was made.
    parameters : TvParameters
        Of the reference.
    progress, stop
        As in ``SplitBregman.run``.

    Raises
    ------
    DataError
        If the volume is smaller than the window of the SSIM, or the reference is constant.
    Stopped
        When ``stop`` is set.
    """
    if min(spectrum.shape) < WINDOW:
        raise DataError(
            f"a quality check needs at least {WINDOW} voxels along every axis, got {spectrum.shape}"
        )
    raw = contrast_of(spectrum)
    compared = raw if contrast is None else contrast
    reference = SplitBregman(spectrum, parameters).run(progress, stop)
    extent = float(reference.max() - reference.min())
    if extent <= 0:
        raise DataError("total variation leaves nothing of this scan: there is no object in it")
    similarity = structural_similarity(compared, reference, extent)
    report = QualityReport(
        method=method,
        ssim=float(similarity.mean()),
        ssim_z=tuple(similarity.mean(dim=(1, 2)).tolist()),
        mse=normalised_mse(compared, reference, extent),
        correlation=correlation(compared, reference) if float(compared.std()) > 0 else 0.0,
        data_range=extent,
        residual_raw=data_residual(raw, spectrum),
        residual=data_residual(compared, spectrum),
        residual_tv=data_residual(reference, spectrum),
    )
    return Check(report, reference)
