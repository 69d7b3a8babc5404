"""Regularizes finished volumes of other programs, large fields in tiles.

What was measured is found by ``reconstruction.finished``. A volume with more voxels than a tile
should have is cut across into overlapping tiles. Medium, optics and the kind of support are found
once, on the tile with the most contrast, so that all tiles are treated alike. Each is regularized
by itself and they are blended where they overlap: memory beyond the volume and its result is that
of one tile.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray

from reconstruction.finished.background import medium_of
from reconstruction.finished.clipping import is_nonnegative
from reconstruction.finished.finished_volume import (
    FinishedVolume,
    KnownOptics,
    Support,
    SupportFound,
    read_finished,
)
from reconstruction.tomogram import Tomogram
from regularizer.interface import Progress, Regularizer

__all__ = ["TILE_VOXELS", "FinishedResult", "regularize_finished"]

TILE_VOXELS = 12_000_000  # about 2 GB while it is regularized
_HALO_UM = 6.0  # the missing cone smears an object over a few micrometres
_LEAST = 64  # voxels across a tile


@dataclass(frozen=True, slots=True)
class FinishedResult:
    """A regularized volume, on the voxels of the one that was given.

    Parameters
    ----------
    raw : Tomogram
        The volume as it was given.
    regularized : Tomogram
    support : SupportFound
    tiles : int
    """

    raw: Tomogram
    regularized: Tomogram
    support: SupportFound
    tiles: int


def regularize_finished(
    volume: FinishedVolume,
    known: KnownOptics,
    regularizer: Regularizer,
    support: Support = "auto",
    *,
    device: str | torch.device = "cpu",
    tile_voxels: int = TILE_VOXELS,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> FinishedResult:
    """Regularize a finished volume.

    Parameters
    ----------
    volume : FinishedVolume
    known : KnownOptics
        What is known of the optics.
    regularizer : Regularizer
    support : "auto", "optics" or "measured"
        Where the measured part of k-space is found (``read_finished``).
    device : str or torch.device
    tile_voxels : int
        A volume with more voxels is regularized in tiles.
    progress : callable or None
        Called with (done, total).
    stop : Event or None
        Ends it with ``Stopped``.

    Raises
    ------
    LiveTomoError
        If what was measured cannot be found.
    """
    tiles = _tiles(volume, tile_voxels)
    if len(tiles) == 1:
        reading = read_finished(volume, known, support, device)
        made = regularizer(reading.tomogram, reading.spectrum, progress, stop).windowed()
        return _result(volume, made, reading.support, 1)
    found = _common_support(volume, known, support, tiles)
    made = _tiled(volume, known, regularizer, found, tiles, device, progress, stop)
    return _result(volume, made, found, len(tiles))


def _result(
    volume: FinishedVolume, made: Tomogram, support: SupportFound, tiles: int
) -> FinishedResult:
    raw = Tomogram(
        torch.from_numpy(volume.index),
        volume.voxel_size_um,
        support.optics,
        volume.timestamp,
        volume.sequence,
        {"support": support.sentence()},
    )
    return FinishedResult(raw, made, support, tiles)


@dataclass(frozen=True, slots=True)
class _Tile:
    """Rows and columns of a tile with its halo."""

    rows: slice
    columns: slice

    def cut(self, volume: FinishedVolume) -> FinishedVolume:
        part = np.ascontiguousarray(volume.index[:, self.rows, self.columns])
        return replace(volume, index=part)


def _tiles(volume: FinishedVolume, most: int) -> list[_Tile]:
    z, y, x = volume.index.shape
    if z * y * x <= most:
        return [_Tile(slice(0, y), slice(0, x))]
    edge = max(_LEAST, math.isqrt(most // z))
    spans = [
        list(_spans(n, edge, min(math.ceil(_HALO_UM / size), edge // 4)))
        for n, size in zip((y, x), volume.voxel_size_um[1:], strict=True)
    ]
    return [_Tile(rows, columns) for rows in spans[0] for columns in spans[1]]


def _spans(length: int, edge: int, halo: int) -> Iterator[slice]:
    """Yield overlapping parts of a length, of equal size, each at most ``edge`` long."""
    if length <= edge:
        yield slice(0, length)
        return
    size = min(length, 2 * scipy.fft.next_fast_len(edge // 2))
    count = math.ceil((length - 2 * halo) / (size - 2 * halo))
    for number in range(count):
        first = round(number * (length - size) / (count - 1))
        yield slice(first, first + size)


def _common_support(
    volume: FinishedVolume, known: KnownOptics, support: Support, tiles: list[_Tile]
) -> SupportFound:
    """Return what is found on the tile with the most contrast, for all of them."""
    medium = known.medium_index or medium_of(volume.index)
    nonnegative = is_nonnegative(volume.index, medium)

    def contrast(tile: _Tile) -> float:
        part = volume.index[:, tile.rows, tile.columns]
        return float(np.square(part - medium, dtype=np.float32).sum(dtype=np.float64))

    busiest = max(tiles, key=contrast)
    whole = replace(known, medium_index=medium)
    found = read_finished(busiest.cut(volume), whole, support, nonnegative=nonnegative).support
    notes = tuple(note for note in found.notes if not note.startswith("the medium's index was"))
    return replace(found, notes=notes)


def _tiled(
    volume: FinishedVolume,
    known: KnownOptics,
    regularizer: Regularizer,
    found: SupportFound,
    tiles: list[_Tile],
    device: str | torch.device,
    progress: Progress | None,
    stop: threading.Event | None,
) -> Tomogram:
    total = np.zeros(volume.index.shape, np.float32)
    weights = np.zeros(volume.index.shape[1:], np.float32)
    residuals, made = [], None
    for number, tile in enumerate(tiles):

        def told(done: int, of: int, number: int = number) -> None:
            if progress is not None:  # in thousandths of a tile
                progress(1000 * number + 1000 * done // of, 1000 * len(tiles))

        reading = read_finished(tile.cut(volume), known, "auto", device, found)
        made = regularizer(reading.tomogram, reading.spectrum, told, stop)
        window = _window(tile, volume.index.shape)
        total[:, tile.rows, tile.columns] += window * made.windowed().index.cpu().numpy()
        weights[tile.rows, tile.columns] += window
        residuals.append(made.data_residual)
    assert made is not None  # there are several tiles
    total /= weights
    return Tomogram(
        torch.from_numpy(total),
        volume.voxel_size_um,
        found.optics,
        volume.timestamp,
        volume.sequence,
        {**made.provenance, "tiles": str(len(tiles))},
        data_residual=float(np.sqrt(np.mean(np.square(residuals)))),
    )


def _window(tile: _Tile, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weights of a tile, falling to its inner edges, (y, x) float32."""
    rows, columns = (
        _fall(span, n) for span, n in zip((tile.rows, tile.columns), shape[1:], strict=True)
    )
    return np.asarray(rows[:, None] * columns, np.float32)


def _fall(span: slice, length: int) -> NDArray[np.float64]:
    """Return weights that fall over a quarter of a span, but not at the volume's own edges."""
    size = span.stop - span.start
    at = np.arange(size) + 0.5
    fall = max(size / 4, 1.0)
    weights = np.ones(size)
    if span.start > 0:
        weights = np.minimum(weights, at / fall)
    if span.stop < length:
        weights = np.minimum(weights, (size - at) / fall)
    return weights
