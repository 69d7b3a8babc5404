"""Whether sample and background could have been swapped: which of them scatters more.

An empty field is one plane wave: in the band of the sideband all energy is at one peak, but for
dust, aberration and noise, which the sample's frame of the same angle shows as well. A sample adds
to what lies away from the peak. The ratio of the energies away from and at the peak knows neither
the phase of the interferometer nor the power of the laser. Sample over background it was 1.6
(a bead at the rim of 64 pixels), 3 (cocci), 7 to 24 (cells, beads), 38 (a measured cell) and 0.99
to 1.02 for two empty fields; a swap inverts it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from reconstruction.fields import FieldPlan
from reconstruction.wave_vectors import find_wave_vectors

__all__ = ["Structure", "compare_structure"]

_PEAK = 3  # half width in samples; the Hann window's main lobe has 2
_NO_FRINGES = 0.01  # energy at the peak over the background's, at the same mean grey value
_SWAPPED = 0.9  # below 1 by more than two empty fields differ


@dataclass(frozen=True, slots=True)
class Structure:
    """How the first scan compares with the background.

    Parameters
    ----------
    unusable : tuple of int
        Angles at which the background has no usable fringes.
    dark : tuple of int
        Other angles at which the sample has none.
    ratio : float
        Scattered over unscattered light of the sample, over that of the background; median.
    """

    unusable: tuple[int, ...]
    dark: tuple[int, ...]
    ratio: float

    @property
    def swapped(self) -> bool:
        """Whether the background shows more of a sample than the sample does."""
        return self.ratio < _SWAPPED


def compare_structure(sample: InterferogramStack, background: InterferogramStack) -> Structure:
    """Compare a scan with its background.

    Raises
    ------
    DataError
        If the background has no usable fringes or does not fit the optics, or the sample has none.
    """
    found = find_wave_vectors(background)
    shape = (background.frames.shape[1], background.frames.shape[2])
    plan = FieldPlan(shape, background.optics, found.carrier, torch.device("cpu"))
    left = {*background.lost, *found.unusable}
    angles = [angle for angle in range(len(background.frames)) if angle not in left]
    if not angles:
        raise DataError(
            "at least one angle must be usable, but in all of them the sidebands overlap or show "
            "no fringes: check pixel_size_um, binning and numerical_aperture"
        )
    reference = np.array([_energies(plan, background.frames[angle]) for angle in angles])
    seen = np.array([_energies(plan, sample.frames[angle]) for angle in angles])
    lit = seen[:, 0] > _NO_FRINGES * reference[:, 0]
    if not lit.any():
        raise DataError(
            "the sample must show the background's fringes, but at their place there is nothing in "
            "any frame: check that both were taken with the same reference beam"
        )
    scattered = (seen[lit, 1] / seen[lit, 0]) / (reference[lit, 1] / reference[lit, 0])
    dark = tuple(a for a, ok in zip(angles, lit, strict=True) if not ok and a not in sample.lost)
    return Structure(found.unusable, dark, float(np.median(scattered)))


def _energies(plan: FieldPlan, frame: NDArray[Any]) -> tuple[float, float]:
    """Return the energy at the peak of the band and away from it, per mean grey value squared."""
    field = plan.retrieve(torch.tensor(frame)[None])[0] / max(float(frame.mean()), 1.0)
    window = [torch.hann_window(n, periodic=True) for n in field.shape]
    power = torch.fft.fft2(field * window[0][:, None] * window[1]).abs().square()
    row, column = divmod(int(power.argmax()), power.shape[1])
    centred = power.roll((_PEAK - row, _PEAK - column), (0, 1))
    peak = float(centred[: 2 * _PEAK + 1, : 2 * _PEAK + 1].sum())
    return peak, float(power.sum()) - peak
