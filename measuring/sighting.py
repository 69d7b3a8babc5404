"""Whether and where an object was seen in a tomogram; imports nothing heavy.

Vectors are (z, y, x) in um from the volume's centre, which is voxel n//2 of each axis.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from measuring.field_shift import FieldReference

__all__ = ["ObjectPlace", "Sighting", "Zyx"]

_LEAST_REACH_UM = 1.5

Zyx = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """An object: its centroid (z, y, x) in um from the volume's centre, and its volume.

    One that is too large for the field has a ``field`` by which it is recognised instead; its
    centre is then where it was at first, and by how much it has moved since.
    """

    centre_um: Zyx
    volume_um3: float
    field: "FieldReference | None" = None

    @property
    def reach_um(self) -> float:
        """How far it may be from where it is expected: its diameter, and at least 1.5 um."""
        if self.field is not None:
            return self.field.reach_um
        return max(math.cbrt(6 * self.volume_um3 / math.pi), _LEAST_REACH_UM)

    def moved(self, by_um: Zyx) -> "ObjectPlace":
        """Return the object at another place."""
        z, y, x = (c + m for c, m in zip(self.centre_um, by_um, strict=True))
        return replace(self, centre_um=(z, y, x))


@dataclass(frozen=True, slots=True)
class Sighting:
    """The object of a tomogram; ``place`` is None, with the reason, where it was not found."""

    place: ObjectPlace | None
    problem: str = ""
