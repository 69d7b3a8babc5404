"""How far refined wave vectors are from the calibration: what is printed and written."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RefinedVectors"]


@dataclass(frozen=True, slots=True)
class RefinedVectors:
    """Wave vectors before and after a refinement.

    Parameters
    ----------
    calibrated, k : (views, 2) float64
        As the reconstruction had them, and refined; cycles/um. Views not in use are the same.
    used : tuple of int
        Views in use.
    cutoff : float
        NA/wavelength, cycles/um: the unit of the figures below.
    misfit_before, misfit, noise : float
        Relative misfit of the light of the best contrast for each, within 96 % of the pupil, and
        what noise makes of it.
    """

    calibrated: NDArray[np.float64]
    k: NDArray[np.float64]
    used: tuple[int, ...]
    cutoff: float
    misfit_before: float
    misfit: float
    noise: float

    @property
    def changed(self) -> bool:
        """Whether any has moved."""
        return not np.array_equal(self.k, self.calibrated, equal_nan=True)

    @property
    def moved(self) -> NDArray[np.float64]:
        """The refined minus the calibrated wave vectors of the views in use, (n, 2)."""
        used = list(self.used)
        return (self.k[used] - self.calibrated[used]) / self.cutoff

    def figures(self) -> dict[str, float | int]:
        """Return the deviation in NA/wavelength, and the misfits, by name.

        ``rms``, ``largest`` and its ``angle``; ``common_x``, ``common_y``: the mean of all;
        ``scale``: the factor by which all have grown.
        """
        moved, at = self.moved, self.calibrated[list(self.used)] / self.cutoff
        length = np.hypot(*moved.T)
        centred = at - at.mean(axis=0)
        common = moved.mean(axis=0)
        growth = float((moved * centred).sum() / max(float((centred**2).sum()), 1e-30))
        return {
            "rms": float(np.sqrt((length**2).mean())),
            "largest": float(length.max()),
            "angle": int(self.used[int(length.argmax())]),
            "common_x": float(common[0]),
            "common_y": float(common[1]),
            "scale": 1 + growth,
            "misfit_before": self.misfit_before,
            "misfit": self.misfit,
            "noise": self.noise,
        }

    def summary(self) -> str:
        """Return a sentence on it."""
        figures = self.figures()
        if not self.misfit:
            return (
                "wave vectors are those of the calibration: there are too few angles, or no "
                "object, to refine them on"
            )
        if not self.changed:
            return (
                "wave vectors are those of the calibration: no others fit the light better "
                f"(misfit {self.misfit:.4f}, noise {self.noise:.4f})"
            )
        return (
            f"wave vectors are {figures['rms']:.4f} NA/wavelength (rms) from the calibration, "
            f"angle {figures['angle']} most, with {figures['largest']:.4f}; all together "
            f"({figures['common_x']:+.4f}, {figures['common_y']:+.4f}), scale "
            f"{figures['scale']:.4f}; misfit of the light {self.misfit_before:.4f} to "
            f"{self.misfit:.4f}, noise {self.noise:.4f}"
        )
