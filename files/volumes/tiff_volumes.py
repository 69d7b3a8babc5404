"""Volumes in TIFF files: OME-TIFF, ImageJ hyperstacks, and plain stacks of pages.

OME and ImageJ name the axes and the voxel size. A plain stack has one axis of pages, which is z.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from acquisition.errors import DataError
from files.importing.image_files import DECODER_ERRORS
from files.volumes.volume_source import (
    VolumeOptions,
    VolumeSource,
    VoxelSize,
    along_axes,
    positive_sizes,
)

__all__ = ["tiff_volumes"]

_MICROMETRES = {  # per unit
    "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0,
    "\\u00b5m": 1.0, "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "pm": 1e-6,
    "Å": 1e-4,
}  # fmt: skip
_EVERY_PAGE = -1  # in place of a series: pages that were saved one by one
_SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0}


def tiff_volumes(path: Path, options: VolumeOptions) -> VolumeSource:
    """Open the first series of a TIFF.

    Raises
    ------
    DataError
        If it cannot be read, or its axes are unknown.
    """
    try:
        with _quiet() as complaints, tifffile.TiffFile(path) as tiff:
            chosen = options.dataset or "0"
            if not chosen.isdecimal() or int(chosen) >= len(tiff.series):
                raise DataError(
                    f"{path}: --dataset must be 0 to {len(tiff.series) - 1}, the series of the "
                    f"file, got {chosen}"
                )
            number = int(chosen)
            series = tiff.series[number]
            found, shape = series.axes, tuple(series.shape)
            if found == "YX" and len(tiff.series) > 1 and not options.dataset:
                found, shape, number = "ZYX", (len(tiff.pages), *shape), _EVERY_PAGE
            if len(shape) < 3 and complaints:  # the list of its pages ends too early
                raise DataError(f"{path} cannot be read as TIFF: {complaints[0]}")
            axes = options.axes or _axes(found, path)
            numbers = _Pages(path, number, shape)
            voxel, interval_s = _described(tiff, max(number, 0))
    except DECODER_ERRORS as error:
        raise DataError(f"{path} cannot be read as TIFF: {error}") from error
    read = along_axes(numbers, axes, path, options.channel)
    times = None if interval_s is None else interval_s * np.arange(read.shape[0], dtype=np.float64)
    return VolumeSource(path, "TIFF", read.shape, read.read, voxel, timestamps=times)


def _axes(found: str, path: Path) -> str:
    """Return the axes of a series in our letters; pages of unknown meaning are z."""
    unknown = [axis for axis in found if axis not in "TCZYX"]
    if "S" in unknown:
        raise DataError(
            f"{path} must hold one number a voxel, and holds colours: save the volume before it is "
            "coloured"
        )
    if len(unknown) == 1 and "Z" not in found and unknown[0] in "IQ":
        return found.replace(unknown[0], "Z")
    if "Z" not in found and "T" in found and not unknown:
        return found.replace("T", "Z")  # ImageJ saves a stack without a voxel depth as frames
    if unknown:
        raise DataError(
            f"{path} does not say what its axes {found} are: give their order with --axes, "
            f"{len(found)} of the letters T, C, Z, Y, X"
        )
    return found


class _Pages:
    """A series of a TIFF, read page by page."""

    def __init__(self, path: Path, series: int, shape: tuple[int, ...]) -> None:
        self._path, self._series, self.shape = path, series, shape

    def __getitem__(self, at: tuple[Any, ...]) -> NDArray[Any]:
        with _quiet(), tifffile.TiffFile(self._path) as tiff:
            series: Any = tiff if self._series == _EVERY_PAGE else tiff.series[self._series]
            outer = self.shape[:-2]
            if len(series.pages) != int(np.prod(outer)):  # ImageJ beyond 4 GB: one page for all
                whole = tifffile.memmap(self._path, mode="r").reshape(self.shape)
                return np.array(whole[at])
            numbers = np.arange(len(series.pages)).reshape(outer)[at[:-2]]
            held = (series.pages[int(number)] for number in numbers.reshape(-1))
            pages = [page.asarray() for page in held if page is not None]
        found = np.stack(pages).reshape(*numbers.shape, *self.shape[-2:])
        return found[(..., *at[-2:])]


def _described(tiff: tifffile.TiffFile, series: int) -> tuple[VoxelSize | None, float | None]:
    """Return voxel size and interval of the times in s; None where unknown."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome(tiff.ome_metadata, series)
    if tiff.is_imagej and tiff.imagej_metadata:
        return _imagej(tiff, tiff.imagej_metadata)
    return None, None


def _ome(text: str, series: int) -> tuple[VoxelSize | None, float | None]:
    root = ElementTree.fromstring(text)
    found = [item for item in root.iter() if item.tag.rpartition("}")[2] == "Pixels"]
    if series >= len(found):
        return None, None
    about = found[series].attrib
    sizes = [
        float(about[f"PhysicalSize{axis}"])
        * _MICROMETRES.get(about.get(f"PhysicalSize{axis}Unit", "µm"), np.nan)
        if f"PhysicalSize{axis}" in about
        else None
        for axis in "ZYX"
    ]
    interval = about.get("TimeIncrement")
    second = _SECONDS.get(about.get("TimeIncrementUnit", "s"))
    seconds = None if interval is None or second is None else float(interval) * second
    return positive_sizes(sizes), seconds


def _imagej(
    tiff: tifffile.TiffFile, about: dict[str, Any]
) -> tuple[VoxelSize | None, float | None]:
    unit = _MICROMETRES.get(str(about.get("unit", "")))
    interval = about.get("finterval")
    seconds = float(interval) if interval else None
    page = tiff.pages[0]
    assert isinstance(page, tifffile.TiffPage)
    if unit is None or "XResolution" not in page.tags or "spacing" not in about:
        return None, seconds
    across = []
    for name in ("YResolution", "XResolution"):
        numerator, denominator = page.tags[name].value  # pixels per unit
        across.append(unit * denominator / numerator if numerator else None)
    return positive_sizes([unit * float(about["spacing"]), *across]), seconds


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep tifffile's remarks off the screen; yield those that it means as errors."""
    found: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            found.append(record.getMessage())
        return False

    log = logging.getLogger("tifffile")
    log.addFilter(keep)
    try:
        yield found
    finally:
        log.removeFilter(keep)
