"""Regularizes finished volumes of other programs, large fields in tiles.

What was measured is found by ``reconstruction.finished``. A volume with more voxels than a tile
should have is cut across into overlapping tiles. Medium, optics and the kind of support are found
once, on the tile with the most contrast, so that all tiles are treated alike. Each is regularized
by itself, and they are blended where they overlap: memory beyond the volume and its result is that
of one tile. In the outer half of the overlap a tile's contrast falls to zero, so that the cut
leaves no mark on its spectrum; that part of its result is not used.
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
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

__all__ = ["TILE_VOXELS", "FinishedResult", "bytes_of_finished", "regularize_finished"]

TILE_VOXELS = 20_000_000  # about 3 GB while it is regularized
_VOXEL = 16  # bytes a voxel of the volume: as given, its result, and their sum
_TILE_VOXEL = 65  # bytes a voxel of a tile, beside the regularizer's: contrast and spectra
_OVERLAP_UM = 10.0  # the missing cone smears an object over a few micrometres


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


def bytes_of_finished(
    shape: tuple[int, int, int], extra_bytes_per_voxel: float, tile_voxels: int = TILE_VOXELS
) -> int:
    """Return the memory that a volume (z, y, x) needs, in bytes, with that of its regularizer."""
    voxels = math.prod(shape)
    each = _TILE_VOXEL + extra_bytes_per_voxel
    return round(_VOXEL * voxels + each * min(voxels, tile_voxels))


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
class _Span:
    """A part of an axis, and the overlap with its neighbours in voxels; 0 at the ends."""

    first: int
    end: int
    before: int
    after: int

    @property
    def within(self) -> slice:
        return slice(self.first, self.end)

    def fall(self, *, kept: bool) -> NDArray[np.float64]:
        """Return weights over the span.

        With ``kept`` those of its result, which rise over the inner half of the overlap; else those
        of its contrast, which rise over the outer half as a squared cosine.
        """
        at = np.arange(self.end - self.first) + 0.5
        weights = np.ones(len(at))
        for from_edge, overlap in ((at, self.before), (at[::-1], self.after)):
            if overlap:
                risen = 2 * from_edge / overlap - (1 if kept else 0)
                weights *= np.sin(np.pi / 2 * np.clip(risen, 0, 1)) ** 2
        return weights


@dataclass(frozen=True, slots=True)
class _Tile:
    """Rows and columns of a tile."""

    y: _Span
    x: _Span

    def cut(self, volume: FinishedVolume) -> FinishedVolume:
        part = np.ascontiguousarray(volume.index[:, self.y.within, self.x.within])
        return replace(volume, index=part)

    def weights(self, *, kept: bool) -> NDArray[np.float64]:
        """Return the weights (y, x) of its contrast, or of its result."""
        return self.y.fall(kept=kept)[:, None] * self.x.fall(kept=kept)


def _tiles(volume: FinishedVolume, most: int) -> list[_Tile]:
    z, y, x = volume.index.shape
    if z * y * x <= most:
        return [_Tile(_Span(0, y, 0, 0), _Span(0, x, 0, 0))]
    edge = math.isqrt(most // z)
    spans = [
        list(_spans(n, edge, math.ceil(_OVERLAP_UM / size)))
        for n, size in zip((y, x), volume.voxel_size_um[1:], strict=True)
    ]
    return [_Tile(rows, columns) for rows in spans[0] for columns in spans[1]]


def _spans(length: int, edge: int, overlap: int) -> Iterator[_Span]:
    """Yield overlapping parts of a length, of equal size, at most ``edge`` or twice the overlap."""
    size = max(2 * (edge // 2), 2 * overlap)
    if length <= size:
        yield _Span(0, length, 0, 0)
        return
    count = max(2, math.ceil((length - overlap) / (size - overlap)))
    starts = [round(number * (length - size) / (count - 1)) for number in range(count)]
    for first in starts:  # neighbours overlap by this or more
        before, after = (overlap if inner else 0 for inner in (first > 0, first + size < length))
        yield _Span(first, first + size, before, after)


def _common_support(
    volume: FinishedVolume, known: KnownOptics, support: Support, tiles: list[_Tile]
) -> SupportFound:
    """Return what is found on the tile with the most contrast, for all of them."""
    medium = known.medium_index or medium_of(volume.index)
    nonnegative = is_nonnegative(volume.index, medium)

    def contrast(tile: _Tile) -> float:
        part = volume.index[:, tile.y.within, tile.x.within]
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

        window = tile.weights(kept=False)
        reading = read_finished(tile.cut(volume), known, "auto", device, found, window=window)
        made = regularizer(reading.tomogram, reading.spectrum, told, stop)
        told(1, 1)  # some regularizers have no steps
        weight = tile.weights(kept=True).astype(np.float32)
        part = made.windowed().index.cpu().numpy()
        total[:, tile.y.within, tile.x.within] += weight * part
        weights[tile.y.within, tile.x.within] += weight
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
