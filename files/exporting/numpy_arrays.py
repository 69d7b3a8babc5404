"""NumPy: one .npz with an array (t, z, y, x) float32 for each kind of volume, by its name.

Beside them are the variables of ``array_variables``. The archive is not compressed, and each array
is written plane by plane, so that memory does not grow with the number of scans.
"""

import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from files.exporting.array_variables import array_variables
from files.exporting.exported_image import ExportedImage, Volume

__all__ = ["write_npz"]


def write_npz(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image; ``volumes`` yields its volumes (z, y, x), one channel after the other."""
    (image,) = images
    t, _, *shape = image.shape
    header = {"descr": "<f4", "fortran_order": False, "shape": (t, *shape)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, held in array_variables(image, "tzyx").items():
            with archive.open(f"{name}.npy", "w") as file:
                np.save(file, np.asarray(held), allow_pickle=False)
        for channel in image.channels:
            with archive.open(f"{channel}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for volume in islice(volumes, t):
                    file.write(np.ascontiguousarray(volume, "<f4").data)
