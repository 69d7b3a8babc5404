"""Opens a file of finished RI volumes, of whatever kind, and reads them as refractive index.

To add a kind, write a module with a function of a path and ``VolumeOptions`` that returns a
``VolumeSource``, and name it in ``_KINDS``.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acquisition.errors import ConfigurationError, DataError
from files.volumes.volume_source import READ_ERRORS, VolumeOptions, VolumeSource, VoxelSize
from reconstruction.finished.finished_volume import FinishedVolume, KnownOptics

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SUFFIXES", "FinishedVolumes", "open_volumes"]

_KINDS = {  # by the end of the file name
    ".tcf": "files.volumes.tcf_volumes:tcf_volumes",
    ".tif": "files.volumes.tiff_volumes:tiff_volumes",
    ".tiff": "files.volumes.tiff_volumes:tiff_volumes",
    ".zarr": "files.volumes.zarr_volumes:zarr_volumes",
    ".npy": "files.volumes.array_volumes:numpy_volumes",
    ".npz": "files.volumes.array_volumes:numpy_volumes",
    ".mat": "files.volumes.array_volumes:mat_volumes",
    ".h5": "files.volumes.own_volumes:own_volumes",
    ".hdf5": "files.volumes.own_volumes:own_volumes",
}
SUFFIXES = tuple(_KINDS)
_PLAIN = (0.9, 5.0)  # refractive indices
_STEPS = (9_000.0, 50_000.0)  # ten-thousandths


@dataclass(frozen=True, slots=True)
class FinishedVolumes:
    """The volumes of a file as refractive index.

    Parameters
    ----------
    source : VolumeSource
    voxel_size_um : (dz, dy, dx)
    scale : float
        From the numbers of the file to index.
    """

    source: VolumeSource
    voxel_size_um: VoxelSize
    scale: float

    def __len__(self) -> int:
        return self.source.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of each volume."""
        _, z, y, x = self.source.shape
        return z, y, x

    @property
    def known(self) -> KnownOptics:
        """What the file says of the optics."""
        return self.source.known

    def timestamp(self, time: int) -> float:
        """Return the time of a volume, in seconds since the epoch or from the first; else 0."""
        stamps = self.source.timestamps
        return 0.0 if stamps is None else float(stamps[time])

    def __getitem__(self, time: int) -> FinishedVolume:
        """Read one volume.

        Raises
        ------
        DataError
            If it cannot be read, or its numbers cannot be refractive indices.
        """
        numbers = _numbers(self.source, range(len(self))[time])
        index = numbers.astype(np.float32)
        if self.scale != 1 or self.source.offset:
            index = (numbers * self.scale + self.source.offset).astype(np.float32)
        stamp = self.timestamp(time)
        try:
            return FinishedVolume(np.ascontiguousarray(index), self.voxel_size_um, stamp, time)
        except DataError as error:
            raise DataError(f"{self.source.path}, volume {time}: {error}") from error

    def __iter__(self) -> Iterator[FinishedVolume]:
        return (self[time] for time in range(len(self)))


def open_volumes(path: Path, options: VolumeOptions | None = None) -> FinishedVolumes:
    """Open a file of finished volumes: TCF, TIFF, OME-Zarr, NumPy, MATLAB or LiveTomo.

    Raises
    ------
    DataError
        If it cannot be read, or does not say what its axes are.
    ConfigurationError
        If the voxel size is neither in the file nor given, or the numbers are not indices.
    """
    options = options or VolumeOptions()
    if not path.exists():
        raise DataError(f"{path} must exist, found nothing: check the name")
    if options.scale is not None and not 0 < options.scale < math.inf:
        raise ConfigurationError(
            f"--scale must be a positive factor to refractive index, got {options.scale:g}"
        )
    read = _reader(path)
    with _readable(str(path)):
        source = read(path, options)
    if not source.shape[0]:
        raise DataError(f"{path} must hold at least one volume, found none")
    voxel = options.voxel_size_um or source.voxel_size_um
    if voxel is None:
        raise ConfigurationError(
            f"the voxel size must be known, and {path.name} ({source.kind}) does not have it: give "
            "it with --volume-um DZ DY DX, in micrometres"
        )
    if not all(np.isfinite(size) and size > 0 for size in voxel):
        raise ConfigurationError(f"a voxel size must be positive micrometres, got {voxel}")
    scale = options.scale or source.scale or _scale(source)
    return FinishedVolumes(replace(source, voxel_size_um=voxel), voxel, scale)


def _reader(path: Path) -> Callable[[Path, VolumeOptions], VolumeSource]:
    suffix = path.suffix.lower()
    if suffix not in _KINDS:
        raise DataError(
            f"a file of volumes must end in {', '.join(_KINDS)}, got {path.name}: export it to one "
            "of them"
        )
    where = _KINDS[suffix]
    if suffix in (".h5", ".hdf5"):
        from files.volumes.tcf_volumes import is_tcf

        where = _KINDS[".tcf"] if is_tcf(path) else where
    module, _, name = where.partition(":")
    found: Callable[[Path, VolumeOptions], VolumeSource] = getattr(
        importlib.import_module(module), name
    )
    return found


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say in a DataError that a file is damaged, whatever its decoder stumbles over."""
    try:
        yield
    except READ_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{what} cannot be read ({reason}): if it was cut off or damaged, copy or save it anew"
        ) from error


def _numbers(source: VolumeSource, time: int) -> "NDArray[Any]":
    with _readable(f"volume {time} of {source.path}"):
        return source.read(time)


def _scale(source: VolumeSource) -> float:
    """Return the factor that makes the numbers of a file indices: 1 or 1e-4."""
    first = _numbers(source, 0)
    if first.dtype.kind not in "iuf":
        raise DataError(f"{source.path} must hold real numbers, got {first.dtype}")
    some = first[:: max(1, len(first) // 16)]
    some = some[np.isfinite(some)]
    if not some.size:
        raise DataError(f"{source.path} must hold a volume of numbers, found none in volume 0")
    middle = float(np.median(some))
    if _PLAIN[0] <= middle <= _PLAIN[1]:
        return 1.0
    if _STEPS[0] <= middle <= _STEPS[1]:
        return 1e-4
    raise ConfigurationError(
        f"{source.path} must hold refractive indices, or ten-thousandths of them, but its middle "
        f"number is {middle:.6g}: give the factor to refractive index with --scale"
    )
