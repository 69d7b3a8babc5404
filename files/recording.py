"""Recordings: the raw interferograms of a time-lapse, with their background and optics.

    /                            attrs format="livetomo.recording", version=1; bit_depth of the
                                       camera, 8 to 16; sample_name and notes; optional
    /optics                      attrs wavelength_um, numerical_aperture, medium_index,
                                       pixel_size_um
    /illumination/k              (angles, 2) float64, cycles/um; optional
    /illumination/rotation       (angles, 3, 3) float64, of the sample in each frame; optional
    /illumination                attrs normal, the angle along the optical axis; optional
    /background/interferograms   (angles, y, x) uint8 or uint16
    /background/lost             (angles,) bool; optional
    /sample/interferograms       (time, angles, y, x) uint8 or uint16
    /sample/timestamps           (time,) float64, seconds since the epoch
    /sample/lost                 (time, angles) bool; optional

A planned time-lapse also has its plan, stage positions and retaken backgrounds (``files.series``),
which other readers may ignore.

The row of a lost angle is zero and marked in ``lost``. The timestamp is written last: a scan
without one was cut off by a crash and is not returned.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.closing import Closing
from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.angles import check_wave_vectors
from acquisition.interferograms import InterferogramStack, check_rotations
from acquisition.optics import Optics
from files import hdf5
from files.drift_log import DriftLog, SeenObject, read_drift
from files.reopening import reopen
from files.sample_notes import NO_NOTES, SAMPLE_ATTRIBUTES, SampleNotes
from files.series import (
    RecordedScan,
    ScanLocation,
    ScanLog,
    SeriesDescription,
    SeriesReader,
    SeriesWriter,
    create_series,
    read_positions,
    read_series,
    truncate_series,
)

__all__ = [
    "FORMAT",
    "Recording",
    "RecordingAppender",
    "RecordingWriter",
    "read_recording",
    "resume_recording",
]

FORMAT = "livetomo.recording"
_KNOWN = {
    "/": {"format", "version", "bit_depth", *SAMPLE_ATTRIBUTES},
    "illumination": {"normal"},
    "optics": {"wavelength_um", "numerical_aperture", "medium_index", "pixel_size_um"},
}
_PIXELS = (np.uint8, np.uint16)


class RecordingAppender(Closing):
    """Adds scans to a recording; a context manager that closes its file.

    Parameters
    ----------
    file : h5py.File
        An open file in which all datasets exist. This object closes it.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file, sample = file, file["sample"]
        self._frames, self._lost = sample["interferograms"], sample["lost"]
        self._timestamps = sample["timestamps"]
        self._series = SeriesWriter(file) if "timelapse" in file else None
        hdf5.start_swmr(file)

    def append(self, stack: InterferogramStack, location: ScanLocation | None = None) -> None:
        """Write one scan; when this returns, the scan survives a crash of this process.

        Parameters
        ----------
        stack : InterferogramStack
        location : ScanLocation or None
            Where the scan was taken. Kept only in a planned time-lapse.
        """
        self._check(stack)
        hdf5.append_row(self._frames, stack.frames)
        hdf5.append_row(self._lost, _mask(stack))
        if self._series is not None:
            self._series.append(location or ScanLocation())
        hdf5.append_row(self._timestamps, stack.timestamp)

    def append_seen(self, seen: SeenObject) -> None:
        """Write where the object was in the last scan; kept only in a planned time-lapse."""
        if self._series is not None:
            self._series.append_seen(seen)

    def append_background(self, stack: InterferogramStack) -> None:
        """Write a retaken background. It applies to the scans that follow."""
        self._check(stack)
        if self._series is None:
            raise DataError("only a planned time-lapse can have more than one background")
        self._series.append_background(stack.frames, _mask(stack), stack.timestamp)

    def _check(self, stack: InterferogramStack) -> None:
        shape, dtype = self._frames.shape[1:], self._frames.dtype
        if stack.frames.shape != shape or stack.frames.dtype != dtype:
            raise DataError(
                f"every scan of a recording must be like its background, {shape} {dtype}, got "
                f"{stack.frames.shape} {stack.frames.dtype}"
            )

    def __len__(self) -> int:
        return len(self._timestamps)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RecordingWriter(RecordingAppender):
    """Write a recording scan by scan; a context manager.

    Parameters
    ----------
    path : Path
        A new file; an existing one is refused.
    background : InterferogramStack
        Sets the optics, the illumination, and the shape and type of all scans.
    attributes : mapping
        More attributes for the root.
    series : SeriesDescription or None
        Of a planned time-lapse. The file then also keeps where each scan was taken, and retaken
        backgrounds.

    Raises
    ------
    DataError
        If the file exists or cannot be created, or a stack does not fit the background.
    """

    def __init__(
        self,
        path: Path,
        background: InterferogramStack,
        attributes: hdf5.Attributes | None = None,
        series: SeriesDescription | None = None,
    ) -> None:
        file = hdf5.create_file(path, FORMAT, {**_depth(background), **(attributes or {})})
        hdf5.write_optics(file, background.optics)
        if background.illumination_k is not None:
            file["illumination/k"] = background.illumination_k.astype(np.float64)
        if background.rotations is not None:
            file["illumination/rotation"] = background.rotations.astype(np.float64)
        if background.normal is not None:
            file.require_group("illumination").attrs["normal"] = background.normal
        file["background/interferograms"] = background.frames
        file["background/lost"] = _mask(background)
        sample = file.create_group("sample")
        angles, dtype = len(background.frames), background.frames.dtype
        hdf5.create_growing(sample, "interferograms", background.frames.shape, dtype)
        hdf5.create_growing(sample, "lost", (angles,), bool)
        hdf5.create_growing(sample, "timestamps", (), np.float64)
        if series is not None:
            create_series(file, series, background.frames)
        super().__init__(file)


