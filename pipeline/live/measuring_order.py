"""One volume to measure, and its objects, as they pass between a window and its child process."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acquisition.optics import Optics
from measuring.measured_object import MeasuredObject
from measuring.measuring_settings import MeasuringSettings

__all__ = ["Measured", "MeasuringOrder", "measure"]

_MOST = 1000  # objects of a scan, as in the live window


@dataclass(frozen=True, slots=True)
class MeasuringOrder:
    """A volume to measure.

    Parameters
    ----------
    settings : MeasuringSettings
    file : Path
        A tomogram file.
    scan : int
        Its time point.
    method : str
        Name of the volume; where the time point lacks it, the raw one is measured.
    volume : tuple or None
        The volume (z, y, x), its voxel size and optics, where it is in no file.
    """

    settings: MeasuringSettings
    file: Path
    scan: int
    method: str
    volume: tuple[NDArray[np.float32], tuple[float, float, float], Optics] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The objects of a volume, the largest first, with numbers from 1, and compressed labels."""

    objects: tuple[MeasuredObject, ...]
    shape: tuple[int, ...]
    packed: bytes
    threshold: float
    method: str
    voxel_size_um: tuple[float, float, float]

    @property
    def labels(self) -> NDArray[np.uint16]:
        """The labels (z, y, x): ``i + 1`` where ``objects[i]`` is."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint16).reshape(self.shape)


def measure(order: MeasuringOrder) -> Measured:
    """Measure a volume.

    Raises
    ------
    LiveTomoError
        If the file lacks it, or the settings do not fit it.
    """
    from files.tomograms import read_tomograms
    from measuring.measure_volume import measure_volume

    if order.volume is None:
        series = read_tomograms(order.file)
        index, method = series.volume(order.method, order.scan), order.method
        if index is None:
            index, method = series.volume("raw", order.scan), "none"
        assert index is not None
        voxel_size_um, optics = series.voxel_size_um, series.optics
    else:
        (index, voxel_size_um, optics), method = order.volume, order.method
    found = measure_volume(index, voxel_size_um, optics, order.settings)
    labels = np.where(found.labels <= _MOST, found.labels, np.uint16(0))
    packed = zlib.compress(np.ascontiguousarray(labels).tobytes(), 1)
    objects = found.objects[:_MOST]
    return Measured(objects, labels.shape, packed, found.threshold, method, voxel_size_um)
