"""Iterations and weights of total variation, and the named sets of them (presets)."""

import math
from dataclasses import dataclass
from typing import Literal

from acquisition.errors import ConfigurationError

__all__ = ["PARAMETERS", "PRESETS", "Gradient", "TvParameters", "Weights"]

Weights = tuple[float, float, float]
Gradient = Literal["voxels", "micrometres"]


@dataclass(frozen=True, slots=True)
class TvParameters:
    """Iterations and weights (the paper's N, M, mu, tau, gamma).

    Parameters
    ----------
    outer, inner : int
        Numbers of outer and inner iterations.
    mu, tau, gamma : float
        Weights of the data, the gradient and the bound at zero.
    nonnegative : bool
        Whether the contrast may not fall below zero.
    tolerance : float
        An outer iteration ends when an inner one changes the contrast by a smaller share of its
        norm than this; 0: all inner iterations are done.
    isotropic : bool
        Whether |D f| is the length of the gradient; else the sum of its components' magnitudes.
    gradient : "voxels" or "micrometres"
        Whether differences of neighbours are taken per voxel on all three axes, or divided by the
        voxel size (in units of the smallest one), as in a physical gradient.
    relaxation : float
        Factor by which an iteration goes on beyond its step, 0 to 2: 1, split Bregman; 1.6, the
        same solution in two thirds of the iterations (Eckstein and Bertsekas, Math. Program. 55,
        293 (1992)).
    """

    outer: int
    inner: int
    mu: float
    tau: float
    gamma: float
    nonnegative: bool = True
    isotropic: bool = True
    tolerance: float = 0.0
    gradient: Gradient = "voxels"
    relaxation: float = 1.0

    def __post_init__(self) -> None:
        if self.outer < 1 or self.inner < 1:
            raise ConfigurationError(
                f"outer and inner iterations must be at least 1, got {self.outer}, {self.inner}"
            )
        if not 0 <= self.tolerance < 1:
            raise ConfigurationError(
                f"tolerance must be at least 0 and below 1, got {self.tolerance}"
            )
        if not all(0 < value < math.inf for value in (self.mu, self.tau, self.gamma)):
            raise ConfigurationError(
                f"mu, tau and gamma must be positive, got {self.mu}, {self.tau}, {self.gamma}"
            )
        if not 0 < self.relaxation < 2:
            raise ConfigurationError(
                f"relaxation must be above 0 and below 2, got {self.relaxation}"
            )
        if self.gradient not in ("voxels", "micrometres"):
            raise ConfigurationError(
                f"gradient must be voxels or micrometres, got {self.gradient!r}"
            )

    def weights(self, voxel_size_um: tuple[float, float, float]) -> Weights:
        """Return the factors of the differences along z, y and x."""
        if self.gradient == "voxels":
            return 1.0, 1.0, 1.0
        z, y, x = (min(voxel_size_um) / size for size in voxel_size_um)
        return z, y, x


# "tv" and "tv-fast" were measured here (docs/explanation/regularizer.md), the others are the
# paper's.
PARAMETERS: dict[str, TvParameters] = {
    "tv": TvParameters(1, 60, 20.0, 20.0, 1.0, relaxation=1.8),  # as 100 plain iterations
    "tv-fast": TvParameters(1, 20, 20.0, 10.0, 1.0),
    "beads": TvParameters(2, 400, 10.0, 10.0, 1.0),
    "s-pyogenes": TvParameters(5, 100, 50.0, 50.0, 1.0),
    "oci-aml3": TvParameters(3, 60, 150.0, 150.0, 1.0),
}

PRESETS = (*PARAMETERS, "auto")  # "auto": chosen for each scan from its noise
