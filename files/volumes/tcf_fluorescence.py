"""Fluorescence of a TCF, brought onto the voxels of its RI volume by the file's registration.

Each channel has its own voxels (ResolutionX, Y, Z of /Data/3DFL) and begins OffsetZ um above the
first plane of the RI. /Info/MetaData/FL/Registration has Rotation (radians) and TranslationX, Y
(um); both modalities have their middles at the same place. A place r in um from the middle of the
RI volume is found in the channel at

    R(-rotation) r - translation        in um from the channel's middle

as the public reader tomocube-tools takes them; Tomocube has not published their signs. Its Scale is
left out, as there: voxel sizes are in um on both sides.
"""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from acquisition.errors import DataError
from files import hdf5
from files.volumes.volume_source import READ_ERRORS, Fluorescence

__all__ = ["tcf_fluorescence"]

_REGISTRATION = "Info/MetaData/FL/Registration"
_ABOUT = ("ExcitationWavelength", "EmissionWavelength", "Excitation", "Emission", "Name")
Shape = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


def tcf_fluorescence(
    file: h5py.File, path: Path, shape: Shape, voxel_size_um: VoxelSize
) -> tuple[tuple[Fluorescence, ...], tuple[str, ...]]:
    """Return the channels of /Data/3DFL, on the voxels of an RI volume (z, y, x).

    Returns
    -------
    channels : tuple of Fluorescence
    notes : tuple of str
        Which channels are left out, and why.
    """
    group = file.get("Data/3DFL")
    if not isinstance(group, h5py.Group):
        return (), ()
    turn, shift = _registration(file)
    found, notes = [], []
    for name in sorted(group):
        channel = group[name]
        frames = _frames(channel)
        if not frames:
            continue
        sizes = [_first(channel, group, f"Resolution{axis}") for axis in "ZYX"]
        if why := _unusable(channel, frames, sizes):
            notes.append(f"the fluorescence channel {name} is left out: {why}")
            continue
        offset = _first(channel, group, "OffsetZ")
        about = {key: str(np.asarray(channel.attrs[key]).reshape(-1)[0])
                 for key in _ABOUT if key in channel.attrs}  # fmt: skip

        def read(
            time: int, name: str = name, frames: list[str] = frames, sizes: list[float] = sizes,
            offset: float = offset,
        ) -> NDArray[np.float32]:  # fmt: skip
            where = f"Data/3DFL/{name}/{frames[time]}"
            try:
                with hdf5.read_file(path) as opened:
                    values = opened[where][()].astype(np.float32)
            except READ_ERRORS as error:
                raise DataError(f"{path}: /{where} cannot be read: {error}") from error
            return _registered(values, sizes, offset, turn, shift, shape, voxel_size_um)

        found.append(Fluorescence(name, len(frames), read, about))
    return tuple(found), tuple(notes)


def _unusable(channel: h5py.Group, frames: list[str], sizes: list[float]) -> str:
    """Return why a channel cannot be registered; "" where it can."""
    if any(size <= 0 for size in sizes):
        return "the file does not say how large its voxels are"
    for frame in frames:
        shape = getattr(channel[frame], "shape", ())
        if len(shape) != 3:
            return f"its frame {frame} must be a volume (z, y, x), got {shape or 'tiles'}"
    return ""


def _frames(channel: Any) -> list[str]:
    """Return the names of a channel's frames in order; none of what is no group."""
    names = channel if isinstance(channel, h5py.Group) else ()
    return sorted((name for name in names if name.isdecimal()), key=int)


def _first(channel: h5py.Group, group: h5py.Group, name: str) -> float:
    """Return an attribute of the channel, else of all channels; 0 where neither has it."""
    for holder in (channel, group):
        if name in holder.attrs:
            return float(np.asarray(holder.attrs[name]).reshape(-1)[0])
    return 0.0


def _registration(file: h5py.File) -> tuple[float, tuple[float, float]]:
    """Return rotation in radians and translation (y, x) in um."""
    group = file.get(_REGISTRATION)
    if not isinstance(group, h5py.Group):
        return 0.0, (0.0, 0.0)
    turn, x, y = (_first(group, group, n) for n in ("Rotation", "TranslationX", "TranslationY"))
    return turn, (y, x)


def _registered(
    values: NDArray[np.float32],
    sizes: list[float],
    offset_z_um: float,
    turn: float,
    shift_um: tuple[float, float],
    shape: Shape,
    voxel_size_um: VoxelSize,
) -> NDArray[np.float32]:
    """Return a channel (z, y, x) on the voxels of the RI volume, interpolated linearly."""
    cos, sin = math.cos(turn), math.sin(turn)
    back = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])  # on (z, y, x) in um
    to_um, to_voxels = np.diag(voxel_size_um), np.diag(1 / np.array(sizes))
    matrix = to_voxels @ back @ to_um
    middle, own = (np.array([0, (s[1] - 1) / 2, (s[2] - 1) / 2]) for s in (shape, values.shape))
    shift = np.array([offset_z_um, *shift_um])
    offset = own - to_voxels @ shift - matrix @ middle
    made = scipy.ndimage.affine_transform(
        values, matrix, offset, output_shape=shape, order=1, mode="constant", cval=0.0
    )
    return np.asarray(made, np.float32)
