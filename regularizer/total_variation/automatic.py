"""Parameters of total variation by themselves, from the noise that a scan says it has.

Two outer iterations with a smaller mu are nearer to the truth than one, and as near as three. The
mu that is best falls with the noise, and with the contrast: where light is scattered strongly, the
Rytov approximation adds errors that noise knows nothing of, and total variation has to be trusted
more. Differences of neighbours are divided by their distance: better for small objects and long
voxels (docs/explanation/regularizer.md).

    mu = A (noise / maximum)^B  norm^C

with ``noise`` the rms of the raw contrast's noise, ``maximum`` its maximum, by which the solver
divides, and ``norm`` that of the contrast without the noise, over voxels: none of them depends on
how much empty field is around the object. A, B and C were fitted to grids of mu on 60 simulated
scans (cells, cocci and beads; random light and optics), so that the error stays as near as can be
to that of each grid's best. How near on scans that the fit has not seen:
``python -m benchmarks automatic_tv``, which can repeat the fit, too.
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
MU_RANGE = (0.5, 64.0)  # of the grid
# 80 to 130 iterations in all; what 200 at tau 20, gamma 10 reach is not nearer to the truth
_INNER, _TOLERANCE, _TAU, _GAMMA = 100, 5e-4, 10.0, 1.0
_MOST_NOISE = 0.97  # part of the spectrum's norm: it is an estimate, and may come out above 1
_NOTHING = 1e-9


def automatic_parameters(spectrum: Spectrum) -> TvParameters:
    """Return the parameters that suit a scan.

    Raises
    ------
    DataError
        If its noise is not known: no voxel was measured from both sides, K and -K.
    """
    if spectrum.noise is None:
        raise DataError(
            "parameters of total variation are chosen by the noise of a scan, which is known where "
            "both K and -K were measured; this one has no such voxel: choose a preset"
        )
    noise, norm = noise_and_norm(spectrum)
    mu = _FACTOR * noise**_NOISE_POWER * norm**_NORM_POWER
    mu = min(max(mu, MU_RANGE[0]), MU_RANGE[1])
    return TvParameters(
        OUTER, _INNER, round(mu, 2), _TAU, _GAMMA, tolerance=_TOLERANCE, gradient=GRADIENT
    )


def quick_parameters(spectrum: Spectrum) -> TvParameters:
    """Return those of the few iterations that networks start from.

    One outer iteration with twice the mu of two. Where the noise is not known, mu 20 as in "tv".
    """
    mu = PARAMETERS["tv"].mu if spectrum.noise is None else 2 * automatic_parameters(spectrum).mu
    return TvParameters(1, 20, mu, _TAU, _GAMMA, gradient=GRADIENT)


def quick_contrast(spectrum: Spectrum) -> torch.Tensor:
    """Return what networks start from, (z, y, x), made from nothing but the spectrum."""
    return SplitBregman(spectrum, quick_parameters(spectrum)).run()


def noise_and_norm(spectrum: Spectrum) -> tuple[float, float]:
    """Return the noise of the raw contrast over its highest value, and the norm of the rest."""
    contrast = contrast_of(spectrum)
    norm, maximum = float(torch.linalg.vector_norm(contrast)), float(contrast.abs().max())
    noise = spectrum.noise or 0.0
    rms = norm / math.sqrt(contrast.numel())
    rest = norm * math.sqrt(1 - min(noise, _MOST_NOISE) ** 2)
    return max(noise * rms / max(maximum, _NOTHING), _NOTHING), max(rest, _NOTHING)
