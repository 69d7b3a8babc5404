"""Draws panels, colour bars and curves into a figure of matplotlib.

Text stays text in SVG and PDF, and sections keep one scale on both axes: the rectangle of a panel
has the proportions of what it shows, or what it shows is widened to them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from files.figures.panels import ColourScale, Curves, Panel, Place, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_colour_bar", "draw_curves", "draw_panel", "new_figure", "points"]

_INCH_PT = 72.0
_WHITE, _BLACK = "#ffffff", "#000000"
_CURVES = ("#0072b2", "#d55e00", "#009e73")  # Okabe and Ito (2008)


def new_figure(width: float, height: float, style: Style) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor=style.paper)


def points(count: float) -> float:
    """Return so many points in inches."""
    return count / _INCH_PT


def draw_panel(figure: "Figure", panel: Panel, place: Place, style: Style) -> "Axes":
    """Draw a panel; its title stands above the place."""
    axes = _axes(figure, place)
    axes.set_axis_off()
    left, right, top, bottom = panel.shown_um
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    edges = panel.edges_um
    extent = (edges[0], edges[1], edges[3], edges[2])
    # "auto": a pixel is a rectangle where it is large, and is averaged where it is small
    how: dict[str, Any] = {"extent": extent, "aspect": "auto", "origin": "upper"}
    how["interpolation"] = "bilinear" if panel.smooth else "auto"
    if panel.scale is None:
        axes.imshow(panel.image, **how)
    else:
        axes.imshow(panel.image, **how, **_coloured(panel.scale))
    for over in panel.overlaid:
        axes.imshow(over.values, **how, **_coloured(over.scale))
    for outline in panel.outlines:
        _draw_outline(axes, outline.inside, outline.colour, panel)
    if panel.cross_um is not None:
        axes.axvline(panel.cross_um[0], color=style.ink, linewidth=0.5, alpha=0.7)
        axes.axhline(panel.cross_um[1], color=style.ink, linewidth=0.5, alpha=0.7)
    _write_on(axes, panel, place, style)
    return axes


def _coloured(scale: ColourScale) -> dict[str, Any]:
    return {"cmap": _map(scale), "vmin": scale.low, "vmax": scale.high}


def _map(scale: ColourScale) -> Any:
    import matplotlib
    from matplotlib.colors import ListedColormap

    if isinstance(scale.colours, str):
        return matplotlib.colormaps[scale.colours]
    return ListedColormap(np.asarray(scale.colours) / 255.0)


def _draw_outline(axes: "Axes", inside: NDArray[np.bool_], colour: str, panel: Panel) -> None:
    if not inside.any():
        return
    rows, columns = inside.shape
    left, right, top, bottom = panel.edges_um
    # a rim of zeros closes the outlines of what is cut by the edge
    padded = np.pad(inside.astype(np.float32), 1)
    across = left + (np.arange(-1, columns + 1) + 0.5) * (right - left) / columns
    down = top + (np.arange(-1, rows + 1) + 0.5) * (bottom - top) / rows
    axes.contour(across, down, padded, levels=[0.5], colors=[colour], linewidths=0.9)


def _write_on(axes: "Axes", panel: Panel, place: Place, style: Style) -> None:
    size, gap = style.letters_pt, 4.0
    wide, high = place.width * _INCH_PT, place.height * _INCH_PT
    if panel.title:
        above = 1 + gap * 0.75 / high
        axes.text(0, above, panel.title, transform=axes.transAxes, fontsize=size, parse_math=False,
                  color=style.ink, ha="left", va="bottom")  # fmt: skip
    for text, x, side in ((panel.corner, gap / wide, "left"),
                          (panel.stamp, 1 - gap / wide, "right")):  # fmt: skip
        if text:
            ink = _ink_on(axes, panel, (0.0, 0.35) if side == "left" else (0.65, 1.0), (0, 0.15))
            axes.text(x, 1 - gap / high, text, transform=axes.transAxes, fontsize=size,
                      color=ink, ha=side, va="top", parse_math=False)  # fmt: skip
    if panel.bar_um is not None:
        _draw_bar(axes, panel, panel.bar_um, (gap / wide, gap / high), style)


def _draw_bar(
    axes: "Axes", panel: Panel, length_um: float, gap: tuple[float, float], style: Style
) -> None:
    """Draw a scale bar at the lower right, and its length above it."""
    from matplotlib.patches import Rectangle

    share = length_um / panel.size_um[0]
    ink = _ink_on(axes, panel, (1 - share - gap[0], 1.0), (0.85, 1.0))
    corner, high = (1 - gap[0] - share, gap[1]), 0.5 * gap[1]
    axes.add_patch(Rectangle(corner, share, high, transform=axes.transAxes, color=ink, lw=0))
    axes.text(
        1 - gap[0] - share / 2,
        gap[1] + high + 0.5 * gap[1],
        f"{length_um:g} µm",
        transform=axes.transAxes,
        fontsize=style.letters_pt,
        color=ink,
        ha="center",
        va="bottom",
    )


def _ink_on(
    axes: "Axes", panel: Panel, across: tuple[float, float], down: tuple[float, float]
) -> str:
    """Return white or black, whichever is read better on a part of the panel (shares of it)."""
    rows, columns = panel.image.shape[:2]
    left, right, top, bottom = panel.shown_um
    edges = panel.edges_um
    x = [(left + s * (right - left) - edges[0]) / (edges[1] - edges[0]) * columns for s in across]
    y = [(top + s * (bottom - top) - edges[2]) / (edges[3] - edges[2]) * rows for s in down]
    begin = min(max(int(y[0]), 0), rows - 1), min(max(int(x[0]), 0), columns - 1)
    part = panel.image[begin[0] : max(int(y[1]), begin[0] + 1)]
    part = part[:, begin[1] : max(int(x[1]), begin[1] + 1)]
    if panel.scale is None:
        rgb = part[..., :3] / 255.0
    else:
        share = (part - panel.scale.low) / (panel.scale.high - panel.scale.low)
        rgb = _map(panel.scale)(np.clip(share, 0, 1))[..., :3]
    lightness = float((rgb @ np.array((0.299, 0.587, 0.114))).mean())
    return _WHITE if lightness < 0.55 else _BLACK


def draw_colour_bar(figure: "Figure", scale: ColourScale, place: Place, style: Style) -> "Axes":
    """Draw an upright colour bar, its ticks and its label at its right."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axes = _axes(figure, place)
    values = np.linspace(scale.low, scale.high, 256)[:, None]
    across = (0.0, 1.0, scale.low, scale.high)
    axes.set_facecolor(style.paper)
    axes.imshow(values, extent=across, aspect="auto", origin="lower", **_coloured(scale))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    count = max(2, min(6, int(place.height * _INCH_PT / (3 * style.letters_pt))))
    axes.yaxis.set_major_locator(MaxNLocator(count))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.set_ylabel(scale.label, fontsize=style.letters_pt, color=style.ink)
    _paint_axes(axes, style)
    if scale.mark is not None and scale.low < scale.mark < scale.high:
        axes.plot([-0.25], [scale.mark], marker=">", markersize=3.5, color=style.ink,
                  clip_on=False, linestyle="none")  # fmt: skip
    axes.set_ylim(scale.low, scale.high)
    axes.set_xlim(0, 1)
    return axes


