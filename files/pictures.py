"""Pictures of tomograms without a display: sections of each volume, with scale bar and RI range."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from files.figures.drawing import draw_colour_bar, draw_panel, new_figure, points
from files.figures.panels import LIGHT, VIRIDIS, ColourScale, Panel, Place, round_length_um
from files.figures.writing import encode_png, pixels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "apply_colours",
    "densest",
    "draw_grid",
    "draw_panels",
    "draw_tomograms",
    "encode_png",
    "index_scale",
    "orthogonal_panels",
    "write_png",
]

Volume = NDArray[np.float32]
Picture = NDArray[np.uint8]  # (y, x, 3)
Voxels = tuple[float, float, float]

_DPI = 120
_MARGIN, _GAP = 0.12, 0.1  # inches
_LINE = points(1.35 * LIGHT.letters_pt)
_BAR, _BAR_TEXT = 0.11, 0.75  # width of the colour bar, and of its numbers
_BAR_LOWEST, _BAR_HIGHEST = 1.3, 2.6
_BELOW = points(3)  # a panel
_SHARE = 0.35  # of a section's width that a scale bar has at most


def draw_tomograms(
    rows: Sequence[tuple[str, Volume]],
    voxel_size_um: Voxels,
    medium_index: float,
    panel_height: int = 320,
) -> Picture:
    """Return a picture with one row for each volume: XY, XZ and YZ slices at the densest point.

    Parameters
    ----------
    rows : sequence of (title, volume)
        Volumes (z, y, x) of RI, of the same shape.
    voxel_size_um : (dz, dy, dx)
    medium_index : float
        Start of the colour scale, which ends at the highest index of the last volume.
    panel_height : int
        Pixels of the XY slice.

    Returns
    -------
    (y, x, 3) uint8
    """
    reference = rows[-1][1]
    scale = index_scale(reference, medium_index)
    place = densest(reference)
    per_um = panel_height / _DPI / (reference.shape[1] * voxel_size_um[1])
    drawn = []
    for title, volume in rows:
        panels = orthogonal_panels(volume, voxel_size_um, place, scale)
        names = (f"{title}: XY" if title else "XY", "XZ", "YZ")
        drawn.append([[(n, p)] for n, p in zip(names, panels, strict=True)])
    return _grid(drawn, scale, per_um)


def draw_grid(
    cells: Sequence[Sequence[tuple[str, Volume]]],
    reference: Volume,
    voxel_size_um: Voxels,
    medium_index: float,
    panel_width: int = 220,
) -> Picture:
    """Return a picture of many volumes, each as its XZ slice below its XY slice.

    Parameters
    ----------
    cells : rows of (title, volume)
        Volumes (z, y, x) of RI, of the same shape; a title may have several lines.
    reference : (z, y, x)
        Sets where the slices are (its densest point) and the end of the colour scale.
    voxel_size_um : (dz, dy, dx)
    medium_index : float
        Start of the colour scale.
    panel_width : int
        Pixels.

    Returns
    -------
    (y, x, 3) uint8
    """
    scale = index_scale(reference, medium_index)
    place = densest(reference)
    per_um = panel_width / _DPI / (reference.shape[2] * voxel_size_um[2])
    drawn = []
    for row in cells:
        sections = ((t, orthogonal_panels(v, voxel_size_um, place, scale)) for t, v in row)
        drawn.append([[(title, xy), ("", xz)] for title, (xy, xz, _) in sections])
    return _grid(drawn, scale, per_um)


Cell = Sequence[tuple[str, Panel]]  # panels below each other, with their titles


def draw_panels(rows: Sequence[Sequence[tuple[str, Panel]]], zoom: float) -> Picture:
    """Return a picture of rows of panels, each under its title, at ``zoom`` pixels a um.

    Where edges are counted in pixels of the image, ``zoom`` is how large each is drawn.
    """
    return _grid([[[panel] for panel in row] for row in rows], None, zoom / _DPI)


def _grid(rows: Sequence[Sequence[Cell]], scale: ColourScale | None, per_um: float) -> Picture:
    """Return a picture of cells at ``per_um`` inches a um.

    With the colour bar of a ``scale`` the first one has a scale bar, too.
    """
    columns = itertools.zip_longest(*rows, fillvalue=())
    widths = [max(_width(cell, per_um) for cell in column) for column in columns]
    width = sum(widths) + len(widths) * _GAP
    lines = [max(_lines(title) for cell in row for title, _ in cell) for row in rows]
    heights = [max(_height(cell, per_um) for cell in row) for row in rows]
    height = sum(heights) + sum(lines) * _LINE + (len(rows) - 1) * _GAP + 2 * _MARGIN
    if scale is not None:
        height = max(height, _BAR_LOWEST + _LINE + 2 * _MARGIN)
    legend = 0.0 if scale is None else _BAR + _BAR_TEXT
    figure = new_figure(_MARGIN + width + legend + _MARGIN, height, LIGHT)
    top = _MARGIN
    for number, row in enumerate(rows):
        left, top = _MARGIN, top + lines[number] * _LINE
        for place, cell in enumerate(row):
            with_bar = number == place == 0 and scale is not None
            _draw_cell(figure, cell, (left, top), per_um, with_bar=with_bar)
            left += widths[place] + _GAP
        top += heights[number] + _GAP
    if scale is not None:
        high = min(height - 2 * _MARGIN - _LINE, _BAR_HIGHEST)
        bar = Place(_MARGIN + width + _GAP / 2, _MARGIN + lines[0] * _LINE, _BAR, high)
        draw_colour_bar(figure, scale, bar, LIGHT)
    return pixels_of(figure, _DPI)


def _draw_cell(
    figure: "Figure", cell: Cell, corner: tuple[float, float], per_um: float, *, with_bar: bool
) -> None:
    left, top = corner
    for number, (title, panel) in enumerate(cell):
        width, height = (um * per_um for um in panel.size_um)
        shown = _with_bar(panel) if with_bar and number == 0 else panel
        draw_panel(figure, replace(shown, title=title), Place(left, top, width, height), LIGHT)
        top += height + _BELOW


def _lines(title: str) -> int:
    return title.count("\n") + 1 if title else 0


def _width(cell: Cell, per_um: float) -> float:
    """Return the width of a cell, at least about that of its titles."""
    lines = (line for title, _ in cell for line in title.split("\n"))
    letters = max((points(0.55 * LIGHT.letters_pt * len(line)) for line in lines), default=0.0)
    return max([letters, *(panel.size_um[0] * per_um for _, panel in cell)])


def _height(cell: Cell, per_um: float) -> float:
    return sum(panel.size_um[1] * per_um + _BELOW for _, panel in cell)


def _with_bar(panel: Panel) -> Panel:
    return replace(panel, bar_um=round_length_um(_SHARE * panel.size_um[0]))


def index_scale(reference: Volume, medium_index: float) -> ColourScale:
    """Return the colours from the index of the medium to the highest one of a volume."""
    high = max(float(np.quantile(reference, 0.9999)), medium_index + 1e-3)
    return ColourScale(medium_index, high)


def densest(volume: Volume) -> tuple[int, int, int]:
    """Return the centre (z, y, x) of what stands out, weighted by its contrast."""
    contrast = np.maximum(volume - np.quantile(volume, 0.99), 0.0)
    total = float(contrast.sum())
    if total == 0:
        return (volume.shape[0] // 2, volume.shape[1] // 2, volume.shape[2] // 2)
    sums = (contrast.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    z, y, x = (round(float(s @ np.arange(len(s))) / total) for s in sums)
    return z, y, x


def orthogonal_panels(
    volume: Volume, voxel_size_um: Voxels, place: tuple[int, int, int], scale: ColourScale
) -> tuple[Panel, Panel, Panel]:
    """Return the XY, XZ and YZ sections of a volume (z, y, x) through a voxel."""
    z, y, x = place
    half = [n * d / 2 for n, d in zip(volume.shape, voxel_size_um, strict=True)]
    cuts = ((volume[z], 2, 1), (volume[:, y], 2, 0), (volume[:, :, x].T, 0, 1))
    xy, xz, yz = (
        Panel(image, scale, (-half[right], half[right], -half[down], half[down]), plane=plane)
        for (image, right, down), plane in zip(cuts, ("XY", "XZ", "YZ"), strict=True)
    )
    return xy, xz, yz


def apply_colours(values: NDArray[np.floating[Any]]) -> Picture:
    """Return values (y, x) from 0 to 1 in colour, (y, x, 3) uint8."""
    import matplotlib

    picture: Picture = matplotlib.colormaps[VIRIDIS](np.clip(values, 0, 1), bytes=True)[..., :3]
    return np.ascontiguousarray(picture)


def write_png(path: Path, picture: Picture) -> None:
    """Write a (y, x, 3) uint8 picture as PNG."""
    path.write_bytes(encode_png(picture))
