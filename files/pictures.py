"""A picture of a tomogram without a display: three slices of each volume, with scale and RI range.

The PNG is written here (zlib and four chunks), so that a bare server needs no further package.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from files.glyphs import text_mask

__all__ = ["apply_colours", "draw_grid", "draw_tomograms", "encode_png", "write_png"]

Volume = NDArray[np.float32]
Picture = NDArray[np.uint8]  # (y, x, 3)

_GAP = 12
_LINE = 20
# viridis at nine places; its lightness rises evenly, so that it reads in print as well
_COLOURS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    np.float64,
)
_PAPER = 24
_INK = np.array((235, 235, 235), np.uint8)


def draw_tomograms(
    rows: Sequence[tuple[str, Volume]],
    voxel_size_um: tuple[float, float, float],
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
    limits = _limits(reference, medium_index)
    zoom = panel_height / (reference.shape[1] * voxel_size_um[1])  # pixels per um
    place = _densest(reference)
    drawn = [_row(title, v, voxel_size_um, limits, zoom, place) for title, v in rows]
    return _stacked([*drawn, _legend(limits, zoom)])


def draw_grid(
    cells: Sequence[Sequence[tuple[str, Volume]]],
    reference: Volume,
    voxel_size_um: tuple[float, float, float],
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
    limits = _limits(reference, medium_index)
    dz, dy, dx = voxel_size_um
    zoom = panel_width / (reference.shape[2] * dx)
    z, y, _ = _densest(reference)
    lines = max(title.count("\n") + 1 for row in cells for title, _ in row)

    def cell(title: str, volume: Volume) -> Picture:
        slices = (
            _resized(volume[z], dy * zoom, dx * zoom),
            _resized(volume[:, y], dz * zoom, dx * zoom),
        )
        panels = [_coloured(values, limits) for values in slices]
        width = panels[0].shape[1]
        text = _blank(lines * _LINE, width + _GAP)
        for number, line in enumerate(title.split("\n")):
            _write(text, line, number * _LINE + 4, 0)
        parts = [np.pad(p, ((0, 4), (0, _GAP), (0, 0)), constant_values=_PAPER) for p in panels]
        return np.concatenate([text, *parts, _blank(_GAP, width + _GAP)])

    rows = [np.concatenate([cell(*content) for content in row], axis=1) for row in cells]
    picture = _stacked([*rows, _legend(limits, zoom)])
    return np.concatenate([_blank(_GAP, picture.shape[1]), picture])


def _stacked(parts: Sequence[Picture]) -> Picture:
    """Return pictures below each other, as wide as the widest and with a margin to the left."""
    width = max(part.shape[1] for part in parts)
    widths = [(_GAP, width - part.shape[1]) for part in parts]
    filled = [
        np.pad(part, ((0, 0), margins, (0, 0)), constant_values=_PAPER)
        for part, margins in zip(parts, widths, strict=True)
    ]
    return np.concatenate(filled)


def _limits(reference: Volume, medium_index: float) -> tuple[float, float]:
    """Return the indices that are drawn darkest and brightest."""
    return medium_index, max(float(np.quantile(reference, 0.9999)), medium_index + 1e-3)


def _densest(volume: Volume) -> tuple[int, int, int]:
    """Return the centre of what stands out, weighted by its contrast."""
    contrast = np.maximum(volume - np.quantile(volume, 0.99), 0.0)
    total = float(contrast.sum())
    if total == 0:
        return (volume.shape[0] // 2, volume.shape[1] // 2, volume.shape[2] // 2)
    sums = (contrast.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    z, y, x = (round(float(s @ np.arange(len(s))) / total) for s in sums)
    return z, y, x


def _row(
    title: str,
    volume: Volume,
    voxel_size_um: tuple[float, float, float],
    limits: tuple[float, float],
    zoom: float,
    place: tuple[int, int, int],
) -> Picture:
    dz, dy, dx = voxel_size_um
    z, y, x = place
    panels = [
        _resized(volume[z], dy * zoom, dx * zoom),
        _resized(volume[:, y], dz * zoom, dx * zoom),
        _resized(volume[:, :, x], dz * zoom, dy * zoom),
    ]
    names = [f"{title}: XY", "XZ", "YZ"]
    height = max(panel.shape[0] for panel in panels)
    parts = [_panel(p, n, height, limits) for p, n in zip(panels, names, strict=True)]
    return np.concatenate(parts, axis=1)


def _panel(
    values: NDArray[np.float64], name: str, height: int, limits: tuple[float, float]
) -> Picture:
    """Return a slice in colour under its name, padded to the height of its row."""
    picture = _blank(height + _LINE + _GAP, values.shape[1] + _GAP)
    picture[_LINE : _LINE + values.shape[0], : values.shape[1]] = _coloured(values, limits)
    _write(picture, name, 4, 0)
    return picture


def _legend(limits: tuple[float, float], zoom: float) -> Picture:
    """Return a line with the colour scale and a scale bar of 5 um."""
    ramp = np.broadcast_to(np.linspace(*limits, 160), (_LINE - 8, 160))
    bar = np.broadcast_to(_INK, (4, round(5 * zoom), 3))
    low, high, length = (_text(t) for t in (f"{limits[0]:.3f}", f"{limits[1]:.3f} RI", "5 um"))
    parts = ((low, 0), (_coloured(ramp, limits), 8), (high, 8), (bar, 3 * _GAP), (length, 8))
    picture = _blank(2 * _LINE, sum(part.shape[1] + gap for part, gap in parts) + _GAP)
    left = 0
    for part, gap in parts:
        left += gap
        top = _LINE // 2 - len(part) // 2
        picture[top : top + len(part), left : left + part.shape[1]] = part
        left += part.shape[1]
    return picture


def _text(text: str) -> Picture:
    return np.where(text_mask(text)[..., None], _INK, np.uint8(_PAPER))


def _coloured(values: NDArray[np.float64], limits: tuple[float, float]) -> Picture:
    low, high = limits
    return apply_colours((values - low) / (high - low))


def apply_colours(values: NDArray[np.floating[Any]]) -> Picture:
    """Return values (y, x) from 0 to 1 in colour, (y, x, 3) uint8."""
    place = np.clip(values, 0, 1) * (len(_COLOURS) - 1)
    steps = np.arange(len(_COLOURS))
    channels = [np.interp(place, steps, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _resized(values: Volume, zoom_y: float, zoom_x: float) -> NDArray[np.float64]:
    """Return the slice at another size, linearly interpolated."""
    along_y = _resample(values.astype(np.float64), zoom_y)
    return np.ascontiguousarray(_resample(along_y.T, zoom_x).T)


def _resample(values: NDArray[np.float64], zoom: float) -> NDArray[np.float64]:
    count = max(round(len(values) * zoom), 1)
    place = np.clip((np.arange(count) + 0.5) / zoom - 0.5, 0, len(values) - 1)
    below = np.minimum(place.astype(int), len(values) - 1)
    above = np.minimum(below + 1, len(values) - 1)
    part = (place - below)[:, None]
    return np.asarray(values[below] * (1 - part) + values[above] * part)


def _blank(height: int, width: int) -> Picture:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _write(picture: Picture, text: str, top: int, left: int) -> None:
    """Write text onto the picture as far as it fits."""
    mask = text_mask(text)
    area = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
    area[mask[: area.shape[0], : area.shape[1]]] = _INK


def write_png(path: Path, picture: Picture) -> None:
    """Write a (y, x, 3) uint8 picture as PNG."""
    path.write_bytes(encode_png(picture))


def encode_png(picture: Picture) -> bytes:
    """Return a (y, x, 3) uint8 picture as a PNG file's content."""
    height, width, _ = picture.shape
    # each line is preceded by its filter type, here 0: none
    lines = np.concatenate(
        [np.zeros((height, 1), np.uint8), picture.reshape(height, width * 3)], axis=1
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
