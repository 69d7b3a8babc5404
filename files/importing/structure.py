"""Whether sample and background belong together: angle by angle, and which of them scatters more.

The light of each frame must be where it is in the background's frame of the same angle
(``reconstruction.light_places``).

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
from reconstruction.light_places import LightPlaces
from reconstruction.wave_vectors import find_wave_vectors

__all__ = ["BackgroundStructure", "Structure"]

_PEAK = 3  # half width in samples; the Hann window's main lobe has 2
_NO_FRINGES = 0.01  # energy at the peak over the background's, at the same mean grey value
_SWAPPED = 0.9  # below 1 by more than two empty fields differ


@dataclass(frozen=True, slots=True)
class Structure:
    """How a scan compares with the background.

    Parameters
    ----------
    dark : tuple of int
        Usable angles at which the sample has no fringes.
    astray : dict of int to float
        Angles whose light is elsewhere, and how far, in NA/wavelength.
    ratio : float
        Scattered over unscattered light of the sample, over that of the background; median.
    """

    dark: tuple[int, ...]
    astray: dict[int, float]
    ratio: float

    @property
    def swapped(self) -> bool:
        """Whether the background shows more of a sample than the sample does."""
        return self.ratio < _SWAPPED


class BackgroundStructure:
    """A background, to compare scans with.

    Parameters
    ----------
    background : InterferogramStack

    Attributes
    ----------
    unusable : tuple of int
        Angles at which it has no usable fringes.

    Raises
    ------
    DataError
        If it has no usable fringes at all, or does not fit the optics.
    """

    def __init__(self, background: InterferogramStack) -> None:
        found = find_wave_vectors(background)
        shape = (background.frames.shape[1], background.frames.shape[2])
        device = torch.device("cpu")
        self._plan = FieldPlan(shape, background.optics, found.carrier, device)
        k = found.usable_k(background.lost)
        self._places = LightPlaces(self._plan, k, background.optics, device)
        self.unusable = found.unusable
        left = {*background.lost, *found.unusable}
        self._angles = [angle for angle in range(len(background.frames)) if angle not in left]
        if not self._angles:
            raise DataError(
                "at least one angle must be usable, but in all of them the sidebands overlap or "
                "show no fringes: check pixel_size_um, binning and numerical_aperture"
            )
        frames = background.frames
        self._brightness = self._peaks(self._sidebands(frames), frames)
        self._reference = np.array([self._energies(frames[angle]) for angle in self._angles])

    def compare(self, sample: InterferogramStack) -> Structure:
        """Compare a scan.

        Raises
        ------
        DataError
            If it shows no fringes, or most of its frames are not of the background's angles.
        """
        lit, astray = self.light(sample)
        if not lit.any():
            raise DataError(
                "the sample must show the background's fringes, but at their place there is "
                "nothing in any frame: check that both were taken with the same reference beam"
            )
        bright = lit[self._angles]
        reference = self._reference[bright]
        seen = np.array([self._energies(sample.frames[a]) for a in self._angles if lit[a]])
        scattered = (seen[:, 1] / seen[:, 0]) / (reference[:, 1] / reference[:, 0])
        dark = tuple(a for a in self._angles if not lit[a] and a not in sample.lost)
        return Structure(dark, astray, float(np.median(scattered)))

    def light(self, sample: InterferogramStack) -> tuple[NDArray[np.bool_], dict[int, float]]:
        """Return which usable angles of a scan have fringes, and which have them elsewhere.

        Raises
        ------
        DataError
            If most of its frames are not of the background's angles.
        """
        sidebands = self._sidebands(sample.frames)
        lit = np.zeros(len(sample.frames), bool)
        lit[self._angles] = True
        lit &= self._peaks(sidebands, sample.frames) > _NO_FRINGES * self._brightness
        x, y, own = self._places.measure(sidebands).numpy()
        shift = np.stack([x, y], axis=1)
        self._places.check(shift, own, lit)
        return lit, self._places.misplaced(shift, own, lit)

    def _sidebands(self, frames: NDArray[Any]) -> torch.Tensor:
        return self._plan.sideband(torch.from_numpy(frames))

    @staticmethod
    def _peaks(sidebands: torch.Tensor, frames: NDArray[Any]) -> NDArray[np.float64]:
        """Return each frame's highest energy in the sideband, per mean grey value squared."""
        highest = sidebands.abs().amax(dim=(1, 2)).numpy().astype(np.float64)
        return np.asarray((highest / np.maximum(frames.mean(axis=(1, 2)), 1.0)) ** 2)

    def _energies(self, frame: NDArray[Any]) -> tuple[float, float]:
        """Return the energy at the band's peak and away from it, per mean grey value squared."""
        field = self._plan.retrieve(torch.tensor(frame)[None])[0] / max(float(frame.mean()), 1.0)
        window = [torch.hann_window(n, periodic=True) for n in field.shape]
        power = torch.fft.fft2(field * window[0][:, None] * window[1]).abs().square()
        row, column = divmod(int(power.argmax()), power.shape[1])
        centred = power.roll((_PEAK - row, _PEAK - column), (0, 1))
        peak = float(centred[: 2 * _PEAK + 1, : 2 * _PEAK + 1].sum())
        return peak, float(power.sum()) - peak
