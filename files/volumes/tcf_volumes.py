"""Volumes in TCF, Tomocube's HDF5, as the instruments write it.

    /                     FormatVersion, CreateDate, RecordingTime, DeviceModelType, ...
    /Info/Device          NA, RI, Magnification, perhaps a wavelength
    /Data/3D              SizeX, Y, Z; ResolutionX, Y, Z in um; 000000, 000001, ... (z, y, x)
    /Data/3D/000000       RecordingTime, PositionX, Y, Z
    /Data/3DFL/CH0        fluorescence, with its own Resolution, OffsetZ and frames

Attributes are arrays of one element. The index is times 10,000 in integers (or floats above 100),
plain in floats of old files; 8-bit data are thousandths above RIMin. Frames may be groups of tiles.
There is no public specification: this is what public readers of real files (bioio-tomocube,
TCFile, tomocube-tools) know. On the HT-X1 the NA in the file is the condenser's, and its light is
of low coherence, so that it says nothing of the caps and is left out.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from files import hdf5
from files.positions import StageXYZ
from files.volumes.tcf_fluorescence import tcf_fluorescence
from files.volumes.volume_source import (
    VolumeOptions,
    VolumeSource,
    check_unused,
    positive_sizes,
)
from reconstruction.finished.finished_volume import KnownOptics

__all__ = ["attribute", "frame_names", "is_tcf", "tcf_volumes"]

_THOUSANDTHS, _TEN_THOUSANDTHS, _SCALED = 1e-3, 1e-4, 100.0
_LOW_COHERENCE = re.compile(r"HT-?X", re.IGNORECASE)
_KEPT = ("Title", "CreateDate", "DeviceModelType", "DeviceSerial", "SoftwareVersion")
_TIMES = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S")
_TILE = re.compile(r"TILE_\d+$")


def is_tcf(path: Path) -> bool:
    """Return whether an HDF5 file is laid out as a TCF."""
    with hdf5.read_file(path) as file:
        return isinstance(file.get("Data/3D"), h5py.Group)


def tcf_volumes(path: Path, options: VolumeOptions) -> VolumeSource:
    """Open the RI volumes of a TCF, and its fluorescence.

    Raises
    ------
    DataError
        If something in it is missing or impossible.
    """
    check_unused(options, path, "a TCF", "axes", "channel", "dataset")
    with hdf5.read_file(path) as file:
        group = file.get("Data/3D")
        names = frame_names(group) if isinstance(group, h5py.Group) else []
        if not names:
            raise DataError(f"{path} must hold volumes in /Data/3D, found none")
        sizes = [attribute(group, f"Resolution{axis}") for axis in "ZYX"]
        shape = _shape(group, names[0], path)
        scale, offset = _scale(group[names[0]])
        known, notes = _optics(file)
        about = {name: str(found) for name in _KEPT if (found := attribute(file, name)) is not None}
        voxel = options.voxel_size_um or positive_sizes(sizes)
        channels, left_out = tcf_fluorescence(file, path, shape, voxel) if voxel else ((), ())
        source = VolumeSource(
            path,
            "TCF",
            (len(names), *shape),
            lambda time: _read(path, names[time], shape),
            voxel,
            known,
            scale,
            offset,
            _times(group, names),
            tuple(_place(group[name]) for name in names),
            channels,
            about,
            (*notes, *left_out),
        )
    return source


def frame_names(group: h5py.Group) -> list[str]:
    """Return the names of the frames of a group, in the order of their numbers."""
    return sorted((name for name in group if name.isdecimal()), key=int)


def attribute(item: h5py.Group | h5py.Dataset | h5py.File, name: str) -> Any:
    """Return an attribute, a number or text; None where there is none."""
    if name not in item.attrs:
        return None
    value = np.asarray(item.attrs[name]).reshape(-1)
    if value.size != 1:
        return None
    found = value[0]
    return found.decode(errors="replace") if isinstance(found, bytes) else found


def _shape(group: h5py.Group, name: str, path: Path) -> tuple[int, int, int]:
    frame = group[name]
    found = frame.shape if isinstance(frame, h5py.Dataset) else None
    if found is None:
        found = tuple(int(attribute(group, f"Size{axis}") or 0) for axis in "ZYX")
    if len(found) != 3 or min(found) < 1:
        raise DataError(f"{path}: /Data/3D/{name} must be a volume (z, y, x), got shape {found}")
    z, y, x = found
    return z, y, x


def _scale(frame: h5py.Dataset | h5py.Group) -> tuple[float, float]:
    """Return factor and offset from the numbers of a frame to the index."""
    eight_bits = bool(attribute(frame, "ScalarType"))
    if isinstance(frame, h5py.Dataset):
        if frame.dtype.kind == "f":
            low = float(np.max(frame[frame.shape[0] // 2]))
            return (_TEN_THOUSANDTHS if low > _SCALED else 1.0), 0.0
        eight_bits = eight_bits or frame.dtype.itemsize == 1
    lowest = attribute(frame, "RIMin")
    if eight_bits and lowest is not None:
        lowest = float(lowest)
        return _THOUSANDTHS, lowest * (_TEN_THOUSANDTHS if lowest > _SCALED else 1.0)
    return _TEN_THOUSANDTHS, 0.0


def _optics(file: h5py.File) -> tuple[KnownOptics, tuple[str, ...]]:
    device = file.get("Info/Device")
    if not isinstance(device, h5py.Group):
        return KnownOptics(), ()
    aperture, medium = _number(device, "NA"), _number(device, "RI")
    names = ("Wavelength", "WaveLength", "wavelength", "LaserWavelength")
    wavelength = next((w for name in names if (w := _number(device, name)) is not None), None)
    if wavelength is not None and wavelength > 10:  # nanometres
        wavelength /= 1e3
    model = str(attribute(file, "DeviceModelType") or "")
    if _LOW_COHERENCE.search(model) and aperture is not None:
        note = (
            f"the {model} has light of low coherence, and its file names the condenser's NA "
            f"{aperture:g}: neither is used, unless you give the optics"
        )
        return KnownOptics(None, None, medium), (note,)
    return KnownOptics(wavelength, aperture, medium), ()


def _number(item: h5py.Group | h5py.Dataset, name: str) -> float | None:
    """Return a positive number; None where there is none."""
    try:
        value = float(attribute(item, name))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _times(group: h5py.Group, names: list[str]) -> NDArray[np.float64] | None:
    """Return the time of each frame, else by the interval; None where neither is known."""
    stamps = [_stamp(attribute(group[name], "RecordingTime")) for name in names]
    if all(stamp is not None for stamp in stamps):
        return np.array(stamps, np.float64)
    interval = _number(group, "TimeInterval")
    return None if interval is None else interval * np.arange(len(names), dtype=np.float64)


def _stamp(text: Any) -> float | None:
    """Return a date in seconds since the epoch; the file names no time zone: UTC, as exported."""
    for form in _TIMES:
        try:
            return datetime.strptime(str(text), form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def _place(frame: h5py.Dataset | h5py.Group) -> StageXYZ:
    values = []
    for axis in "XYZ":
        value = attribute(frame, f"Position{axis}")
        values.append(math.nan if value is None else float(value))
    x, y, z = values
    return x, y, z


def _read(path: Path, name: str, shape: tuple[int, int, int]) -> NDArray[Any]:
    with hdf5.read_file(path) as file:
        frame = file["Data/3D"][name]
        try:
            if isinstance(frame, h5py.Dataset):
                if frame.shape != shape:
                    raise DataError(
                        f"{path}: every volume must have shape {shape}, /Data/3D/{name} has "
                        f"{frame.shape}"
                    )
                return np.asarray(frame[()])
            return _joined(frame, shape)
        except OSError as error:
            raise DataError(
                f"{path}: /Data/3D/{name} cannot be read ({error}): if it is compressed by a "
                "filter that HDF5 lacks, install hdf5plugin and import it, or save the file anew"
            ) from error


def _joined(frame: h5py.Group, shape: tuple[int, int, int]) -> NDArray[Any]:
    """Return a frame that is kept in tiles."""
    whole: NDArray[Any] = np.zeros(shape, np.uint16)
    for tile in _tiles(frame):
        at = []
        for axis in "ZYX":
            first = int(attribute(tile, f"DataIndexOffsetPoint{axis}") or 0)
            last = int(attribute(tile, f"DataIndexLastPoint{axis}") or 0)
            at.append(slice(first, last + 1))
        inside = tuple(slice(0, one.stop - one.start) for one in at)
        whole[tuple(at)] += tile[inside]
    return whole


def _tiles(frame: Mapping[str, Any]) -> Iterator[h5py.Dataset]:
    """Yield the tiles of full resolution."""
    for name in sorted(frame):
        if _TILE.match(name) and int(attribute(frame[name], "SamplingStep") or 1) == 1:
            yield frame[name]
