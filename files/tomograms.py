"""Tomogram files: raw and regularized RI volumes of a time-lapse, and how good they are.

    /                        attrs format="livetomo.tomogram", version=1, provenance (JSON);
                                   sample_name and notes; optional
    /optics                  attrs wavelength_um, numerical_aperture, medium_index, pixel_size_um
    /tomograms               attrs voxel_size_um = (dz, dy, dx)
    /tomograms/raw           (time, z, y, x) float32 RI
    /tomograms/deep, tv      (n, z, y, x) float32 RI, regularized
    /tomograms/deep_index, tv_index   (n,) int64, the time point of each volume
    /tomograms/scan          (time,) int64, number of the scan in the recording; optional
    /tomograms/positions     (positions,) text: names of the stage positions; optional, with
    /tomograms/position      (time,) int64: number of the position, and
    /tomograms/stage_um      (time, 3) float64: x, y and z of the stage; nan where unknown
    /tomograms/correction_um (time, 3) float64: x, y and z by which the field of view has been moved
                             since the position's first scan; optional
    /tomograms/refined_k     (time, angles, 2) float64: kx and ky in cycles/um, refined on the
                             object of each scan; optional
    /tomograms/timestamps    (time,) float64, seconds since the epoch; optional, written last
    /quality                 one row a time point that was compared with total variation: time,
                             ssim, mse, correlation, and more (``TomogramWriter.append_quality``)

Without an index a regularized dataset holds every time point.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.choices import VOLUMES
from acquisition.closing import Closing
from acquisition.errors import DataError
from acquisition.optics import Optics
from files import hdf5
from files.positions import (
    LOCATION_COLUMNS,
    Positions,
    add_locations,
    create_locations,
    read_locations,
    read_names,
)
from files.quality_rows import quality_columns, quality_row, quality_type
from files.reopening import reopen
from files.sample_notes import NO_NOTES, SAMPLE_ATTRIBUTES, SampleNotes
from files.series import ScanLocation
from files.tiled_volumes import TiledVolumes
from files.tomogram_columns import (
    complete_time_points,
    finished,
    provenance_in,
    scan_numbers,
    timestamps,
    voxel_size,
)
from regularizer.quality_report import QualityReport

if TYPE_CHECKING:
    from reconstruction.tomogram import Tomogram  # with torch, which a window opens without

__all__ = [
    "FORMAT",
    "TomogramAppender",
    "TomogramSeries",
    "TomogramWriter",
    "read_tomograms",
    "resume_tomograms",
    "shared_provenance",
]

FORMAT = "livetomo.tomogram"
_REFINED = "refined_k"
_WIDEST = 512  # voxels across a chunk: those of large fields are written tile by tile
_OF_ONE_SCAN = ("position", "background", "wave_vectors")  # entries of provenance
_KNOWN = {
    "/": {"format", "version", "provenance", *SAMPLE_ATTRIBUTES},
    "optics": {"wavelength_um", "numerical_aperture", "medium_index", "pixel_size_um"},
    "tomograms": {"voxel_size_um"},
}


class TomogramAppender(Closing):
    """Adds time points to a tomogram file; a context manager that closes it.

    Parameters
    ----------
    file : h5py.File
        An open file in which all datasets exist. This object closes it.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file, group = file, file["tomograms"]
        self._raw, self._scans, self._timestamps = (group[n] for n in ("raw", "scan", "timestamps"))
        self._shape = self._raw.shape[1:]
        self._voxel_size_um = voxel_size(file)
        self._volumes = {m: group[m] for m in VOLUMES if m in group}
        self._indices = {m: group[f"{m}_index"] for m in self._volumes}
        self._quality = file["quality"]
        self._placed = {name: group[name] for name in LOCATION_COLUMNS if name in group}
        self._refined = group.get(_REFINED)
        hdf5.start_swmr(file)

    def append(
        self,
        raw: "Tomogram",
        regularized: "Mapping[str, Tomogram] | None" = None,
        location: ScanLocation | None = None,
        refined_k: "NDArray[np.float64] | None" = None,
    ) -> int:
        """Append one time point and return its number.

        Parameters
        ----------
        raw : Tomogram
        regularized : mapping of str to Tomogram
            By method: "deep", "tv", "gp".
        location : ScanLocation or None
            Where the scan was taken. Kept where the file has positions.
        refined_k : (angles, 2) float64 or None
            Wave vectors refined on the object. Kept where the file was made for them.
        """
        volumes = {method: self._checked(t) for method, t in (regularized or {}).items()}
        if not set(volumes) <= set(self._volumes):
            raise DataError(
                f"this file was created for the methods {tuple(self._volumes)}, got "
                f"{tuple(volumes)}"
            )
        hdf5.append_row(self._raw, self._checked(raw))
        for method, volume in volumes.items():
            hdf5.append_row(self._volumes[method], volume)
        return self._complete(tuple(volumes), raw, location, refined_k)

    def tiled(self, methods: tuple[str, ...]) -> TiledVolumes:
        """Begin a time point whose volumes, raw and by method, are written tile by tile."""
        return TiledVolumes({"raw": self._raw, **{m: self._volumes[m] for m in methods}})

    def append_tiled(
        self,
        volumes: TiledVolumes,
        methods: tuple[str, ...],
        raw: "Tomogram",
        location: ScanLocation | None = None,
    ) -> int:
        """Complete a time point that ``tiled`` began; ``raw`` gives the scan's number and time."""
        volumes.flush()
        return self._complete(methods, raw, location)

    def _complete(
        self,
        methods: tuple[str, ...],
        raw: "Tomogram",
        location: ScanLocation | None,
        refined_k: "NDArray[np.float64] | None" = None,
    ) -> int:
        time = len(self)
        for method in methods:
            hdf5.append_row(self._indices[method], time)
        location = location or ScanLocation()
        for name, held in self._placed.items():
            hdf5.append_row(held, getattr(location, name))
        if self._refined is not None:
            hdf5.append_row(self._refined, np.nan if refined_k is None else refined_k)
        hdf5.append_row(self._scans, raw.sequence)
        hdf5.append_row(self._timestamps, raw.timestamp)
        return time

    def append_quality(
        self, time: int, report: QualityReport, reference: "Tomogram | None" = None
    ) -> None:
        """Append the comparison of a time point's tomogram with total variation.

        Parameters
        ----------
        time : int
            The time point.
        report : QualityReport
            Its fields become columns of /quality: ``method`` as bytes, ``ssim_z`` as an array.
        reference : Tomogram or None
            The total-variation volume for /tomograms/tv. None where ``append`` has written it.
        """
        if not 0 <= time < len(self):
            raise DataError(
                f"the time point of a quality report must be below {len(self)}, got {time}"
            )
        if reference is not None:
            volume = self._checked(reference)
            hdf5.append_row(self._volumes["tv"], volume)
            hdf5.append_row(self._indices["tv"], time)
        hdf5.append_row(self._quality, quality_row(self._quality.dtype, time, report))

    def _checked(self, tomogram: "Tomogram") -> NDArray[np.float32]:
        if (
            tuple(tomogram.index.shape) != self._shape
            or tomogram.voxel_size_um != self._voxel_size_um
        ):
            raise DataError(
                f"every tomogram of a file must have shape {self._shape} and voxels of "
                f"{self._voxel_size_um} um, got {tuple(tomogram.index.shape)} and "
                f"{tomogram.voxel_size_um}"
            )
        return tomogram.index.detach().cpu().numpy()

    def __len__(self) -> int:
        return len(self._timestamps)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TomogramWriter(TomogramAppender):
    """Write tomograms time point by time point; a context manager.

    Parameters
    ----------
    path : Path
        A new file; an existing one is refused.
    first : Tomogram
        Sets optics, shape and voxel size. It is not written: ``append`` does that.
    methods : tuple of str
        The regularized datasets that may follow: "deep", "tv", "gp".
    provenance : mapping
        What made the file; added to the provenance of ``first``.
    positions : tuple of str or None
        Names of the stage positions. The file then keeps where each scan was taken.
    sample : SampleNotes
        What was written of the sample.
    refined_angles : int
        Number of angles whose refined wave vectors are kept; 0: none are.

    Raises
    ------
    DataError
        If the file exists or cannot be created, or a volume does not fit the first.
    """

    def __init__(
        self,
        path: Path,
        first: "Tomogram",
        methods: tuple[str, ...] = (),
        provenance: Mapping[str, Any] | None = None,
        positions: tuple[str, ...] | None = None,
        sample: SampleNotes = NO_NOTES,
        refined_angles: int = 0,
    ) -> None:
        if not set(methods) <= set(VOLUMES):
            raise DataError(
                f"a tomogram file holds the volumes {', '.join(VOLUMES)}, got {methods}"
            )
        shape = tuple(first.index.shape)
        entries = {**shared_provenance(first.provenance), **(provenance or {})}
        attributes = {**sample.attributes(), "provenance": json.dumps(entries)}
        file = hdf5.create_file(path, FORMAT, attributes)
        hdf5.write_optics(file, first.optics)
        group = file.create_group("tomograms")
        group.attrs["voxel_size_um"] = np.array(first.voxel_size_um, np.float64)
        hdf5.create_growing(group, "raw", shape, np.float32, _WIDEST)
        hdf5.create_growing(group, "scan", (), np.int64)
        hdf5.create_growing(group, "timestamps", (), np.float64)
        for method in methods:
            hdf5.create_growing(group, method, shape, np.float32, _WIDEST)
            hdf5.create_growing(group, f"{method}_index", (), np.int64)
        if positions is not None:
            create_locations(group, positions)
        if refined_angles:
            hdf5.create_growing(group, _REFINED, (refined_angles, 2), np.float64)
        hdf5.create_growing(file, "quality", (), quality_type(shape))
        super().__init__(file)