def draw_curves(figure: "Figure", curves: Curves, place: Place, style: Style) -> "Axes":
    """Draw curves with their axes, which stand around the place."""
    axes = _axes(figure, place)
    axes.set_facecolor(style.paper)
    for (name, values), colour in zip(curves.values, _CURVES, strict=False):
        axes.plot(curves.along_um, values, color=colour, linewidth=1.0, label=name)
    if curves.mark is not None:
        axes.axhline(curves.mark, color=style.ink, linewidth=0.5, linestyle=":")
    axes.set_xlim(float(curves.along_um[0]), float(curves.along_um[-1]))
    axes.set_xlabel(curves.along, fontsize=style.letters_pt, color=style.ink)
    axes.set_ylabel(curves.label, fontsize=style.letters_pt, color=style.ink)
    if len(curves.values) > 1:
        axes.legend(fontsize=style.letters_pt, frameon=False, labelcolor=style.ink)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.ticklabel_format(axis="y", useOffset=False)
    _paint_axes(axes, style)
    return axes


def _paint_axes(axes: "Axes", style: Style) -> None:
    axes.tick_params(labelsize=style.letters_pt, colors=style.ink, width=0.6, length=2.5)
    for spine in axes.spines.values():
        spine.set_color(style.ink)
        spine.set_linewidth(0.6)


def _axes(figure: "Figure", place: Place) -> "Axes":
    width, height = figure.get_size_inches()
    bottom = 1 - (place.top + place.height) / height
    size = (place.width / width, place.height / height)
    return figure.add_axes((place.left / width, bottom, *size))
