"""Estimates the memory that a volume needs, and refuses a volume that does not fit.

The figures come from the increase of a process's peak resident memory, measured on volumes of 0.6
to 9 million voxels that are full of objects (``benchmarks growth``). A regularizer's engine keeps
what it has taken while the next scan is reconstructed, so both count. The error for a volume that
does not fit says what would.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from acquisition.errors import ConfigurationError
from reconstruction.focus import planes_needed
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.tile_plan import TilePlan
from reconstruction.volume import VolumeGrid, plan_volume

__all__ = [
    "RETRIEVED",
    "bytes_needed",
    "bytes_of_tiles",
    "check_memory",
    "check_tile",
    "free_bytes",
    "scratch_bytes",
]

_BEGUN = 40_000_000  # bytes that libraries take when they are first used
# Allocators keep and scatter what they were given: the peak of one scan differed by a sixth.
_PEAK = 1.3
_VOXEL = 64  # bytes per computed voxel: spectra, planes, averages
# bytes per pixel of every view: fields, the background's, logarithms, transforms
RETRIEVED = 45
# what remains of both while a tomogram is regularized: the background, plans, tomogram and spectrum
_PLANNED, _RESULT = 35, 20
# the same where fields are kept for scattering: them, the measured light, that of two contrasts and
# its difference, what a slice is multiplied with; 134 measured with one correction of a sphere in a
# frame of 256 (515 MB in all, 640 by this estimate, which is 70 % too high without fields)
_KEPT = 100
_SAMPLE = 150  # bytes per sample on a cap and voxel of Kz that it is spread over
_ON_CAPS = math.pi / 16  # share of a view's frequencies: a disk of half the band's width
_SHOWN = 16  # bytes per voxel of the window: the raw and the regularized volume


def bytes_needed(
    grid: VolumeGrid, views: int, extra_bytes_per_voxel: float = 0.0, *, keep_fields: bool = False
) -> int:
    """Return the memory that a scan needs, in bytes.

    Parameters
    ----------
    grid : VolumeGrid
    views : int
    extra_bytes_per_voxel : float
        Bytes per voxel for further processing, such as a regularizer.
    keep_fields : bool
        Whether the fields are kept, for a regularizer that knows the scattering.
    """
    pixels = views * math.prod(grid.crop)
    samples = _ON_CAPS * pixels * grid.spread
    fields = _KEPT * pixels if keep_fields else 0
    reconstructing = _VOXEL * math.prod(grid.fine_shape) + RETRIEVED * pixels + fields
    regularizing = (_RESULT + extra_bytes_per_voxel) * math.prod(grid.shape)
    regularizing += _PLANNED * pixels + fields
    # an engine keeps what it has taken for its network while the next scan is reconstructed
    kept = extra_bytes_per_voxel * math.prod(grid.shape)
    largest = max(
        _PEAK * (reconstructing + _SAMPLE * samples) + kept, regularizing + _SAMPLE * samples
    )
    shown = 0 if grid.window is None else _SHOWN * math.prod(grid.window.shape)
    return round(_BEGUN + largest + shown)


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        import psutil  # may be missing on a bare GPU server
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def check_memory(
    settings: ReconstructionSettings,
    views: Views,
    device: torch.device,
    extra_bytes_per_voxel: float = 0.0,
    free: int | None = None,
    *,
    keep_fields: bool = False,
) -> None:
    """Refuse a volume that does not fit into the device's memory.

    Parameters
    ----------
    settings : ReconstructionSettings
    views : Views
    device : torch device
    extra_bytes_per_voxel, keep_fields
        As in ``bytes_needed``.
    free : int or None
        Free bytes; None: as the device reports.

    Raises
    ------
    ConfigurationError
        If it does not fit; the message says how much is needed and what would fit.
    """
    free = free_bytes(device) if free is None else free

    def bytes_of(chosen: ReconstructionSettings) -> int:
        grid = plan_volume(chosen, views)
        return bytes_needed(grid, len(views), extra_bytes_per_voxel, keep_fields=keep_fields)

    needed = bytes_of(settings)
    if free is None or needed <= free:
        return

    def fits(changed: ReconstructionSettings) -> bool:
        return bytes_of(changed) <= free

    remedy = next(_remedies(settings, fits), "crop the frames, or use a machine with more memory")
    raise ConfigurationError(
        f"the volume must fit into memory, but it needs about {needed / 1e9:.1f} GB and "
        f"{free / 1e9:.1f} GB are free: {remedy}"
    )


def bytes_of_tiles(plan: TilePlan, views: Views, extra_bytes_per_voxel: float = 0.0) -> int:
    """Return the memory that a scan in tiles needs beside its interferograms, in bytes.

    Parameters
    ----------
    plan : TilePlan
    views : Views
        The geometry of the whole fields.
    extra_bytes_per_voxel : float
        As in ``bytes_needed``.
    """
    tile = bytes_needed(plan.grid, len(views), extra_bytes_per_voxel)
    return max(tile, RETRIEVED * math.prod(views.field_shape))


def scratch_bytes(plan: TilePlan, views: Views) -> int:
    """Return the size of the temporary file of a scan in tiles."""
    depths = planes_needed(views, plan.grid)
    samples = len(views) * _ON_CAPS * math.prod(plan.grid.crop)
    return round(8 * len(plan.tiles) * depths * samples)


def check_tile(
    plan: TilePlan, views: Views, device: torch.device, extra_bytes_per_voxel: float = 0.0
) -> None:
    """Refuse tiles of which one does not fit into the device's memory."""
    free, needed = free_bytes(device), bytes_of_tiles(plan, views, extra_bytes_per_voxel)
    if free is not None and needed > free:
        raise ConfigurationError(
            f"a tile must fit into memory, but it needs about {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: choose smaller tiles (--tile-voxels)"
        )


def _remedies(
    settings: ReconstructionSettings, fits: Callable[[ReconstructionSettings], bool]
) -> Iterator[str]:
    """Yield changes of the given settings that would make the volume fit."""
    voxel, slices, size = settings.voxel_um, settings.slices, settings.size_um
    if voxel is not None:
        coarser = _first(1.2, lambda f: fits(replace(settings, voxel_um=f * voxel)))
        if coarser:
            yield f"a voxel of {coarser * voxel:.3f} um would fit"
    if slices is not None:
        fewer = _first(0.8, lambda f: fits(replace(settings, slices=int(f * slices) or 1)))
        if fewer:
            yield f"{int(fewer * slices) or 1} slices would fit"
    if size is not None:
        y, x = size
        smaller = _first(0.8, lambda f: fits(replace(settings, size_um=(f * y, f * x))))
        if smaller:
            yield f"a size of {smaller * y:.1f} x {smaller * x:.1f} um would fit"
    if settings.oversampling not in (None, 1) and fits(replace(settings, oversampling=1)):
        yield "an oversampling of 1 would fit"


def _first(step: float, suits: Callable[[float], bool]) -> float | None:
    """Return the first power of ``step`` that suits; None if none of the first 60 does."""
    return next((step**n for n in range(1, 61) if suits(step**n)), None)
