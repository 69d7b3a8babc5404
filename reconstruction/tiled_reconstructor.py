"""Reconstructs a scan whose volume does not fit into memory, tile by tile.

Fields are retrieved a few angles at a time. What a tile needs of them, the samples of its spectrum
on the caps, goes into a temporary file; it is a fifth of the pixels, for each depth. Then tile
after tile is inverted. Beside the interferograms, memory is that of one tile.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import torch

from acquisition.closing import Closing
from acquisition.interferograms import InterferogramStack
from reconstruction.field_inversion import FieldInversion, Scattered
from reconstruction.focus import FocusPlan
from reconstruction.frame_quality import FrameQuality
from reconstruction.geometry import Views
from reconstruction.memory import RETRIEVED, bytes_needed, check_tile
from reconstruction.reconstructor import (
    BackgroundLight,
    Reconstruction,
    Reconstructor,
    check_usable,
    phase_evidence,
)
from reconstruction.settings import ReconstructionSettings
from reconstruction.tile_plan import TilePlan, plan_tiles
from reconstruction.tiles import Tile
from reconstruction.wave_vectors import WaveVectors

__all__ = ["TiledReconstructor", "TiledScan"]

_SAMPLE = np.dtype(np.complex64).itemsize


class TiledReconstructor(Reconstructor):
    """Turns scans into raw tomograms, tile by tile.

    Parameters
    ----------
    background : InterferogramStack
    device : str or torch.device
    settings : ReconstructionSettings
    extra_bytes_per_voxel : float
        As for ``Reconstructor``.
    tile_voxels : int
        Most voxels of a tile's volume, its margin included.
    scratch : Path or None
        Folder for temporary files; None: the system's.

    Raises
    ------
    DataError
        If the background shows no fringes or does not fit its optics.
    ConfigurationError
        If a tile does not fit into memory, or tiles cannot be.
    """

    def __init__(
        self,
        background: InterferogramStack,
        device: str | torch.device,
        settings: ReconstructionSettings,
        extra_bytes_per_voxel: float,
        tile_voxels: int,
        scratch: Path | None = None,
    ) -> None:
        self._tile_voxels, self._scratch = tile_voxels, scratch
        super().__init__(background, device, settings, extra_bytes_per_voxel)

    def _plan_inversion(self, views: Views) -> None:
        self.plan: TilePlan = plan_tiles(self.settings, views, self._tile_voxels)
        check_tile(self.plan, views, self.device, self._each_voxel)
        self._views = views
        self.inversion = FieldInversion(self.plan.views, self.plan.settings, self.device)
        share = bytes_needed(self.plan.grid, len(views), self._each_voxel) // 2
        each = RETRIEVED * math.prod(views.field_shape)
        at_once = min(max(share // each, 1), len(views))
        starts = range(0, len(views), at_once)
        self._turns = [slice(first, min(first + at_once, len(views))) for first in starts]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the whole tomogram."""
        return self.plan.shape

    def _prepare_background(self) -> None:
        places = [self._background_light(angles)[1] for angles in self._turns]
        self._judge_background(np.concatenate(places, axis=1))

    def _light_of(self, angles: slice) -> BackgroundLight:
        return self._background_light(angles)[0]  # not kept: it is larger than a tile

    def scan(self, stack: InterferogramStack) -> "TiledScan":
        """Retrieve the fields of one scan; the result yields its tiles, and must be closed.

        Raises
        ------
        DataError
            If the scan does not fit the background, or no angle is usable.
        """
        unusable_angles = self.unusable_angles(stack)
        begin = time.perf_counter()
        quality = FrameQuality.unknown(len(stack.frames))
        store = _Samples(self.inversion, self._scratch)
        try:
            evidence = []
            for angles in self._turns:
                fields, seen = self.retrieve(
                    stack.frames[angles], stack, first=angles.start, lost=tuple(unusable_angles)
                )
                if not self._oriented:
                    evidence.append(phase_evidence(fields, seen))
                scattered = self._scatter(fields, angles, store)
                newer = seen.with_phase(scattered.residues, scattered.bending)
                quality = quality.updated(angles.start, newer)
            self.check_order(quality)
            left_out = {**self.unusable_frames(quality), **unusable_angles}
            check_usable(left_out, len(stack.frames))
            if evidence and self._orient(evidence):
                store.close()
                return self.scan(stack)
        except BaseException:
            store.close()
            raise
        stages_s = {"fields": time.perf_counter() - begin}
        return TiledScan(self, stack, store, left_out, quality, stages_s)

    def look(self, stack: InterferogramStack) -> None:
        """Let a scan show which sideband is not the conjugate, if it can."""
        self.scan(stack).close()

    def _scatter(self, fields: torch.Tensor, angles: slice, store: "_Samples") -> Scattered:
        """Store the samples of all tiles from the fields (views, y, x) of some angles."""
        vectors = self.wave_vectors
        views = replace(self._views, vectors=WaveVectors(vectors.carrier, vectors.k[angles], ()))
        steps = len(self.inversion.focus.steps)
        focus = FocusPlan(
            views, self.plan.grid, replace(self.plan.settings, planes=steps), self.device
        )

        def take(depth: int, psi: torch.Tensor) -> None:
            chosen = self.inversion.caps.range_of(angles.start, angles.stop)
            for number, tile in enumerate(self.plan.tiles):
                samples = self.inversion.caps.samples(self.plan.cut(tile, psi), angles.start)
                store.put(number, depth, chosen.start, samples)

        return self.inversion.sampled(focus.planes(fields), take)


class TiledScan(Closing):
    """A scan whose fields were retrieved; yields its tiles, and is closed when they are made."""

    def __init__(
        self,
        reconstructor: TiledReconstructor,
        stack: InterferogramStack,
        store: "_Samples",
        left_out: dict[int, str],
        quality: FrameQuality,
        stages_s: dict[str, float],
    ) -> None:
        self._made_by, self._stack, self._store = reconstructor, stack, store
        self._left_out, self._quality, self._stages_s = left_out, quality, stages_s

    def __len__(self) -> int:
        return len(self._made_by.plan.tiles)

    def __iter__(self) -> Iterator[tuple[Tile, Reconstruction]]:
        """Yield each tile with its reconstruction, margin included (``TilePlan.kept``)."""
        for number, tile in enumerate(self._made_by.plan.tiles):
            samples = self._store.tile(number, self._made_by.device)
            made = self._made_by.invert(
                samples, self._left_out, self._quality, self._stack, self._stages_s
            )
            yield tile, made

    def close(self) -> None:
        """Remove what was stored of the fields."""
        self._store.close()


class _Samples:
    """Samples on the caps of all tiles, in a temporary file."""

    def __init__(self, inversion: FieldInversion, folder: Path | None) -> None:
        self._count, self._depths = inversion.caps.count, len(inversion.focus.steps)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, prefix=".livetomo-tiles-")

    def put(self, tile: int, depth: int, first: int, samples: torch.Tensor) -> None:
        """Write the samples (n,) complex64 from ``first`` on."""
        self._file.seek(_SAMPLE * ((tile * self._depths + depth) * self._count + first))
        self._file.write(samples.cpu().numpy().tobytes())

    def tile(self, tile: int, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Read the samples of a tile, (n,) complex64 per depth."""
        self._file.seek(_SAMPLE * tile * self._depths * self._count)
        held = np.fromfile(self._file, np.complex64, self._depths * self._count)
        return tuple(torch.from_numpy(held).to(device).view(self._depths, -1))

    def close(self) -> None:
        self._file.close()
