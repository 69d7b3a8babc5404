"""Regularizes the finished volumes of a file into a tomogram file, one after the other.

An interrupted job is resumed: the tomogram file keeps what it was made from and how, and a job with
the same source and settings continues after its last volume.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from acquisition.choices import REGULARIZERS, Constraint
from acquisition.closing import Closing
from acquisition.errors import DataError
from acquisition.optics import Optics
from files.disk import check_output, check_space
from files.series import ScanLocation
from files.tomogram_fluorescence import write_fluorescence
from files.tomograms import TomogramAppender, TomogramWriter, read_tomograms, resume_tomograms
from files.volumes.open_volumes import FinishedVolumes
from pipeline.tomograms.job import ProgressListener
from reconstruction.finished.finished_volume import KnownOptics, Support
from regularizer.finished_volumes import TILE_VOXELS, FinishedResult, regularize_finished
from regularizer.registry import regularizer

__all__ = ["VolumeJob", "VolumeRecipe", "VolumeResult", "volumes_held"]


@dataclass(frozen=True, slots=True)
class VolumeRecipe:
    """How finished volumes are regularized.

    Parameters
    ----------
    method : str
        "none", "gp", "tv", "tv-fast" or "deep".
    device : str
    known : KnownOptics
        What is known of the optics.
    support : "auto", "optics" or "measured"
    preset : str or None
        Of total variation.
    constraint : "auto", "non-negative", "non-positive" or "none"
    tile_voxels : int
        A volume with more voxels is regularized in tiles.
    """

    method: str
    device: str = "cpu"
    known: KnownOptics = field(default_factory=KnownOptics)
    support: Support = "auto"
    preset: str | None = None
    constraint: Constraint = "auto"
    tile_voxels: int = TILE_VOXELS

    @property
    def regularizer(self) -> str:
        """Name of the regularizer in ``regularizer.registry``."""
        return self.preset or self.method

    @property
    def datasets(self) -> tuple[str, ...]:
        """The regularized volumes that the tomogram file holds."""
        return () if self.method == "none" else (REGULARIZERS[self.method].volume,)


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """What became of one volume; for people and as JSON.

    ``support`` is "optics" or "measured", ``measured_share`` the part of k-space that was measured,
    ``state`` what the volume was ("raw", "clipped", "filled"); ``sentence`` says it in words.
    """

    time: int
    support: str
    measured_share: float
    state: str
    sentence: str
    medium_index: float
    optics: Optics
    tiles: int
    mean_index: float
    max_index: float
    data_residual: float
    seconds: float
    warnings: tuple[str, ...] = ()


class VolumeJob(Closing):
    """Makes and writes regularized volumes; a context manager that closes the file.

    Parameters
    ----------
    volumes : FinishedVolumes
    output : Path
        A new tomogram file, or one that a job like this has left unfinished.
    recipe : VolumeRecipe
    listener : ProgressListener
    stop : Event or None
        Ends the current volume with Stopped.

    Attributes
    ----------
    done : int
        Volumes that the file held before.

    Raises
    ------
    DataError
        If the output exists and is not such a file.
    """

    def __init__(
        self,
        volumes: FinishedVolumes,
        output: Path,
        recipe: VolumeRecipe,
        listener: ProgressListener,
        stop: Event | None = None,
    ) -> None:
        self.volumes, self.output, self.recipe = volumes, output, recipe
        self._listener, self._stop = listener, stop
        self._regularize = regularizer(
            recipe.regularizer, recipe.device, constraint=recipe.constraint
        )
        self._writer: TomogramAppender | None = None
        self.done = 0
        if output.exists():
            self.done = volumes_held(volumes, output, recipe)
            if self.done >= len(volumes):
                raise DataError(f"{output} exists and is not overwritten: choose another name")
            self._writer = resume_tomograms(output)
        else:
            check_output(output)

    @property
    def bytes_each(self) -> int:
        """Bytes that one volume adds to the file."""
        return 4 * int(np.prod(self.volumes.shape)) * (1 + len(self.recipe.datasets))

    def turn_to(self, output: Path) -> None:
        """Close the file and write what follows into another, new one."""
        self.close()
        self.output = output

    def close(self) -> None:
        """Close the file; all volumes made so far are in it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def run(self) -> Iterator[VolumeResult]:
        """Regularize the volumes that are left, and write each as it is finished.

        Raises
        ------
        DataError
            If the disk is too small.
        """
        left = len(self.volumes) - self.done
        check_space(self.output, left * self.bytes_each, self.output.name)
        yield from self.make(range(self.done, len(self.volumes)))
        self.close()
        write_fluorescence(self.output, self.volumes.source.fluorescence, self._listener.say)

    def make(self, numbers: Iterable[int]) -> Iterator[VolumeResult]:
        """Regularize some of the volumes, and write each as it is finished."""
        return (self._run(number) for number in numbers)

    def _run(self, number: int) -> VolumeResult:
        self._listener.say(f"volume {number + 1} of {len(self.volumes)}, {self.recipe.method}")
        begin = time.perf_counter()
        result = regularize_finished(
            self.volumes[number],
            self.recipe.known,
            self._regularize,
            self.recipe.support,
            device=self.recipe.device,
            tile_voxels=self.recipe.tile_voxels,
            progress=lambda done, total: self._listener.advance_to(number + done / total),
            stop=self._stop,
        )
        self._write(number, result)
        self._listener.advance_to(number + 1)
        made, found = result.regularized, result.support
        return VolumeResult(
            number,
            found.kind,
            found.share,
            found.state,
            found.sentence(),
            found.medium_index,
            found.optics,
            result.tiles,
            float(made.index.mean()),
            float(made.index.max()),
            made.data_residual,
            time.perf_counter() - begin,
            (*(() if number else self.volumes.source.notes), *found.notes, *made.warnings),
        )

    def _write(self, number: int, result: FinishedResult) -> None:
        if self._writer is None:
            source = self.volumes.source
            names = ("",) if source.stage_um else None
            provenance = _provenance(self.volumes, self.recipe) | {
                "support": result.support.sentence()
            }
            if self.recipe.datasets:
                made = result.regularized.provenance
                provenance[self.recipe.datasets[0]] = dict(made)
            self._writer = TomogramWriter(
                self.output, result.raw, self.recipe.datasets, provenance, names
            )
        held = dict.fromkeys(self.recipe.datasets, result.regularized)
        self._writer.append(result.raw, held, self._location(number))

    def _location(self, number: int) -> ScanLocation | None:
        places = self.volumes.source.stage_um
        return ScanLocation(stage_um=places[number]) if places else None


def _provenance(volumes: FinishedVolumes, recipe: VolumeRecipe) -> dict[str, Any]:
    source = volumes.source
    return {
        "volumes": source.path.name,
        "kind": source.kind,
        "source": dict(source.about),
        "regularizer": recipe.regularizer,
        "constraint": recipe.constraint,
        "settings": {
            "known": asdict(recipe.known),
            "support": recipe.support,
            "scale": volumes.scale,
            "voxel_size_um": list(volumes.voxel_size_um),
        },
    }


def volumes_held(volumes: FinishedVolumes, output: Path, recipe: VolumeRecipe) -> int:
    """Return how many of the volumes a tomogram file holds.

    Raises
    ------
    DataError
        If it was made from something else or in another way.
    """
    series = read_tomograms(output)
    own = _provenance(volumes, recipe)
    if any(series.provenance.get(key) != own[key] for key in own if key != "source"):
        raise DataError(
            f"{output} exists and is not overwritten: choose another name, or continue it with the "
            "file and settings it was made with"
        )
    return len(series)
