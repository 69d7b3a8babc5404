"""What a run will need, said before it starts: memory, disk and time.

Memory is the estimate that a volume is refused by (``reconstruction.memory``), for each process
that works at once. The time is that of the transforms: a pair is timed on this machine, and how
many pairs a tomogram takes was measured (``RegularizerChoice.transform_pairs``). It holds for
processors only, and to within a factor of two.
"""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from acquisition.choices import REGULARIZERS
from acquisition.errors import ConfigurationError
from acquisition.interferograms import InterferogramStack
from files.disk import check_space, free_bytes
from files.recording import Recording
from files.volumes.open_volumes import FinishedVolumes
from pipeline.tomograms.recipe import Recipe
from pipeline.tomograms.tiling import tiles_of
from pipeline.tomograms.torch_device import torch_device
from pipeline.tomograms.volume_job import VolumeRecipe
from reconstruction import memory
from reconstruction.finished.resampling import computed_shape
from reconstruction.geometry import Views
from reconstruction.tile_plan import plan_tiles
from reconstruction.volume import plan_volume
from regularizer.constraint import with_objects
from regularizer.finished_volumes import TILE_VOXELS, bytes_of_finished
from regularizer.registry import bytes_per_voxel

__all__ = ["Needs", "fitting_tiles", "needs_of_recording", "needs_of_volumes"]

_RAW_PAIRS = 9.0  # of 49 angles to 64 slices, measured as those of regularizers
_OF_ANGLES = 49
_WATER = 1.337
_GRID_VOXEL = (
    20  # bytes a voxel of the grid that a finished volume is regularized on: spectrum, index
)


