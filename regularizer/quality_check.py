"""The quality check: compares a tomogram with a reference made of the same scan."""

import threading
from dataclasses import dataclass, replace

import torch

from acquisition.choices import Constraint
from acquisition.errors import DataError
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, VolumeWindow, index_from_contrast
from regularizer.constraint import negated_spectrum, resolve_constraint
from regularizer.interface import Progress
from regularizer.metrics import (
    WINDOW,
    correlation,
    data_residual,
    normalised_mse,
    structural_similarity,
)
from regularizer.quality_report import QualityReport
from regularizer.registry import regularizer
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = ["Check", "check"]


@dataclass(frozen=True, slots=True)
class Check:
    """The report, and the reference's contrast (z, y, x), cut to the window."""

    report: QualityReport
    reference: torch.Tensor


def check(
    contrast: torch.Tensor | None,
    spectrum: Spectrum,
    method: str,
    *,
    window: VolumeWindow | None = None,
    constraint: Constraint = "auto",
    parameters: TvParameters = PARAMETERS["tv"],
    reference: str = "tv",
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Check:
    """Compare a contrast (z, y, x) with a reference made of the spectrum it was made from.

    Parameters
    ----------
    contrast : (z, y, x) or None
        Contrast to check, centre at n//2; None: the raw one.
    spectrum : Spectrum
    method : str
        How ``contrast`` was made.
    window : VolumeWindow or None
        Part of the volume to compare; None: all of it. Residuals are always of the whole volume.
    constraint : "auto", "non-negative", "non-positive" or "none"
        Constraint of the reference on the sign of the contrast.
    parameters : TvParameters
        Parameters of the reference "tv".
    reference : str
        "tv", or "multislice", for which the spectrum must carry its fields.
    progress, stop
        As in ``SplitBregman.run``.

    Raises
    ------
    DataError
        If the volume is smaller than the window of the SSIM, or the reference is constant.
    Stopped
        When ``stop`` is set.
    """
    window_shape = spectrum.shape if window is None else window.shape
    if min(window_shape) < WINDOW:
        raise DataError(
            f"a quality check needs at least {WINDOW} voxels along every axis, got {window_shape}"
        )
    raw = contrast_of(spectrum)
    whole = raw if contrast is None else contrast
    if reference == "tv":
        solved, note = _total_variation(spectrum, parameters, constraint, progress, stop), ""
    else:
        solved, note = _other(reference, raw, spectrum, constraint, progress, stop)
    compared, made = whole, solved
    if window is not None:
        voxel = spectrum.voxel_size_um
        compared = window(whole, voxel, 0.0, smooth=contrast is None)
        made = window(solved, voxel, 0.0, smooth=False)
    extent = float(made.max() - made.min())
    if extent <= 0:
        raise DataError(
            "a quality check needs an object in the scan, and its reference found none: move an "
            "object into the field"
        )
    similarity = structural_similarity(compared, made, extent)
    report = QualityReport(
        method=method,
        ssim=float(similarity.mean()),
        ssim_z=tuple(similarity.mean(dim=(1, 2)).tolist()),
        mse=normalised_mse(compared, made, extent),
        correlation=correlation(compared, made) if float(compared.std()) > 0 else 0.0,
        data_range=extent,
        residual_raw=data_residual(raw, spectrum),
        residual=data_residual(whole, spectrum),
        residual_tv=data_residual(solved, spectrum),
        reference=reference,
        note=note,
    )
    return Check(report, made)


def _other(
    name: str,
    raw: torch.Tensor,
    spectrum: Spectrum,
    constraint: Constraint,
    progress: Progress | None,
    stop: threading.Event | None,
) -> tuple[torch.Tensor, str]:
    """Return the contrast (z, y, x) by another regularizer, and what that says about it."""
    index = index_from_contrast(raw, spectrum.optics.medium_index)
    tomogram = Tomogram(index, spectrum.voxel_size_um, spectrum.optics)
    solve = regularizer(name, raw.device, constraint=constraint)
    found = solve(tomogram, spectrum, progress, stop)
    said = found.provenance.get("regularizer", "").partition("; start:")[0]
    return found.contrast, "; ".join([said, *found.warnings])


def _total_variation(
    spectrum: Spectrum,
    parameters: TvParameters,
    constraint: Constraint,
    progress: Progress | None,
    stop: threading.Event | None,
) -> torch.Tensor:
    """Return the total-variation contrast (z, y, x)."""
    sign, _ = resolve_constraint(constraint, spectrum)
    if sign == "non-positive":
        return -SplitBregman(negated_spectrum(spectrum), parameters).run(progress, stop)
    parameters = replace(parameters, nonnegative=sign == "non-negative")
    return SplitBregman(spectrum, parameters).run(progress, stop)
