"""MATLAB files: a variable (y, x, z, t) single for each kind of volume, by its name.

Rows, columns, pages and scans, as MATLAB counts them: ``imagesc(deep(:, :, 30, 1))`` shows a plane
as the window does. Beside them are the variables of ``array_variables``.

Two versions. 7.3 is HDF5 after a header of 512 bytes, of any size, read by MATLAB since 2006 and by
h5py, which finds the axes in reverse order, (t, z, x, y). 5 is read by every MATLAB, Octave and
scipy.io.loadmat, and its variables must be below 2 GiB ("MAT-File Format", MathWorks, chapter 1).
Both are written volume by volume: memory does not grow with the number of scans.
"""

import io
import math
import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from acquisition.errors import DataError
from files.exporting.array_variables import Variable, array_variables
from files.exporting.exported_image import ExportedImage, Volume

__all__ = ["write_matlab", "write_matlab_5"]

_AXES: Final = "yxzt"
_USER_BLOCK: Final = 512
_LARGEST: Final = 2**31  # bytes of a variable of version 5
# MAT-File Format, tables 1-1 and 1-3: types of data, and the class of a single array
_INT8, _INT32, _UINT32, _SINGLE, _MATRIX, _SINGLE_CLASS = 1, 5, 6, 7, 14, 7


def write_matlab(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image as version 7.3; ``volumes`` yields its volumes (z, y, x) by channel."""
    (image,) = images
    t, _, z, y, x = image.shape
    with h5py.File(path, "w-", userblock_size=_USER_BLOCK) as file:
        for name, held in array_variables(image, _AXES).items():
            _add_variable(file, name, held)
        for channel in image.channels:
            data = file.create_dataset(
                channel, (t, z, x, y), np.float32, chunks=(1, 1, x, y), compression="gzip",
                shuffle=True,
            )  # fmt: skip
            data.attrs["MATLAB_class"] = np.bytes_("single")
            for time, volume in enumerate(islice(volumes, t)):
                data[time] = _turned(volume)
    with path.open("r+b") as raw:
        raw.write(_header(0x0200))


def write_matlab_5(images: Sequence[ExportedImage], volumes: Iterator[Volume], path: Path) -> None:
    """Write one image as version 5; ``volumes`` yields its volumes (z, y, x) by channel.

    Raises
    ------
    DataError
        If a variable would have 2 GiB or more.
    """
    (image,) = images
    t, _, z, y, x = image.shape
    if 4 * math.prod((t, z, y, x)) >= _LARGEST:
        raise DataError(
            f"variables of a MATLAB file of version 5 must be below 2 GiB, {image.channels[0]} of "
            f"{t} scans has {4e-9 * math.prod((t, z, y, x)):.1f} GB: export to matlab, which is "
            "version 7.3"
        )
    described = {
        name: held if isinstance(held, str) else np.atleast_2d(held)
        for name, held in array_variables(image, _AXES).items()
    }
    small = io.BytesIO()
    scipy.io.savemat(small, described)
    with path.open("xb") as file:
        file.write(small.getbuffer())
        for channel in image.channels:
            file.write(_matrix_header(channel, (y, x, z, t)))
            for volume in islice(volumes, t):
                file.write(_turned(volume).data)
            file.write(bytes(-4 * math.prod((t, z, y, x)) % 8))


def _turned(volume: Volume) -> NDArray[np.float32]:
    """Return a volume (z, y, x) as (z, x, y), MATLAB's (y, x, z) in the order of its memory."""
    return np.ascontiguousarray(np.swapaxes(volume, 1, 2), "<f4")


def _header(version: int) -> bytes:
    """Return the first 128 bytes of a MATLAB file: a text, the version and the byte order."""
    text = "MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by: LiveTomo HDF5 schema 1.00 ."
    return struct.pack("<116s8xH2s", text.encode().ljust(116), version, b"IM")


def _add_variable(file: h5py.File, name: str, held: Variable) -> None:
    """Add numbers (a row, or (t, 3)) or text to a file of version 7.3."""
    if isinstance(held, str):
        letters = np.frombuffer(held.encode("utf-16-le"), np.uint16)
        data = file.create_dataset(name, data=letters[:, None])  # 1 x n in MATLAB
        data.attrs["MATLAB_class"] = np.bytes_("char")
        data.attrs["MATLAB_int_decode"] = np.int32(2)
    else:
        data = file.create_dataset(name, data=np.atleast_2d(held).T)
        data.attrs["MATLAB_class"] = np.bytes_("double")


def _matrix_header(name: str, shape: tuple[int, ...]) -> bytes:
    """Return what stands before the numbers of a single array of version 5."""
    size = 4 * math.prod(shape)
    dimensions = struct.pack(f"<{len(shape)}i", *shape)
    parts = [(_UINT32, struct.pack("<2I", _SINGLE_CLASS, 0)), (_INT32, dimensions)]
    parts += [(_INT8, name.encode("ascii"))]
    before = b"".join(
        struct.pack("<2I", kind, len(held)) + held + bytes(-len(held) % 8) for kind, held in parts
    )
    whole = len(before) + 8 + size + -size % 8
    return struct.pack("<2I", _MATRIX, whole) + before + struct.pack("<2I", _SINGLE, size)
