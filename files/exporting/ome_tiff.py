"""OME-TIFF: one BigTIFF of float32 pages, which ImageJ, napari, QuPath and others open.

Each stage position is an image (a series) of its own.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from files.exporting.exported_image import ExportedImage, Volume
from files.exporting.ome_xml import ome_xml

__all__ = ["write_ome_tiff"]


def write_ome_tiff(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write the images into one file; ``volumes`` yields all their volumes (z, y, x) in order."""
    description: bytes | None = ome_xml(images, pages=True)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for image in images:
            t, c, *_ = image.shape
            file.write(
                _pages(islice(volumes, t * c)),
                shape=image.shape,
                dtype=np.float32,
                photometric="minisblack",
                description=description,  # on the first page only
                metadata=None,
            )
            description = None


def _pages(volumes: Iterator[Volume]) -> Iterator[NDArray[np.float32]]:
    for volume in volumes:
        yield from volume
