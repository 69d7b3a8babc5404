"""Volumes in NumPy and MATLAB files: plain arrays, which do not say their axes.

Without --axes a NumPy array is (z, y, x) or (time, z, y, x), and a MATLAB one (y, x, z) or (y, x,
z, time): rows, columns, pages, as MATLAB shows it. A .mat of version 7.3 is HDF5, with the axes in
reverse order; others are read by scipy. What LiveTomo's own exports say of their arrays in further
variables (``files.exporting.array_variables``) is taken from there.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from acquisition.errors import DataError
from files.volumes.own_arrays import DESCRIBING, with_own_description
from files.volumes.volume_source import (
    READ_ERRORS,
    Numbers,
    VolumeOptions,
    VolumeSource,
    along_axes,
    check_unused,
)

__all__ = ["mat_volumes", "numpy_volumes"]

_NUMPY_AXES = {3: "ZYX", 4: "TZYX"}
_MATLAB_AXES = {3: "YXZ", 4: "YXZT"}
_MAT_ERRORS = (*READ_ERRORS, scipy.io.matlab.MatReadError)
_HDF5 = b"\x89HDF\r\n\x1a\n"


def numpy_volumes(path: Path, options: VolumeOptions) -> VolumeSource:
    """Open a .npy, or an array of a .npz."""
    if path.suffix.lower() == ".npz" and not zipfile.is_zipfile(path):  # NumPy would leave it open
        raise DataError(f"{path} cannot be read as a NumPy file: it is not a whole .npz archive")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except READ_ERRORS as error:
        raise DataError(f"{path} cannot be read as a NumPy file: {error}") from error
    if isinstance(found, np.ndarray):
        check_unused(options, path, "a .npy, of a single array", "dataset")
        return _source(path, "NumPy", found, options, _NUMPY_AXES)
    with found:
        name = _only([n for n in found.files if found[n].ndim in _NUMPY_AXES], options, path)
        source = _source(path, "NumPy", found[name], options, _NUMPY_AXES)
        return with_own_description(source, {n: found[n] for n in DESCRIBING if n in found})


def mat_volumes(path: Path, options: VolumeOptions) -> VolumeSource:
    """Open a variable of a MATLAB file, of version 5 to 7.3."""
    if _is_hdf5(path):
        return _new_mat(path, options)
    try:
        names = [n for n, shape, _ in scipy.io.whosmat(path) if len(shape) in _MATLAB_AXES]
        name = _only(names, options, path)
        found = scipy.io.loadmat(path, variable_names=[name, *DESCRIBING], squeeze_me=False)
    except _MAT_ERRORS as error:
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}") from error
    if np.ndim(axes := found.get("axes")) == 1:  # text
        found["axes"] = "".join(map(str, np.ravel(axes)))
    source = _source(path, "MATLAB", found[name], options, _MATLAB_AXES)
    return with_own_description(source, found)


class _Hdf5Array:
    """A dataset of an HDF5 file that is opened for each read."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...]) -> None:
        self._path, self._name, self.shape = path, name, shape

    def __getitem__(self, at: object) -> object:
        with h5py.File(self._path, "r") as file:
            return file[self._name][at]


def _new_mat(path: Path, options: VolumeOptions) -> VolumeSource:
    try:
        with h5py.File(path, "r") as file:
            shapes = {
                name: item.shape
                for name, item in file.items()
                if isinstance(item, h5py.Dataset) and len(item.shape) in _MATLAB_AXES
            }
            own = {n: _number_or_text(file[n]) for n in DESCRIBING if n in file}
    except OSError as error:
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}") from error
    name = _only(list(shapes), options, path)
    # axes as MATLAB counts them, turned round as HDF5 stores them
    axes = (options.axes or _MATLAB_AXES[len(shapes[name])])[::-1]
    read = along_axes(_Hdf5Array(path, name, shapes[name]), axes, path, options.channel)
    source = VolumeSource(path, "MATLAB", read.shape, read.read, about={"variable": name})
    return with_own_description(source, own)


def _number_or_text(item: h5py.Dataset | h5py.Group) -> object:
    """Return a variable of version 7.3; nothing for a cell or structure."""
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiu":
        return ""
    held = np.ravel(item[()])
    return "".join(map(chr, held)) if item.attrs.get("MATLAB_class") == b"char" else held


def _source(
    path: Path, kind: str, numbers: Numbers, options: VolumeOptions, axes: dict[int, str]
) -> VolumeSource:
    order = options.axes or axes.get(len(numbers.shape), "")
    if not order and len(numbers.shape) > 2:
        raise DataError(
            f"{path} must hold an array of 3 or 4 axes, got shape {tuple(numbers.shape)}: give "
            "the order of its axes with --axes"
        )
    read = along_axes(numbers, order, path, options.channel)
    return VolumeSource(path, kind, read.shape, read.read)


def _only(names: Sequence[str], options: VolumeOptions, path: Path) -> str:
    """Return the variable that is meant."""
    if options.dataset:
        if options.dataset not in names:
            raise DataError(
                f"{path} must hold the volume {options.dataset!r}, found "
                f"{', '.join(names) or 'none of 3 or 4 axes'}"
            )
        return options.dataset
    if len(names) != 1:
        raise DataError(
            f"{path} must hold one array of 3 or 4 axes, found {', '.join(names) or 'none'}: "
            "choose one with --dataset NAME"
        )
    return names[0]


def _is_hdf5(path: Path) -> bool:
    """Return whether it is HDF5, after MATLAB's header of 512 bytes or without one."""
    try:
        with path.open("rb") as file:
            head = file.read(520)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return _HDF5 in (head[:8], head[512:520])
