"""The work on one file of a batch, as paths and settings: small enough to be sent to a worker.

A work knows what is left to be done (numbers of scans or volumes), makes some of it into a tomogram
file, and finishes the file of the whole. It opens nothing until it is asked to.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import Any, Protocol, TypeVar

from acquisition.errors import DataError
from files.recording import Recording, read_recording
from files.tomogram_fluorescence import write_fluorescence
from files.tomograms import read_tomograms
from files.volumes.open_volumes import FinishedVolumes, open_volumes
from files.volumes.volume_source import VolumeOptions
from pipeline.tomograms.job import ProgressListener, ScanResult, SilentProgress, TomogramJob
from pipeline.tomograms.needs import Needs, fitting_tiles, needs_of_recording, needs_of_volumes
from pipeline.tomograms.recipe import Recipe, scans_held, settings_for
from pipeline.tomograms.torch_device import torch_device
from pipeline.tomograms.volume_job import VolumeJob, VolumeRecipe, VolumeResult, volumes_held

__all__ = ["FileWork", "RecordingWork", "Row", "VolumeWork", "file_stamp", "on_this_machine"]

Row = ScanResult | VolumeResult
AnyRecipe = TypeVar("AnyRecipe", Recipe, VolumeRecipe)


class FileWork(Protocol):
    """What a batch does with one file."""

    @property
    def source(self) -> Path:
        """The file that it is made from."""

    @property
    def output(self) -> Path:
        """The tomogram file of the whole."""

    def all(self) -> Sequence[int]:
        """Return the numbers of all that is to be made."""

    def left(self) -> Sequence[int]:
        """Return the numbers that ``output`` does not hold yet, in order.

        Raises
        ------
        DataError
            If the source cannot be read, or ``output`` was made in another way.
        """

    def settled(self) -> "FileWork":
        """Return the work with all that depends on this machine decided, for all workers alike."""

    def needs(self) -> Needs | None:
        """Return what the rest of the file needs; None if nothing is left."""

    def make(
        self, numbers: Sequence[int], listener: ProgressListener, stop: Event | None = None
    ) -> Generator[Row, None, None]:
        """Append some of the whole to ``output``."""

    def make_part(self, numbers: Sequence[int], part: Path) -> Sequence[Row]:
        """Write some of the whole into a new file; plans are kept for the next part."""

    def finish(self, listener: ProgressListener) -> None:
        """Add what belongs into the finished file."""


def on_this_machine(recipe: AnyRecipe) -> AnyRecipe:
    """Return a recipe with the device of this machine, where "auto" leaves it open.

    The process that shares the work out may have no GPU where its workers have one.
    """
    return replace(recipe, device=torch_device(recipe.device))


def file_stamp(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file: another file of the name has another stamp.

    Raises
    ------
    DataError
        If there is none.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise DataError(f"{path} must exist, found nothing: check the name") from error
    return state.st_size, state.st_mtime_ns


@dataclass(frozen=True, slots=True)
class RecordingWork:
    """The scans of a recording.

    Parameters
    ----------
    source, output : Path
    recipe : Recipe
        Its settings are those of the recording, but for ``chosen``.
    chosen : tuple of (str, value)
        Fields of ``ReconstructionSettings``.
    positions : tuple of str
        Names or numbers (from 1) of the stage positions that are wanted; empty: all.
    stamp : tuple of int
        Of the source, so that a worker does not use plans of another file of that name.
    processes : int
        How many share this machine's memory. A volume that does not fit into a share is made in
        tiles; 0: only as the recipe says.
    """

    source: Path
    output: Path
    recipe: Recipe
    chosen: tuple[tuple[str, Any], ...] = ()
    positions: tuple[str, ...] = ()
    stamp: tuple[int, ...] = ()
    processes: int = 0

    def all(self) -> Sequence[int]:
        """Return the numbers of the scans at the chosen positions."""
        recording = read_recording(self.source)
        if not len(recording):
            raise DataError(f"{self.source} must hold at least one finished scan, found none")
        where = recording.log().positions
        at = where.select(self.positions)
        return sorted(int(scan) for one in at for scan in where.scans_at(one))

    def left(self) -> Sequence[int]:
        """Return the numbers of the scans without a tomogram."""
        wanted = self.all()
        if not self.output.exists():
            return wanted
        held = scans_held(self.output, self.recipe_for(read_recording(self.source)))
        return [number for number in wanted if number not in held]

    def settled(self) -> "RecordingWork":
        """Return the work with the size of its tiles: that of the output, or one that fits."""
        if not self.processes:
            return self
        if self.output.exists():
            voxels = read_tomograms(self.output).provenance.get("tile_voxels")
        else:
            source = read_recording(self.source)
            voxels = fitting_tiles(source.background, self.recipe_for(source), self.processes)
        recipe = replace(self.recipe, tile_voxels=voxels)
        return replace(self, recipe=recipe, processes=0)

    def needs(self) -> Needs | None:
        """Return what the scans without a tomogram need; None if there are none."""
        work, source = self.settled(), read_recording(self.source)
        count = len(work.left())
        return needs_of_recording(source, work.recipe_for(source)).of(count) if count else None

    def recipe_for(self, recording: Recording) -> Recipe:
        """Return the recipe with the settings of the recording."""
        return replace(self.recipe, settings=settings_for(recording, dict(self.chosen)))

    def make(
        self, numbers: Sequence[int], listener: ProgressListener, stop: Event | None = None
    ) -> Generator[ScanResult, None, None]:
        """Append the tomograms of some scans to the output."""
        source = read_recording(self.source)
        recipe = on_this_machine(self.recipe_for(source))
        with TomogramJob(source, self.output, recipe, listener, resume=True, stop=stop) as job:
            yield from self._run(job, numbers)

    def make_part(self, numbers: Sequence[int], part: Path) -> Sequence[ScanResult]:
        """Write the tomograms of some scans into a new file."""
        job = _planned_recording(self)
        job.turn_to(part)
        try:
            return list(self._run(job, numbers))
        finally:
            job.close()

    def _run(self, job: TomogramJob, numbers: Sequence[int]) -> Iterator[ScanResult]:
        wanted = set(numbers)
        at = job.source.log().positions.select(self.positions) if self.positions else ()
        for scan in job.source.scans(min(wanted), at):
            if scan.stack.sequence in wanted:
                yield job.run(scan)
            if scan.stack.sequence >= max(wanted):
                return

    def finish(self, listener: ProgressListener) -> None:
        """Nothing is left to be added."""


@dataclass(frozen=True, slots=True)
class VolumeWork:
    """The finished volumes of a file.

    Parameters
    ----------
    source, output : Path
    recipe : VolumeRecipe
        What is known of the optics is what the file says, but for what the recipe knows.
    options : VolumeOptions
        What the user says of the file.
    stamp : tuple of int
        Of the source, so that a worker does not use another file of that name.
    """

    source: Path
    output: Path
    recipe: VolumeRecipe
    options: VolumeOptions = field(default_factory=VolumeOptions)
    stamp: tuple[int, ...] = ()

    def all(self) -> Sequence[int]:
        """Return the numbers of the volumes."""
        return range(len(open_volumes(self.source, self.options)))

    def left(self) -> Sequence[int]:
        """Return the numbers of the volumes that are not regularized."""
        volumes, recipe = self.opened()
        held = volumes_held(volumes, self.output, recipe) if self.output.exists() else 0
        return range(held, len(volumes))

    def settled(self) -> "VolumeWork":
        """Return itself: nothing depends on the machine."""
        return self

    def needs(self) -> Needs | None:
        """Return what the volumes need that are not regularized; None if there are none."""
        count = len(self.left())
        return needs_of_volumes(*self.opened()).of(count) if count else None

    def opened(self) -> tuple[FinishedVolumes, VolumeRecipe]:
        """Return the volumes, and the recipe with what they say of the optics."""
        volumes = open_volumes(self.source, self.options)
        told = {k: v for k, v in asdict(self.recipe.known).items() if v is not None}
        return volumes, replace(self.recipe, known=replace(volumes.known, **told))

    def make(
        self, numbers: Sequence[int], listener: ProgressListener, stop: Event | None = None
    ) -> Generator[VolumeResult, None, None]:
        """Append some regularized volumes to the output."""
        volumes, recipe = self.opened()
        recipe = on_this_machine(recipe)
        with VolumeJob(volumes, self.output, recipe, listener, stop) as job:
            yield from job.make(numbers)

    def make_part(self, numbers: Sequence[int], part: Path) -> Sequence[VolumeResult]:
        """Write some regularized volumes into a new file."""
        job = _planned_volumes(self)
        job.turn_to(part)
        try:
            return list(job.make(numbers))
        finally:
            job.close()

    def finish(self, listener: ProgressListener) -> None:
        """Add the fluorescence channels of the source."""
        channels = open_volumes(self.source, self.options).source.fluorescence
        write_fluorescence(self.output, channels, listener.say)


# A worker makes part after part of one file: wave vectors, plans and networks are made once.
@lru_cache(maxsize=1)
def _planned_recording(work: RecordingWork) -> TomogramJob:
    source = read_recording(work.source)
    recipe = on_this_machine(work.recipe_for(source))
    return TomogramJob(source, work.output, recipe, SilentProgress())


@lru_cache(maxsize=1)
def _planned_volumes(work: VolumeWork) -> VolumeJob:
    volumes, recipe = work.opened()
    nowhere = work.output.with_name(f"{work.output.name}.part")  # the whole is not opened
    return VolumeJob(volumes, nowhere, on_this_machine(recipe), SilentProgress())
