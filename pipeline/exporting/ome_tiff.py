"""OME-TIFF: one BigTIFF of float32 pages, which ImageJ, napari, QuPath and others open."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pipeline.exporting.image import Image, Volume

__all__ = ["write_ome_tiff"]


def write_ome_tiff(image: Image, volumes: Iterator[Volume], path: Path) -> None:
    """Write the image; ``volumes`` are its own, (z, y, x) each."""
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        file.write(
            _pages(volumes),
            shape=image.shape,
            dtype=np.float32,
            photometric="minisblack",
            metadata=_described(image),
        )


def _pages(volumes: Iterator[Volume]) -> Iterator[NDArray[np.float32]]:
    for volume in volumes:
        yield from volume


def _described(image: Image) -> dict[str, Any]:
    dz, dy, dx = image.series.voxel_size_um
    planes = image.shape[1] * image.shape[2]  # of a time point
    deltas = np.repeat(image.seconds, planes).tolist()
    described: dict[str, Any] = {
        "axes": "TCZYX",
        "Name": image.name,
        "Description": image.story,
        "PhysicalSizeX": dx,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": dy,
        "PhysicalSizeYUnit": "µm",
        "PhysicalSizeZ": dz,
        "PhysicalSizeZUnit": "µm",
        "Channel": {"Name": [f"refractive index, {name}" for name in image.channels]},
        "Plane": {"DeltaT": deltas, "DeltaTUnit": ["s"] * len(deltas)},
    }
    if len(image.times) > 1:
        described |= {"TimeIncrement": image.interval_s, "TimeIncrementUnit": "s"}
    if image.begun is not None:
        described["AcquisitionDate"] = image.begun.isoformat(timespec="seconds")
    return described
