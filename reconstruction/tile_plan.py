"""Where the tiles of a large scan lie, and how large they are.

Cutting a raw tomogram would dilute the caps of its k-space, so it is the fields that are cut. The
Rytov field of each depth is computed, and unwrapped, on the whole frame; a tile takes its part of
it, as the field of a smaller camera, with a margin on all sides: the light of an object in the tile
is displaced sideways by as far as the steepest light walks over half of the volume's height, and is
spread by the resolution. Over the outer part of the margin the field falls to zero, so that the cut
leaves no mark on the spectrum. Beyond the frame a tile's field is zero.
"""

import math
from dataclasses import dataclass, replace

import torch

from acquisition.errors import ConfigurationError
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.tiles import Span, Tile, field_tiles
from reconstruction.transform_sizes import fast_size
from reconstruction.volume import VolumeGrid, plan_volume, steepest_tangent

__all__ = ["TilePlan", "plan_tiles"]

_RIM_RESOLUTIONS = 8  # lateral resolutions over which a field falls to zero
_BLEND_UM = 2.0  # over which neighbours are blended
_LEAST_KEPT = 2  # overlaps of blending that a tile must keep at least


@dataclass(frozen=True, slots=True)
class TilePlan:
    """The tiles of a scan.

    Parameters
    ----------
    shape : (z, y, x)
        Voxels of the whole tomogram.
    voxel_size_um : (dz, dy, dx)
    tiles : list of Tile
        What each contributes to the tomogram, without its margin.
    views : Views
        The geometry of a tile's fields, margin included.
    settings : ReconstructionSettings
        Those of a tile.
    grid : VolumeGrid
        That of a tile.
    origin : (y, x)
        Pixel of the fields that is voxel 0, 0 of the whole tomogram.
    rim : (y, x)
        Pixels over which a tile's field falls to zero at its edges.
    """

    shape: tuple[int, int, int]
    voxel_size_um: tuple[float, float, float]
    tiles: list[Tile]
    views: Views
    settings: ReconstructionSettings
    grid: VolumeGrid
    origin: tuple[int, int]
    rim: tuple[int, int]

    def sentence(self) -> str:
        """Return what the tiles are, for the provenance."""
        size = " x ".join(str(n) for n in self.grid.shape)
        rows, columns = (
            (size - (span.end - span.first)) // 2 * pixel
            for size, span, pixel in zip(
                self.views.field_shape,
                (self.tiles[0].y, self.tiles[0].x),
                self.views.pixel_size_um,
                strict=True,
            )
        )
        return (
            f"{len(self.tiles)} tiles of {size} voxels, of which {rows:.1f} and {columns:.1f} um "
            "at the edges (y, x) are not used"
        )

    def cut(self, tile: Tile, fields: torch.Tensor) -> torch.Tensor:
        """Return a tile's part of scattered fields (views, y, x), tapered, zero beyond them."""
        parts = []
        for axis, span in enumerate((tile.y, tile.x)):
            size, length = self.views.field_shape[axis], fields.shape[axis + 1]
            first = self.origin[axis] + (span.first + span.end) // 2 - size // 2
            begin = min(max(first, 0), length)  # a tile may lie beyond the fields
            seen = slice(begin, max(min(first + size, length), begin))
            parts.append((seen, slice(seen.start - first, seen.stop - first)))
        (rows, to_rows), (columns, to_columns) = parts
        cut = fields.new_zeros((len(fields), *self.views.field_shape))
        cut[:, to_rows, to_columns] = fields[:, rows, columns]
        return cut.mul_(self._taper(fields.device))

    def _taper(self, device: torch.device) -> torch.Tensor:
        rows, columns = (Span(0, n, n // 2, n // 2) for n in self.views.field_shape)
        return torch.from_numpy(Tile(rows, columns).taper(self.rim)).to(device)

    def kept(self, volume: torch.Tensor) -> torch.Tensor:
        """Return the middle of a tile's volume (z, y, x): the tile without its margin."""
        tile = self.tiles[0]  # all are of one size
        for axis, span in ((1, tile.y), (2, tile.x)):
            size = span.end - span.first
            volume = volume.narrow(axis, volume.shape[axis] // 2 - size // 2, size)
        return volume


def plan_tiles(settings: ReconstructionSettings, views: Views, tile_voxels: int) -> TilePlan:
    """Return the tiles of a scan.

    Parameters
    ----------
    settings : ReconstructionSettings
    views : Views
        The geometry of the whole fields.
    tile_voxels : int
        Most voxels of a tile's volume, margin included.

    Raises
    ------
    ConfigurationError
        If the sample was rotated, voxels of another size are asked for, or tiles of so few voxels
        have no room beside their margin.
    """
    if views.rotations is not None or settings.voxel_um is not None:
        what = "the sample at rest" if views.rotations is not None else "voxels of the fields' size"
        raise ConfigurationError(
            f"tiles need {what}, and this one has not: use a machine with more memory, or "
            "reconstruct a part (--size)"
        )
    whole = plan_volume(settings, views)
    z, *asked = whole.window_shape
    height_um = whole.shape[0] * whole.voxel_size_um[0]
    rim_um = _RIM_RESOLUTIONS * views.optics.lateral_resolution_um
    margin_um = height_um / 2 * steepest_tangent(views) + rim_um
    pixel = views.pixel_size_um
    margin, blend, rim = (
        (math.ceil(um / pixel[0]), math.ceil(um / pixel[1]))
        for um in (margin_um, _BLEND_UM, rim_um)
    )
    edge = _fast_at_most(math.isqrt(tile_voxels // whole.shape[0]))
    room = [edge - 2 * m for m in margin]
    if any(r < _LEAST_KEPT * b for r, b in zip(room, blend, strict=True)):
        least = max(2 * m + _LEAST_KEPT * b for m, b in zip(margin, blend, strict=True))
        least = 2 * fast_size(math.ceil(least / 2))
        raise ConfigurationError(
            f"a tile must have {least**2 * whole.shape[0]} voxels or more, of which a margin of "
            f"{margin_um:.1f} um on each side is not used, got {tile_voxels}: choose larger tiles"
        )
    tiles = field_tiles((asked[0], asked[1]), (room[0], room[1]), blend)
    sizes = [span.end - span.first for span in (tiles[0].y, tiles[0].x)]
    crop = [2 * fast_size(math.ceil(s / 2) + m) for s, m in zip(sizes, margin, strict=True)]
    of_tile = replace(settings, size_um=None)
    tile_views = replace(views, field_shape=(crop[0], crop[1]))
    origin = [n // 2 - a // 2 for n, a in zip(views.field_shape, asked, strict=True)]
    grid = plan_volume(of_tile, tile_views)
    window = grid.voxel_size_um if grid.window is None else grid.window.voxel_size_um
    return TilePlan(
        (z, asked[0], asked[1]), window, tiles, tile_views, of_tile, grid,
        (origin[0], origin[1]), rim,
    )  # fmt: skip


def _fast_at_most(most: int) -> int:
    """Return the largest even size with a fast transform up to ``most``."""
    half = max(most // 2, 1)
    while fast_size(half) != half:
        half -= 1
    return 2 * half
