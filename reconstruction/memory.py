"""Estimates the memory that a volume needs, and refuses a volume that does not fit.

The figures come from the increase of the process's peak resident memory, measured on volumes of 1
to 9 million voxels. They are right to within a third where a network sees the whole volume, and up
to twice as high where objects fill a part of it. The error for a volume that does not fit says what
would.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from acquisition.errors import ConfigurationError
from reconstruction.geometry import Views
from reconstruction.settings import ReconstructionSettings
from reconstruction.volume import VolumeGrid, plan_volume

__all__ = ["bytes_needed", "check_memory", "free_bytes"]

_VOXEL = 64  # bytes per computed voxel: spectra, planes, averages
_PIXEL = 45  # bytes per pixel of every view: fields, the background's, logarithms, transforms
_SAMPLE = 150  # bytes per sample on a cap and voxel of Kz that it is spread over
_ON_CAPS = math.pi / 16  # share of a view's frequencies: a disk of half the band's width
_SHOWN = 16  # bytes per voxel of the window: the raw and the regularized volume


def bytes_needed(grid: VolumeGrid, views: int, extra_bytes_per_voxel: float = 0.0) -> int:
    """Return the memory that a scan needs, in bytes.

    Parameters
    ----------
    grid : VolumeGrid
    views : int
    extra_bytes_per_voxel : float
        Bytes per voxel for further processing, such as a regularizer.
    """
    pixels = views * math.prod(grid.crop)
    samples = _ON_CAPS * pixels * grid.spread
    computed = _VOXEL * math.prod(grid.fine_shape) + extra_bytes_per_voxel * math.prod(grid.shape)
    shown = 0 if grid.window is None else _SHOWN * math.prod(grid.window.shape)
    return round(computed + _PIXEL * pixels + _SAMPLE * samples + shown)


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
) -> None:
    """Refuse a volume that does not fit into the device's memory.

    Parameters
    ----------
    settings : ReconstructionSettings
    views : Views
    device : torch device
    extra_bytes_per_voxel : float
        As in ``bytes_needed``.
    free : int or None
        Free bytes; None: as the device reports.

    Raises
    ------
    ConfigurationError
        If it does not fit; the message says how much is needed and what would fit.
    """
    free = free_bytes(device) if free is None else free
    needed = bytes_needed(plan_volume(settings, views), len(views), extra_bytes_per_voxel)
    if free is None or needed <= free:
        return

    def fits(changed: ReconstructionSettings) -> bool:
        return bytes_needed(plan_volume(changed, views), len(views), extra_bytes_per_voxel) <= free

    remedy = next(_remedies(settings, fits), "crop the frames, or use a machine with more memory")
    raise ConfigurationError(
        f"the volume must fit into memory, but it needs about {needed / 1e9:.1f} GB and "
        f"{free / 1e9:.1f} GB are free: {remedy}"
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
