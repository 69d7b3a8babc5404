"""OME-Zarr (NGFF 0.5, Zarr 3): a folder of chunks with halved copies, for large data and viewers.

Each level is the mean of 2 x 2 x 2 voxels of the one before; the halved grid's first voxel lies
half a voxel further in, which its translation says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.exporting.image import Image, Volume

__all__ = ["write_ome_zarr"]

_CHUNK = (1, 1, 64, 256, 256)
_SMALLEST = 64  # voxels of the longest edge, below which nothing is halved any more
_AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    *({"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"),
]


def write_ome_zarr(image: Image, volumes: Iterator[Volume], path: Path) -> None:
    """Write the image; ``volumes`` are its own, (z, y, x) each."""
    shapes = _levels(image.shape[2:])
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    levels = [
        group.create_array(
            str(number),
            shape=(*image.shape[:2], *shape),
            chunks=tuple(
                min(*pair) for pair in zip(_CHUNK, (*image.shape[:2], *shape), strict=True)
            ),
            dtype=np.float32,
            dimension_names=[axis["name"] for axis in _AXES],
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
    group.attrs["livetomo"] = {"provenance": image.story}


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


def _described(image: Image, levels: int, limits: tuple[float, float]) -> dict[str, Any]:
    low, high = limits
    window = {"start": low, "end": high, "min": low, "max": high}
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": image.name,
                "axes": _AXES,
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


def _level(image: Image, number: int) -> dict[str, Any]:
    sizes = image.series.voxel_size_um
    scale = [image.interval_s or 1.0, 1.0, *(size * 2**number for size in sizes)]
    shift = [0.0, 0.0, *(size * (2**number - 1) / 2 for size in sizes)]
    return {
        "path": str(number),
        "coordinateTransformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ],
    }
