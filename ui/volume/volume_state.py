"""All that the user chose in the 3D view, as one immutable value, without Qt.

Cursor, volume, contrast and colours are those of the sections (``ViewState``).
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from files.exporting.surface_levels import surface_levels
from ui.sections.displayed import Volume
from ui.sections.voxel_grid import Position, VoxelGrid, X, Y, Z
from ui.volume.volume_camera import VolumeCamera

__all__ = ["Kept", "Mode", "Surface", "VolumeState", "start_surfaces"]


class Mode(StrEnum):
    """How the volume is drawn."""

    MAXIMUM = "maximum"
    ATTENUATED = "attenuated"
    SURFACES = "surfaces"


class Kept(StrEnum):
    """Which side of the section through the cursor is drawn, along one axis."""

    BOTH = "both"
    LOW = "low"
    HIGH = "high"

    @property
    def following(self) -> "Kept":
        """The next choice, for a button that cycles."""
        kinds = tuple(Kept)
        return kinds[(kinds.index(self) + 1) % len(kinds)]


NO_CUTS = (Kept.BOTH, Kept.BOTH, Kept.BOTH)


@dataclass(frozen=True, slots=True)
class Surface:
    """A surface of constant RI.

    Parameters
    ----------
    name : str
    level : float
        Its RI.
    colour : str
        "#rrggbb".
    opacity : float
        From 0 to 1, where it is seen face on.
    shown : bool
    """

    name: str
    level: float
    colour: str
    opacity: float
    shown: bool = True


KINDS = (
    Surface("membrane", 0.0, "#b4cdec", 0.26),
    Surface("nucleoli", 0.0, "#e2725b", 0.75),
    Surface("lipid", 0.0, "#f2c14e", 1.0),
)


def start_surfaces(volume: Volume, medium_index: float) -> tuple[Surface, ...]:
    """Return membrane, nucleoli and lipid, at levels found in a volume (z, y, x) of RI."""
    levels = surface_levels(volume, medium_index, len(KINDS))
    return tuple(
        replace(kind, level=round(level, 4)) for kind, level in zip(KINDS, levels, strict=True)
    )


@dataclass(frozen=True, slots=True)
class VolumeState:
    """Camera, mode, surfaces and cuts of the 3D view.

    Parameters
    ----------
    camera : VolumeCamera
    mode : Mode
    surfaces : tuple of Surface
        Empty until the first volume.
    opacity : float
        Of the attenuated volume: how fast a structure at the top of the contrast absorbs, 1/um.
    kept : (z, y, x)
        Which side of the cursor is drawn along each axis.
    filled : bool
        Whether a cut through a surface shows the RI inside.
    box : bool
        Whether the scale box is drawn.
    spinning : bool
    grid : VoxelGrid or None
        That of the volume on display.
    """

    camera: VolumeCamera = field(default_factory=VolumeCamera)
    mode: Mode = Mode.MAXIMUM
    surfaces: tuple[Surface, ...] = ()
    opacity: float = 1.0
    kept: tuple[Kept, Kept, Kept] = NO_CUTS
    filled: bool = True
    box: bool = True
    spinning: bool = False
    grid: VoxelGrid | None = None

    def for_volume(self, grid: VoxelGrid, volume: Volume, medium_index: float) -> "VolumeState":
        """Return the state for a volume: changed only by the first one, or on another grid."""
        state = self
        if grid != self.grid:
            state = replace(state, grid=grid, camera=state.camera.fitted(grid))
        if not state.surfaces:
            state = replace(state, surfaces=start_surfaces(volume, medium_index))
        return state

    def seen(self, camera: VolumeCamera) -> "VolumeState":
        """Return the state with another camera."""
        return replace(self, camera=camera)

    def with_surface(self, number: int, **changes: Any) -> "VolumeState":
        """Return the state with one surface changed."""
        surfaces = list(self.surfaces)
        surfaces[number] = replace(surfaces[number], **changes)
        return replace(self, surfaces=tuple(surfaces))

    def cut(self, axis: int) -> "VolumeState":
        """Return the state with the next choice of the kept side along an axis."""
        z, y, x = (k.following if a == axis else k for a, k in enumerate(self.kept))
        return replace(self, kept=(z, y, x))

    def toggled(self, flag: str) -> "VolumeState":
        """Switch one of the flags: filled, box or spinning."""
        switched: dict[str, Any] = {flag: not getattr(self, flag)}
        return replace(self, **switched)

    @property
    def drawn_surfaces(self) -> tuple[Surface, ...]:
        """The surfaces that are shown, by rising RI."""
        shown = (surface for surface in self.surfaces if surface.shown and surface.opacity > 0)
        return tuple(sorted(shown, key=lambda surface: surface.level))

    def outermost(self, medium_index: float) -> tuple[float, int]:
        """Return the level of the outermost surface, and 1 if it is denser inside, else -1."""
        levels = [surface.level for surface in self.drawn_surfaces]
        if levels and levels[-1] < medium_index:
            return levels[-1], -1
        return (levels[0] if levels else 0.0), 1

    def bounds_um(self, cursor_um: Position) -> tuple[Position, Position]:
        """Return the lowest and the highest corner (z, y, x) of what is drawn."""
        assert self.grid is not None
        edges = [self.grid.edges_um(axis) for axis in (Z, Y, X)]
        lows = [
            at if kept is Kept.HIGH else low
            for (low, _), kept, at in zip(edges, self.kept, cursor_um, strict=True)
        ]
        highs = [
            at if kept is Kept.LOW else high
            for (_, high), kept, at in zip(edges, self.kept, cursor_um, strict=True)
        ]
        return (lows[0], lows[1], lows[2]), (highs[0], highs[1], highs[2])