def shared_provenance(provenance: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a provenance that apply to the whole file, not to one scan only."""
    return {key: value for key, value in provenance.items() if key not in _OF_ONE_SCAN}


def resume_tomograms(path: Path, recorded: Positions | None = None) -> TomogramAppender:
    """Reopen a tomogram file, to append after its last finished time point.

    What a crash left incomplete is cut off, as is a time point that is still to be compared.

    Parameters
    ----------
    path : Path
    recorded : Positions or None
        Where the recording's scans were taken; written to a file that lacks positions.

    Raises
    ------
    DataError
        If it is not a tomogram file, lacks /tomograms/scan, or is damaged.
    """
    file = reopen(path, FORMAT)
    try:
        group = file["tomograms"]
        if "scan" not in group:
            raise DataError(
                f"{path} must have /tomograms/scan, the scans that it holds, to be resumed, found "
                "nothing: reconstruct the recording into another file"
            )
        _cut(file, finished(file))
        if recorded is not None and "positions" not in group:
            add_locations(group, recorded, group["scan"][()])
        return TomogramAppender(file)
    except BaseException:
        file.close()
        raise


def _cut(file: h5py.File, count: int) -> None:
    """Cut all datasets to ``count`` time points, and volumes without an index."""
    group = file["tomograms"]
    for name in ("raw", "scan", "timestamps", *LOCATION_COLUMNS, _REFINED):
        if name in group:
            group[name].resize(count, axis=0)
    for method in VOLUMES:
        if method in group:
            held = len(_index(file, method, group["raw"].shape[1:], count))
            for name in (method, f"{method}_index"):
                group[name].resize(held, axis=0)


@dataclass(frozen=True, slots=True)
class TomogramSeries:
    """A tomogram file: its description in memory, its volumes on disk.

    Parameters
    ----------
    path : Path
    optics : Optics
    voxel_size_um : (dz, dy, dx)
    shape : (time, z, y, x)
    indices : mapping of str to (n,) int64
        By method: the time points of its volumes.
    timestamps : (time,) float64
        Seconds since the epoch; zero where the file has none.
    quality : mapping of str to (rows,) array
        Columns of /quality; empty where there is none.
    provenance : mapping
    attributes : mapping
        Attributes that the format does not define, by path.
    scans : (time,) int64
        Number of the scan in the recording; the time point itself where the file has none.
    positions : Positions
        Where each scan was taken; one unnamed position where the file has none.
    sample : SampleNotes
        What was written of the sample.
    refined_k : (time, angles, 2) float64 or None
        Wave vectors refined on the object of each scan, cycles/um; None where they were not.
    """

    path: Path
    optics: Optics
    voxel_size_um: tuple[float, float, float]
    shape: tuple[int, int, int, int]
    indices: Mapping[str, NDArray[np.int64]]
    timestamps: NDArray[np.float64]
    quality: Mapping[str, NDArray[Any]]
    provenance: Mapping[str, Any]
    attributes: hdf5.Attributes = field(default_factory=dict)
    scans: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    positions: Positions = field(default_factory=Positions)
    sample: SampleNotes = NO_NOTES
    refined_k: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def raw(self, time: int) -> "Tomogram":
        """Read the raw tomogram of one time point."""
        if not 0 <= time < len(self):
            raise DataError(f"{self.path}: time must be below {len(self)}, got {time}")
        return self._tomogram("raw", time, time)

    def regularized(self, method: str, time: int) -> "Tomogram | None":
        """Read a regularized tomogram; None if the file has none for this time point."""
        row = self._row(method, time)
        return None if row is None else self._tomogram(method, row, time)

    def volume(self, name: str, time: int, z: slice = slice(None)) -> NDArray[np.float32] | None:
        """Read planes of "raw" or of a regularized volume, (z, y, x); None if there is none."""
        row = self._row(name, time)
        if row is None:
            return None
        with hdf5.read_file(self.path) as file:
            found = file["tomograms"][name][row, z]
        return np.asarray(found).astype(np.float32, copy=False)

    def _row(self, name: str, time: int) -> int | None:
        if name == "raw":
            return time if 0 <= time < len(self) else None
        rows = np.flatnonzero(self.indices.get(name, np.empty(0, np.int64)) == time)
        return int(rows[0]) if len(rows) else None

    def __iter__(self) -> "Iterator[Tomogram]":
        return (self.raw(time) for time in range(len(self)))

    def _tomogram(self, name: str, row: int, time: int) -> "Tomogram":
        import torch  # seconds, which those who take arrays do not wait for

        from reconstruction.tomogram import Tomogram

        with hdf5.read_file(self.path) as file:
            volume = file["tomograms"][name][row].astype(np.float32, copy=False)
        provenance = {key: str(value) for key, value in self.provenance.items()}
        if label := self.positions.label(time):
            provenance["position"] = label
        return Tomogram(
            torch.from_numpy(volume),
            self.voxel_size_um,
            self.optics,
            timestamp=float(self.timestamps[time]),
            sequence=time,
            provenance=provenance,
        )


def read_tomograms(path: Path) -> TomogramSeries:
    """Open a tomogram file: one that is closed, still growing, or whose writer was killed.

    Raises
    ------
    DataError
        If an attribute or a dataset is missing or impossible; the message names it.
    """
    with hdf5.read_file(path) as file:
        hdf5.check_format(file, FORMAT)
        optics = hdf5.read_optics(file)
        count = complete_time_points(file)
        raw = hdf5.checked_dataset(file, "tomograms/raw", (None, None, None, None), (np.float32,))
        volume = raw.shape[1:]
        indices = {
            method: _index(file, method, volume, count)
            for method in VOLUMES
            if f"tomograms/{method}" in file
        }
        return TomogramSeries(
            path,
            optics,
            voxel_size(file),
            (count, *volume),
            indices,
            timestamps(file, count),
            quality_columns(file),
            provenance_in(file),
            hdf5.other_attributes(file, _KNOWN),
            scan_numbers(file, count),
            _positions(file, count),
            SampleNotes.read(file),
            _refined_k(file, count),
        )


def _refined_k(file: h5py.File, count: int) -> NDArray[np.float64] | None:
    held = file["tomograms"].get(_REFINED)
    return None if held is None else np.asarray(held[:count], np.float64)


def _index(file: h5py.File, method: str, volume: tuple[int, ...], count: int) -> NDArray[np.int64]:
    name = f"tomograms/{method}"
    held = len(hdf5.checked_dataset(file, name, (None, *volume), (np.float32,)))
    if f"{name}_index" not in file:
        index = np.arange(held, dtype=np.int64)
    else:
        # the index is written after its volume: a crash may have left a volume without one
        found = hdf5.checked_dataset(file, f"{name}_index", (None,), (np.int64,))
        index = found[:held].astype(np.int64)
    if (index < 0).any():
        raise DataError(
            f"{file.filename}: /{name}_index must hold time points, found {index.min()}"
        )
    return index[index < count]


def _positions(file: h5py.File, count: int) -> Positions:
    if "tomograms/positions" not in file:
        return Positions.unlocated(count)
    return read_locations(file, "tomograms", read_names(file, "tomograms/positions"), count)
