"""Running a network over a volume of any size: patches as in the paper, or the whole at once.

Patches of 64^3 with stride 32 are weighted by a quadratic B-spline window, summed and normalised
by the summed windows (Ryu et al. 2021). A volume is padded by reflection to the size needed.
Volumes are (channels, z, y, x), both the network's input and its output.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from acquisition.errors import ConfigurationError

__all__ = [
    "HALO",
    "Network",
    "apply_occupied",
    "apply_patches",
    "apply_tiles",
    "apply_whole",
    "occupied",
    "spline_window",
]

HALO = 48  # voxels around a tile; more than the light U-Net's receptive field to each side
_CELL = 8  # edge, in voxels, of the coarse cells in which objects are searched
_MARGIN = 2  # coarse cells added around the objects
_OCCUPIED = 0.1  # a cell with this share of the highest mean contrast holds an object

Network = Callable[[torch.Tensor], torch.Tensor]


def spline_window(size: int) -> torch.Tensor:
    """Return a quadratic B-spline over ``size`` samples, (size,), positive everywhere."""
    t = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 3 - 1.5
    inner = 0.75 - t**2
    outer = 0.5 * (1.5 - t.abs()) ** 2
    return torch.where(t.abs() < 0.5, inner, outer).to(torch.float32)


def apply_patches(
    network: Network, volume: torch.Tensor, size: int = 64, stride: int = 32, batch: int = 4
) -> torch.Tensor:
    """Return network(volume) stitched from overlapping patches.

    Parameters
    ----------
    network : callable on (batch, channels, size, size, size)
    volume : (channels, z, y, x) float32

    Returns
    -------
    (outputs of the network, z, y, x)
    """
    if not 0 < stride <= size:
        raise ConfigurationError(f"stride must be 1 to the patch size {size}, got {stride}")
    counts = [max(0, -(-(n - size) // stride)) for n in volume.shape[1:]]
    padded = _pad(volume, [size + count * stride for count in counts])
    corners = [
        (z * stride, y * stride, x * stride)
        for z in range(counts[0] + 1)
        for y in range(counts[1] + 1)
        for x in range(counts[2] + 1)
    ]
    w = spline_window(size).to(volume)
    window = w[:, None, None] * w[:, None] * w
    weight = torch.zeros_like(padded[0])
    total: torch.Tensor | None = None
    for start in range(0, len(corners), batch):
        cuts = [
            tuple(slice(c, c + size) for c in corner) for corner in corners[start : start + batch]
        ]
        results = network(torch.stack([padded[:, *cut] for cut in cuts]))
        if total is None:
            total = padded.new_zeros((results.shape[1], *weight.shape))
        for cut, result in zip(cuts, results, strict=True):
            total[:, *cut] += window * result
            weight[cut] += window
    assert total is not None  # there is a patch
    _, z, y, x = volume.shape
    return (total / weight)[:, :z, :y, :x]


def apply_whole(network: Network, volume: torch.Tensor, multiple: int = 8) -> torch.Tensor:
    """Return network(volume), computed on the whole volume at once.

    Parameters
    ----------
    network : callable on (1, channels, z, y, x)
    volume : (channels, z, y, x) float32
    multiple : int
        Edges are padded to multiples of this.

    Returns
    -------
    (outputs of the network, z, y, x)
    """
    padded = _pad(volume, [-(-n // multiple) * multiple for n in volume.shape[1:]])
    _, z, y, x = volume.shape
    return network(padded[None])[0, :, :z, :y, :x]


def apply_tiles(
    network: Network, volume: torch.Tensor, multiple: int = 8, tile: int = 512
) -> torch.Tensor:
    """Return network(volume), computed in tiles of at most ``tile`` rows and columns.

    Tiles save memory. Each is computed with a halo of ``HALO`` voxels, so the result equals that of
    the whole volume as long as the network's receptive field is within the halo. Nothing is cut
    along z.
    """
    _, _, y, x = volume.shape
    bands = []
    for top in range(0, y, tile):
        rows, tiles = _with_halo(top, tile, y), []
        for left in range(0, x, tile):
            columns = _with_halo(left, tile, x)
            part = apply_whole(network, volume[:, :, rows, columns], multiple)
            first = left - columns.start
            tiles.append(part[:, :, top - rows.start :, first : first + tile][:, :, :tile])
        bands.append(torch.cat(tiles, dim=3))
    return torch.cat(bands, dim=2)


def _with_halo(first: int, tile: int, n: int) -> slice:
    return slice(max(first - HALO, 0), min(first + tile + HALO, n))


def occupied(volume: torch.Tensor) -> tuple[slice, slice]:
    """Return the rows and columns (y, x) of a volume (z, y, x) that hold objects, with a margin.

    The whole height is kept, because the missing cone smears objects along z.
    """
    coarse = functional.avg_pool3d(volume[None, None], _CELL, ceil_mode=True)[0, 0]
    seen = coarse > _OCCUPIED * coarse.max()
    spans = []
    for axis, n in ((1, volume.shape[1]), (2, volume.shape[2])):
        where = seen.any(dim=0).any(dim=2 - axis).nonzero()[:, 0]
        first, last = (int(where[0]), int(where[-1])) if len(where) else (0, n)
        spans.append(slice(max(first - _MARGIN, 0) * _CELL, min((last + 1 + _MARGIN) * _CELL, n)))
    return spans[0], spans[1]


def apply_occupied(
    network: Network, channels: Sequence[torch.Tensor], multiple: int = 8, scale: float = 1.0
) -> torch.Tensor:
    """Return scale network(volume / scale) in the rows and columns with objects, zeros elsewhere.

    Parameters
    ----------
    network : callable on (1, channels, z, y, x)
    channels : sequence of (z, y, x)
        Of the volume. Objects are found in the last one (``occupied``).
    multiple : int
        As in ``apply_whole``.
    scale : float
    """
    rows, columns = occupied(channels[-1])
    seen = torch.stack([one[:, rows, columns] for one in channels]).div_(scale)
    part = apply_tiles(network, seen, multiple).mul_(scale)
    result = part.new_zeros((len(part), *channels[-1].shape))
    result[:, :, rows, columns] = part
    return result


def _pad(volume: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """Pad a volume at the far ends, by reflection where it is long enough, else by its edge."""
    sizes = volume.shape[1:]
    missing = [wanted - n for wanted, n in zip(shape, sizes, strict=True)]
    if not any(missing):
        return volume
    short = any(m >= n for m, n in zip(missing, sizes, strict=True))
    widths = (0, missing[2], 0, missing[1], 0, missing[0])
    return functional.pad(volume[None], widths, mode="replicate" if short else "reflect")[0]
