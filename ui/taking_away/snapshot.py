"""What the window shows at one moment, and its views as panels of a figure.

A snapshot is taken in the thread of the window; a figure is made of it in another one. Movies
change one thing after the other in it: tomogram, cursor or camera.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from files.figures.panels import ColourScale, Curves, Outline, Overlaid, Panel
from files.figures.views import Views
from pipeline.wire.state import MeasuredView, QualityView, TomogramView
from ui.sections.colours import map_colours, object_colour
from ui.sections.displayed import DisplayedVolume, here, map_of, sections
from ui.sections.orthogonal_views import colours_of
from ui.sections.tools import line_profile
from ui.sections.view_scale import PLANES, Plane
from ui.sections.voxel_grid import VoxelGrid, X, Y, Z
from ui.viewmodel import ViewState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ui.volume.volume_state import VolumeState
    from ui.window import Window

__all__ = ["Choices", "Snapshot", "take_snapshot", "views_of"]

_NAMES = {"error": "Error of the RI", "uncertainty": "Uncertainty of the RI"}
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Choices:
    """What of the views goes into a figure."""

    scale_bars: bool = True
    colour_bars: bool = True
    names: bool = True
    titles: bool = False
    outlines: bool = True
    overlay: bool = True
    crosshair: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What is on display.

    Parameters
    ----------
    state : ViewState
    tomogram : TomogramView
    check : QualityView or None
    measured : MeasuredView or None
    shown_um : (z, y, x)
        The range that is shown along each axis.
    solid : VolumeState or None
        That of the 3D view; None: it is not shown.
    solid_aspect : float
        Its width over its height.
    profile : bool
        Whether the panel with the profile is open.
    """

    state: ViewState
    tomogram: TomogramView
    check: QualityView | None
    measured: MeasuredView | None
    shown_um: tuple[Range, Range, Range]
    solid: "VolumeState | None" = None
    solid_aspect: float = 1.0
    profile: bool = False

    @property
    def grid(self) -> VoxelGrid:
        """The voxels."""
        assert self.state.grid is not None
        return self.state.grid

    def of(self, tomogram: TomogramView) -> "Snapshot":
        """Return the same view of another tomogram; what is followed is followed to it."""
        state = self.state.for_tomogram(tomogram, None)
        same = tomogram.sequence == self.tomogram.sequence
        return replace(
            self,
            state=state,
            tomogram=tomogram,
            check=self.check if same else None,
            measured=self.measured if same else None,
        )


def take_snapshot(window: "Window") -> Snapshot | None:
    """Return what a window shows; None before the first tomogram."""
    state, tomogram = window.state, window.tomogram
    if tomogram is None or state.grid is None or state.contrast is None:
        return None
    solid = window.picture.solid
    drawn = solid if state.solid and solid is not None and not solid.problem else None
    layout = window.views.layout_for(state.grid)
    z, y, x = (
        _within(
            state.camera.range_um(axis, layout.span_px(axis), layout), state.grid.edges_um(axis)
        )
        for axis in (Z, Y, X)
    )
    return Snapshot(
        state,
        tomogram,
        window.check,
        window.measured,
        (z, y, x),
        solid=None if drawn is None or drawn.state.grid is None else drawn.state,
        # in a narrower one, the numbers along the box overlap
        solid_aspect=1.0 if drawn is None else max(drawn.canvas.width() / drawn.canvas.height(), 1),
        profile=window.profile.isVisible(),
    )


def _within(shown: Range, edges: Range) -> Range:
    return max(shown[0], edges[0]), min(shown[1], edges[1])


def views_of(
    snapshot: Snapshot, choices: Choices, solid: Panel | None = None, stamp: str = ""
) -> Views:
    """Return the views of a snapshot for a figure.

    Parameters
    ----------
    snapshot : Snapshot
    choices : Choices
    solid : Panel or None
        The picture of the 3D view.
    stamp : str
        At the upper right of the first panel.
    """
    state, tomogram, check = snapshot.state, snapshot.tomogram, snapshot.check
    found = [state.on_display(tomogram, check), state.beside_it(tomogram, check)]
    shown = [volume for volume in found if volume is not None]
    alone = state.enlarged == "3D" and solid is not None
    blocks = [] if alone else [_block(snapshot, volume, choices) for volume in shown]
    if solid is not None and choices.names:
        solid = replace(solid, corner="3D")
    if stamp and blocks:
        blocks[0][0] = replace(blocks[0][0], stamp=stamp)
    elif stamp and solid is not None:
        solid = replace(solid, stamp=stamp)
    return Views(
        blocks,
        titles=[_title(volume) for volume in shown] if choices.titles and blocks else [],
        solid=solid,
        curves=_curves(snapshot, shown),
        scale_bars=choices.scale_bars,
        colour_bars=choices.colour_bars,
    )


