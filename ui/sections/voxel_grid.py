"""The voxel grid: volumes (z, y, x), positions in micrometres from the centre voxel n//2."""

from dataclasses import dataclass

__all__ = ["AXES", "Position", "Voxel", "VoxelGrid", "X", "Y", "Z"]

Z, Y, X = 0, 1, 2
AXES = "zyx"

Voxel = tuple[int, int, int]
Position = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class VoxelGrid:
    """The voxels of a volume: ``shape`` (z, y, x) and ``voxel_size_um`` (dz, dy, dx)."""

    shape: Voxel
    voxel_size_um: Position

    @property
    def extent_um(self) -> Position:
        """Size of the volume, from outer face to outer face."""
        nz, ny, nx = self.shape
        dz, dy, dx = self.voxel_size_um
        return nz * dz, ny * dy, nx * dx

    @property
    def middle_um(self) -> Position:
        """The middle between the edges: half a voxel off the centre voxel where n is even."""
        low, high = zip(*(self.edges_um(axis) for axis in (Z, Y, X)), strict=True)
        return (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2

    @property
    def centre(self) -> Voxel:
        """The voxel at position zero."""
        nz, ny, nx = self.shape
        return nz // 2, ny // 2, nx // 2

    def edges_um(self, axis: int) -> tuple[float, float]:
        """Return the outer faces of the first and the last voxel along ``axis``."""
        low = (-(self.shape[axis] // 2) - 0.5) * self.voxel_size_um[axis]
        return low, low + self.extent_um[axis]

    def position_um(self, voxel: Voxel) -> Position:
        """Return the position of a voxel's centre."""
        z, y, x = (
            (v - c) * d for v, c, d in zip(voxel, self.centre, self.voxel_size_um, strict=True)
        )
        return z, y, x

    def voxel(self, position_um: Position) -> Voxel:
        """Return the voxel at a position, or the nearest one if it is outside."""
        sizes = zip(position_um, self.centre, self.voxel_size_um, strict=True)
        z, y, x = (round(p / d) + c for p, c, d in sizes)
        return self.clamped((z, y, x))

    def clamped(self, voxel: Voxel) -> Voxel:
        """Return the nearest voxel inside the volume."""
        z, y, x = (min(max(v, 0), n - 1) for v, n in zip(voxel, self.shape, strict=True))
        return z, y, x
