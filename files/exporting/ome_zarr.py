"""OME-Zarr (NGFF 0.5, Zarr 3): a folder of chunks with halved copies, for large data and viewers.

Each level is the mean of 2 x 2 x 2 voxels of the one before. The first voxel of a halved grid lies
half a voxel further in; the translation of the level holds that, plus the stage position.

Several positions are a collection in the layout of bioformats2raw, the only one that NGFF 0.5 has
for images without a plate: image groups 0, 1, ... and their OME-XML. napari and Bio-Formats open it
as a whole; each group is a complete image for readers that know images only.

NGFF 0.5 has one scale for the time axis: the interval if scans are evenly spaced; else the axis
counts time points and has no unit. The attribute ``livetomo`` keeps the time of each scan.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from files.exporting.exported_image import ExportedImage, Volume
from files.exporting.ome_xml import ome_xml

__all__ = ["write_ome_zarr"]

_CHUNK = (1, 1, 64, 256, 256)
_SMALLEST = 64  # voxels of the longest edge; a level this small is the last
_VERSION = "0.5"


def write_ome_zarr(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write the images into one folder; ``volumes`` yields all their volumes (z, y, x) in order."""
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    if len(images) == 1:
        _write(group, images[0], volumes)
        return
    group.attrs["ome"] = {"version": _VERSION, "bioformats2raw.layout": 3}
    names = [str(number) for number in range(len(images))]
    group.create_group("OME").attrs["ome"] = {"version": _VERSION, "series": names}
    (path / "OME" / "METADATA.ome.xml").write_bytes(ome_xml(images, pages=False))
    for name, image in zip(names, images, strict=True):
        t, c, *_ = image.shape
        _write(group.create_group(name), image, islice(volumes, t * c))


def _write(group: zarr.Group, image: ExportedImage, volumes: Iterator[Volume]) -> None:
    """Write one image."""
    shapes = _levels(image.shape[2:])
    levels = [
        group.create_array(
            str(number),
            shape=(*image.shape[:2], *shape),
            chunks=tuple(
                min(*pair) for pair in zip(_CHUNK, (*image.shape[:2], *shape), strict=True)
            ),
            dtype=np.float32,
            dimension_names=list("tczyx"),
        )
        for number, shape in enumerate(shapes)
    ]
    limits = (np.inf, -np.inf)
    for number, volume in enumerate(volumes):
        time, channel = divmod(number, image.shape[1])
        limits = (min(limits[0], float(volume.min())), max(limits[1], float(volume.max())))
        for level in levels:
            level[time, channel] = volume
            volume = _halved(volume)
    group.attrs["ome"] = _described(image, len(levels), limits)
    group.attrs["livetomo"] = _own(image)


def _own(image: ExportedImage) -> dict[str, Any]:
    """Return metadata that NGFF has no field for."""
    stamps, seconds = image.timestamps, image.seconds
    places = [[v if math.isfinite(v) else None for v in place] for place in image.stage_um]
    return {
        "provenance": image.provenance,
        "position": image.label,
        "begun": None if image.begun is None else image.begun.isoformat(),
        "timestamps_s": None if stamps is None else stamps.tolist(),
        "times_s": None if seconds is None else seconds.tolist(),
        "stage_um": places,  # (x, y, z) at each time
    }


def _levels(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    shapes = [shape]
    while max(shapes[-1]) > _SMALLEST:
        shapes.append(tuple(-(-n // 2) for n in shapes[-1]))
    return shapes


def _halved(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of 2 x 2 x 2 voxels; at an odd end the last one counts twice."""
    padded = np.pad(volume, [(0, n % 2) for n in volume.shape], mode="edge")
    z, y, x = (n // 2 for n in padded.shape)
    means = padded.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32)
    return np.asarray(means)


def _described(image: ExportedImage, levels: int, limits: tuple[float, float]) -> dict[str, Any]:
    low, high = limits
    window = {"start": low, "end": high, "min": low, "max": high}
    return {
        "version": _VERSION,
        "multiscales": [
            {
                "name": image.name,
                "axes": _axes(image),
                "datasets": [_level(image, number) for number in range(levels)],
                "type": "mean",
            }
        ],
        "omero": {
            "channels": [
                {"label": name, "color": "FFFFFF", "active": number == 0, "window": window}
                for number, name in enumerate(image.channels)
            ]
        },
    }


def _axes(image: ExportedImage) -> list[dict[str, str]]:
    time = {"name": "t", "type": "time"}
    if image.interval_s is not None:
        time["unit"] = "second"
    space = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    return [time, {"name": "c", "type": "channel"}, *space]


def _level(image: ExportedImage, number: int) -> dict[str, Any]:
    sizes = image.series.voxel_size_um
    stage = [v if math.isfinite(v) else 0.0 for v in reversed(image.stage_um[0])]  # z, y, x
    inside = [size * (2**number - 1) / 2 for size in sizes]
    scale = [image.interval_s or 1.0, 1.0, *(size * 2**number for size in sizes)]
    shift = [0.0, 0.0, *(a + b for a, b in zip(stage, inside, strict=True))]
    return {
        "path": str(number),
        "coordinateTransformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ],
    }
