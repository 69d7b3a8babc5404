"""Turns the scans of a recording into a tomogram file, one after the other.

The same job serves a finished and a growing recording, and a new and a partly filled tomogram file.
Tomograms made during a recording are therefore identical to those made later.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from acquisition.choices import REGULARIZERS, Constraint
from acquisition.closing import Closing
from acquisition.errors import DataError
from acquisition.scan_name import scan_name
from files.positions import Positions
from files.recording import Recording
from files.series import RecordedScan, ScanLocation
from files.tomograms import (
    TomogramAppender,
    TomogramWriter,
    read_tomograms,
    resume_tomograms,
    shared_provenance,
)
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Tomogram, index_from_contrast
from regularizer.constraint import with_objects
from regularizer.quality_check import check
from regularizer.quality_report import QualityReport
from regularizer.registry import bytes_per_voxel, needs_fields, regularizer
from regularizer.scattering.refined_vectors import refined
from regularizer.scattering.vectors_report import RefinedVectors

if TYPE_CHECKING:
    from acquisition.interferograms import InterferogramStack

__all__ = [
    "ProgressListener",
    "Recipe",
    "ScanResult",
    "SilentProgress",
    "TomogramJob",
    "pending_scans",
    "scans_held",
    "settings_for",
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
class Recipe:
    """How scans become tomograms.

    Parameters
    ----------
    method : str
        "none", "gp", "tv", "tv-fast", "deep" or "multislice".
    device : str
        "cpu", "cuda", ...
    settings : ReconstructionSettings
    preset : str or None
        Parameter preset of total variation; None: the default of the method.
    check_every : int
        Compare every N-th tomogram with total variation; 0: none.
    constraint : "auto", "non-negative", "non-positive" or "none"
        Constraint on the sign of the contrast.
    corrections : int
        How often the error of the Rytov approximation is taken off, at most.
    refine : str
        "k": wave vectors are refined on the object of each scan; "": they are not.
    """

    method: str
    device: str = "cpu"
    settings: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    preset: str | None = None
    check_every: int = 0
    constraint: Constraint = "auto"
    corrections: int = 0
    refine: str = ""

    @property
    def regularizer(self) -> str:
        """Name of the regularizer in ``regularizer.registry``."""
        return self.preset or self.method

    @property
    def needs_fields(self) -> bool:
        """Whether spectra must carry the fields that they were made from."""
        return bool(self.refine) or needs_fields(self.regularizer, self.corrections)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The regularized volumes that the tomogram file holds."""
        held = {REGULARIZERS[self.method].volume} if self.method != "none" else set()
        return tuple(sorted(held | ({"tv"} if self.check_every else set())))


def settings_for(recording: Recording, chosen: Mapping[str, Any]) -> ReconstructionSettings:
    """Return the reconstruction settings: as chosen, else as stored in the recording."""
    own = {} if recording.series is None else recording.series.reconstruction
    values: dict[str, Any] = {**own, **chosen}
    if values.get("size_um") is not None:
        values["size_um"] = tuple(values["size_um"])  # JSON knows lists only
    return ReconstructionSettings(**values)


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of one scan; ``error`` says why there is no tomogram, else it is empty.

    ``lost`` angles have no frame in the scan or in the background; ``left_out`` are all angles that
    the reconstruction did not use. ``data_residual`` is the distance of the regularized tomogram
    from the measured spectrum, over the norm of that; ``check`` compares it with total variation.
    ``position`` is the label of the stage position, and ``stage_um`` its x, y, z, None where
    unknown. ``corrections`` says how many corrections of the Rytov approximation were kept, and how
    well the light fits after each. ``wave_vectors`` says in a sentence how far refined wave vectors
    are from the calibration, ``refined_k`` in figures (``RefinedVectors.figures``).
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
            result = self._reconstructor(recorded)(scan)
            result, vectors = self._refined(result)
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

    def _say(self, number: int, what: str) -> None:
        self._listener.say(f"{scan_name(number)}, {what}")

    def _reconstructor(self, recorded: RecordedScan) -> Reconstructor:
        """Return the reconstructor of a scan's background; a retaken one needs a new one."""
        background = recorded.background
        if self._planned is None or self._planned[0] is not background:
            made = Reconstructor(
                background,
                self.recipe.device,
                with_objects(self.recipe.settings, self.recipe.constraint),
                bytes_per_voxel(self.recipe.regularizer),
                keep_fields=self.recipe.needs_fields,
            )
            self._planned, self._looked_at = (background, made), 0
        self._orient(self._planned[1], recorded)
        return self._planned[1]

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
                    made(earlier.stack)

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
        if self._writer is None:
            provenance = _provenance(self.source, self.recipe)
            for name, volume in volumes.items():
                provenance[name] = shared_provenance(volume.provenance)
            series, first = self.source.series, raw.windowed()
            names = None if series is None else series.positions
            self._writer = TomogramWriter(
                self.output,
                first,
                self.recipe.datasets,
                provenance,
                names,
                self.source.sample,
                refined_angles=0 if vectors is None else len(vectors.k),
            )
        windows = {name: volume.windowed() for name, volume in volumes.items()}
        refined_k = None if vectors is None else vectors.k
        self._writer.append(raw.windowed(), windows, location, refined_k)
        self.done.add(raw.sequence)


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


def _provenance(source: Recording, recipe: Recipe) -> dict[str, Any]:
    return {
        "recording": source.path.name,
        "recording_attributes": {k: str(v) for k, v in source.attributes.items()},
        "regularizer": recipe.regularizer,
        "device": recipe.device,
        "settings": asdict(recipe.settings),
        "constraint": recipe.constraint,
        "corrections": recipe.corrections,
        "refine": recipe.refine,
    }


def scans_held(output: Path, recipe: Recipe) -> set[int]:
    """Return the numbers of the scans that a tomogram file holds.

    Raises
    ------
    DataError
        If they were made with other settings than ``recipe``.
    """
    series = read_tomograms(output)
    before = series.provenance
    settings = json.loads(json.dumps(asdict(recipe.settings)))  # as the file gives them back
    ways: dict[str, Any] = {"regularizer": recipe.regularizer, "constraint": recipe.constraint}
    before = {"corrections": 0, "refine": "", **before}  # files of before they were there
    ways |= {"corrections": recipe.corrections, "refine": recipe.refine, "settings": settings}
    for name, now in ways.items():
        if before.get(name, now) != now:
            raise DataError(
                f"{output} must be continued with the {name} it was made with, "
                f"{before.get(name)}, got {now}: use the same, or choose another file"
            )
    return set(series.scans.tolist())
