"""Volumes that cannot be: damaged files, numbers that are no index, pictures, idle options."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import zarr
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from commands.command_line import parse
from tests.finished_volumes import OPTICS, SHAPE, VOXEL, opened, ramp, steps, write_tcf
from tests.tomogram_files import write as write_tomograms

pytestmark = pytest.mark.usefixtures("zarr_ends")


def damaged(path: Path, at: float, size: int = 400) -> Path:
    """Overwrite a part of a file, from a share of its length on."""
    held = bytearray(path.read_bytes())
    first = int(at * len(held))
    held[first : first + size] = bytes(len(held[first : first + size]))
    path.write_bytes(held)
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def noisy() -> NDArray[np.float32]:
    """Return an index that compresses badly, so that its numbers fill the file."""
    made = 1.34 + 0.01 * np.random.default_rng(0).random((16, 24, 24))
    return made.astype(np.float32)


@pytest.mark.parametrize("kind", ["npz", "mat", "mat 7.3", "tcf", "tif", "zarr"])
@pytest.mark.parametrize("cut_off", [True, False])
def test_damage_of_any_file_is_said(kind: str, cut_off: bool, tmp_path: Path) -> None:
    """Decoders raise errors of many kinds, some only when the numbers are read."""
    index = noisy()
    shown = np.transpose(index, (1, 2, 0))
    path = tmp_path / f"a.{kind.split()[0]}"
    if kind == "npz":
        np.savez_compressed(path, n=index)
    elif kind == "mat":
        scipy.io.savemat(path, {"n": shown}, do_compression=True)
    elif kind == "mat 7.3":
        with h5py.File(path, "w", userblock_size=512) as file:
            file.create_dataset("n", data=shown.T, compression="gzip")
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(128))
    elif kind == "tcf":
        write_tcf(path, [index], VOXEL, OPTICS)
    elif kind == "tif":
        tifffile.imwrite(path, index, compression="zlib", photometric="minisblack")
    else:
        group = zarr.open_group(path, mode="w", zarr_format=2)
        group.create_array("0", data=index)
        axes: Any = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        scale: Any = [{"type": "scale", "scale": list(VOXEL)}]
        levels: Any = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    np.testing.assert_array_equal(opened(path, voxel_size_um=VOXEL), index)
    broken = next(path.glob("0/0*")) if kind == "zarr" else path
    if kind == "zarr" and not cut_off:
        pytest.skip("a chunk has no checksum here")
    cut(broken) if cut_off else damaged(broken, 0.5)
    with pytest.raises(DataError, match="cannot be read"):
        opened(path, voxel_size_um=VOXEL)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([np.nan], "must have an index in every voxel, found NaN"),
        ([np.inf], "must have an index in every voxel, found NaN"),
        ([1e30], r"must be 0.9 to 5, found 1\.33 to 1e\+30"),
        (np.nan, "must hold a volume of numbers, found none"),
        (1e30, r"middle number is 1e\+30: give the factor"),
        (1e-30, "middle number is 1e-30: give the factor"),
        (1j, "must hold real numbers, got complex"),
    ],
)
def test_numbers_that_cannot_be_an_index_are_named(values: Any, said: str, tmp_path: Path) -> None:
    frame = ramp(*SHAPE)
    if isinstance(values, list):  # in one voxel
        frame[2, 3, 4] = values[0]
    else:
        frame = np.full(SHAPE, values)
    np.save(tmp_path / "a.npy", frame)
    with pytest.raises((DataError, ConfigurationError), match=said):
        opened(tmp_path / "a.npy", voxel_size_um=VOXEL)


def test_pictures_are_no_volumes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(6, 7))
    tifffile.imwrite(tmp_path / "a.tif", ramp(6, 7))
    for name in ("a.npy", "a.tif"):
        with pytest.raises(DataError, match=r"at least 3 axes, got shape \(6, 7\)"):
            opened(tmp_path / name, voxel_size_um=VOXEL)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((6, 7, 3), np.uint8), photometric="rgb")
    with pytest.raises(DataError, match="holds colours"):
        opened(tmp_path / "b.tif", voxel_size_um=VOXEL)


def test_options_that_a_file_has_no_use_for_are_refused(tmp_path: Path) -> None:
    tcf = write_tcf(tmp_path / "a.TCF", [steps(ramp(*SHAPE))], VOXEL, OPTICS)
    own = write_tomograms(tmp_path / "cells.h5", [0])
    np.save(tmp_path / "a.npy", ramp(*SHAPE))
    tifffile.imwrite(tmp_path / "a.tif", ramp(*SHAPE))
    for path, option, said in (
        (tcf, {"axes": "XYZ"}, "--axes is not for a TCF"),
        (tcf, {"channel": 0}, "--channel is not for a TCF"),
        (own, {"axes": "ZYX"}, "--axes is not for a tomogram file"),
        (tmp_path / "a.npy", {"dataset": "n"}, "--dataset is not for a .npy"),
        (tmp_path / "a.npy", {"scale": 0.0}, "--scale must be a positive factor"),
        (tmp_path / "a.npy", {"scale": float("nan")}, "--scale must be a positive factor"),
        (tmp_path / "a.tif", {"dataset": "first"}, "--dataset must be 0 to 0"),
    ):
        with pytest.raises((DataError, ConfigurationError), match=said):
            opened(path, **{"voxel_size_um": VOXEL, **option})


def test_a_zarr_without_a_scale_has_no_voxel_size(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=ramp(*SHAPE))
    axes: Any = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    with pytest.raises(ConfigurationError, match="the voxel size must be known"):
        opened(tmp_path / "a.zarr")


def test_a_result_needs_its_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(*SHAPE))
    words = ["regularize", str(tmp_path / "a.npy"), "-o", str(tmp_path / "absent" / "b.h5")]
    options = parse([*words, "--volume-um", "0.3", "0.1", "0.1", "--device", "cpu"])
    with pytest.raises(DataError, match=r"the folder of .*b\.h5 must exist"):
        options.run(options)
