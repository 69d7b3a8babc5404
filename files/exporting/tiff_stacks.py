"""Plain TIFF: a stack for each scan, float32 planes that every program opens.

Voxel size, channel names and the interval are in ImageJ's metadata, which programs that do not know
them pass over; the date is in the TIFF's own tag. A file for each scan, because a plain TIFF ends
at 4 GiB; an OME-TIFF holds a whole series.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tifffile

from acquisition.errors import DataError
from files.exporting.exported_image import ExportedImage, Volume

__all__ = ["write_tiff_stack"]

_LARGEST: Final = 2**32 - 2**25  # bytes of voxels: tifffile wants 32 MiB for the rest


def write_tiff_stack(
    images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path
) -> None:
    """Write the volumes (z, y, x) of one scan, its channels beside each other.

    Raises
    ------
    DataError
        If the scan has more than 4 GiB.
    """
    (image,) = images
    if image.nbytes > _LARGEST:
        raise DataError(
            f"a plain TIFF must be below 4 GiB, a scan here has {image.nbytes / 1e9:.1f} GB: "
            "export to ome-tiff"
        )
    stack = np.stack(list(volumes), axis=1)  # (z, c, y, x)
    _, dy, dx = image.series.voxel_size_um
    tifffile.imwrite(
        path,
        stack,
        imagej=True,
        resolution=(1 / dx, 1 / dy),
        datetime=image.begun,
        metadata=_metadata(image, stack),
    )


def _metadata(image: ExportedImage, stack: Volume) -> dict[str, object]:
    labels = [f"refractive index, {name}" for name in image.channels] * len(stack)
    about: dict[str, object] = {
        "axes": "ZCYX",
        "spacing": image.series.voxel_size_um[0],
        "unit": "um",
        "min": float(stack.min()),
        "max": float(stack.max()),
        "Labels": labels,
        "Info": _info(image),
    }
    if image.interval_s is not None:
        about["finterval"] = image.interval_s
    return about


def _info(image: ExportedImage) -> str:
    """Return what ImageJ shows under Image > Show Info."""
    x, y, z = image.stage_um[0]
    lines = {
        "name": image.name,
        "scan": int(image.times[0]),
        "time_s": None if image.seconds is None else float(image.seconds[0]),
        "stage_um": f"{x} {y} {z}",
        "provenance": image.provenance,
    }
    return "".join(f"{name} = {held}\n" for name, held in lines.items() if held is not None)
