"""Parameters of total variation chosen automatically, from the noise measured in the scan.

Two outer iterations with a smaller mu are closer to the truth than one, and as close as three. The
best mu falls with the noise and with the contrast: where light is scattered strongly, the Rytov
approximation adds errors that the noise estimate does not include, so the data get less weight.
Differences of neighbours are divided by their distance, which is better for small objects and
elongated voxels (docs/explanation/regularizer.md).

    mu = A (noise / maximum)^B  norm^C

with ``noise`` the rms noise of the raw contrast, ``maximum`` its maximum, by which the solver
divides, and ``norm`` the norm of the contrast without the noise, over voxels. None of them depends
on how much empty field surrounds the object. A, B and C were fitted to grids of mu on 60 simulated
scans (cells, cocci and beads; random light and optics), to minimise the excess error over each
grid's best. ``python -m benchmarks automatic_tv`` measures that excess on other scans, and can
repeat the fit.
"""

import math

import torch

from acquisition.errors import DataError
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum
from regularizer.total_variation.parameters import PARAMETERS, Gradient, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = [
    "GRADIENT",
    "MU_RANGE",
    "OUTER",
    "automatic_parameters",
    "noise_and_norm",
    "quick_contrast",
    "quick_parameters",
]

_FACTOR, _NOISE_POWER, _NORM_POWER = 9.264e-3, -1.628, -0.670
OUTER = 2
GRADIENT: Gradient = "micrometres"
MU_RANGE = (0.5, 64.0)  # of the grid that the fit used
# 80 to 130 iterations in all; 200 at tau 20, gamma 10 come no closer to the truth
_INNER, _TOLERANCE, _TAU, _GAMMA = 100, 5e-4, 10.0, 1.0
_MOST_NOISE = 0.97  # share of the spectrum's norm; the estimate can exceed 1
_NOTHING = 1e-9


def automatic_parameters(spectrum: Spectrum, contrast: torch.Tensor | None = None) -> TvParameters:
    """Return the parameters chosen for a scan.

    Parameters
    ----------
    spectrum : Spectrum
    contrast : (z, y, x) or None
        Its raw contrast; None: computed from the spectrum.

    Raises
    ------
    DataError
        If the noise is unknown, because no voxel was measured at both K and -K.
    """
    if spectrum.noise is None:
        raise DataError(
            "automatic parameters of total variation need voxels measured at both K and -K, which "
            "give the noise; this scan has none: choose a preset"
        )
    noise, norm = noise_and_norm(spectrum, contrast)
    mu = _FACTOR * noise**_NOISE_POWER * norm**_NORM_POWER
    mu = min(max(mu, MU_RANGE[0]), MU_RANGE[1])
    return TvParameters(
        OUTER, _INNER, round(mu, 2), _TAU, _GAMMA, tolerance=_TOLERANCE, gradient=GRADIENT
    )


def quick_parameters(spectrum: Spectrum, contrast: torch.Tensor | None = None) -> TvParameters:
    """Return the parameters of the few iterations that networks start from.

    One outer iteration with twice the automatic mu; mu 20 as in "tv" where the noise is unknown.
    The arguments are those of ``automatic_parameters``.
    """
    mu = PARAMETERS["tv"].mu
    if spectrum.noise is not None:
        mu = 2 * automatic_parameters(spectrum, contrast).mu
    return TvParameters(1, 20, mu, _TAU, _GAMMA, gradient=GRADIENT)


def quick_contrast(spectrum: Spectrum) -> torch.Tensor:
    """Return the contrast that networks start from, (z, y, x), solved from zero."""
    return SplitBregman(spectrum, quick_parameters(spectrum)).run()


def noise_and_norm(spectrum: Spectrum, contrast: torch.Tensor | None = None) -> tuple[float, float]:
    """Return the raw contrast's rms noise over its maximum, and the norm of the noise-free part.

    The arguments are those of ``automatic_parameters``.
    """
    contrast = contrast_of(spectrum) if contrast is None else contrast
    flat = contrast.flatten()
    norm = math.sqrt(float(flat @ flat))  # ``vector_norm`` takes several times as long
    maximum = max(abs(float(extreme)) for extreme in flat.aminmax())
    noise = spectrum.noise or 0.0
    rms = norm / math.sqrt(contrast.numel())
    rest = norm * math.sqrt(1 - min(noise, _MOST_NOISE) ** 2)
    return max(noise * rms / max(maximum, _NOTHING), _NOTHING), max(rest, _NOTHING)
