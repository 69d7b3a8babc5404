"""Raw tomograms of exact spheres, and files of them as other programs write them.

The writers here are h5py's, tifffile's, scipy's, zarr's and numpy's own: none is LiveTomo's.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import tifffile
import torch
import zarr
from numpy.typing import NDArray

from acquisition.optics import Optics
from files.volumes.open_volumes import open_volumes
from files.volumes.volume_source import VolumeOptions
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.settings import ReconstructionSettings
from tests.partial_waves import sphere_fields
from tests.scans import CELL, Centre, distance_um, interferograms

__all__ = [
    "OPTICS",
    "SHAPE",
    "SPHERE",
    "VOXEL",
    "WRITERS",
    "Sphere",
    "axial_width_um",
    "mean_inside",
    "opened",
    "ramp",
    "raw_sphere",
    "write_tcf",
]

Voxel = tuple[float, float, float]

# of the small volumes that readers are tried on
VOXEL = (0.3, 0.11, 0.12)
OPTICS = Optics(0.532, 1.2, 1.337, 0.1)
SHAPE = (5, 6, 7)


@dataclass(frozen=True)
class Sphere:
    """An exact sphere."""

    radius_um: float
    index: float
    centre_um: Centre = (0.0, 0.0, 0.0)


SPHERE = Sphere(1.5, 1.375, (0.3, -0.2, 0.1))


@functools.cache
def raw_sphere(sphere: Sphere = SPHERE, frame: int = 112, slices: int = 64) -> Reconstruction:
    """Reconstruct a sphere from its exact scattering, 49 angles at NA 1.2."""
    optics, k = CELL.optics, CELL.angles.k
    shape = (frame, frame)
    fields = sphere_fields(optics, k, sphere.radius_um, sphere.index, shape, sphere.centre_um)
    background = interferograms(optics, k, frame=shape)
    scan = interferograms(optics, k, fields.numpy(), frame=shape)
    return Reconstructor(background, "cpu", ReconstructionSettings(slices=slices))(scan)


def mean_inside(index: NDArray[np.float32], voxel: Voxel, sphere: Sphere = SPHERE) -> float:
    """Return the mean index within 70 % of the radius."""
    z, y, x = index.shape
    near = distance_um((z, y, x), voxel, sphere.centre_um).numpy() < 0.7 * sphere.radius_um
    return float(index[near].mean())


def axial_width_um(
    index: NDArray[np.float32], voxel: Voxel, medium: float, sphere: Sphere = SPHERE
) -> float:
    """Return the full width at half of the contrast along z, through the sphere's centre."""
    x_um, y_um, _ = sphere.centre_um
    y = index.shape[1] // 2 + round(y_um / voxel[1])
    x = index.shape[2] // 2 + round(x_um / voxel[2])
    line = index[:, y - 1 : y + 2, x - 1 : x + 2].mean(axis=(1, 2)) - medium
    fine = np.linspace(0, len(line) - 1, 50 * len(line))
    above = np.interp(fine, np.arange(len(line)), line) > line.max() / 2
    return float(above.sum() * (fine[1] - fine[0]) * voxel[0])


