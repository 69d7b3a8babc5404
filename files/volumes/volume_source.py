"""A file of finished RI volumes, as every reader describes it.

Numbers are read one time point at a time, in the order (z, y, x). What a format does not say (axes,
voxel size, scale) is None, and ``open_volumes`` finds it or asks for it.
"""

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from files.positions import StageXYZ
from reconstruction.finished.finished_volume import KnownOptics

__all__ = [
    "READ_ERRORS",
    "Axes",
    "Fluorescence",
    "Numbers",
    "VolumeOptions",
    "VolumeSource",
    "along_axes",
    "check_axes",
    "check_unused",
    "positive_sizes",
]

VoxelSize = tuple[float, float, float]
_LETTERS = "TCZYX"
# What the decoders of NumPy, SciPy, HDF5, Zarr and TIFF raise for damaged files.
READ_ERRORS = (
    OSError, ValueError, LookupError, EOFError, SyntaxError, RuntimeError, TypeError,
    ArithmeticError, AttributeError, MemoryError, ImportError,
    struct.error, tokenize.TokenError, lzma.LZMAError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """What the user says of a file; None or "": as the file says.

    Parameters
    ----------
    dataset : str
        The variable of a .mat or .npz, or the group of an OME-Zarr collection.
    axes : str
        Order of the axes in the file, of T, C, Z, Y, X.
    channel : int or None
        Which one along C, from 0.
    scale : float or None
        Factor from the numbers of the file to refractive index.
    voxel_size_um : (dz, dy, dx) or None
    """

    dataset: str = ""
    axes: str = ""
    channel: int | None = None
    scale: float | None = None
    voxel_size_um: VoxelSize | None = None


class Numbers(Protocol):
    """An array that is read part by part: of numpy, h5py, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    def __getitem__(self, at: Any) -> Any:
        """Read a part."""


@dataclass(frozen=True, slots=True)
class Fluorescence:
    """A fluorescence channel, registered to the RI volume.

    Parameters
    ----------
    name : str
    count : int
        Time points; a channel may have fewer than the RI.
    read : callable
        Returns a time point on the voxels of the RI volume, (z, y, x) float32; zero where the
        channel was not measured.
    about : mapping
        What the file says of it.
    """

    name: str
    count: int
    read: Callable[[int], NDArray[np.float32]]
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeSource:
    """The volumes of a file.

    Parameters
    ----------
    path : Path
    kind : str
        Of the file, for messages.
    shape : (time, z, y, x)
    read : callable
        Returns the numbers of a time point, (z, y, x).
    voxel_size_um : (dz, dy, dx) or None
    known : KnownOptics
        What the file says of the optics.
    scale : float or None
        Factor to refractive index; None: to be found from the numbers.
    offset : float
        Index added after that.
    timestamps : (time,) float64 or None
        Seconds since the epoch, or from the first one.
    stage_um : tuple of (x, y, z)
        One a time point; empty where unknown.
    fluorescence : tuple of Fluorescence
    about : mapping of str
        For the provenance.
    notes : tuple of str
        For the user.
    """

    path: Path
    kind: str
    shape: tuple[int, int, int, int]
    read: Callable[[int], NDArray[Any]]
    voxel_size_um: VoxelSize | None = None
    known: KnownOptics = field(default_factory=KnownOptics)
    scale: float | None = None
    offset: float = 0.0
    timestamps: NDArray[np.float64] | None = None
    stage_um: Sequence[StageXYZ] = ()
    fluorescence: tuple[Fluorescence, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Axes:
    """Shape (time, z, y, x) of an array with named axes, and a function that reads a time point."""

    shape: tuple[int, int, int, int]
    read: Callable[[int], NDArray[Any]]


def check_unused(options: VolumeOptions, path: Path, kind: str, *names: str) -> None:
    """Refuse options that a kind of file has no use for.

    Raises
    ------
    ConfigurationError
        If one of the fields ``names`` of the options is given.
    """
    for name in names:
        if getattr(options, name) not in ("", None):
            raise ConfigurationError(
                f"--{name} is not for {kind}, which says that itself, and was given for {path}: "
                "leave it out"
            )


def check_axes(axes: str, path: Path) -> str:
    """Return axes in capitals.

    Raises
    ------
    DataError
        Unless they are Z, Y and X, and perhaps T and C, each once.
    """
    found = axes.upper()
    if len(set(found)) != len(found) or not set("ZYX") <= set(found) <= set(_LETTERS):
        raise DataError(
            f"{path}: axes must be Z, Y and X once each, and perhaps T and C, got {axes!r}: give "
            "their order in the file with --axes, such as --axes TZYX"
        )
    return found


def along_axes(numbers: Numbers, axes: str, path: Path, channel: int | None = None) -> Axes:
    """Return an array of which each axis has a letter, read time point by time point.

    Raises
    ------
    DataError
        If there are not as many axes as letters, or a channel must be chosen.
    """
    if len(numbers.shape) < 3:
        raise DataError(
            f"{path} must hold volumes, which have at least 3 axes, got shape "
            f"{tuple(numbers.shape)}: a single picture cannot be regularized"
        )
    axes = check_axes(axes, path)
    if len(axes) != len(numbers.shape):
        raise DataError(
            f"{path} must have an axis for each of {axes}, got shape {tuple(numbers.shape)}: give "
            f"the order with --axes, {len(numbers.shape)} of the letters T, C, Z, Y, X"
        )
    lengths = dict(zip(axes, (int(n) for n in numbers.shape), strict=True))
    chosen = _chosen_channel(lengths.get("C", 1), channel, path)
    spatial = [axis for axis in axes if axis in "ZYX"]
    order = [spatial.index(axis) for axis in "ZYX"]

    def read(time: int) -> NDArray[Any]:
        at = tuple({"T": time, "C": chosen}.get(axis, slice(None)) for axis in axes)
        return np.transpose(np.asarray(numbers[at]), order)

    z, y, x = (lengths[axis] for axis in "ZYX")
    return Axes((lengths.get("T", 1), z, y, x), read)


def _chosen_channel(count: int, channel: int | None, path: Path) -> int:
    if channel is None and count > 1:
        raise DataError(
            f"{path} holds {count} channels and one is regularized: choose it with --channel 0 to "
            f"{count - 1}"
        )
    if channel is not None and not 0 <= channel < count:
        raise DataError(f"{path}: --channel must be 0 to {count - 1}, got {channel}")
    return channel or 0


def positive_sizes(sizes: Sequence[Any]) -> VoxelSize | None:
    """Return a voxel size (dz, dy, dx); None if one of them is unknown or impossible."""
    values = [math.nan if size is None else float(size) for size in sizes]
    if len(values) != 3 or not all(math.isfinite(value) and value > 0 for value in values):
        return None
    dz, dy, dx = values
    return dz, dy, dx
