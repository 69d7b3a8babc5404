"""The datasets that a planned time-lapse adds to its recording; all are optional.

    /timelapse/plan              JSON text: the plan (``pipeline.timelapse.plan``)
    /timelapse/microscope        JSON text: the configuration it is recorded with
    /timelapse/reconstruction    JSON text: how its scans become tomograms, where not by default
    /timelapse/positions         (positions,) text: names of the stage positions
    /sample/position             (time,) int64: number of the position of each scan
    /sample/stage_um             (time, 3) float64: x, y and z of the stage; nan where unknown
    /sample/correction_um        (time, 3) float64: x, y and z by which the field of view has been
                                 moved since the first scan of its position; see ``files.drift_log``
    /sample/object_um, drift_note  where the object was, and why it was not kept in the middle
    /sample/background           (time,) int64: 0 is /background/interferograms, n is retaken n - 1
    /background/retaken          (n, angles, y, x), like the first
    /background/retaken_lost     (n, angles) bool
    /background/retaken_at       (n,) float64, seconds since the epoch; written last

All datasets are created at the start: none can be added while others read the file.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from files import drift_log, hdf5
from files.positions import Positions, StageXYZ, read_locations, read_names, write_names

__all__ = [
    "RecordedScan",
    "ScanLocation",
    "ScanLog",
    "SeriesDescription",
    "SeriesReader",
    "SeriesWriter",
    "create_series",
    "read_positions",
    "read_series",
    "truncate_series",
]

_UNKNOWN = (math.nan, math.nan, math.nan)
_STILL = (0.0, 0.0, 0.0)
_NAMES = "timelapse/positions"
_PER_SCAN = ("interferograms", "lost", "position", "stage_um", "background", "timestamps")
_PER_BACKGROUND = ("retaken", "retaken_lost", "retaken_at")


@dataclass(frozen=True, slots=True)
class SeriesDescription:
    """The plan and settings of a time-lapse: its recording can be resumed from these alone.

    Parameters
    ----------
    plan, microscope : str
        JSON: ``TimelapsePlan`` and ``AcquisitionConfig``.
    positions : tuple of str
        Names of the stage positions; at least one.
    reconstruction : mapping
        The fields of ``ReconstructionSettings`` that were set.
    """

    plan: str
    microscope: str
    positions: tuple[str, ...] = ("",)
    reconstruction: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanLocation:
    """Where a scan was taken.

    Parameters
    ----------
    position : int
        Number of the stage position.
    stage_um : (x, y, z)
        Of the stage, nan where unknown.
    correction_um : (x, y, z)
        By how much the field of view has been moved since the first scan of the position, along
        the axes of the tomogram. A place in the tomogram plus this is where an object is.
    """

    position: int = 0
    stage_um: StageXYZ = _UNKNOWN
    correction_um: StageXYZ = _STILL


@dataclass(frozen=True, slots=True)
class RecordedScan:
    """One scan of a recording, with its background and location.

    Parameters
    ----------
    stack : InterferogramStack
    background : InterferogramStack
        The background that applies to it; one object for all scans of the same background.
    background_number : int
        0 is the first background, n the one retaken n-th.
    position : int
        Number of the stage position.
    position_name : str
        Empty where the plan gives no name.
    stage_um : (x, y, z)
        nan where unknown.
    correction_um : (x, y, z)
        As in ``ScanLocation``.
    """

    stack: InterferogramStack
    background: InterferogramStack
    background_number: int = 0
    position: int = 0
    position_name: str = ""
    stage_um: StageXYZ = _UNKNOWN
    correction_um: StageXYZ = _STILL

    @property
    def location(self) -> ScanLocation:
        """Where it was taken."""
        return ScanLocation(self.position, self.stage_um, self.correction_um)


@dataclass(frozen=True, slots=True)
class ScanLog:
    """Lost angles and locations of all scans, read without their frames.

    Parameters
    ----------
    lost_angles : dict of int to tuple of int
        For each scan that lacks angles, which ones.
    positions : Positions
        Where each of them was taken.
    """

    lost_angles: dict[int, tuple[int, ...]]
    positions: Positions


class SeriesWriter:
    """Appends locations and retaken backgrounds to a recording.

    Parameters
    ----------
    file : h5py.File
        With the datasets that ``create_series`` makes.
    """

    def __init__(self, file: h5py.File) -> None:
        self._sample, self._retaken = file["sample"], file["background"]
        self._drift = drift_log.DriftWriter(file["sample"])

    def append(self, location: ScanLocation) -> None:
        """Write the location of the next scan, and the newest background as its own."""
        hdf5.append_row(self._sample["position"], location.position)
        hdf5.append_row(self._sample["stage_um"], location.stage_um)
        self._drift.append_correction(location.correction_um)
        hdf5.append_row(self._sample["background"], len(self._retaken["retaken_at"]))

    def append_seen(self, seen: drift_log.SeenObject) -> None:
        """Write where the object was in the last scan; a file of an older version keeps nothing."""
        self._drift.append_seen(seen)

    def append_background(
        self, frames: NDArray[Any], lost: NDArray[np.bool_], timestamp: float
    ) -> None:
        """Append a retaken background; ``timestamp`` in seconds since the epoch."""
        hdf5.append_row(self._retaken["retaken"], frames)
        hdf5.append_row(self._retaken["retaken_lost"], lost)
        hdf5.append_row(self._retaken["retaken_at"], timestamp)


def create_series(
    file: h5py.File, description: SeriesDescription, background: NDArray[Any]
) -> None:
    """Write the description and create the datasets that will grow."""
    group = file.create_group("timelapse")
    for name in ("plan", "microscope"):
        group[name] = np.bytes_(getattr(description, name).encode())
    group["reconstruction"] = np.bytes_(json.dumps(dict(description.reconstruction)).encode())
    write_names(group, description.positions)
    sample, retaken = file["sample"], file["background"]
    hdf5.create_growing(sample, "position", (), np.int64)
    hdf5.create_growing(sample, "stage_um", (3,), np.float64)
    drift_log.create_drift(sample)
    hdf5.create_growing(sample, "background", (), np.int64)
    hdf5.create_growing(retaken, "retaken", background.shape, background.dtype)
    hdf5.create_growing(retaken, "retaken_lost", (len(background),), bool)
    hdf5.create_growing(retaken, "retaken_at", (), np.float64)


def truncate_series(file: h5py.File, scans: int) -> None:
    """Cut all datasets to ``scans`` scans and to the complete backgrounds."""
    if "timelapse" not in file:
        raise DataError(
            f"{file.filename} must be the recording of a time-lapse to be resumed, it has no "
            "/timelapse: start a new recording"
        )
    for name in _PER_SCAN:
        file["sample"][name].resize(scans, axis=0)
    drift_log.truncate_drift(file["sample"], scans)
    backgrounds = len(file["background/retaken_at"])
    for name in _PER_BACKGROUND:
        file["background"][name].resize(backgrounds, axis=0)


class SeriesReader:
    """Reads locations and backgrounds while the file is open; caches the last background."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._names = read_names(file, _NAMES)
        self._background: tuple[int, InterferogramStack] | None = None

    def scan(self, stack: InterferogramStack, first: InterferogramStack) -> RecordedScan:
        """Return a scan with its location and background; ``first`` is background 0."""
        sample, row = self._file["sample"], stack.sequence
        for name in ("position", "stage_um", "background"):
            sample[name].refresh()
        number, position = int(sample["background"][row]), int(sample["position"][row])
        x, y, z = (float(value) for value in sample["stage_um"][row])
        correction = drift_log.correction_at(sample, row)
        if not 0 <= position < len(self._names):
            raise DataError(
                f"{self._file.filename}: /sample/position must be the number of one of "
                f"{len(self._names)} positions, from 0, found {position}"
            )
        name = self._names[position]
        provenance = {**stack.provenance, "background": str(number)}
        if name:
            provenance["position"] = name
        stack = replace(stack, provenance=provenance)
        background = self._numbered(number, first)
        return RecordedScan(stack, background, number, position, name, (x, y, z), correction)

    def _numbered(self, number: int, first: InterferogramStack) -> InterferogramStack:
        if self._background is None or self._background[0] != number:
            stack = first if number == 0 else self._retaken(number - 1, first)
            self._background = (number, stack)
        return self._background[1]

    def _retaken(self, row: int, first: InterferogramStack) -> InterferogramStack:
        group = self._file["background"]
        for name in _PER_BACKGROUND:
            group[name].refresh()
        if not 0 <= row < len(group["retaken_at"]):
            raise DataError(
                f"{self._file.filename}: /sample/background must be below "
                f"{len(group['retaken_at']) + 1}, found {row + 1}"
            )
        frames = group["retaken"][row]
        return replace(
            first,
            frames=frames.astype(frames.dtype.newbyteorder("="), copy=False),
            lost=tuple(int(angle) for angle in np.flatnonzero(group["retaken_lost"][row])),
            timestamp=float(group["retaken_at"][row]),
        )


