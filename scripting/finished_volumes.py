"""Finished RI volumes of other programs for scripts: opened as a sequence of tomograms."""

from __future__ import annotations  # what a type names is loaded when it is used

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripting.read_sequence import ReadSequence
from scripting.tomogram_handle import FinishedSource, Tomogram

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from files.volumes.open_volumes import FinishedVolumes
    from reconstruction.finished.finished_volume import KnownOptics

__all__ = ["Volumes", "open_volume"]


class Volumes(ReadSequence[Tomogram]):
    """The volumes of a file, read when they are asked for.

    Attributes
    ----------
    fluorescence : tuple of str
        Names of the fluorescence channels that the file holds beside the index.
    notes : tuple of str
        What opening the file has found.
    """

    def __init__(
        self,
        volumes: FinishedVolumes,
        known: KnownOptics,
        support: Literal["auto", "optics", "measured"],
    ) -> None:
        self._volumes, self._known, self._support = volumes, known, support
        self.fluorescence = tuple(one.name for one in volumes.source.fluorescence)
        self.notes = volumes.source.notes

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """Voxel size: dz, dy, dx."""
        return self._volumes.voxel_size_um

    def fluorescence_array(self, name: str, time: int = 0) -> NDArray[np.float32]:
        """Return a fluorescence channel on the voxels of the index, (z, y, x) float32.

        Raises
        ------
        DataError
            If the file has no such channel, or the channel no such time point.
        """
        from acquisition.errors import DataError

        for one in self._volumes.source.fluorescence:
            if one.name == name and 0 <= time < one.count:
                return one.read(time)
        held = [f"{one.name} ({one.count})" for one in self._volumes.source.fluorescence]
        raise DataError(
            f"the file must hold the fluorescence {name!r} at time point {time}, found "
            f"{', '.join(held) or 'none'}"
        )

    def __len__(self) -> int:
        return len(self._volumes)

    def _read(self, number: int) -> Tomogram:
        import torch

        from reconstruction.finished.background import medium_of
        from reconstruction.finished.finished_volume import read_finished
        from reconstruction.tomogram import Tomogram as Volume

        volume = self._volumes[number]
        medium = self._known.medium_index or medium_of(volume.index)
        optics = self._known.optics(medium, max(volume.voxel_size_um[1:]))
        if optics is None:
            optics = read_finished(volume, self._known, self._support).support.optics
        whole = Volume(
            torch.from_numpy(volume.index), volume.voxel_size_um, optics, volume.timestamp, number,
            {"volumes": self._volumes.source.path.name},
        )  # fmt: skip
        return Tomogram(whole, finished=FinishedSource(volume, self._known, self._support))

    def __repr__(self) -> str:
        size = " x ".join(map(str, self._volumes.shape))
        return f"<Volumes: {len(self)} of {size} voxels, {self._volumes.source.kind}>"


def open_volume(
    path: str | Path,
    *,
    voxel_size_um: tuple[float, float, float] | None = None,
    wavelength_um: float | None = None,
    numerical_aperture: float | None = None,
    medium_index: float | None = None,
    illumination_aperture: float | None = None,
    support: Literal["auto", "optics", "measured"] = "auto",
    dataset: str = "",
    axes: str = "",
    channel: int | None = None,
    scale: float | None = None,
) -> Volumes:
    """Open finished RI volumes: TCF, TIFF, OME-Zarr, NumPy, MATLAB or LiveTomo's own file.

    ``regularize`` takes what it returns, without interferograms.

    Parameters
    ----------
    path : str or Path
    voxel_size_um : (dz, dy, dx) or None
        Needed where the file does not have it.
    wavelength_um, numerical_aperture, medium_index : float or None
        None: as the file says. The medium's index is else the most frequent one of the volume; the
        others are needed only where the volume itself does not show what was measured.
    illumination_aperture : float or None
        NA of the circle that the light was scanned on; None: 0.9 of the objective's.
    support : "auto", "optics" or "measured"
        Where to find what was measured; "auto": in the volume where its spectrum has a noise floor,
        else from the optics.
    dataset : str
        Variable of a .mat or .npz, series of a TIFF, image of an OME-Zarr, volume of a tomogram
        file.
    axes : str
        Order of the axes in the file, of T, C, Z, Y, X; "": as the file says, (z, y, x) of NumPy
        and (y, x, z) of MATLAB.
    channel : int or None
        Which one, from 0, where the file has several.
    scale : float or None
        From the file's numbers to index; None: 1 or 1e-4, as the numbers show.

    Returns
    -------
    Volumes

    Raises
    ------
    DataError
        If the file cannot be read, or what was measured cannot be found.
    ConfigurationError
        If the voxel size, the scale or the optics are needed and unknown.
    """
    from dataclasses import replace

    from files.volumes.open_volumes import open_volumes
    from files.volumes.volume_source import VolumeOptions
    from reconstruction.finished.finished_volume import check_support

    options = VolumeOptions(dataset, axes, channel, scale, voxel_size_um)
    volumes = open_volumes(Path(path), options)
    told = {
        "wavelength_um": wavelength_um,
        "numerical_aperture": numerical_aperture,
        "medium_index": medium_index,
        "illumination_aperture": illumination_aperture,
    }
    known = replace(volumes.known, **{k: v for k, v in told.items() if v is not None})
    return Volumes(volumes, known, check_support(support))
