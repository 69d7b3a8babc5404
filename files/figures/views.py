"""Arranges the views of a tomogram in a figure: sections at one scale, a picture in 3D, curves.

The sections of a volume stand as in the window: XZ below XY, YZ at its right. All of a figure's
sections have the same scale; the width of the paper decides it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from acquisition.errors import ConfigurationError
from files.figures.drawing import draw_colour_bar, draw_curves, draw_panel, new_figure, points
from files.figures.panels import (
    LIGHT,
    ColourScale,
    Curves,
    Panel,
    Place,
    Style,
    round_length_um,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MM", "Block", "Views", "views_figure"]

MM: Final = 1 / 25.4  # inches
_MARGIN, _GAP, _APART = 0.05, 0.04, 0.12  # of the paper, between sections, and between volumes
_BAR, _BAR_TEXT = 0.09, 0.62
_CURVES, _CURVES_LEFT, _CURVES_BELOW = 1.1, 0.62, 0.42
_SHARE = 0.35  # of a section's width that a scale bar has at most
_SMALLEST = 0.4  # inches that are left for the images

Block = Sequence[Panel]  # the sections of one volume: XY, XZ and YZ, or one of them


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What a figure shows.

    Parameters
    ----------
    blocks : sequence of Block
        The sections of each volume, from left to right.
    titles : sequence of str
        Over each block; empty: none.
    solid : Panel or None
        A picture in 3D, at the right of the sections.
    curves : Curves or None
        Below them.
    scale_bars, colour_bars : bool
    """

    blocks: Sequence[Block] = ()
    titles: Sequence[str] = ()
    solid: Panel | None = None
    curves: Curves | None = None
    scale_bars: bool = True
    colour_bars: bool = True

    @property
    def scales(self) -> list[ColourScale]:
        """The colour scales of all panels, each once."""
        found: list[ColourScale] = []
        for panel in (panel for block in self.blocks for panel in block):
            over = [overlaid.scale for overlaid in panel.overlaid]
            for scale in [*([panel.scale] if panel.scale is not None else []), *over]:
                if not any(scale.same_as(known) for known in found):
                    found.append(scale)
        return found


@dataclass(frozen=True, slots=True)
class _Size:
    """Width and height in um, and how many gaps between sections are in each of them."""

    across_um: float
    down_um: float
    gaps: int


def _size(block: Block) -> _Size:
    by_plane = {panel.plane: panel for panel in block}
    if len(block) == 1:
        return _Size(*block[0].size_um, gaps=0)
    across, down = by_plane["XY"].size_um
    return _Size(across + by_plane["YZ"].size_um[0], down + by_plane["XZ"].size_um[1], gaps=1)


def views_figure(views: Views, width_mm: float, style: Style = LIGHT) -> "Figure":
    """Draw a figure of a given width; its height follows.

    Parameters
    ----------
    views : Views
        At least one block, or a picture in 3D.
    width_mm : float
        Of the paper.
    style : Style

    Raises
    ------
    ConfigurationError
        If the width leaves no room for the images beside bars and margins.
    """
    width = width_mm * MM
    scales = views.scales if views.colour_bars else []
    line = points(1.5 * style.letters_pt) if any(views.titles) else 0.0
    sizes = [_size(block) for block in views.blocks]
    per_um, high = _scale(views, sizes, width, len(scales))
    curves = _CURVES + _CURVES_BELOW if views.curves is not None else 0.0
    figure = new_figure(width, 2 * _MARGIN + line + high + curves, style)
    left, top = _MARGIN, _MARGIN + line
    for number, (block, size) in enumerate(zip(views.blocks, sizes, strict=True)):
        title = views.titles[number] if views.titles else ""
        _draw_block(figure, views, block, (left, top), per_um, title, style)
        left += size.across_um * per_um + size.gaps * _GAP + _APART
    if views.solid is not None:
        across, down = views.solid.size_um
        wide = high * across / down
        solid = _with_bar(views.solid) if views.scale_bars else views.solid
        draw_panel(figure, solid, Place(left, top, wide, high), style)
        left += wide + _APART
    for scale in scales:
        place = Place(
            left, top + points(style.letters_pt / 2), _BAR, high - points(style.letters_pt)
        )
        draw_colour_bar(figure, scale, place, style)
        left += _BAR + _BAR_TEXT
    if views.curves is not None:
        wide = min(width - _CURVES_LEFT - 2 * _MARGIN, 4.0)
        place = Place(_CURVES_LEFT, top + high + points(style.letters_pt), wide, _CURVES)
        draw_curves(figure, views.curves, place, style)
    return figure


def _scale(views: Views, sizes: Sequence[_Size], width: float, bars: int) -> tuple[float, float]:
    """Return inches a um, and the height of the row of images."""
    fixed = 2 * _MARGIN + bars * (_BAR + _BAR_TEXT) + sum(s.gaps * _GAP for s in sizes)
    parts = len(sizes) + (views.solid is not None)
    fixed += (parts - 1 + bool(bars)) * _APART
    aspect = 0.0
    if views.solid is not None:
        across, down = views.solid.size_um
        aspect = across / down
    room = width - fixed
    if room < _SMALLEST:
        needed = (fixed + _SMALLEST) / MM
        raise ConfigurationError(
            f"a figure of this must be at least {needed:.0f} mm wide, got {width / MM:g}: make it "
            "wider, or leave colour bars out"
        )
    if not sizes:
        return 0.0, room / aspect
    gaps = max(s.gaps for s in sizes) * _GAP
    highest_um = max(s.down_um for s in sizes)
    per_um = (room - aspect * gaps) / (sum(s.across_um for s in sizes) + aspect * highest_um)
    return per_um, highest_um * per_um + gaps


def _draw_block(
    figure: "Figure",
    views: Views,
    block: Block,
    corner: tuple[float, float],
    per_um: float,
    title: str,
    style: Style,
) -> None:
    left, top = corner
    first = block[0]
    beside = left + first.size_um[0] * per_um + _GAP
    below = top + first.size_um[1] * per_um + _GAP
    for number, panel in enumerate(block):
        shown = panel
        if number == 0:
            shown = replace(panel, title=title)
            shown = _with_bar(shown) if views.scale_bars else shown
        across, down = (um * per_um for um in panel.size_um)
        x = beside if number and panel.plane == "YZ" else left
        y = below if number and panel.plane == "XZ" else top
        draw_panel(figure, shown, Place(x, y, across, down), style)


def _with_bar(panel: Panel) -> Panel:
    return replace(panel, bar_um=round_length_um(_SHARE * panel.size_um[0]))
