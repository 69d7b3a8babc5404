"""Phantoms by name, or from an index volume in a file."""

from pathlib import Path

import h5py
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from acquisition.simulation.phantom import Phantom, Volume, VoxelSize
from acquisition.simulation.specimens import SPECIMENS

__all__ = ["make_phantom", "phantom_from_file"]


def phantom_from_file(path: Path, medium_index: float, voxel_size_um: VoxelSize) -> Phantom:
    """Return a phantom from an RI volume in a file, resampled to the voxel size.

    The file is a tomogram file, whose first raw time point is used, or an ``.npz`` with the arrays
    ``ri`` (z, y, x) and ``voxel_size_um`` (3,).

    Raises
    ------
    DataError
        If the file is neither.
    """
    index, source = _read_index(path)
    scale = [s / v for s, v in zip(source, voxel_size_um, strict=True)]
    contrast = scipy.ndimage.zoom(index - np.float32(medium_index), scale, order=1, mode="nearest")
    return Phantom(np.ascontiguousarray(contrast, dtype=np.float32), voxel_size_um)


def _read_index(path: Path) -> tuple[Volume, NDArray[np.float64]]:
    if path.suffix == ".npz":
        with np.load(path) as data:
            if not {"ri", "voxel_size_um"} <= set(data.files):
                raise DataError(f"{path} must hold arrays ri and voxel_size_um, got {data.files}")
            return data["ri"].astype(np.float32), data["voxel_size_um"].astype(np.float64)
    if not h5py.is_hdf5(path):
        raise DataError(f"{path} must be a tomogram file (HDF5) or an .npz with ri, voxel_size_um")
    with h5py.File(path) as file:
        group = file.get("tomograms")
        if group is None or "raw" not in group:
            raise DataError(f"{path} must hold /tomograms/raw: give a livetomo.tomogram file")
        return group["raw"][0], np.asarray(group.attrs["voxel_size_um"], dtype=np.float64)


def make_phantom(
    name: str, voxel_size_um: VoxelSize, medium_index: float, rng: np.random.Generator
) -> Phantom:
    """Return the phantom of that name, or the RI volume in the file of that name."""
    if name in SPECIMENS:
        return SPECIMENS[name](voxel_size_um, rng)
    if Path(name).is_file():
        return phantom_from_file(Path(name), medium_index, voxel_size_um)
    raise ConfigurationError(
        f"phantom must be one of {sorted(SPECIMENS)} or an existing RI file, got {name!r}"
    )
