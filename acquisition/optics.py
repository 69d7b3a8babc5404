"""The optics of one microscope: the numbers that every physical step needs.

Lengths in micrometres, spatial frequencies in cycles per micrometre. k = n_m / wavelength is the
radius of the Ewald sphere; the objective passes transverse frequencies up to NA / wavelength.
Resolution after Lauer, J. Microscopy 205, 165 (2002).
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from acquisition.errors import ConfigurationError

__all__ = ["Optics"]

# Share of the medium's index: an NA above the index does not enter the medium, and just below it
# kz, by which a spectrum is scaled, goes to zero.
_ENTERS = 0.99
_WAVELENGTHS_UM = (0.1, 20.0)
_MEDIA = (1.0, 4.5)
_HIGHEST_APERTURE = 2.0  # solid immersion
_SMALLEST_PIXEL_UM = 0.005
_FINEST = 20  # a pixel finer than needed by a larger factor is probably in another unit
_PITCH_UM = (1.0, 25.0)  # pixel pitch of cameras


@dataclass(frozen=True, slots=True)
class Optics:
    """Wavelength, aperture, medium and sampling of an off-axis holographic microscope.

    Parameters
    ----------
    wavelength_um : float
        Vacuum wavelength.
    numerical_aperture : float
        NA of the detection objective, as engraved on it. If it exceeds ``medium_index`` (an oil
        objective on a watery sample), only the part whose light enters the medium is used:
        ``aperture``.
    medium_index : float
        Refractive index of the medium around the sample.
    pixel_size_um : float
        Camera pixel at the sample, camera pitch / magnification.

    Raises
    ------
    ConfigurationError
        If a value is impossible; the message suggests the unit.
    """

    wavelength_um: float
    numerical_aperture: float
    medium_index: float
    pixel_size_um: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{name} must be a positive number, got {value!r}")
        for problem in self._problems():
            raise ConfigurationError(problem)

    def _problems(self) -> Iterator[str]:
        """Yield a message for each impossible value, with a suggested unit or number."""
        low, high = _WAVELENGTHS_UM
        if not low <= self.wavelength_um <= high:
            units = {1e-3: "nanometres", 1e3: "millimetres", 1e6: "metres"}
            hint = _unit_hint(self.wavelength_um, units, low, high)
            yield (
                f"wavelength_um must be {low:g} to {high:g} micrometres, got "
                f"{self.wavelength_um:g}{hint or ': check the unit'}"
            )
        low, high = _MEDIA
        if not low <= self.medium_index <= high:
            points = dict.fromkeys((0.1, 0.01, 1e-3), "a number without its decimal point")
            hint = _unit_hint(self.medium_index, points, low, high)
            yield (
                f"medium_index must be {low:g} (air) to {high:g}, got {self.medium_index:g}"
                f"{hint or ': that of water is 1.337'}"
            )
        if self.numerical_aperture > _HIGHEST_APERTURE:
            points = {0.1: "a number without its decimal point"}
            hint = _unit_hint(self.numerical_aperture, points, 0.2, _HIGHEST_APERTURE)
            yield (
                f"numerical_aperture must be at most {_HIGHEST_APERTURE:g}, got "
                f"{self.numerical_aperture:g}{hint or ', which looks like a magnification'}"
            )
        yield from self._pixel_problems()

    def _pixel_problems(self) -> Iterator[str]:
        """Yield a message if the pixel is impossible; the finest fringes need two per period."""
        widest = 1 / (2 * self.cutoff)
        if self.pixel_size_um < _SMALLEST_PIXEL_UM:
            units = {1e3: "millimetres", 1e6: "metres"}
            hint = _unit_hint(self.pixel_size_um, units, widest / _FINEST, widest)
            yield (
                f"pixel_size_um must be at least {_SMALLEST_PIXEL_UM:g} micrometres, got "
                f"{self.pixel_size_um:g}{hint or ': check the unit'}"
            )
        elif self.pixel_size_um > widest:
            hint = _unit_hint(self.pixel_size_um, {1e-3: "nanometres"}, widest / _FINEST, widest)
            if _PITCH_UM[0] <= self.pixel_size_um <= _PITCH_UM[1]:
                hint = ", which looks like the camera's pitch: divide it by the magnification"
            yield (
                f"pixel_size_um must be at most wavelength/(2 NA) = {widest:.3f} micrometres to "
                f"show the objective's finest fringes, got {self.pixel_size_um:g}"
                f"{hint or ': check magnification and binning'}"
            )

    @property
    def aperture(self) -> float:
        """Usable numerical aperture: the part whose light enters the medium."""
        return min(self.numerical_aperture, _ENTERS * self.medium_index)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for the user; empty if there are none."""
        if self.aperture == self.numerical_aperture:
            return ()
        return (
            f"the objective's NA {self.numerical_aperture:g} exceeds the medium's index "
            f"{self.medium_index:g}: steeper light does not enter the medium, so NA "
            f"{self.aperture:.3f} is used",
        )

    @property
    def k_medium(self) -> float:
        """Radius of the Ewald sphere n_m / wavelength, cycles/um."""
        return self.medium_index / self.wavelength_um

    @property
    def cutoff(self) -> float:
        """Highest transverse frequency that passes, NA / wavelength, cycles/um."""
        return self.aperture / self.wavelength_um

    @property
    def lateral_resolution_um(self) -> float:
        """Lauer's lateral resolution, wavelength / (4 NA)."""
        return self.wavelength_um / (4 * self.aperture)

    @property
    def axial_resolution_um(self) -> float:
        """Lauer's axial resolution, wavelength / (2 (n_m - sqrt(n_m^2 - NA^2)))."""
        n, na = self.medium_index, self.aperture
        return self.wavelength_um / (2 * (n - math.sqrt(n * n - na * na)))

    def axial_frequency(self, kx: float, ky: float) -> float:
        """Return kz of the forward plane wave with transverse (kx, ky), all in cycles/um."""
        return math.sqrt(max(self.k_medium**2 - kx * kx - ky * ky, 0.0))


def _unit_hint(value: float, units: dict[float, str], low: float, high: float) -> str:
    """Return a suggestion of the unit that a value is in, by factors to micrometres, or ""."""
    for factor, unit in units.items():
        if low <= value * factor <= high:
            return f", which looks like {unit}: give {value * factor:.4g}"
    return ""
