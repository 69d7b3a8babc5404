"""Recordings: the raw interferograms of a time-lapse, with their background and optics.

    /                            attrs format="livetomo.recording", version=1; bit_depth of the
                                       camera, 8 to 16; optional
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

A time-lapse by plan has more beside these, which other readers may ignore
(``files.series``): the plan, stage positions, retaken backgrounds.

The row of a lost angle is zero, and ``lost`` says that it is. The timestamp is written last: a scan
is finished when it has one, and a scan that was cut off by a crash is not returned.
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
from files.reopening import reopen
from files.series import (
    RecordedScan,
    ScanLog,
    SeriesDescription,
    SeriesReader,
    SeriesRows,
    Visited,
    create_series,
    cut_series,
    read_positions,
    read_series,
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
    "/": {"format", "version", "bit_depth"},
    "illumination": {"normal"},
    "optics": {"wavelength_um", "numerical_aperture", "medium_index", "pixel_size_um"},
}
_PIXELS = (np.uint8, np.uint16)


class RecordingAppender(Closing):
    """Adds scans to a recording; a context manager that closes its file.

    Parameters
    ----------
    file : h5py.File
        In which all datasets exist; it is this object's from now on.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file, sample = file, file["sample"]
        self._frames, self._lost = sample["interferograms"], sample["lost"]
        self._timestamps = sample["timestamps"]
        self._series = SeriesRows(file) if "timelapse" in file else None
        file.flush()
        file.swmr_mode = True

    def append(self, stack: InterferogramStack, visited: Visited | None = None) -> None:
        """Write one scan; when this returns, the scan survives a crash of this process.

        Parameters
        ----------
        stack : InterferogramStack
        visited : Visited or None
            Where it was taken; of a time-lapse by plan.
        """
        self._check(stack)
        hdf5.append_row(self._frames, stack.frames)
        hdf5.append_row(self._lost, _mask(stack))
        if self._series is not None:
            self._series.append(visited or Visited())
        hdf5.append_row(self._timestamps, stack.timestamp)

    def append_background(self, stack: InterferogramStack) -> None:
        """Write a background that was taken anew; the scans that follow belong to it."""
        self._check(stack)
        if self._series is None:
            raise DataError("only a time-lapse by plan may have more than one background")
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
        Sets the optics, the illumination, the shape and the type of all that follows.
    attributes : mapping
        More attributes for the root.
    series : SeriesDescription or None
        Of a time-lapse by plan: where each scan was taken is then kept, and backgrounds may follow.

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
        hdf5.growing(sample, "interferograms", background.frames.shape, dtype)
        hdf5.growing(sample, "lost", (angles,), bool)
        hdf5.growing(sample, "timestamps", (), np.float64)
        if series is not None:
            create_series(file, series, background.frames)
        super().__init__(file)


