"""What a time-lapse by plan keeps in its recording beside the scans: all of it optional.

    /timelapse/plan              JSON text: the plan (``pipeline.timelapse.plan``)
    /timelapse/microscope        JSON text: the configuration it is recorded with
    /timelapse/reconstruction    JSON text: how its scans become tomograms, where not by default
    /timelapse/positions         (positions,) text: names of the stage positions
    /sample/position             (time,) int64: which of them
    /sample/stage_um             (time, 3) float64: x, y and z of the stage; nan where unknown
    /sample/background           (time,) int64: 0 is /background/interferograms, n is retaken n - 1
    /background/retaken          (n, angles, y, x), like the first
    /background/retaken_lost     (n, angles) bool
    /background/retaken_at       (n,) float64, seconds since the epoch; written last

All datasets are there from the start: nothing can be created in a file that others read meanwhile.
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
from files import hdf5
from files.positions import Place, Positions, names_in, placed, write_names

__all__ = [
    "RecordedScan",
    "ScanLog",
    "SeriesDescription",
    "SeriesReader",
    "SeriesRows",
    "Visited",
    "create_series",
    "cut_series",
    "read_positions",
    "read_series",
]

_UNKNOWN = (math.nan, math.nan, math.nan)
_NAMES = "timelapse/positions"
_PER_SCAN = ("interferograms", "lost", "position", "stage_um", "background", "timestamps")
_PER_BACKGROUND = ("retaken", "retaken_lost", "retaken_at")


@dataclass(frozen=True, slots=True)
class SeriesDescription:
    """What a time-lapse is to be, kept with it so that it can be resumed from its file alone.

    Parameters
    ----------
    plan, microscope : str
        JSON.
    positions : tuple of str
        Names of the stage positions; at least one.
    reconstruction : mapping
        Fields of ``ReconstructionSettings`` that are not left to the default.
    """

    plan: str
    microscope: str
    positions: tuple[str, ...] = ("",)
    reconstruction: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visited:
    """Where a scan was taken: number of the position, x, y and z of the stage."""

    position: int = 0
    stage_um: Place = _UNKNOWN


@dataclass(frozen=True, slots=True)
class RecordedScan:
    """One scan of a recording with all that belongs to it.

    Parameters
    ----------
    stack : InterferogramStack
    background : InterferogramStack
        The one that is valid for it; the same object for all scans of one background.
    number : int
        Of the background, 0 for the first.
    position : int
        Number of the stage position.
    name : str
        Of the stage position.
    stage_um : (x, y, z)
        nan where unknown.
    """

    stack: InterferogramStack
    background: InterferogramStack
    number: int = 0
    position: int = 0
    name: str = ""
    stage_um: Place = _UNKNOWN

    @property
    def visited(self) -> Visited:
        """Where it was taken."""
        return Visited(self.position, self.stage_um)


@dataclass(frozen=True, slots=True)
class ScanLog:
    """What is known of the scans without their frames.

    Parameters
    ----------
    short : dict of int to tuple of int
        Scans that lack angles, and which.
    positions : Positions
        Where each of them was taken.
    """

    short: dict[int, tuple[int, ...]]
    positions: Positions


class SeriesRows:
    """Writes the rows; one object a writer.

    Parameters
    ----------
    file : h5py.File
        In which ``create_series`` has made the datasets.
    """

    def __init__(self, file: h5py.File) -> None:
        self._sample, self._retaken = file["sample"], file["background"]

    def append(self, visited: Visited) -> None:
        """Write where the next scan was taken, with the newest background."""
        hdf5.append_row(self._sample["position"], visited.position)
        hdf5.append_row(self._sample["stage_um"], visited.stage_um)
        hdf5.append_row(self._sample["background"], len(self._retaken["retaken_at"]))

    def append_background(
        self, frames: NDArray[Any], lost: NDArray[np.bool_], timestamp: float
    ) -> None:
        """Write one more background."""
        hdf5.append_row(self._retaken["retaken"], frames)
        hdf5.append_row(self._retaken["retaken_lost"], lost)
        hdf5.append_row(self._retaken["retaken_at"], timestamp)


def create_series(
    file: h5py.File, description: SeriesDescription, background: NDArray[Any]
) -> None:
    """Write the description and make the datasets that will grow."""
    group = file.create_group("timelapse")
    for name in ("plan", "microscope"):
        group[name] = np.bytes_(getattr(description, name).encode())
    group["reconstruction"] = np.bytes_(json.dumps(dict(description.reconstruction)).encode())
    write_names(group, description.positions)
    sample, retaken = file["sample"], file["background"]
    hdf5.growing(sample, "position", (), np.int64)
    hdf5.growing(sample, "stage_um", (3,), np.float64)
    hdf5.growing(sample, "background", (), np.int64)
    hdf5.growing(retaken, "retaken", background.shape, background.dtype)
    hdf5.growing(retaken, "retaken_lost", (len(background),), bool)
    hdf5.growing(retaken, "retaken_at", (), np.float64)


def cut_series(file: h5py.File, scans: int) -> None:
    """Cut off what a crash has left unfinished."""
    if "timelapse" not in file:
        raise DataError(
            f"{file.filename} must be the recording of a time-lapse to be resumed, it has no "
            "/timelapse: record anew"
        )
    for name in _PER_SCAN:
        file["sample"][name].resize(scans, axis=0)
    backgrounds = len(file["background/retaken_at"])
    for name in _PER_BACKGROUND:
        file["background"][name].resize(backgrounds, axis=0)


class SeriesReader:
    """Reads the rows while the file is open; keeps the background that it gave last."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._names = names_in(file, _NAMES)
        self._background: tuple[int, InterferogramStack] | None = None

    def scan(self, stack: InterferogramStack, first: InterferogramStack) -> RecordedScan:
        """Return a scan with what belongs to it; ``first`` is the background 0."""
        sample, row = self._file["sample"], stack.sequence
        for name in ("position", "stage_um", "background"):
            sample[name].refresh()
        number, position = int(sample["background"][row]), int(sample["position"][row])
        x, y, z = (float(value) for value in sample["stage_um"][row])
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
        return RecordedScan(stack, background, number, position, name, (x, y, z))

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
    """Return what the time-lapse is to be, its datasets checked; None for another recording."""
    if "timelapse" not in file:
        return None
    hdf5.dataset(file, "sample/position", (None,), (np.int64,))
    hdf5.dataset(file, "sample/stage_um", (None, 3), (np.float64,))
    hdf5.dataset(file, "sample/background", (None,), (np.int64,))
    hdf5.dataset(file, "background/retaken", (None, *background), (np.uint8, np.uint16))
    hdf5.dataset(file, "background/retaken_lost", (None, background[0]), (bool,))
    hdf5.dataset(file, "background/retaken_at", (None,), (np.float64,))
    plan, microscope = (_text(file, name) for name in ("plan", "microscope"))
    how = _text(file, "reconstruction")
    try:
        reconstruction = json.loads(how)
    except ValueError as error:
        raise DataError(
            f"{file.filename}: /timelapse/reconstruction must be a JSON object, found {how!r}"
        ) from error
    return SeriesDescription(plan, microscope, names_in(file, _NAMES), reconstruction)


def read_positions(file: h5py.File, scans: int) -> Positions:
    """Return where the first so many scans were taken; of one place where the file does not say."""
    if "timelapse" not in file:
        return Positions.one(scans)
    return placed(file, "sample", names_in(file, _NAMES), scans)


def _text(file: h5py.File, name: str) -> str:
    found = file.get(f"timelapse/{name}")
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "SO":
        raise DataError(f"{file.filename}: dataset /timelapse/{name} must be a text, found {found}")
    return bytes(found[()]).decode(errors="replace")
