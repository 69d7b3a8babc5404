"""One object of one tomogram, as figures; imports nothing heavy, so that windows can use it."""

import math
from dataclasses import dataclass, replace

__all__ = ["COLUMNS", "MeasuredObject"]

# of a table, after the time and the object's number
COLUMNS = (
    "volume_um3", "surface_um2", "sphericity", "mean_index", "max_index", "dry_mass_pg",
    "density_pg_per_um3", "z_um", "y_um", "x_um",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MeasuredObject:
    """The figures of an object.

    Parameters
    ----------
    number : int
        Stays the same from scan to scan, from 1; in a single tomogram, the order of size.
    volume_um3, surface_um2 : float
        Of the surface where the index is half-way between object and surroundings, or at the
        threshold that was typed. Closed holes belong to the volume.
    mean_index : float
        The medium's index and, on average over the volume, what the object adds to it.
    max_index : float
        The voxel furthest from the medium's index: the highest, of lighter objects the lowest.
    dry_mass_pg : float
        What the object adds to the medium's index, integrated over its volume and its blurred rim,
        over the refraction increment. Negative for objects lighter than their medium.
    z_um, y_um, x_um : float
        Centroid, from the volume's centre, which is voxel n//2 of each axis.
    lipid_fraction : float or None
        Share of the volume beyond the second threshold; None if there is none.
    speed_um_per_s : float or None
        From where the object was last seen to here; None when it is first seen.
    cut : bool
        Whether it reaches the edge of the tomogram, so that part of it may be missing.
    """

    number: int
    volume_um3: float
    surface_um2: float
    mean_index: float
    max_index: float
    dry_mass_pg: float
    z_um: float
    y_um: float
    x_um: float
    lipid_fraction: float | None = None
    speed_um_per_s: float | None = None
    cut: bool = False

    @property
    def sphericity(self) -> float:
        """Surface of the sphere of the same volume, over the object's own: 1 for a sphere."""
        return math.pi * self.diameter_um**2 / self.surface_um2

    @property
    def density_pg_per_um3(self) -> float:
        """Dry mass over volume."""
        return self.dry_mass_pg / self.volume_um3

    @property
    def centroid_um(self) -> tuple[float, float, float]:
        """Centroid (z, y, x)."""
        return self.z_um, self.y_um, self.x_um

    @property
    def diameter_um(self) -> float:
        """Diameter of the sphere of the same volume."""
        return math.cbrt(6 * self.volume_um3 / math.pi)

    def moved(self, z_um: float, y_um: float, x_um: float) -> "MeasuredObject":
        """Return the object with its centroid so much farther along each axis."""
        z, y, x = self.centroid_um
        return replace(self, z_um=z + z_um, y_um=y + y_um, x_um=x + x_um)

    def renumbered(self, number: int, speed_um_per_s: float | None = None) -> "MeasuredObject":
        """Return the object with another number, and its speed."""
        return replace(self, number=number, speed_um_per_s=speed_um_per_s)