def _title(volume: DisplayedVolume) -> str:
    return volume.label[:1].upper() + volume.label[1:]


def _block(snapshot: Snapshot, volume: DisplayedVolume, choices: Choices) -> list[Panel]:
    """Return the sections of a volume: three, or the one that fills the views."""
    state, medium = snapshot.state, snapshot.tomogram.medium_index
    (low, high), colours = colours_of(state, volume, medium)
    if volume.difference:
        scale = ColourScale(low, high, "Difference of the RI", colours, 0.0)
    else:
        scale = ColourScale(low, high, "Refractive index", colours, medium)
    images = sections(volume.volume, state.cursor, state.projection)
    over = _overlaid(snapshot) if choices.overlay else None
    rings = _outlined(snapshot) if choices.outlines else None
    known = {plane.name for plane in PLANES}
    wanted = {state.enlarged} if state.enlarged in known else known
    panels = []
    for number, plane in enumerate(PLANES):
        if plane.name not in wanted:
            continue
        at_um = (state.position_um[plane.right], state.position_um[plane.down])
        panels.append(
            Panel(
                images[number],
                scale,
                _edges(plane, snapshot.grid.edges_um),
                _edges(plane, lambda axis: snapshot.shown_um[axis]),
                plane=plane.name,
                corner=plane.name if choices.names else "",
                overlaid=() if over is None else [over(number)],
                outlines=() if rings is None else rings(number),
                cross_um=at_um if choices.crosshair else None,
                smooth=state.smooth,
            )
        )
    return panels


def _edges(plane: Plane, range_um: Callable[[int], Range]) -> tuple[float, float, float, float]:
    return (*range_um(plane.right), *range_um(plane.down))


def _overlaid(snapshot: Snapshot) -> Callable[[int], Overlaid] | None:
    """Return the map over the sections, by the number of the plane; None if there is none."""
    state, contrast = snapshot.state, snapshot.state.contrast
    check = snapshot.check
    found, _ = map_of(snapshot.tomogram, state.overlay, check, compared=state.compared)
    if found is None or contrast is None:
        return None
    highest = (contrast.high - contrast.low) / 4
    scale = ColourScale(0.0, highest, _NAMES[state.overlay], map_colours())
    images = sections(found, state.cursor, state.projection)
    return lambda number: Overlaid(images[number], scale)


def _outlined(snapshot: Snapshot) -> Callable[[int], list[Outline]] | None:
    """Return the outlines on the sections, by the number of the plane; None if there are none."""
    state, measured = snapshot.state, here(snapshot.tomogram, snapshot.measured)
    if not state.outlines or measured is None:
        return None
    labels: NDArray[Any] = measured.labels
    images = sections(labels, state.cursor, state.projection)
    objects = [found.number for found in measured.objects]

    def rings(number: int) -> list[Outline]:
        image = images[number]
        held = set(np.unique(image).tolist())
        return [
            Outline(np.asarray(image == label), object_colour(name))
            for label, name in enumerate(objects, 1)
            if label in held
        ]

    return rings


def _curves(snapshot: Snapshot, shown: list[DisplayedVolume]) -> Curves | None:
    """Return the RI along the line that is drawn on a section, if its panel is open."""
    line, state = snapshot.state.drawn, snapshot.state
    if not snapshot.profile or line is None or line.tool != "line":
        return None
    number = [plane.name for plane in PLANES].index(line.plane)
    volumes = [volume for volume in shown if not volume.difference]
    made = []
    along = None
    for volume in volumes:
        image = sections(volume.volume, state.cursor, state.projection)[number]
        profile = line_profile(image, snapshot.grid, line)
        along = profile.distance_um
        made.append((_title(volume), profile.index))
    if along is None or len(along) < 2:
        return None
    return Curves(along, made, mark=snapshot.tomogram.medium_index)