def resume_recording(path: Path) -> RecordingAppender:
    """Reopen the recording of a planned time-lapse, to append after its last complete scan.

    What a crash left incomplete is cut off.

    Raises
    ------
    DataError
        If the file is not such a recording, or is damaged.
    """
    file = reopen(path, FORMAT)
    try:
        truncate_series(file, len(file["sample/timestamps"]))
        return RecordingAppender(file)
    except BaseException:
        file.close()
        raise


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording: its background in memory, its scans read from the disk.

    Parameters
    ----------
    path : Path
    background : InterferogramStack
    optics : Optics
    illumination_k : (angles, 2) float64 or None
        kx, ky in cycles/um. None where the file has none: they are then estimated.
    timestamps : (time,) float64
        Start of each scan that was complete when the file was opened, in seconds since the epoch.
    attributes : mapping
        Attributes that the format does not define, by path such as ``optics/comment``.
    series : SeriesDescription or None
        Of a planned time-lapse; None for another recording.
    sample : SampleNotes
        What was written of the sample.
    """

    path: Path
    background: InterferogramStack
    optics: Optics
    illumination_k: NDArray[np.float64] | None
    timestamps: NDArray[np.float64]
    attributes: hdf5.Attributes = field(default_factory=dict)
    series: SeriesDescription | None = None
    sample: SampleNotes = NO_NOTES

    def __len__(self) -> int:
        return len(self.timestamps)

    def count_complete(self) -> int:
        """Return how many scans are complete now, including those added since it was opened."""
        with hdf5.read_file(self.path) as file:
            hdf5.check_format(file, FORMAT)
            return _count_complete(file)

    def stacks(self, start: int = 0) -> Iterator[InterferogramStack]:
        """Yield the scans from number ``start`` on, including those added meanwhile."""
        return (scan.stack for scan in self.scans(start))

    def scans(self, start: int = 0, positions: Collection[int] = ()) -> Iterator[RecordedScan]:
        """Yield scans with their location and their background, including those added meanwhile.

        Parameters
        ----------
        start : int
            Number of the first scan.
        positions : collection of int
            Numbers of the stage positions whose scans are wanted; empty: all.
        """
        with hdf5.read_file(self.path) as file:
            series = SeriesReader(file) if self.series is not None else None
            index = start
            while index < (count := _count_complete(file)):
                if not positions or read_positions(file, count).position[index] in positions:
                    stack = self._stack(file, index)
                    if series is None:
                        yield RecordedScan(stack, self.background)
                    else:
                        yield series.scan(stack, self.background)
                index += 1

    def frame(self, scan: int, angle: int) -> NDArray[Any]:
        """Read one interferogram, (y, x); the others of its scan stay on the disk."""
        with hdf5.read_file(self.path) as file:
            return _native(file["sample/interferograms"][scan, angle])

    def log(self) -> ScanLog:
        """Return lost angles and locations of the scans that were complete when it was opened."""
        with hdf5.read_file(self.path) as file:
            sample, count = file["sample"], len(self)
            lost = sample["lost"][:count] if "lost" in sample else np.zeros((count, 1), bool)
            short = {int(row): _numbers(lost[row]) for row in np.flatnonzero(lost.any(axis=1))}
            return ScanLog(short, read_positions(file, count))

    def drift(self) -> DriftLog:
        """Return where the object of the scans was, and by how much the stages corrected it."""
        with hdf5.read_file(self.path) as file:
            return read_drift(file["sample"], len(self))

    def _stack(self, file: h5py.File, index: int) -> InterferogramStack:
        sample = file["sample"]
        lost: tuple[int, ...] = ()
        if "lost" in sample:
            sample["lost"].refresh()
            lost = _numbers(sample["lost"][index])
        return InterferogramStack(
            _native(sample["interferograms"][index]),
            self.optics,
            self.illumination_k,
            timestamp=float(sample["timestamps"][index]),
            lost=lost,
            sequence=index,
            rotations=self.background.rotations,
            normal=self.background.normal,
            provenance=self.background.provenance,
        )


def read_recording(path: Path) -> Recording:
    """Open a recording: one that is closed, still growing, or whose writer was killed.

    Raises
    ------
    DataError
        If an attribute or a dataset is missing or impossible; the message names it.
    """
    with hdf5.read_file(path) as file:
        hdf5.check_format(file, FORMAT)
        optics = hdf5.read_optics(file)
        frames = hdf5.checked_dataset(
            file, "background/interferograms", (None, None, None), _PIXELS
        )
        k = _illumination(file, len(frames), optics)
        _check_sample(file, frames.shape)
        lost: tuple[int, ...] = ()
        if "background/lost" in file:
            lost = _numbers(
                hdf5.checked_dataset(file, "background/lost", (len(frames),), (bool,))[()]
            )
        background = InterferogramStack(
            _native(frames[()]),
            optics,
            k,
            lost=lost,
            rotations=_rotations(file, len(frames)),
            normal=_normal(file, len(frames)),
            provenance={"recording": path.name, **_stated_depth(file)},
        )
        timestamps = file["sample/timestamps"][: _count_complete(file)].astype(np.float64)
        hdf5.check_finite(file, "sample/timestamps", timestamps)
        attributes = hdf5.other_attributes(file, _KNOWN)
        series = read_series(file, frames.shape)
        sample = SampleNotes.read(file)
    return Recording(path, background, optics, k, timestamps, attributes, series, sample)


def _illumination(file: h5py.File, angles: int, optics: Optics) -> NDArray[np.float64] | None:
    if "illumination/k" not in file:
        return None
    found = hdf5.checked_dataset(file, "illumination/k", (angles, 2), (np.float64,))
    k = hdf5.check_finite(file, "illumination/k", found[()].astype(np.float64))
    try:
        check_wave_vectors(k, optics)
    except ConfigurationError as error:
        raise DataError(f"{file.filename}: /illumination/k: {error}") from error
    return k


def _rotations(file: h5py.File, angles: int) -> NDArray[np.float64] | None:
    if "illumination/rotation" not in file:
        return None
    found = hdf5.checked_dataset(file, "illumination/rotation", (angles, 3, 3), (np.float64,))
    rotations = hdf5.check_finite(file, "illumination/rotation", found[()].astype(np.float64))
    try:
        check_rotations(rotations, angles)
    except DataError as error:
        raise DataError(f"{file.filename}: /illumination/rotation: {error}") from error
    return rotations


def _normal(file: h5py.File, angles: int) -> int | None:
    if "illumination" not in file or "normal" not in file["illumination"].attrs:
        return None
    value = file["illumination"].attrs["normal"]
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "iu" or not 0 <= value < angles:
        raise DataError(
            f"{file.filename}: attribute 'normal' of /illumination must be one of the {angles} "
            f"angles, found {value!r}"
        )
    return int(value)


def _depth(stack: InterferogramStack) -> dict[str, int]:
    """Return the attribute that keeps the camera's bit depth, where it is known."""
    stated = stack.provenance.get("bit_depth")
    return {} if stated is None else {"bit_depth": int(stated)}