def steps(index: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return an index in ten-thousandths."""
    return np.asarray(np.rint(index * 1e4), np.uint16)


def write_tcf(
    path: Path, volumes: list[NDArray[Any]], voxel: Voxel, optics: Optics, **root: str
) -> Path:
    """Write a TCF as the instruments do: each attribute an array of one element."""
    with h5py.File(path, "w") as file:
        for name, text in {"FormatVersion": "1.3", "DeviceModelType": "HT-2H", **root}.items():
            file.attrs[name] = np.array([text], h5py.string_dtype())
        device = file.create_group("Info/Device")
        device.attrs["NA"] = [optics.numerical_aperture]
        device.attrs["RI"] = [optics.medium_index]
        device.attrs["Magnification"] = [60.0]
        device.attrs["Wavelength"] = [1e3 * optics.wavelength_um]
        group = file.create_group("Data/3D")
        group.attrs["DataCount"] = [len(volumes)]
        for axis, count, size in zip("ZYX", volumes[0].shape, voxel, strict=True):
            group.attrs[f"Size{axis}"] = [count]
            group.attrs[f"Resolution{axis}"] = [size]
        for number, volume in enumerate(volumes):
            frame = group.create_dataset(f"{number:06d}", data=volume, compression="gzip")
            stamp = f"2026-03-01 10:00:{number * 7:02d}.250000"
            frame.attrs["RecordingTime"] = np.array([stamp], h5py.string_dtype())
            for axis, at in zip("XYZ", (12.5, -3.0, 1.25), strict=True):
                frame.attrs[f"Position{axis}"] = [at]
    return path


def _tcf(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    return write_tcf(path / "sphere.TCF", [steps(index)], voxel, optics)


def _imagej(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    tifffile.imwrite(
        path / "sphere.tif",
        index,
        imagej=True,
        resolution=(1 / voxel[2], 1 / voxel[1]),
        metadata={"spacing": voxel[0], "unit": "um", "axes": "ZYX"},
    )
    return path / "sphere.tif"


def _ome(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    sizes = {f"PhysicalSize{axis}": 1e3 * size for axis, size in zip("ZYX", voxel, strict=True)}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "ZYX"}
    about = {"axes": "ZYX", **sizes, **units}
    tifffile.imwrite(path / "sphere.ome.tiff", steps(index), ome=True, metadata=about)
    return path / "sphere.ome.tiff"


def _matlab(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    shown = np.transpose(index, (1, 2, 0))  # rows, columns, pages
    scipy.io.savemat(path / "sphere.mat", {"n": shown, "note": "x"}, do_compression=True)
    return path / "sphere.mat"


def _matlab_73(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    shown = np.transpose(index, (1, 2, 0))
    with h5py.File(path / "new.mat", "w", userblock_size=512) as file:
        file["n"] = np.ascontiguousarray(shown.T)  # MATLAB counts the axes in the other order
        file["n"].attrs["MATLAB_class"] = np.bytes_("single")
        file["note"] = np.arange(3)
    with (path / "new.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(128))
    return path / "new.mat"


def _numpy(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    np.save(path / "sphere.npy", index)
    return path / "sphere.npy"


def _zarr(path: Path, index: NDArray[np.float32], voxel: Voxel, optics: Optics) -> Path:
    """Write an OME-Zarr 0.4, in nanometres."""
    group = zarr.open_group(path / "sphere.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=index[None], chunks=(1, 32, 64, 64))
    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale: Any = {"type": "scale", "scale": [1.0, *(1e3 * size for size in voxel)]}
    level: Any = {"path": "0", "coordinateTransformations": [scale]}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    return path / "sphere.zarr"


WRITERS = {  # by name: writer, and the options that its file needs
    "tcf": (_tcf, []),
    "imagej": (_imagej, []),
    "ome-tiff": (_ome, []),
    "ome-zarr": (_zarr, []),
    "matlab-5": (_matlab, ["--dataset", "n", "VOXEL"]),
    "matlab-7.3": (_matlab_73, ["--dataset", "n", "VOXEL"]),
    "numpy": (_numpy, ["VOXEL"]),
}


def clipped(index: torch.Tensor, medium: float) -> NDArray[np.float32]:
    """Return an index whose negative contrast is set to zero, in steps of 1e-4."""
    return (steps(index.clamp_min(medium).numpy()) / np.float32(1e4)).astype(np.float32)


def ramp(*shape: int) -> NDArray[np.float32]:
    """Return an index that is different in every voxel."""
    return (1.33 + np.arange(np.prod(shape)).reshape(shape) / 1e4).astype(np.float32)


def opened(path: Path, **options: Any) -> NDArray[np.float32]:
    """Return the first volume of a file."""
    return open_volumes(path, VolumeOptions(**options))[0].index