def resume_recording(path: Path) -> RecordingAppender:
    """Go on with the recording of a time-lapse after its last finished scan, also after a crash.

    Raises
    ------
    DataError
        If it is none, or damaged.
    """
    file = reopen(path, FORMAT)
    try:
        cut_series(file, len(file["sample/timestamps"]))
        return RecordingAppender(file)
    except BaseException:
        file.close()
        raise


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording file: what it holds in memory (background) and on disk (scans).

    Parameters
    ----------
    path : Path
    background : InterferogramStack
    optics : Optics
    illumination_k : (angles, 2) float64 or None
        kx, ky in cycles/um; None where the file leaves them to be estimated.
    timestamps : (time,) float64
        Of the scans that were finished when the file was opened.
    attributes : mapping
        Attributes that the format does not name, by path, such as ``optics/comment``.
    series : SeriesDescription or None
        Of a time-lapse by plan.
    """

    path: Path
    background: InterferogramStack
    optics: Optics
    illumination_k: NDArray[np.float64] | None
    timestamps: NDArray[np.float64]
    attributes: hdf5.Attributes = field(default_factory=dict)
    series: SeriesDescription | None = None

    def __len__(self) -> int:
        return len(self.timestamps)

    def finished(self) -> int:
        """Return how many scans are finished by now, those added since it was opened included."""
        with hdf5.read_file(self.path) as file:
            hdf5.check_format(file, FORMAT)
            return _finished(file)

    def stacks(self, start: int = 0) -> Iterator[InterferogramStack]:
        """Yield the scans from ``start`` on, one at a time, those added meanwhile included."""
        return (scan.stack for scan in self.scans(start))

    def scans(self, start: int = 0, positions: Collection[int] = ()) -> Iterator[RecordedScan]:
        """Yield the same with where each was taken, and the background that belongs to it.

        Parameters
        ----------
        start : int
        positions : collection of int
            Numbers of the stage positions whose scans are yielded; empty: of all.
        """
        with hdf5.read_file(self.path) as file:
            series = SeriesReader(file) if self.series is not None else None
            index = start
            while index < (count := _finished(file)):
                if not positions or read_positions(file, count).position[index] in positions:
                    stack = self._stack(file, index)
                    if series is None:
                        yield RecordedScan(stack, self.background)
                    else:
                        yield series.scan(stack, self.background)
                index += 1

    def log(self) -> ScanLog:
        """Return what is known of the scans that were finished when the file was opened."""
        with hdf5.read_file(self.path) as file:
            sample, count = file["sample"], len(self)
            lost = sample["lost"][:count] if "lost" in sample else np.zeros((count, 1), bool)
            short = {int(row): _numbers(lost[row]) for row in np.flatnonzero(lost.any(axis=1))}
            return ScanLog(short, read_positions(file, count))

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
    """Open a recording, whether it is finished, still growing, or its writer was killed.

    Raises
    ------
    DataError
        If an attribute or a dataset is missing or impossible; the message names it.
    """
    with hdf5.read_file(path) as file:
        hdf5.check_format(file, FORMAT)
        optics = hdf5.read_optics(file)
        frames = hdf5.dataset(file, "background/interferograms", (None, None, None), _PIXELS)
        k = _illumination(file, len(frames), optics)
        _check_sample(file, frames.shape)
        lost: tuple[int, ...] = ()
        if "background/lost" in file:
            lost = _numbers(hdf5.dataset(file, "background/lost", (len(frames),), (bool,))[()])
        background = InterferogramStack(
            _native(frames[()]),
            optics,
            k,
            lost=lost,
            rotations=_rotations(file, len(frames)),
            normal=_normal(file, len(frames)),
            provenance={"recording": path.name, **_stated_depth(file)},
        )
        timestamps = file["sample/timestamps"][: _finished(file)].astype(np.float64)
        hdf5.finite(file, "sample/timestamps", timestamps)
        attributes = hdf5.other_attributes(file, _KNOWN)
        series = read_series(file, frames.shape)
    return Recording(path, background, optics, k, timestamps, attributes, series)


def _illumination(file: h5py.File, angles: int, optics: Optics) -> NDArray[np.float64] | None:
    if "illumination/k" not in file:
        return None
    found = hdf5.dataset(file, "illumination/k", (angles, 2), (np.float64,))
    k = hdf5.finite(file, "illumination/k", found[()].astype(np.float64))
    try:
        check_wave_vectors(k, optics)
    except ConfigurationError as error:
        raise DataError(f"{file.filename}: /illumination/k: {error}") from error
    return k


def _rotations(file: h5py.File, angles: int) -> NDArray[np.float64] | None:
    if "illumination/rotation" not in file:
        return None
    found = hdf5.dataset(file, "illumination/rotation", (angles, 3, 3), (np.float64,))
    rotations = hdf5.finite(file, "illumination/rotation", found[()].astype(np.float64))
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
    frames = hdf5.dataset(file, "sample/interferograms", (None, *frame_shape), _PIXELS)
    times = hdf5.dataset(file, "sample/timestamps", (None,), (np.float64,))
    # a crash cuts off at most the scan that was being written
    if not len(times) <= len(frames) <= len(times) + 1:
        raise DataError(
            f"{file.filename}: /sample/timestamps must have one value for each of the "
            f"{len(frames)} scans of /sample/interferograms, found {len(times)}"
        )
    if "sample/lost" in file:
        hdf5.dataset(file, "sample/lost", (None, frame_shape[0]), (bool,))


def _finished(file: h5py.File) -> int:
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