@dataclass(frozen=True, slots=True)
class Needs:
    """What some tomograms need.

    Parameters
    ----------
    count : int
        Tomograms.
    shape : (z, y, x)
        Voxels of the volume that is computed.
    memory_bytes : int
        Peak of a process that makes them, beside the program itself.
    disk_bytes : int
        Of all of them.
    pairs : float
        Transform pairs that one takes; 0 where nothing can be said.
    tiles : int
        In how many each is made.
    scratch_bytes : int
        Of temporary files beside the output, for each process.
    """

    count: int
    shape: tuple[int, int, int]
    memory_bytes: int
    disk_bytes: int
    pairs: float
    tiles: int = 1
    scratch_bytes: int = 0

    def of(self, count: int) -> "Needs":
        """Return what another number of the same tomograms needs."""
        each = self.disk_bytes / self.count
        return replace(self, count=count, disk_bytes=round(each * count))

    def seconds(self, workers: int = 1) -> float:
        """Return the processor time on this machine, over the number of workers."""
        return self.count * self.pairs * _pair_s(self.shape) / workers if self.pairs else 0.0

    def check(self, output: Path, workers: int = 1) -> None:
        """Refuse what does not fit on the disk of ``output``, or into the memory of this machine.

        Parameters
        ----------
        output : Path
        workers : int
            Processes of this machine's processors that work at once; 0: none, the memory is not
            theirs.

        Raises
        ------
        DataError
            If the disk is too small.
        ConfigurationError
            If that many workers do not fit into memory.
        """
        disk = self.disk_bytes + max(workers, 1) * self.scratch_bytes
        check_space(output, disk, f"a run of {self.count} tomograms")
        free = memory.free_bytes(torch.device("cpu"))
        if free is None or workers * self.memory_bytes <= free:
            return
        fitting = int(free // self.memory_bytes)
        remedy = f"use {fitting} workers" if fitting else "cut the field, or use another machine"
        raise ConfigurationError(
            f"a run must fit into memory, but it needs about "
            f"{workers * self.memory_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: "
            f"{remedy}"
        )

    def sentence(self, output: Path) -> str:
        """Return it for people."""
        size = " x ".join(map(str, self.shape))
        tiles = f" in {self.tiles} tiles each" if self.tiles > 1 else ""
        some = "1 tomogram" if self.count == 1 else f"{self.count} tomograms"
        return (
            f"{some} of {size} voxels{tiles}: about {_size(self.memory_bytes)} of "
            f"memory for each process, {_size(self.disk_bytes)} on the disk "
            f"({_size(free_bytes(output))} free)"
        )


def needs_of_recording(recording: Recording, recipe: Recipe) -> Needs:
    """Return what one tomogram of a recording needs.

    Raises
    ------
    DataError
        If the background shows no fringes.
    """
    settings = with_objects(recipe.settings, recipe.constraint)
    views, each = Views.of_background(recording.background), bytes_per_voxel(recipe.regularizer)
    grid = plan_volume(settings, views)
    disk = 4 * math.prod(grid.window_shape) * (1 + len(recipe.datasets))
    pairs = _pairs(recipe.regularizer, _RAW_PAIRS * len(views) / _OF_ANGLES)
    plan = tiles_of(settings, views, recipe.tile_voxels)
    if plan is None:
        fields = recipe.needs_fields
        peak = memory.bytes_needed(grid, len(views), each, keep_fields=fields)
        return Needs(1, grid.shape, peak, disk, pairs)
    # the scan and its background are larger than a tile needs, and are held whole
    peak = memory.bytes_of_tiles(plan, views, each) + 2 * recording.background.frames.nbytes
    computed = math.prod(plan.grid.shape) * len(plan.tiles)
    return Needs(
        1, plan.shape, peak, disk, pairs * computed / math.prod(plan.shape),
        len(plan.tiles), memory.scratch_bytes(plan, views),
    )  # fmt: skip


def fitting_tiles(background: InterferogramStack, recipe: Recipe, processes: int = 1) -> int | None:
    """Return the voxels of the largest tiles that fit into memory; None if the whole volume does.

    None as well where the whole volume is needed: for a regularizer that knows the scattering, and
    for comparisons with total variation.

    Parameters
    ----------
    background : InterferogramStack
    recipe : Recipe
    processes : int
        How many share the memory of this machine's processors.
    """
    device = torch.device(torch_device(recipe.device))
    free = memory.free_bytes(device)
    if free is None or recipe.needs_fields or recipe.check_every:
        return None
    free = free // processes if device.type == "cpu" else free
    settings = with_objects(recipe.settings, recipe.constraint)
    views, each = Views.of_background(background), bytes_per_voxel(recipe.regularizer)
    if memory.bytes_needed(plan_volume(settings, views), len(views), each) <= free:
        return None
    voxels, frames = TILE_VOXELS, 2 * background.frames.nbytes
    while True:
        try:
            plan = plan_tiles(settings, views, voxels)
        except ConfigurationError:
            return None  # the whole is refused then, with what would fit
        if memory.bytes_of_tiles(plan, views, each) + frames <= free:
            return voxels
        voxels //= 2


def needs_of_volumes(volumes: FinishedVolumes, recipe: VolumeRecipe) -> Needs:
    """Return what one volume of a file needs."""
    shape, voxel = volumes.shape, volumes.voxel_size_um
    extra = bytes_per_voxel(recipe.regularizer)
    optics = recipe.known.optics(recipe.known.medium_index or _WATER, max(voxel[1:]))
    if optics is not None:  # else it is known when the volume is read
        grown = math.prod(computed_shape(shape, voxel, optics)) / math.prod(shape)
        extra = max(extra, grown * (extra + _GRID_VOXEL) - _GRID_VOXEL)
    peak = bytes_of_finished(shape, extra, recipe.tile_voxels)
    disk = 4 * math.prod(shape) * (1 + len(recipe.datasets))
    return Needs(1, shape, peak, disk, _pairs(recipe.regularizer, 0.0))


def _pairs(regularizer: str, raw: float) -> float:
    choice = REGULARIZERS.get(regularizer)
    if choice is None or (regularizer != "none" and not choice.transform_pairs):
        return 0.0
    return raw + choice.transform_pairs


def _pair_s(shape: tuple[int, int, int]) -> float:
    """Return the time of a forward and an inverse transform of a part of such a volume, scaled."""
    z, y, x = shape
    part = torch.zeros(min(z, 128), min(y, 128), min(x, 128))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        torch.fft.irfftn(torch.fft.rfftn(part), s=part.shape)
        times.append(time.perf_counter() - begin)
    return min(times) * math.prod(shape) / part.numel()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
