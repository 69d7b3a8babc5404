"""Turns the scans of a recording into a tomogram file, one after the other.

The same job serves a finished and a growing recording, and a new and a partly filled tomogram file.
Tomograms made during a recording are therefore identical to those made later.
"""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol

import numpy as np

from acquisition.choices import REGULARIZERS
from acquisition.closing import Closing
from acquisition.errors import DataError
from acquisition.scan_name import scan_name
from files.positions import Positions
from files.recording import Recording
from files.series import RecordedScan, ScanLocation
from files.tiled_volumes import TiledVolumes
from files.tomograms import (
    TomogramAppender,
    TomogramWriter,
    resume_tomograms,
    shared_provenance,
)
from pipeline.tomograms.recipe import Recipe, provenance_of, scans_held
from pipeline.tomograms.tiling import tiles_of, write_tiles
from reconstruction.geometry import Views
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tiled_reconstructor import TiledReconstructor
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.constraint import with_objects
from regularizer.quality_check import check
from regularizer.quality_report import QualityReport
from regularizer.registry import bytes_per_voxel, regularizer
from regularizer.scattering.refined_vectors import refined
from regularizer.scattering.vectors_report import RefinedVectors

if TYPE_CHECKING:
    from acquisition.interferograms import InterferogramStack

__all__ = [
    "ProgressListener",
    "ScanResult",
    "SilentProgress",
    "TomogramJob",
    "pending_scans",
]

_POLL_S = 0.1  # between looks at a growing recording


class ProgressListener(Protocol):
    """Receives the progress of a job; ``done`` counts scans, and fractions of one."""

    def say(self, what: str) -> None:
        """Show what is being done."""

    def advance_to(self, done: float) -> None:
        """Show how much is done."""