def _stated_depth(file: h5py.File) -> dict[str, str]:
    """Return it for the provenance of what is read."""
    if "bit_depth" not in file.attrs:
        return {}
    value = file.attrs["bit_depth"]
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "iu" or not 8 <= value <= 16:
        raise DataError(
            f"{file.filename}: attribute 'bit_depth' of / must be the camera's, 8 to 16, found "
            f"{value!r}"
        )
    return {"bit_depth": str(int(value))}


def _check_sample(file: h5py.File, frame_shape: tuple[int, ...]) -> None:
    frames = hdf5.checked_dataset(file, "sample/interferograms", (None, *frame_shape), _PIXELS)
    times = hdf5.checked_dataset(file, "sample/timestamps", (None,), (np.float64,))
    # a crash cuts off at most the scan that was being written
    if not len(times) <= len(frames) <= len(times) + 1:
        raise DataError(
            f"{file.filename}: /sample/timestamps must have one value for each of the "
            f"{len(frames)} scans of /sample/interferograms, found {len(times)}"
        )
    if "sample/lost" in file:
        hdf5.checked_dataset(file, "sample/lost", (None, frame_shape[0]), (bool,))


def _count_complete(file: h5py.File) -> int:
    """Return how many scans are complete; the timestamp comes last, so look at it first."""
    times, frames = file["sample/timestamps"], file["sample/interferograms"]
    times.refresh()
    count = len(times)
    frames.refresh()
    return count


def _mask(stack: InterferogramStack) -> NDArray[np.bool_]:
    mask = np.zeros(len(stack.frames), bool)
    mask[list(stack.lost)] = True
    return mask


def _numbers(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(angle) for angle in np.flatnonzero(mask))


def _native(frames: NDArray[Any]) -> NDArray[Any]:
    return frames.astype(frames.dtype.newbyteorder("="), copy=False)
