"""The state of the view as one immutable value, without Qt.

The window holds one ViewState. Keys, clicks and new tomograms replace it as a whole, and the
widgets draw it. Volumes are (z, y, x) RI; positions are in micrometres from the centre
of the volume.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.wire.state import QualityView, TomogramView
from ui.sections.channel_look import ChannelLook, looks_of
from ui.sections.colours import COLORMAPS
from ui.sections.contrast import Contrast, auto_contrast, percentile_contrast
from ui.sections.displayed import DisplayedVolume, volume_of
from ui.sections.object_following import Followed, follow, start_following
from ui.sections.tools import Drawn
from ui.sections.view_scale import Camera
from ui.sections.voxel_grid import Position, Voxel, VoxelGrid, X, Y, Z

__all__ = ["ViewState", "grid_of"]


@dataclass(frozen=True, slots=True)
class ViewState:
    """Cursor, choice of volumes, contrast, colours, tool and camera.

    Parameters
    ----------
    grid : VoxelGrid or None
        None: no tomogram yet.
    cursor : (z, y, x)
        Voxel.
    volume : str
        Kind of the displayed volume, one of KINDS.
    overlay : str
        What is painted over the sections: "error", "uncertainty"; "": nothing.
    outlines : bool
        Whether the outlines of measured objects are painted.
    fluorescence : bool
        Whether fluorescence is painted.
    channels : tuple of ChannelLook
        How each of its channels is painted.
    beside : str
        Kind of a second volume beside it; "": none.
    projection, crosshair, smooth : bool
    colormap : str
    contrast : Contrast or None
    autoscale : str
        When the contrast is set anew, one of AUTOSCALES: by the user, or for each scan.
    percentiles : (low, high)
        Of the volume, 0 to 100, where ``autoscale`` is "percentiles".
    camera : Camera
    enlarged : str
        Name of the plane that fills the views, or "3D"; "": all are shown.
    solid : bool
        Whether the 3D view is shown beside the sections.
    tool : str
        What dragging on a section does, one of TOOLS.
    drawn : Drawn or None
        The line or the rectangle on a section.
    position : str
        Label of the stage position of the tomogram; "" where it has none.
    followed : tuple of Followed
        The objects that the cursor stays on, at most one at each stage position; elsewhere the
        cursor stays at its place.
    """

    grid: VoxelGrid | None = None
    cursor: Voxel = (0, 0, 0)
    volume: str = "regularized"
    beside: str = ""
    overlay: str = ""
    outlines: bool = True
    fluorescence: bool = True
    channels: tuple[ChannelLook, ...] = ()
    projection: bool = False
    crosshair: bool = True
    smooth: bool = True
    colormap: str = COLORMAPS[0]
    contrast: Contrast | None = None
    autoscale: str = "once"
    percentiles: tuple[float, float] = (1.0, 99.99)
    camera: Camera = field(default_factory=Camera)
    enlarged: str = ""
    solid: bool = False
    tool: str = "cursor"
    drawn: Drawn | None = None
    position: str = ""
    followed: tuple[Followed, ...] = ()

    def for_tomogram(self, tomogram: TomogramView, check: QualityView | None = None) -> "ViewState":
        """Return the state for a new tomogram.

        The contrast is set by the first one and then kept, so that a moving sample does not
        flicker, unless ``autoscale`` says otherwise; the cursor moves with the followed object.
        """
        state = replace(self._on_grid(grid_of(tomogram)), position=tomogram.position)
        if state.contrast is None or state.autoscale != "once":
            state = state.scaled(tomogram, check)
        channels = looks_of(tomogram.fluorescence, state.channels)
        return replace(state, channels=channels).keeping_up(tomogram, check)

    def on_display(self, tomogram: TomogramView, check: QualityView | None) -> DisplayedVolume:
        """Return the displayed volume of a tomogram."""
        return volume_of(tomogram, self.volume, self.beside, check)

    def beside_it(
        self, tomogram: TomogramView, check: QualityView | None
    ) -> DisplayedVolume | None:
        """Return the volume displayed beside it; None if there is none."""
        return volume_of(tomogram, self.beside, self.volume, check) if self.beside else None

    def scaled(self, tomogram: TomogramView, check: QualityView | None = None) -> "ViewState":
        """Fit the contrast to the volume, automatically or by the percentiles."""
        on_display, medium = self.on_display(tomogram, check), tomogram.medium_index
        volume = tomogram.raw if on_display.difference else on_display.volume
        if self.autoscale == "percentiles":
            return replace(self, contrast=percentile_contrast(volume, self.percentiles, medium))
        return replace(self, contrast=auto_contrast(volume, medium))

    @property
    def compared(self) -> bool:
        """Whether volumes of the last check are displayed, not those of the newest scan."""
        return "tv" in f"{self.volume} {self.beside}"

    @property
    def followed_here(self) -> Followed | None:
        """The followed object of the present stage position."""
        return next((one for one in self.followed if one.position == self.position), None)

    def _with_followed(self, one: Followed | None) -> "ViewState":
        """Follow this object at the present position, or none there."""
        others = tuple(other for other in self.followed if other.position != self.position)
        return replace(self, followed=others if one is None else (*others, one))

    def keeping_up(self, tomogram: TomogramView, check: QualityView | None) -> "ViewState":
        """Move the cursor with the followed object."""
        known = self.followed_here
        if known is None or self.grid is None:
            return self
        volume = self.on_display(tomogram, check)
        elsewhere = self.compared and check is not None and check.position != self.position
        if volume.difference or elsewhere:
            return self
        found = follow(volume.volume, tomogram.medium_index, self.grid, known)
        return replace(self._with_followed(found), cursor=self.grid.voxel(found.cursor_um))

    def following(self, tomogram: TomogramView, check: QualityView | None) -> "ViewState":
        """Follow the object under the cursor, or no longer follow one."""
        if self.followed_here is not None or self.grid is None:
            return self._with_followed(None)
        volume, medium = self.on_display(tomogram, check).volume, tomogram.medium_index
        found = start_following(volume, medium, self.grid, self.position_um)
        return self._with_followed(
            None if found is None else replace(found, position=self.position)
        )

    def _on_grid(self, grid: VoxelGrid) -> "ViewState":
        if grid == self.grid:
            return self
        cursor = grid.centre if self.grid is None else grid.voxel(self.position_um)
        return replace(self, grid=grid, cursor=cursor, camera=Camera(centre_um=grid.middle_um))

    @property
    def position_um(self) -> Position:
        """Position of the cursor, (z, y, x) from the centre of the volume."""
        return self.grid.position_um(self.cursor) if self.grid else (0.0, 0.0, 0.0)

    def cursor_at(self, along: dict[int, float]) -> "ViewState":
        """Move the cursor to the positions ``along`` the given axes, in um."""
        if self.grid is None:
            return self
        z, y, x = (along.get(axis, self.position_um[axis]) for axis in (Z, Y, X))
        return self.with_cursor(self.grid.voxel((z, y, x)))

    def with_cursor(self, cursor: Voxel) -> "ViewState":
        """Move the cursor; its place on a followed object moves with it."""
        assert self.grid is not None
        followed = self.followed_here
        if followed is not None:
            at = self.grid.position_um(cursor)
            z, y, x = (p - c for p, c in zip(at, followed.centre_um, strict=True))
            followed = replace(followed, offset_um=(z, y, x))
        return replace(self._with_followed(followed), cursor=cursor)

    def moved(self, axis: int, voxels: int) -> "ViewState":
        """Move the cursor along one axis, at most to the edge of the volume."""
        if self.grid is None:
            return self
        z, y, x = (c + voxels * (axis == a) for a, c in enumerate(self.cursor))
        return self.with_cursor(self.grid.clamped((z, y, x)))

    def centred(self) -> "ViewState":
        """Move the cursor to the centre voxel and show the whole volume."""
        return self.fitted().with_cursor(self.grid.centre) if self.grid else self

    def fitted(self) -> "ViewState":
        """Show the whole volume."""
        return replace(self, camera=Camera(centre_um=self.grid.middle_um)) if self.grid else self

    def zoomed(self, factor: float, along: dict[int, float] | None = None) -> "ViewState":
        """Zoom around the positions ``along`` the given axes, in um; else around the cursor."""
        if self.grid is None:
            return self
        z, y, x = ((along or {}).get(axis, self.position_um[axis]) for axis in (Z, Y, X))
        return replace(self, camera=self.camera.zoomed(factor, (z, y, x), self.grid))

    def panned(self, along: dict[int, float]) -> "ViewState":
        """Pan the view by the distances ``along`` the given axes, in um."""
        if self.grid is None:
            return self
        z, y, x = (along.get(axis, 0.0) for axis in (Z, Y, X))
        return replace(self, camera=self.camera.panned((z, y, x), self.grid))

    def toggled(self, flag: str) -> "ViewState":
        """Switch one of the flags: projection, crosshair, smooth or solid."""
        switched: dict[str, Any] = {flag: not getattr(self, flag)}
        return replace(self, **switched)

    def next_colormap(self) -> "ViewState":
        """Use the next colour map."""
        following = (COLORMAPS.index(self.colormap) + 1) % len(COLORMAPS)
        return replace(self, colormap=COLORMAPS[following])

    def with_raw(self) -> "ViewState":
        """Switch between the raw and the regularized volume."""
        return replace(self, volume="regularized" if self.volume == "raw" else "raw")

    def with_beside(self, kind: str) -> "ViewState":
        """Show a volume beside the displayed one, or no longer show it."""
        return replace(self, beside="" if kind == self.beside else kind)

    def with_overlay(self, kind: str) -> "ViewState":
        """Paint a map over the sections, or no longer paint it."""
        return replace(self, overlay="" if kind == self.overlay else kind)

    def with_channel(self, look: ChannelLook) -> "ViewState":
        """Paint a channel of the fluorescence as ``look`` says."""
        channels = (look if one.name == look.name else one for one in self.channels)
        return replace(self, channels=tuple(channels))

    def with_channel_switched(self, number: int) -> "ViewState":
        """Paint a channel of the fluorescence, by its number from 0, or no longer paint it."""
        if number >= len(self.channels):
            return self
        look = self.channels[number]
        return self.with_channel(replace(look, shown=not look.shown))

    def with_enlarged(self, plane: str) -> "ViewState":
        """Let a plane, or the 3D view, fill the views, or show all of them again."""
        enlarged = "" if plane == self.enlarged else plane
        return replace(self, enlarged=enlarged, solid=self.solid or enlarged == "3D")

    def with_tool(self, tool: str) -> "ViewState":
        """Take up a tool, or lay it down with what it drew."""
        if tool == self.tool:
            return replace(self, tool="cursor", drawn=None)
        return replace(self, tool=tool, drawn=None)


def grid_of(tomogram: TomogramView) -> VoxelGrid:
    """Return the voxel grid of a tomogram."""
    nz, ny, nx = tomogram.raw.shape
    return VoxelGrid((nz, ny, nx), tomogram.voxel_size_um)