class SilentProgress:
    """A listener that shows nothing."""

    def say(self, what: str) -> None:
        """Ignore it."""

    def advance_to(self, done: float) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of one scan; ``error`` says why there is no tomogram, else it is empty.

    ``lost`` angles have no frame in the scan or in the background; ``left_out`` are all angles that
    the reconstruction did not use. ``data_residual`` is the distance of the regularized tomogram
    from the measured spectrum, over the norm of that; ``check`` compares it with total variation.
    ``position`` is the label of the stage position, and ``stage_um`` its x, y, z, None where
    unknown. ``corrections`` says how many corrections of the Rytov approximation were kept, and how
    well the light fits after each. ``tiles`` is how many the volume was made in. ``wave_vectors``
    says in a sentence how far refined wave vectors are from the calibration, ``refined_k`` in
    figures (``RefinedVectors.figures``).
    """

    time: int
    lost: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    mean_index: float = 0.0
    max_index: float = 0.0
    reconstruction_s: float = 0.0
    regularization_s: float = 0.0
    imaginary_part: float = 0.0
    data_residual: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""
    check: QualityReport | None = None
    position: str = ""
    stage_um: tuple[float | None, ...] = ()
    corrections: str = ""
    tiles: int = 1
    wave_vectors: str = ""
    refined_k: dict[str, float | int] | None = None

    @property
    def complete(self) -> bool:
        """Whether there is a tomogram and no angle was lost."""
        return not self.error and not self.lost


class TomogramJob(Closing):
    """Makes and writes tomograms; a context manager that closes the file.

    Parameters
    ----------
    source : Recording
    output : Path
        The tomogram file, created with the first tomogram.
    recipe : Recipe
    listener : ProgressListener
    resume : bool
        Continue an existing ``output``.
    stop : Event or None
        Ends the current scan with Stopped.

    Attributes
    ----------
    done : set of int
        Scans that the file holds.

    Raises
    ------
    DataError
        If the existing file was made with other settings.
    """

    def __init__(
        self,
        source: Recording,
        output: Path,
        recipe: Recipe,
        listener: ProgressListener,
        *,
        resume: bool = False,
        stop: Event | None = None,
    ) -> None:
        self.source, self.output, self.recipe = source, output, recipe
        self._listener, self._stop = listener, stop
        self._regularize = regularizer(
            recipe.regularizer,
            recipe.device,
            constraint=recipe.constraint,
            corrections=recipe.corrections,
        )
        self._planned: tuple[InterferogramStack, Reconstructor] | None = None
        self._looked_at = 0  # scans before it have shown the sideband, if they can
        self._writer: TomogramAppender | None = None
        self.done: set[int] = set()
        if resume and output.exists():
            self.done = scans_held(output, recipe)
            recorded = None if source.series is None else source.log().positions
            self._writer = resume_tomograms(output, recorded)

    def turn_to(self, output: Path) -> None:
        """Close the file and write what follows into another, new one; plans are kept."""
        self.close()
        self.output, self.done = output, set()

    def close(self) -> None:
        """Close the file; all tomograms made so far are in it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def bytes_each(self) -> int:
        """Bytes that one scan adds to the file; 0 before the first scan."""
        if self._planned is None:
            return 0
        z, y, x = self._planned[1].shape
        return 4 * z * y * x * (1 + len(self.recipe.datasets))

    def run(self, recorded: RecordedScan) -> ScanResult:
        """Process one scan; if it cannot be reconstructed, the result has an error."""
        place = tuple(um if math.isfinite(um) else None for um in recorded.stage_um)
        return replace(self._run(recorded), position=self._called(recorded), stage_um=place)

    def _called(self, recorded: RecordedScan) -> str:
        """Return the label of a scan's position."""
        series = self.source.series
        if series is None:
            return ""
        return Positions(series.positions, np.array([recorded.position])).label(0)

    def _run(self, recorded: RecordedScan) -> ScanResult:
        scan, number = recorded.stack, recorded.stack.sequence
        lost = tuple(sorted({*scan.lost, *recorded.background.lost}))
        self._say(number, "reconstruction")
        begin = time.perf_counter()
        try:
            reconstructor = self._reconstructor(recorded)
            if isinstance(reconstructor, TiledReconstructor):
                return self._run_tiled(reconstructor, recorded, lost)
            result, vectors = self._refined(reconstructor(scan))
        except DataError as error:
            return ScanResult(number, lost, error=str(error))
        middle = time.perf_counter()
        volumes = self._regularized(result)
        end = time.perf_counter()
        self._write(result.tomogram, volumes, recorded.location, vectors)
        best = next(iter(volumes.values()), result.tomogram)
        report = self._checked(best, result)
        shown = best.windowed()
        self._listener.advance_to(number + 1)
        return ScanResult(
            number,
            lost,
            result.report.left_out,
            float(shown.index.mean()),
            float(shown.index.max()),
            middle - begin,
            end - middle,
            result.report.imaginary_part,
            shown.data_residual,
            (*result.report.warnings, *shown.warnings),
            check=report,
            corrections=shown.provenance.get("corrections", ""),
            wave_vectors="" if vectors is None else vectors.summary(),
            refined_k=None if vectors is None else vectors.figures(),
        )

    def _run_tiled(
        self, reconstructor: TiledReconstructor, recorded: RecordedScan, lost: tuple[int, ...]
    ) -> ScanResult:
        """Process one scan tile by tile."""
        number, names = recorded.stack.sequence, tuple(self.recipe.datasets)
        volumes: TiledVolumes | None = None

        def begin(raw: Tomogram, regularized: dict[str, Tomogram]) -> TiledVolumes:
            nonlocal volumes
            volumes = self._open(raw, regularized).tiled(names)
            return volumes

        started = time.perf_counter()
        with reconstructor.scan(recorded.stack) as scan:
            middle = time.perf_counter()
            self._say(number, f"{len(scan)} tiles, {self.recipe.method}")
            made = write_tiles(
                scan, reconstructor.plan, self._regularize, "".join(names), begin,
                lambda done, total: self._listener.advance_to(number + done / total), self._stop,
            )  # fmt: skip
            tiles = len(scan)
        assert self._writer is not None and volumes is not None  # there is a tile
        self._writer.append_tiled(volumes, names, made.tomogram, recorded.location)
        self.done.add(number)
        self._listener.advance_to(number + 1)
        return ScanResult(
            number,
            lost,
            made.report.left_out,
            made.mean_index,
            made.max_index,
            middle - started,
            time.perf_counter() - middle,
            made.imaginary_part,
            made.data_residual,
            (*made.report.warnings, *made.warnings),
            tiles=tiles,
        )

    def _say(self, number: int, what: str) -> None:
        self._listener.say(f"{scan_name(number)}, {what}")

    def _reconstructor(self, recorded: RecordedScan) -> Reconstructor:
        """Return the reconstructor of a scan's background; a retaken one needs a new one."""
        background = recorded.background
        if self._planned is None or self._planned[0] is not background:
            self._planned, self._looked_at = (background, self._planned_for(background)), 0
        self._orient(self._planned[1], recorded)
        return self._planned[1]

    def _planned_for(self, background: "InterferogramStack") -> Reconstructor:
        recipe, each = self.recipe, bytes_per_voxel(self.recipe.regularizer)
        settings = with_objects(recipe.settings, recipe.constraint)
        if recipe.tile_voxels is not None and tiles_of(
            settings, Views.of_background(background), recipe.tile_voxels
        ):
            return TiledReconstructor(
                background, recipe.device, settings, each, recipe.tile_voxels, self.output.parent
            )
        fields = recipe.needs_fields
        return Reconstructor(background, recipe.device, settings, each, keep_fields=fields)

    def _orient(self, made: Reconstructor, recorded: RecordedScan) -> None:
        """Let the scans before this one show which sideband is not the conjugate.

        Without it a part of a recording could take another sideband than the whole does.
        """
        number, first = recorded.stack.sequence, self._looked_at
        self._looked_at = number + 1
        if made.oriented or first >= number:
            return
        for earlier in self.source.scans(first):
            if made.oriented or earlier.stack.sequence >= number:
                return
            if earlier.background_number == recorded.background_number:
                with suppress(DataError):  # unusable: it shows nothing
                    made.look(earlier.stack)

    def _refined(self, result: Reconstruction) -> tuple[Reconstruction, RefinedVectors | None]:
        """Return the reconstruction, for refined wave vectors where they are asked for."""
        if not self.recipe.refine:
            return result, None
        number = result.tomogram.sequence
        self._say(number, "wave vectors")
        tomogram, spectrum, vectors = refined(
            result.tomogram, result.spectrum, self.recipe.constraint, None, self._stop
        )
        return replace(result, tomogram=tomogram, spectrum=spectrum), vectors

    def _regularized(self, result: Reconstruction) -> dict[str, Tomogram]:
        """Return the regularized volume under the name of its dataset; nothing for "none"."""
        if self.recipe.method == "none":
            return {}
        number = result.tomogram.sequence
        self._say(number, self.recipe.method)
        volume = self._regularize(
            result.tomogram,
            result.spectrum,
            lambda done, total: self._listener.advance_to(number + done / total),
            self._stop,
        )
        return {REGULARIZERS[self.recipe.method].volume: volume}

    def _checked(self, shown: Tomogram, result: Reconstruction) -> QualityReport | None:
        """Compare a tomogram that was just written with total variation, if it is due."""
        number, every = shown.sequence, self.recipe.check_every
        if every == 0 or number % every:
            return None
        self._say(number, "quality check")
        found = check(
            None if self.recipe.method == "none" else shown.contrast,
            result.spectrum,
            self.recipe.method,
            window=shown.window,
            constraint=self.recipe.constraint,
            progress=lambda done, total: self._listener.advance_to(number + done / total),
        )
        assert self._writer is not None
        reference = None
        if self.recipe.method not in ("tv", "tv-fast"):
            index = index_from_contrast(found.reference, shown.optics.medium_index)
            windowed = result.tomogram.windowed()
            reference = replace(windowed, index=index, data_residual=found.report.residual_tv)
        self._writer.append_quality(len(self._writer) - 1, found.report, reference)
        return found.report

    def _write(
        self,
        raw: Tomogram,
        volumes: dict[str, Tomogram],
        location: ScanLocation,
        vectors: RefinedVectors | None,
    ) -> None:
        windows = {name: volume.windowed() for name, volume in volumes.items()}
        refined_k = None if vectors is None else vectors.k
        writer = self._open(raw.windowed(), volumes, 0 if refined_k is None else len(refined_k))
        writer.append(raw.windowed(), windows, location, refined_k)
        self.done.add(raw.sequence)

    def _open(
        self, first: Tomogram, volumes: dict[str, Tomogram], refined_angles: int = 0
    ) -> TomogramAppender:
        """Return the file to append to; the first tomogram makes it."""
        if self._writer is None:
            provenance = provenance_of(self.source, self.recipe)
            for name, volume in volumes.items():
                provenance[name] = shared_provenance(volume.provenance)
            series = self.source.series
            names = None if series is None else series.positions
            self._writer = TomogramWriter(
                self.output,
                first,
                self.recipe.datasets,
                provenance,
                names,
                self.source.sample,
                refined_angles=refined_angles,
            )
        return self._writer


def pending_scans(job: TomogramJob, ended: Event, stop: Event) -> Iterator[RecordedScan]:
    """Yield the scans that the job has not done yet; wait for those still being recorded.

    Ends when ``ended`` is set and every scan recorded by then was yielded, or when ``stop`` is set.
    """
    number = 0
    while not stop.is_set():
        last_look = ended.is_set()  # asked first: what was recorded before is then found
        while number in job.done:
            number += 1
        for scan in job.source.scans(number):
            number = scan.stack.sequence + 1
            if stop.is_set():
                return
            if scan.stack.sequence not in job.done:
                yield scan
        if last_look:
            return
        ended.wait(_POLL_S)
