"""Similarity of two volumes: strict metrics, on contrast over the reference's range.

SSIM is Wang's (2004) with a uniform 7^3 window, sample covariance and K1, K2 = 0.01, 0.03, as in
scikit-image, with the data range of the reference's contrast (max - min). The paper's figures
(SSIM 0.998, MSE 1e-5) are on RI with a data range near 1; ``paper_ssim`` and ``paper_mse`` use that
scale, for comparison only: on it any two tomograms look alike.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from acquisition.errors import DataError
from reconstruction.tomogram import Spectrum, norm, to_corner
from regularizer.quality_report import SSIM_WINDOW

__all__ = [
    "WINDOW",
    "Comparison",
    "compare",
    "correlation",
    "data_residual",
    "normalised_mse",
    "relative_error",
    "structural_similarity",
    "unexplained",
]

WINDOW = SSIM_WINDOW


@dataclass(frozen=True, slots=True)
class Comparison:
    """Metrics of a volume against a reference, as the module docstring defines them."""

    ssim: float
    psnr_db: float
    mse: float
    correlation: float
    paper_ssim: float
    paper_mse: float


def structural_similarity(
    volume: torch.Tensor, reference: torch.Tensor, data_range: float
) -> torch.Tensor:
    """Return the SSIM map (z-6, y-6, x-6) of two volumes (z, y, x)."""

    def mean(v: torch.Tensor) -> torch.Tensor:
        v = v[None, None]
        for window in ((WINDOW, 1, 1), (1, WINDOW, 1), (1, 1, WINDOW)):  # 16 times less work
            v = functional.avg_pool3d(v, window, stride=1)
        return v[0, 0]

    a, b = volume.to(torch.float64), reference.to(torch.float64)
    samples = WINDOW**3
    unbiased = samples / (samples - 1)
    mean_a, mean_b = mean(a), mean(b)
    var_a = unbiased * (mean(a * a) - mean_a**2)
    var_b = unbiased * (mean(b * b) - mean_b**2)
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * (2 * covariance + c2) / (var_a + var_b + c2)


def normalised_mse(volume: torch.Tensor, reference: torch.Tensor, data_range: float) -> float:
    """Return the mean squared difference over the squared range."""
    return float(((volume - reference) / data_range).double().square().mean())


def correlation(volume: torch.Tensor, reference: torch.Tensor) -> float:
    """Return Pearson's correlation."""
    pair = torch.stack([volume.flatten(), reference.flatten()]).double()
    return float(torch.corrcoef(pair)[0, 1])


def relative_error(volume: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the norm of the difference over that of the reference."""
    difference = torch.linalg.vector_norm(volume - reference)
    return float(difference / torch.linalg.vector_norm(reference))


def data_residual(contrast: torch.Tensor, spectrum: Spectrum) -> float:
    """Return the relative misfit of a contrast to the measurement: ||M (F f - g)|| / ||g||.

    Parameters
    ----------
    contrast : (z, y, x)
        Centre at n//2.
    spectrum : Spectrum
        Its values are g, its measured voxels M. Norms are over the half spectrum.

    Notes
    -----
    0 for the raw tomogram. A regularizer removes noise, so its residual should be about the noise's
    share of the spectrum; a larger residual means invented or lost structure.
    """
    predicted = torch.fft.rfftn(to_corner(contrast), norm="ortho")
    known, found = (values.take(spectrum.voxels) for values in (spectrum.values, predicted))
    return norm(found.sub_(known)) / max(norm(known), 1e-30)


def compare(
    contrast: torch.Tensor, reference: torch.Tensor, medium_index: float = 1.337
) -> Comparison:
    """Compare contrasts (z, y, x), each at least 7 voxels along every axis.

    Raises
    ------
    DataError
        If the shapes differ or the reference is constant.
    """
    if contrast.shape != reference.shape or min(contrast.shape) < WINDOW:
        raise DataError(
            f"compared volumes must have the same shape, at least {WINDOW} voxels an axis, got "
            f"{tuple(contrast.shape)} and {tuple(reference.shape)}"
        )
    extent = float(reference.max() - reference.min())
    if extent <= 0:
        raise DataError("the reference must not be constant: choose a volume that holds an object")
    mse = normalised_mse(contrast, reference, extent)
    index, true_index = (
        medium_index * torch.sqrt((1 + v.double()).clamp_min(0)) for v in (contrast, reference)
    )
    return Comparison(
        ssim=float(structural_similarity(contrast, reference, extent).mean()),
        psnr_db=float(-10 * torch.log10(torch.tensor(max(mse, 1e-30)))),
        mse=mse,
        correlation=correlation(contrast, reference),
        paper_ssim=float(structural_similarity(index, true_index, 1.0).mean()),
        paper_mse=float((index - true_index).square().mean()),
    )


def unexplained(residual: float, noise: float | None) -> float:
    """Return the data residual with the noise's share subtracted (in squares); at least 0."""
    return math.sqrt(max(residual**2 - (noise or 0.0) ** 2, 0.0))
