"""Volumes in OME-Zarr folders, NGFF 0.4 and 0.5: the full resolution of a multiscale image."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from acquisition.errors import DataError
from files.volumes.volume_source import (
    VolumeOptions,
    VolumeSource,
    VoxelSize,
    along_axes,
    positive_sizes,
)

__all__ = ["zarr_volumes"]

_MICROMETRES = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "angstrom": 1e-4}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "minute": 60.0, "hour": 3600.0}


def zarr_volumes(path: Path, options: VolumeOptions) -> VolumeSource:
    """Open an OME-Zarr image, or an image of a collection.

    Raises
    ------
    DataError
        If it is not one, or holds several images and none was chosen.
    """
    try:
        group = zarr.open_group(path, mode="r")
        group, about = _image(group, options, path)
        multiscale = about["multiscales"][0]
        axes = "".join(_name(axis) for axis in multiscale["axes"]).upper()
        level = multiscale["datasets"][0]
        numbers = group[level["path"]]
        own: Any = group.attrs.get("livetomo", {})
    except DataError:
        raise
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read as OME-Zarr: {error}") from error
    if not isinstance(numbers, zarr.Array):
        raise DataError(f"{path}: the dataset {level['path']!r} must be an array")
    scale = dict(zip(axes, _scale(multiscale, level, len(axes)), strict=True))
    units = dict(zip(axes, (_unit(axis) for axis in multiscale["axes"]), strict=True))
    read = along_axes(numbers, options.axes or axes, path, options.channel)
    times = _times(own, scale, units, read.shape[0])
    voxel = _voxel_size(scale, units)
    return VolumeSource(path, "OME-Zarr", read.shape, read.read, voxel, timestamps=times)


def _image(
    group: zarr.Group, options: VolumeOptions, path: Path
) -> tuple[zarr.Group, Mapping[str, Any]]:
    """Return the group of the image and its metadata."""
    if options.dataset:
        found = group.get(options.dataset)
        if not isinstance(found, zarr.Group):
            held = ", ".join(sorted(group.group_keys())) or "none"
            raise DataError(f"{path} must hold the image {options.dataset!r}, found groups: {held}")
        group = found
    about = _metadata(group)
    if "multiscales" in about:
        return group, about
    names = sorted(name for name, item in group.groups() if "multiscales" in _metadata(item))
    if len(names) == 1:
        return _image(group, VolumeOptions(dataset=names[0]), path)
    raise DataError(
        f"{path} must hold one OME-Zarr image, found {', '.join(names) or 'none'}"
        + (": choose one with --dataset NAME" if names else ": is it another kind of Zarr?")
    )


def _metadata(group: zarr.Group) -> Mapping[str, Any]:
    """Return the NGFF metadata: under "ome" since 0.5, at the root before."""
    attributes: Any = json.loads(json.dumps(dict(group.attrs)))
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def _name(axis: Any) -> str:
    return str(axis["name"] if isinstance(axis, dict) else axis)


def _unit(axis: Any) -> str:
    return str(axis.get("unit", "")) if isinstance(axis, dict) else ""


def _scale(multiscale: Any, level: Any, count: int) -> list[float]:
    """Return the step along each axis: that of the level, times that of the image; else NaN."""
    steps = [
        np.asarray(one["scale"], np.float64)
        for holder in (multiscale, level)
        for one in holder.get("coordinateTransformations", ())
        if one.get("type") == "scale"
    ]
    product = np.prod(steps, axis=0) if steps else np.full(count, np.nan)
    return [float(step) for step in product]


def _voxel_size(scale: Mapping[str, float], units: Mapping[str, str]) -> VoxelSize | None:
    sizes = [
        scale.get(axis, np.nan) * _MICROMETRES.get(units.get(axis, ""), np.nan) for axis in "ZYX"
    ]
    return positive_sizes(sizes)


def _times(own: Any, scale: Mapping[str, float], units: Mapping[str, str], count: int) -> Any:
    """Return the time of each volume: as LiveTomo has written them, or by the axis's step."""
    stamps = own.get("timestamps_s") if isinstance(own, dict) else None
    if stamps is not None and len(stamps) == count:
        return np.asarray(stamps, np.float64)
    second = _SECONDS.get(units.get("T", ""))
    step = np.nan if second is None else second * scale["T"]
    return step * np.arange(count) if np.isfinite(step) else None
