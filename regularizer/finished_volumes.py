"""Regularizes finished volumes of other programs, large fields in tiles.

What was measured is found by ``reconstruction.finished``. A volume with more voxels than a tile
should have is cut across into overlapping tiles. Medium, optics and the kind of support are found
once, on the tile with the most contrast, so that all tiles are treated alike. Each is regularized
by itself, and they are blended where they overlap: memory beyond the volume and its result is that
of one tile. In the outer third of the overlap a tile's contrast falls to zero, so that the cut
leaves no mark on its spectrum; that part of its result is not used (``reconstruction.tiles``).
"""

import math
import threading
from dataclasses import dataclass, replace

import numpy as np
import torch

from reconstruction.finished.background import medium_of
from reconstruction.finished.clipping import is_nonnegative
from reconstruction.finished.finished_volume import (
    FinishedVolume,
    KnownOptics,
    Support,
    SupportFound,
    read_finished,
)
from reconstruction.tiles import Tile, field_tiles
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
    tiles, margin = _tiles(volume, tile_voxels)
    if len(tiles) == 1:
        reading = read_finished(volume, known, support, device)
        made = regularizer(reading.tomogram, reading.spectrum, progress, stop).windowed()
        return _result(volume, made, reading.support, 1)
    found = _common_support(volume, known, support, tiles)
    made = _tiled(volume, known, regularizer, found, tiles, margin, device, progress, stop)
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


def _tiles(volume: FinishedVolume, most: int) -> tuple[list[Tile], tuple[int, int]]:
    """Return the tiles of a volume, and the width (y, x) of the margin around each."""
    z, y, x = volume.index.shape
    _, dy, dx = volume.voxel_size_um
    overlap = math.ceil(_OVERLAP_UM / dy), math.ceil(_OVERLAP_UM / dx)
    edge = math.isqrt(most // z) if z * y * x > most else max(y, x) + 1
    return field_tiles((y, x), (edge, edge), overlap), (overlap[0] // 3, overlap[1] // 3)


def _cut(volume: FinishedVolume, tile: Tile) -> FinishedVolume:
    return replace(volume, index=np.ascontiguousarray(volume.index[:, *tile.within]))


def _common_support(
    volume: FinishedVolume, known: KnownOptics, support: Support, tiles: list[Tile]
) -> SupportFound:
    """Return what is found on the tile with the most contrast, for all of them."""
    medium = known.medium_index or medium_of(volume.index)
    nonnegative = is_nonnegative(volume.index, medium)

    def contrast(tile: Tile) -> float:
        part = volume.index[:, *tile.within]
        return float(np.square(part - medium, dtype=np.float32).sum(dtype=np.float64))

    busiest = max(tiles, key=contrast)
    whole = replace(known, medium_index=medium)
    found = read_finished(_cut(volume, busiest), whole, support, nonnegative=nonnegative).support
    notes = tuple(note for note in found.notes if not note.startswith("the medium's index was"))
    return replace(found, notes=notes)


def _tiled(
    volume: FinishedVolume,
    known: KnownOptics,
    regularizer: Regularizer,
    found: SupportFound,
    tiles: list[Tile],
    margin: tuple[int, int],
    device: str | torch.device,
    progress: Progress | None,
    stop: threading.Event | None,
) -> Tomogram:
    total = np.zeros(volume.index.shape, np.float32)
    residuals, made = [], None
    for number, tile in enumerate(tiles):

        def told(done: int, of: int, number: int = number) -> None:
            if progress is not None:  # in thousandths of a tile
                progress(1000 * number + 1000 * done // of, 1000 * len(tiles))

        window = tile.taper(margin).astype(np.float64)
        part = _cut(volume, tile)
        reading = read_finished(part, known, "auto", device, found, window=window)
        made = regularizer(reading.tomogram, reading.spectrum, told, stop)
        told(1, 1)  # some regularizers have no steps
        total[:, *tile.within] += tile.kept(margin) * made.windowed().index.cpu().numpy()
        residuals.append(made.data_residual)
    assert made is not None  # there are several tiles
    return Tomogram(
        torch.from_numpy(total),
        volume.voxel_size_um,
        found.optics,
        volume.timestamp,
        volume.sequence,
        {**made.provenance, "tiles": str(len(tiles))},
        data_residual=float(np.sqrt(np.mean(np.square(residuals)))),
    )
