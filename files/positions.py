"""Where the scans of a recording, or the tomograms of a file, were taken.

A time-lapse may visit several stage positions in turn. The scans of one position belong together.
Names come from the plan. A position without a name is labelled with its number; repeated names get
a number appended.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from files import hdf5

__all__ = [
    "LOCATION_COLUMNS",
    "Positions",
    "StageXYZ",
    "add_locations",
    "create_locations",
    "read_locations",
    "read_names",
    "write_names",
]

LOCATION_COLUMNS = ("position", "stage_um", "correction_um")  # of a tomogram file
StageXYZ = tuple[float, float, float]


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Positions:
    """The stage positions, and the position of each scan.

    Parameters
    ----------
    names : tuple of str
        From the plan, "" for a position without a name; at least one. Some may have no scan.
    position : (time,) int64
        Number of the position of each scan, from 0.
    stage_um : (time, 3) float64
        x, y and z of the stage at each scan; nan where unknown.
    correction_um : (time, 3) float64
        x, y and z by which the field of view has been moved since the first scan of its position,
        along the axes of the tomogram; may be empty, for none.
    """

    names: tuple[str, ...] = ("",)
    position: NDArray[np.int64] = field(default_factory=_none)
    stage_um: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    correction_um: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))

    @classmethod
    def unlocated(cls, times: int) -> "Positions":
        """Return one unnamed position for ``times`` scans whose location is unknown."""
        return cls(
            ("",), np.zeros(times, np.int64), np.full((times, 3), np.nan), np.zeros((times, 3))
        )

    @property
    def visited(self) -> tuple[int, ...]:
        """Numbers of the positions that have a scan."""
        return tuple(np.unique(self.position).tolist())

    @property
    def multiple(self) -> bool:
        """Whether there is more than one position, visited or not."""
        return len(self.names) > 1

    def scans_at(self, position: int) -> NDArray[np.int64]:
        """Return the scans that were taken at a position."""
        return np.flatnonzero(self.position == position).astype(np.int64)

    @property
    def labels(self) -> tuple[str, ...]:
        """A distinct label for each position; empty for a single unnamed one."""
        if self.names == ("",):
            return self.names
        labels: dict[str, None] = {}  # in order
        times: Counter[str] = Counter()
        for number, name in enumerate(self.names):
            own = label = name or f"position {number + 1}"
            while label in labels:
                times[own] += 1
                label = f"{own} ({times[own] + 1})"
            labels[label] = None
        return tuple(labels)

    def label(self, time: int) -> str:
        """Return the label of a scan's position."""
        return self.labels[int(self.position[time])]

    @property
    def scan_labels(self) -> tuple[str, ...]:
        """The label of each scan's position."""
        labels = self.labels
        return tuple(labels[number] for number in self.position.tolist())

    def stage_at(self, time: int) -> StageXYZ:
        """Return x, y and z of the stage at a scan, in um; nan where unknown."""
        x, y, z = self.stage_um[time].tolist()
        return x, y, z

    def correction_at(self, time: int) -> StageXYZ:
        """Return x, y and z by which the view of a scan was moved, in um."""
        if time >= len(self.correction_um):
            return 0.0, 0.0, 0.0
        x, y, z = self.correction_um[time].tolist()
        return x, y, z

    def select(self, wanted: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of the wanted positions; all visited ones if ``wanted`` is empty.

        Parameters
        ----------
        wanted : iterable of str
            Names or labels of positions, or their numbers, counted from 1.

        Raises
        ------
        ConfigurationError
            If a position does not exist or has no scan.
        """
        numbers = {number for name in wanted for number in self._meant(name)}
        return tuple(sorted(numbers)) or self.visited

    def _meant(self, name: str) -> tuple[int, ...]:
        labels = self.labels
        pairs = zip(labels, self.names, strict=True)
        called = [n for n, names in enumerate(pairs) if name and name in names]
        if not called and re.fullmatch(r"[0-9]{1,9}", name) and 0 < int(name) <= len(labels):
            called = [int(name) - 1]
        found = tuple(n for n in called if n in self.visited)
        if not found:
            here = ", ".join(labels[n] or "one without a name" for n in self.visited) or "none"
            raise ConfigurationError(
                f"--position must be one that has scans ({here}) or its number, got {name!r}"
            )
        return found


def write_names(group: h5py.Group, names: tuple[str, ...]) -> None:
    """Write the names of the stage positions, as the dataset ``positions``."""
    group["positions"] = np.array([name.encode() or b" " for name in names])  # no empty text in it


def create_locations(group: h5py.Group, names: tuple[str, ...]) -> None:
    """Create the datasets that keep where each tomogram of a group was taken."""
    write_names(group, names)
    hdf5.create_growing(group, "position", (), np.int64)
    hdf5.create_growing(group, "stage_um", (3,), np.float64)
    hdf5.create_growing(group, "correction_um", (3,), np.float64)


def add_locations(group: h5py.Group, recorded: Positions, scans: NDArray[np.int64]) -> None:
    """Create them in a group that has tomograms, of the ``scans`` of a recording, but no places."""
    create_locations(group, recorded.names)
    for name in LOCATION_COLUMNS:
        group[name].resize(len(scans), axis=0)
        group[name][...] = getattr(recorded, name)[scans]


def read_names(file: h5py.File, name: str) -> tuple[str, ...]:
    """Read the names of the stage positions from a dataset."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind != "S" or found.ndim != 1:
        raise DataError(f"{file.filename}: dataset /{name} must be a list of names, found {found}")
    return tuple(bytes(each).decode(errors="replace").strip() for each in found[()])


def read_locations(file: h5py.File, group: str, names: tuple[str, ...], count: int) -> Positions:
    """Read the first ``count`` rows of ``position`` and ``stage_um`` in a group."""
    where = hdf5.checked_dataset(file, f"{group}/position", (None,), (np.int64,))
    stage_um = hdf5.checked_dataset(file, f"{group}/stage_um", (None, 3), (np.float64,))
    for held in (where, stage_um):
        held.refresh()  # the file may be growing
    position = np.asarray(where[:count], np.int64)
    wrong = position[(position < 0) | (position >= len(names))]
    if len(wrong):
        raise DataError(
            f"{file.filename}: /{group}/position must be the number of one of {len(names)} "
            f"positions, from 0, found {wrong[0]}"
        )
    correction_um = np.zeros((count, 3))
    if f"{group}/correction_um" in file:
        moved = hdf5.checked_dataset(file, f"{group}/correction_um", (None, 3), (np.float64,))
        moved.refresh()
        correction_um = np.asarray(moved[:count], np.float64)
    return Positions(names, position, np.asarray(stage_um[:count], np.float64), correction_um)
