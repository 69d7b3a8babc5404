"""What a time-lapse keeps with each scan on drift; recordings of older versions have none of it.

    /sample/correction_um   (time, 3) float64: x, y and z in um by which the field of view has been
                            moved since the first scan of its position, along the axes of the
                            tomogram; written before the timestamp
    /sample/object_um       (time, 3) float64: x, y and z of the object that is kept in the middle,
                            from the middle of the tomogram; nan where it was not found or not
                            looked for; written after the timestamp
    /sample/drift_note      (time,) text of at most 200 bytes: why it was not found, or not fully
                            corrected

A tomogram file has ``correction_um``, too. A place in a tomogram plus the correction of its scan is
where an object is in the sample, whether stages kept it in the middle, the focus was searched, or
somebody moved the stage.
"""

import math
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from files import hdf5

__all__ = [
    "DriftLog",
    "DriftWriter",
    "SeenObject",
    "check_drift",
    "correction_at",
    "create_drift",
    "read_drift",
    "truncate_drift",
]

_CORRECTION, _OBJECT, _NOTE = "correction_um", "object_um", "drift_note"
_NOTE_BYTES = 200
_NOWHERE = (math.nan, math.nan, math.nan)

Xyz = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SeenObject:
    """Where the object was, (x, y, z) in um from the middle, nan if unknown; and what was wrong."""

    object_um: Xyz = _NOWHERE
    note: str = ""


@dataclass(frozen=True, slots=True)
class DriftLog:
    """Drift and its correction over a time-lapse.

    Parameters
    ----------
    correction_um : (time, 3) float64
        x, y, z by which the field of view has been moved since the first scan of its position.
    object_um : (time, 3) float64
        x, y, z of the object from the middle of the tomogram; nan where it was not found.
    notes : tuple of str
        Why it was not found or not fully corrected; "" where there was nothing to say.
    """

    correction_um: NDArray[np.float64]
    object_um: NDArray[np.float64]
    notes: tuple[str, ...]

    @property
    def track_um(self) -> NDArray[np.float64]:
        """The object's way through the sample, (time, 3) float64: x, y, z."""
        return np.asarray(self.correction_um + self.object_um, np.float64)


def create_drift(sample: h5py.Group) -> None:
    """Create the datasets, empty."""
    hdf5.create_growing(sample, _CORRECTION, (3,), np.float64)
    hdf5.create_growing(sample, _OBJECT, (3,), np.float64)
    hdf5.create_growing(sample, _NOTE, (), f"S{_NOTE_BYTES}")


class DriftWriter:
    """Appends to them, if the file has them."""

    def __init__(self, sample: h5py.Group) -> None:
        self._sample = sample

    def append_correction(self, correction_um: Xyz) -> None:
        """Write the correction of the next scan."""
        if _CORRECTION in self._sample:
            hdf5.append_row(self._sample[_CORRECTION], correction_um)

    def append_seen(self, seen: SeenObject) -> None:
        """Write where the object was in the last scan."""
        if _OBJECT in self._sample:
            note = seen.note.encode()[:_NOTE_BYTES].decode(errors="ignore").encode()
            hdf5.append_row(self._sample[_NOTE], note)
            hdf5.append_row(self._sample[_OBJECT], seen.object_um)


def truncate_drift(sample: h5py.Group, scans: int) -> None:
    """Cut to ``scans`` scans; an object that a crash left out is unknown."""
    for name in (_CORRECTION, _OBJECT, _NOTE):
        if name in sample:
            held = len(sample[name])
            sample[name].resize(scans, axis=0)
            if name == _OBJECT and held < scans:
                sample[name][held:] = math.nan


def check_drift(file: h5py.File) -> None:
    """Raise DataError if the datasets are there, and are not what they must be."""
    for name in (_CORRECTION, _OBJECT):
        if name in file["sample"]:
            hdf5.checked_dataset(file, f"sample/{name}", (None, 3), (np.float64,))


def correction_at(group: h5py.Group, row: int) -> Xyz:
    """Return the correction of a scan; none in a file that has none."""
    if _CORRECTION not in group:
        return 0.0, 0.0, 0.0
    group[_CORRECTION].refresh()
    x, y, z = (float(value) for value in group[_CORRECTION][row])
    return x, y, z


def read_drift(sample: h5py.Group, count: int) -> DriftLog:
    """Return the first ``count`` rows; what is not there is zero, unknown or empty."""
    correction, place = np.zeros((count, 3)), np.full((count, 3), math.nan)
    notes = [""] * count
    if _CORRECTION in sample:
        for name in (_CORRECTION, _OBJECT, _NOTE):
            sample[name].refresh()
        correction[:] = sample[_CORRECTION][:count]
        seen = sample[_OBJECT][:count]
        place[: len(seen)] = seen
        for row, note in enumerate(sample[_NOTE][:count]):
            notes[row] = bytes(note).decode(errors="replace")
    return DriftLog(correction, place, tuple(notes))
