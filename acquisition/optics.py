"""The optics of one microscope: the numbers every physical step needs.

Lengths in micrometres, spatial frequencies in cycles per micrometre. k = n_m / wavelength is the
radius of the Ewald sphere; the objective passes transverse frequencies up to NA / wavelength.
Resolution after Lauer, J. Microscopy 205, 165 (2002).
"""

import math
from dataclasses import asdict, dataclass

from acquisition.errors import ConfigurationError

__all__ = ["Optics"]


@dataclass(frozen=True, slots=True)
class Optics:
    """Wavelength, aperture, medium and sampling of an off-axis holographic microscope.

    Parameters
    ----------
    wavelength_um : float
        Vacuum wavelength.
    numerical_aperture : float
        Of the detection objective; must be below ``medium_index``.
    medium_index : float
        Refractive index of the medium around the sample.
    pixel_size_um : float
        Camera pixel at the sample, camera pitch / magnification.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """

    wavelength_um: float
    numerical_aperture: float
    medium_index: float
    pixel_size_um: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{name} must be a positive number, got {value!r}")
        if self.numerical_aperture >= self.medium_index:
            raise ConfigurationError(
                f"numerical_aperture must be below medium_index {self.medium_index}, "
                f"got {self.numerical_aperture}: light beyond it is evanescent in the medium"
            )

    @property
    def k_medium(self) -> float:
        """Radius of the Ewald sphere n_m / wavelength, cycles/um."""
        return self.medium_index / self.wavelength_um

    @property
    def cutoff(self) -> float:
        """Highest transverse frequency the objective passes, NA / wavelength, cycles/um."""
        return self.numerical_aperture / self.wavelength_um

    @property
    def lateral_resolution_um(self) -> float:
        """Lauer's lateral resolution, wavelength / (4 NA)."""
        return self.wavelength_um / (4 * self.numerical_aperture)

    @property
    def axial_resolution_um(self) -> float:
        """Lauer's axial resolution, wavelength / (2 (n_m - sqrt(n_m^2 - NA^2)))."""
        n, na = self.medium_index, self.numerical_aperture
        return self.wavelength_um / (2 * (n - math.sqrt(n * n - na * na)))

    def axial_frequency(self, kx: float, ky: float) -> float:
        """Return kz of the forward plane wave with transverse (kx, ky), all in cycles/um."""
        return math.sqrt(max(self.k_medium**2 - kx * kx - ky * ky, 0.0))
