"""Imports frames of other programs into the recording format.

All frames are read and checked first. Scans are then written one at a time under a temporary name;
the file is renamed when complete.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack, average
from acquisition.scan_name import scan_name
from files.importing.description import ImportDescription, load_description
from files.importing.file_names import in_natural_order
from files.importing.sources import open_source
from files.importing.structure import BackgroundReference
from files.importing.survey import (
    PixelRule,
    Survey,
    brightness_warnings,
    cropped,
    pixel_rule,
    survey,
)
from files.recording import FORMAT, RecordingWriter
from files.reopening import reopen

__all__ = ["ImportResult", "import_interferograms"]

_FEW_ANGLES = 8
_NAMED = 8  # frames that a warning names

ProgressCallback = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The result of an import: the recording, its scans of shape (angles, y, x), and warnings."""

    output: Path
    scans: int
    shape: tuple[int, int, int]
    dtype: str
    background_scans: int
    warnings: tuple[str, ...]


def import_interferograms(
    samples: Sequence[str],
    background: str,
    description: Path,
    output: Path,
    progress: ProgressCallback = lambda what, done, total: None,
) -> ImportResult:
    """Convert frames of another program into a recording.

    Parameters
    ----------
    samples : sequence of str
        In the order of time. Each names one or more scans, in a form that ``open_source`` accepts.
    background : str
        Scans of the empty field; several are averaged.
    description : Path
        The TOML file with the optics.
    output : Path
        A new recording file.
    progress : callable
        Called with ("reading", done, total) after every source and ("writing", done, total) after
        every scan.

    Returns
    -------
    ImportResult

    Raises
    ------
    LiveTomoError
        If the frames cannot be converted. No partial file is left.
    """
    if output.exists():
        raise DataError(f"{output} exists and is not overwritten: choose another name")
    if not output.parent.is_dir():
        raise DataError(f"the folder of {output} must exist: create it, or choose another")
    material = _examine(samples, background, load_description(description), progress)
    empty = material.mean_background()
    structure = _structure(material, empty)
    warnings = _warnings(material, structure)
    warnings += _write(material, empty, structure, output, warnings, progress)
    angles = material.description.scan_length
    height, width = material.background.shape
    return ImportResult(
        output,
        len(material.times_s),
        (angles, height, width),
        np.dtype(material.rule.dtype).name,
        material.background.frames // angles,
        tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class _Material:
    """The frames to convert, after they were checked against each other."""

    samples: tuple[Survey, ...]
    background: Survey
    description: ImportDescription
    rule: PixelRule
    notes: tuple[str, ...]
    times_s: NDArray[np.float64]

    def scans(self) -> Iterator[InterferogramStack]:
        """Yield the scans of all samples, one after the other."""
        for source in self.samples:
            yield from self._scans_of(source)

    def mean_background(self) -> InterferogramStack:
        """Return the mean of the background's scans."""
        return average(list(self._scans_of(self.background)))

    def _scans_of(self, one: Survey) -> Iterator[InterferogramStack]:
        frames = cropped(one.source, self.description)
        while scan := [self.rule(pixels, one) for _, pixels in islice(frames, self._angles)]:
            yield self._stack(np.stack(scan))

    def _stack(self, frames: NDArray[Any]) -> InterferogramStack:
        """Return a scan; blank frames are marked as lost."""
        blank = frames.min(axis=(1, 2)) == frames.max(axis=(1, 2))
        frames[blank] = 0
        lost = tuple(int(angle) for angle in np.flatnonzero(blank))
        k = self.description.illumination_k
        return InterferogramStack(frames, self.description.optics, k, lost=lost)

    @property
    def _angles(self) -> int:
        return self.description.scan_length


def _examine(
    samples: Sequence[str],
    background: str,
    description: ImportDescription,
    progress: ProgressCallback,
) -> _Material:
    """Read and check all frames."""
    names = [*samples, background]
    surveys = []
    for name in names:
        surveys.append(survey(open_source(name), description))
        progress("reading", len(surveys), len(names))
    *seen, empty = surveys
    for one in seen:
        if one.shape != empty.shape:
            raise DataError(
                f"sample and background must have the same frame size, {one.source.name} has "
                f"{one.shape[0]} x {one.shape[1]} pixels and {empty.source.name} "
                f"{empty.shape[0]} x {empty.shape[1]}: use a background taken with the same "
                "camera settings"
            )
    rule, notes = pixel_rule(surveys)
    scans = sum(one.frames for one in seen) // description.scan_length
    times = description.times_s(scans)
    return _Material(tuple(seen), empty, description, rule, tuple(notes), times)


def _warnings(material: _Material, structure: BackgroundReference) -> list[str]:
    """Return warnings about frames that are unusual but can be converted."""
    names = [one.source.name for one in material.samples]
    angles = material.description.scan_length
    notes = [*material.description.optics.remarks, *material.notes]
    if in_natural_order(names) != names:
        notes.append("the samples are not in order of their names: the order given is kept")
    if angles < _FEW_ANGLES:
        notes.append(
            f"{angles} angles are few: tomograms will be blurred along z"
            + (
                ""
                if material.description.k
                else ", and k, which is estimated from them, may be wrong"
            )
        )
    if (back := np.flatnonzero(np.diff(material.times_s) < 0)).size:
        notes.append(
            f"by its timestamp {scan_name(back[0] + 1)} was taken before {scan_name(back[0])}: "
            "the given order is kept"
        )
    notes += brightness_warnings(material.background, material.samples)
    for one in (*material.samples, material.background):
        notes += _frame_warnings(one, angles)
    return notes + _structure_warnings(material, structure)


def _frame_warnings(one: Survey, angles: int) -> list[str]:
    notes = []
    if one.blank:
        where = _listed(one.blank, angles)
        notes.append(f"{one.source.name} has blank frames, which are marked as lost: {where}")
    if one.saturated:
        where = _listed(one.saturated, angles)
        notes.append(f"{one.source.name} has saturated frames ({where}): lower the exposure")
    return notes


def _structure(material: _Material, empty: InterferogramStack) -> BackgroundReference:
    try:
        return BackgroundReference(empty)
    except DataError as error:
        sample, background = material.samples[0].source.name, material.background.source.name
        raise DataError(f"{sample} over {background}: {error}") from error


def _structure_warnings(material: _Material, structure: BackgroundReference) -> list[str]:
    """Return warnings from comparing the first scan with the background."""
    sample, background = material.samples[0].source.name, material.background.source.name
    angles, notes = material.description.scan_length, []
    try:
        scan = next(scan for scan in material.scans() if len(scan.lost) < angles)
        found = structure.compare(scan)
    except DataError as error:
        raise DataError(f"{sample} over {background}: {error}") from error
    if structure.unusable:
        where = _numbers(structure.unusable)
        notes.append(f"{background} has no usable fringes at {where}")
    if found.without_fringes:
        where = _numbers(found.without_fringes)
        notes.append(f"{sample} has no fringes at {where}, where the background has them")
    if found.swapped:
        notes.append(
            f"{sample} shows less structure than {background} ({found.ratio:.2f} of its scattered "
            "light): sample and background may be swapped"
        )
    return notes


def _listed(frames: Sequence[int], angles: int) -> str:
    shown = [
        f"{scan_name(scan)}: {_numbers([frame % angles for frame in group])}"
        for scan, group in groupby(frames[:_NAMED], lambda frame: frame // angles)
    ]
    more = f", ... ({len(frames)} in all)" if len(frames) > _NAMED else ""
    return "; ".join(shown) + more


def _numbers(angles: Sequence[int]) -> str:
    shown = ", ".join(map(str, angles[:_NAMED]))
    more = f", ... ({len(angles)} in all)" if len(angles) > _NAMED else ""
    return f"angle{'s' if len(angles) > 1 else ''} {shown}{more}"


def _write(
    material: _Material,
    background: InterferogramStack,
    structure: BackgroundReference,
    output: Path,
    warnings: Sequence[str],
    progress: ProgressCallback,
) -> list[str]:
    """Write the recording under a temporary name, and rename it when complete.

    Returns warnings about single scans, which are also added to the file's own.
    """
    unfinished = output.with_name(f"{output.name}.unfinished")
    unfinished.unlink(missing_ok=True)  # of an import that was killed
    scans = zip(material.times_s, material.scans(), strict=True)
    notes: list[str] = []
    try:
        with RecordingWriter(unfinished, background, _provenance(material, warnings)) as writer:
            for time_s, stack in scans:
                notes += _light_warnings(structure, stack, len(writer))
                writer.append(_at(stack, float(time_s)))
                progress("writing", len(writer), len(material.times_s))
        if notes:
            with reopen(unfinished, FORMAT) as file:
                file.attrs["import_warnings"] = json.dumps([*warnings, *notes])
        unfinished.rename(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return notes


def _light_warnings(
    structure: BackgroundReference, stack: InterferogramStack, number: int
) -> list[str]:
    """Return a warning about frames that do not match the background, if there are any.

    DataError if most frames of the scan do not.
    """
    try:
        _, astray = structure.find_light(stack)
    except DataError as error:
        raise DataError(f"{scan_name(number)} over its background: {error}") from error
    if not astray:
        return []
    farthest = max(astray.values())
    return [
        f"{scan_name(number)}: the illumination differs from the background by up to "
        f"{farthest:.2f} NA/wavelength, reconstruction will leave out {_numbers(list(astray))}"
    ]


def _at(stack: InterferogramStack, time_s: float) -> InterferogramStack:
    k = stack.illumination_k
    return InterferogramStack(stack.frames, stack.optics, k, timestamp=time_s, lost=stack.lost)


def _provenance(material: _Material, warnings: Sequence[str]) -> dict[str, str]:
    """Return the attributes that record the origin of the frames."""
    return {
        "imported_from": json.dumps([one.source.name for one in material.samples]),
        "imported_background": material.background.source.name,
        "import_description": material.description.model_dump_json(exclude_none=True),
        "import_warnings": json.dumps(list(warnings)),
    }
