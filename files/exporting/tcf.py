"""TCF, Tomocube's HDF5: refractive indices times 10,000 as uint16, a dataset for each time point.

There is no public specification. This is what its public readers expect (format version 1.3):
/Data/3D with count, sizes, resolution in um and interval in s as attributes of one element, and the
datasets 000000, 000001, ... (z, y, x), each with its time and the stage position in um; the same
for /Data/2DMIP, the highest index along z, (y, x); /Info/Device with NA, medium and wavelength in
um. Fluorescence goes to /Data/3DFL/CH0, ..., on the voxels of the index. What LiveTomo does not
know (magnification, device, serial number) is left out. Tomocube's own programs may expect more. A
file holds one stage position.
"""

import math
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.scanning.timestamps import time_text
from files.exporting.exported_image import ExportedImage, Volume
from files.tomogram_fluorescence import fluorescence_channels, read_fluorescence

__all__ = ["write_tcf"]

_STEPS = 1e4  # per unit of refractive index


def write_tcf(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image of one channel; ``volumes`` yields its volumes (z, y, x).

    Raises
    ------
    DataError
        If the image has more than one channel, or a voxel without an index.
    """
    (image,) = images
    if len(image.channels) != 1:
        raise DataError(
            f"a TCF must have one kind of volume, got {', '.join(image.channels)}: choose "
            "one with --volume"
        )
    with h5py.File(path, "w-") as file:
        _describe(file, image)
        volume_group, seen_group = file.create_group("Data/3D"), file.create_group("Data/2DMIP")
        limits, seen = [], []
        for number, volume in enumerate(volumes):
            steps = _steps(number, volume)
            limits.append(_write(volume_group, image, number, steps))
            seen.append(_write(seen_group, image, number, steps.max(axis=0)))
        for group, axes, found in ((volume_group, "ZYX", limits), (seen_group, "YX", seen)):
            _describe_frames(group, image, axes, len(found))
            group.attrs["RIMin"] = [min(low for low, _ in found)]
            group.attrs["RIMax"] = [max(high for _, high in found)]
        _write_fluorescence(file, image)


def _describe(file: h5py.File, image: ExportedImage) -> None:
    optics, stamps = image.series.optics, image.timestamps
    file.attrs["FormatVersion"] = _text("1.3")
    stem = image.series.path.stem
    file.attrs["Title"] = _text(f"{stem} {image.label}" if image.label else stem)
    file.attrs["Description"] = _text(image.provenance)
    if stamps is not None:
        begun = time_text(float(stamps[0])).partition(".")[0]
        file.attrs["CreateDate"] = file.attrs["RecordingTime"] = _text(begun)
    file.attrs["SoftwareVersion"] = _text(_software())
    device = file.create_group("Info/Device")
    device.attrs["NA"] = [optics.numerical_aperture]
    device.attrs["RI"] = [optics.medium_index]
    device.attrs["Wavelength"] = [optics.wavelength_um]


def _software() -> str:
    try:
        return f"LiveTomo {version('livetomo')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "LiveTomo"


def _describe_frames(group: h5py.Group, image: ExportedImage, axes: str, count: int) -> None:
    """Write number, sizes and interval of a group's frames."""
    group.attrs["DataCount"] = [count]
    # readers require it; they take 0 as unknown, for uneven times
    group.attrs["TimeInterval"] = [image.interval_s or 0.0]
    for axis, size, size_um in zip("ZYX", image.shape[2:], image.series.voxel_size_um, strict=True):
        if axis in axes:
            group.attrs[f"Size{axis}"] = [size]
            group.attrs[f"Resolution{axis}"] = [size_um]


def _write_fluorescence(file: h5py.File, image: ExportedImage) -> None:
    """Write the fluorescence that the tomogram file holds, as it is: on the voxels of the index."""
    path = image.series.path
    names = fluorescence_channels(path)
    if not names:
        return
    whole = file.create_group("Data/3DFL")
    whole.attrs["Channels"] = [len(names)]
    counts = []
    for channel, name in enumerate(names):
        group = whole.create_group(f"CH{channel}")
        group.attrs["OffsetZ"] = [0.0]
        group.attrs["Name"] = _text(name)
        for number, time in enumerate(image.times.tolist()):
            frame = read_fluorescence(path, name, time)
            if frame is not None:
                how = {"compression": "gzip", "shuffle": True}
                dataset = group.create_dataset(f"{number:06d}", data=frame, **how)
                _place(dataset, image, number)
        counts.append(len(group))
    _describe_frames(whole, image, "ZYX", max(counts))


def _write(
    group: h5py.Group, image: ExportedImage, number: int, steps: NDArray[np.uint16]
) -> tuple[float, float]:
    """Write one time point; return its lowest and highest index."""
    dataset = group.create_dataset(f"{number:06d}", data=steps, compression="gzip", shuffle=True)
    low, high = float(steps.min()) / _STEPS, float(steps.max()) / _STEPS
    dataset.attrs["RIMin"], dataset.attrs["RIMax"] = [low], [high]
    _place(dataset, image, number)
    return low, high


def _place(dataset: h5py.Dataset, image: ExportedImage, number: int) -> None:
    """Write the time of a frame and the position of the stage."""
    if image.timestamps is not None:
        dataset.attrs["RecordingTime"] = _text(time_text(float(image.timestamps[number])))
    for axis, value in zip("XYZ", image.stage_um[number], strict=True):
        if math.isfinite(value):
            dataset.attrs[f"Position{axis}"] = [value]


def _steps(number: int, volume: Volume) -> NDArray[np.uint16]:
    """Return the index in the integer steps of TCF."""
    if not np.isfinite(volume).all():
        raise DataError(
            f"TCF must have an index in every voxel, time point {number} has voxels without one "
            "(NaN or infinite): export to ome-tiff or ome-zarr"
        )
    steps = np.rint(np.clip(volume * _STEPS, 0, np.iinfo(np.uint16).max))
    return np.asarray(steps, np.uint16)


def _text(text: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array([text], dtype=h5py.string_dtype())