def read_series(file: h5py.File, background: tuple[int, ...]) -> SeriesDescription | None:
    """Return the description of a planned time-lapse; None for another recording."""
    if "timelapse" not in file:
        return None
    hdf5.checked_dataset(file, "sample/position", (None,), (np.int64,))
    hdf5.checked_dataset(file, "sample/stage_um", (None, 3), (np.float64,))
    drift_log.check_drift(file)
    hdf5.checked_dataset(file, "sample/background", (None,), (np.int64,))
    hdf5.checked_dataset(file, "background/retaken", (None, *background), (np.uint8, np.uint16))
    hdf5.checked_dataset(file, "background/retaken_lost", (None, background[0]), (bool,))
    hdf5.checked_dataset(file, "background/retaken_at", (None,), (np.float64,))
    plan, microscope = (_text(file, name) for name in ("plan", "microscope"))
    how = _text(file, "reconstruction")
    try:
        reconstruction = json.loads(how)
    except ValueError as error:
        raise DataError(
            f"{file.filename}: /timelapse/reconstruction must be a JSON object, found {how!r}"
        ) from error
    return SeriesDescription(plan, microscope, read_names(file, _NAMES), reconstruction)


def read_positions(file: h5py.File, scans: int) -> Positions:
    """Return where the first ``scans`` scans were taken."""
    if "timelapse" not in file:
        return Positions.unlocated(scans)
    return read_locations(file, "sample", read_names(file, _NAMES), scans)


def _text(file: h5py.File, name: str) -> str:
    found = file.get(f"timelapse/{name}")
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "SO":
        raise DataError(f"{file.filename}: dataset /timelapse/{name} must be a text, found {found}")
    return bytes(found[()]).decode(errors="replace")
