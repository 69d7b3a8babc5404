"""What a user chooses about measuring; imports nothing heavy, so that windows can use it."""

import math
from dataclasses import dataclass

from acquisition.errors import ConfigurationError

__all__ = ["INCREMENT_ML_PER_G", "MeasuringSettings"]

INCREMENT_ML_PER_G = 0.19  # of most proteins (Barer, J. Opt. Soc. Am. 47, 545, 1957: 0.18 to 0.21)


@dataclass(frozen=True, slots=True)
class MeasuringSettings:
    """How objects are found and measured.

    Parameters
    ----------
    threshold : float or None
        Index at an object's surface. Above the medium's index objects are denser than their medium,
        below it lighter. None: Otsu's threshold finds the objects, of either kind, and the surface
        of each is half-way between its own index and that of its surroundings.
    increment_ml_per_g : float
        Refraction increment: how much the index rises per g/ml of dry matter.
    minimum_um3 : float
        Smaller objects are left out.
    lipid_threshold : float or None
        Index above which matter counts as lipid; None: the lipid fraction is not measured.

    Raises
    ------
    ConfigurationError
        If a value is impossible.
    """

    threshold: float | None = None
    increment_ml_per_g: float = INCREMENT_ML_PER_G
    minimum_um3: float = 0.2
    lipid_threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "lipid_threshold"):
            index = getattr(self, name)
            if index is not None and not 1 <= index <= 3:
                raise ConfigurationError(
                    f"{name} must be a refractive index between 1 and 3, got {index}"
                )
        if not 0 < self.increment_ml_per_g < math.inf:
            raise ConfigurationError(
                "increment_ml_per_g must be positive (proteins have 0.18 to 0.21), got "
                f"{self.increment_ml_per_g}"
            )
        if not 0 <= self.minimum_um3 < math.inf:
            raise ConfigurationError(
                f"minimum_um3 must be a volume of at least 0, got {self.minimum_um3}"
            )
