"""Writes scans whose volume does not fit into memory: raw and regularized, tile by tile.

Tiles are blended in the file, where they overlap (``reconstruction.tile_plan``).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from files.tiled_volumes import TiledVolumes
from reconstruction.geometry import Views
from reconstruction.reconstructor import ScanReport
from reconstruction.settings import ReconstructionSettings
from reconstruction.tile_plan import TilePlan, plan_tiles
from reconstruction.tiled_reconstructor import TiledScan
from reconstruction.tomogram import Tomogram
from reconstruction.volume import plan_volume
from regularizer.interface import Progress, Regularizer

__all__ = ["TiledResult", "tiles_of", "write_tiles"]

_HOLDS_OBJECTS = 0.1  # of the highest contrast of all tiles: below it, warnings are of noise


def tiles_of(
    settings: ReconstructionSettings, views: Views, tile_voxels: int | None
) -> TilePlan | None:
    """Return the tiles of scans; None where the volume has no more voxels than a tile."""
    if tile_voxels is None or np.prod(plan_volume(settings, views).shape) <= tile_voxels:
        return None
    return plan_tiles(settings, views, tile_voxels)


@dataclass(frozen=True, slots=True)
class TiledResult:
    """What was written of a scan; for the row of a scan.

    ``tomogram`` has the whole's shape and the time and number of the scan, but no values.
    """

    tomogram: Tomogram
    report: ScanReport
    mean_index: float
    max_index: float
    data_residual: float
    imaginary_part: float
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _Figures:
    """Sums over the tiles of a scan, and what each had to say."""

    total: float = 0.0
    highest: float = 0.0
    residuals: list[float] = field(default_factory=list)
    imaginary: list[float] = field(default_factory=list)
    warnings: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)

    def told(self) -> tuple[str, ...]:
        """Return the warnings of tiles that hold objects, each once."""
        highest = max(contrast for contrast, _ in self.warnings)
        kept = [said for c, said in self.warnings if c >= _HOLDS_OBJECTS * highest]
        return tuple(dict.fromkeys(warning for said in kept for warning in said))


def write_tiles(
    scan: TiledScan,
    plan: TilePlan,
    regularize: Regularizer,
    method: str,
    begin: Callable[[Tomogram, dict[str, Tomogram]], TiledVolumes],
    progress: Progress,
    stop: threading.Event | None = None,
) -> TiledResult:
    """Regularize each tile of a scan and write it.

    Parameters
    ----------
    scan : TiledScan
    plan : TilePlan
    regularize : Regularizer
    method : str
        Dataset of the regularized volume; "": raw only.
    begin : callable
        Called with the first tile's tomograms, of the whole's shape and without values, raw and by
        dataset; returns the rows to write to.
    progress : callable
        Called with (done, total), in thousandths of a tile.
    stop : Event or None
        Ends it with ``Stopped``.
    """
    volumes: TiledVolumes | None = None
    figures, total = _Figures(), len(scan)
    for number, (tile, made) in enumerate(scan):

        def told(done: int, of: int, number: int = number) -> None:
            progress(1000 * number + 1000 * done // of, 1000 * total)

        tomograms = {"raw": made.tomogram}
        if method:
            tomograms[method] = regularize(made.tomogram, made.spectrum, told, stop)
        told(1, 1)  # some regularizers have no steps
        if volumes is None:
            first = {name: _empty(one, plan) for name, one in tomograms.items()}
            volumes = begin(first["raw"], {name: first[name] for name in first if name != "raw"})
        weights = tile.kept()
        for name, one in tomograms.items():
            part = plan.kept(one.windowed().index).cpu().numpy()
            volumes.add(name, tile.within, weights, part)
        best = next(reversed(tomograms.values()))
        figures.total += float((weights * part).sum(dtype=np.float64))
        figures.highest = max(figures.highest, float(part.max()))
        figures.residuals.append(best.data_residual)
        figures.imaginary.append(made.report.imaginary_part)
        contrast = float(made.tomogram.index.max()) - made.tomogram.optics.medium_index
        figures.warnings.append((contrast, best.warnings))
    return TiledResult(
        first["raw"],
        made.report,
        figures.total / float(np.prod(plan.shape)),
        figures.highest,
        float(np.sqrt(np.mean(np.square(figures.residuals)))),
        max(figures.imaginary),
        figures.told(),
    )


def _empty(tomogram: Tomogram, plan: TilePlan) -> Tomogram:
    """Return a tomogram of the whole's shape that takes no memory."""
    return replace(
        tomogram,
        index=torch.zeros(()).expand(plan.shape),
        voxel_size_um=plan.voxel_size_um,
        window=None,
        uncertainty=None,
        provenance={**tomogram.provenance, "tiles": plan.sentence()},
    )
