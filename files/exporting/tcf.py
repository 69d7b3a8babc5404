"""TCF, Tomocube's HDF5: refractive indices times 10,000 as uint16, a dataset for each time point.

There is no public description. This is what the public readers of it read (format version 1.3):
/Data/3D with count, sizes, resolution in um and interval in s as attributes of one element, and the
datasets 000000, 000001, ... (z, y, x), with the time and, in um, the place of the stage at each.
Tomocube's own programs may want more. A file holds one position of the stage.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.scanning.timestamps import time_text
from files.exporting.exported_image import Image, Volume

__all__ = ["write_tcf"]

_STEPS = 1e4  # per unit of refractive index


def write_tcf(images: Sequence[Image], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image, which has one channel; ``volumes`` are its own, (z, y, x) each.

    Raises
    ------
    DataError
        If it has more than one channel, which the format does not know.
    """
    (image,) = images
    if len(image.channels) != 1:
        raise DataError(
            f"a TCF must have one kind of volume, got {', '.join(image.channels)}: choose one"
        )
    with h5py.File(path, "w-") as file:
        _describe(file, image)
        group = file.create_group("Data/3D")
        limits = [_write(group, image, number, volume) for number, volume in enumerate(volumes)]
        group.attrs["DataCount"] = [len(limits)]
        # readers want one: 0, of which they make none, where it is not the same for all
        group.attrs["TimeInterval"] = [image.interval_s or 0.0]
        for axis, count, size_um in zip(
            "ZYX", image.shape[2:], image.series.voxel_size_um, strict=True
        ):
            group.attrs[f"Size{axis}"] = [count]
            group.attrs[f"Resolution{axis}"] = [size_um]
        group.attrs["RIMin"] = [min(low for low, _ in limits)]
        group.attrs["RIMax"] = [max(high for _, high in limits)]


def _describe(file: h5py.File, image: Image) -> None:
    optics, stamps = image.series.optics, image.timestamps
    file.attrs["FormatVersion"] = _text("1.3")
    stem = image.series.path.stem
    file.attrs["Title"] = _text(f"{stem} {image.label}" if image.label else stem)
    file.attrs["Description"] = _text(image.story)
    if stamps is not None:
        begun = time_text(float(stamps[0])).partition(".")[0]
        file.attrs["CreateDate"] = file.attrs["RecordingTime"] = _text(begun)
    device = file.create_group("Info/Device")
    device.attrs["NA"] = [optics.numerical_aperture]
    device.attrs["RI"] = [optics.medium_index]


def _write(group: h5py.Group, image: Image, number: int, volume: Volume) -> tuple[float, float]:
    """Write one time point; return its limits."""
    steps = _steps(number, volume)
    dataset = group.create_dataset(f"{number:06d}", data=steps, compression="gzip", shuffle=True)
    low, high = float(steps.min()) / _STEPS, float(steps.max()) / _STEPS
    dataset.attrs["RIMin"], dataset.attrs["RIMax"] = [low], [high]
    if image.timestamps is not None:
        dataset.attrs["RecordingTime"] = _text(time_text(float(image.timestamps[number])))
    for axis, value in zip("XYZ", image.places_um[number], strict=True):
        if math.isfinite(value):
            dataset.attrs[f"Position{axis}"] = [value]
    return low, high


def _steps(number: int, volume: Volume) -> NDArray[np.uint16]:
    """Return the index as TCF's whole numbers."""
    if not np.isfinite(volume).all():
        raise DataError(
            f"TCF must have an index in every voxel, time point {number} has voxels without one "
            "(NaN or infinite): export to ome-tiff or ome-zarr"
        )
    steps = np.rint(np.clip(volume * _STEPS, 0, np.iinfo(np.uint16).max))
    return np.asarray(steps, np.uint16)


def _text(text: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array([text], dtype=h5py.string_dtype())
