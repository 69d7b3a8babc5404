"""TCF, Tomocube's HDF5: refractive indices times 10,000 as uint16, a dataset for each time point.

There is no public description. This is what the public readers of it read (format version 1.3):
/Data/3D with count, sizes, resolution in um and interval in s as attributes of one element, and the
datasets 000000, 000001, ... (z, y, x). Tomocube's own programs may want more.
"""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from acquisition.errors import DataError
from pipeline.exporting.image import Image, Volume

__all__ = ["write_tcf"]

_STEPS = 1e4  # per unit of refractive index


def write_tcf(image: Image, volumes: Iterator[Volume], path: Path) -> None:
    """Write the image, which has one channel; ``volumes`` are its own, (z, y, x) each.

    Raises
    ------
    DataError
        If it has more than one channel, which the format does not know.
    """
    if len(image.channels) != 1:
        raise DataError(
            f"a TCF must have one kind of volume, got {', '.join(image.channels)}: choose one"
        )
    optics = image.series.optics
    with h5py.File(path, "w-") as file:
        file.attrs["FormatVersion"] = _text("1.3")
        file.attrs["Title"] = _text(image.name)
        file.attrs["Description"] = _text(image.story)
        if image.begun is not None:
            file.attrs["RecordingTime"] = _text(image.begun.strftime("%Y-%m-%d %H:%M:%S"))
        device = file.create_group("Info/Device")
        device.attrs["NA"] = [optics.numerical_aperture]
        device.attrs["RI"] = [optics.medium_index]
        group = file.create_group("Data/3D")
        limits = [_write(group, number, volume) for number, volume in enumerate(volumes)]
        group.attrs["DataCount"] = [len(limits)]
        group.attrs["TimeInterval"] = [image.interval_s]
        for axis, count, size_um in zip(
            "ZYX", image.shape[2:], image.series.voxel_size_um, strict=True
        ):
            group.attrs[f"Size{axis}"] = [count]
            group.attrs[f"Resolution{axis}"] = [size_um]
        group.attrs["RIMin"] = [min(low for low, _ in limits)]
        group.attrs["RIMax"] = [max(high for _, high in limits)]


def _write(group: h5py.Group, number: int, volume: Volume) -> tuple[float, float]:
    """Write one time point; return its limits."""
    steps = np.rint(np.clip(volume * _STEPS, 0, np.iinfo(np.uint16).max)).astype(np.uint16)
    dataset = group.create_dataset(f"{number:06d}", data=steps, compression="gzip", shuffle=True)
    low, high = float(steps.min()) / _STEPS, float(steps.max()) / _STEPS
    dataset.attrs["RIMin"], dataset.attrs["RIMax"] = [low], [high]
    return low, high


def _text(text: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array([text], dtype=h5py.string_dtype())
