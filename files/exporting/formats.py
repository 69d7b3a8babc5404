"""The export formats: the one list of them. To add one, add a module and an entry in ``FORMATS``.

The command line, the window and the scripts take their choices from here.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FORMATS", "ExportFormat", "default_exports", "of_scan"]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One export format.

    Parameters
    ----------
    write : str
        "module:function", called with the images, an iterator of their volumes, and the path.
    suffix : str
        Of the file name.
    relative_size : float
        Size of a file over the size of its voxels as float32.
    title : str
        What people call it.
    opened_by : str
        What opens it, for the window.
    holds_several_images : bool
        Whether one file can hold several images (stage positions).
    uneven_times : str
        How times that are not evenly spaced are stored, for the warning.
    one_scan : bool
        Whether each scan is a file of its own.
    by_channel : bool
        Whether ``write`` wants all volumes of a channel one after the other, then those of the
        next; else all channels of a scan, then those of the next scan.
    surfaces : bool
        Whether it holds surfaces of constant RI, of one scan a file, instead of voxels. ``write``
        is then called with their RI, too.
    movie : bool
        Whether it is for looking at: sections as pictures, without the values.
    """

    write: str
    suffix: str
    relative_size: float
    title: str
    opened_by: str
    holds_several_images: bool = False
    uneven_times: str = ""
    one_scan: bool = False
    by_channel: bool = False
    surfaces: bool = False
    movie: bool = False


FORMATS = {
    "ome-zarr": ExportFormat(
        "files.exporting.ome_zarr:write_ome_zarr",
        ".ome.zarr",
        1.15,  # an eighth for the halved copies
        "OME-Zarr",
        "napari, Fiji, Neuroglancer",
        holds_several_images=True,
        uneven_times="the time axis of the OME-Zarr counts time points, and the times in s are "
        "in its attribute livetomo.times_s",
    ),
    "ome-tiff": ExportFormat(
        "files.exporting.ome_tiff:write_ome_tiff",
        ".ome.tiff",
        1.0,
        "OME-TIFF",
        "Fiji, napari, QuPath",
        holds_several_images=True,
    ),
    "tiff": ExportFormat(
        "files.exporting.tiff_stacks:write_tiff_stack",
        ".tif",
        1.0,
        "TIFF stacks",
        "ImageJ, and all that read TIFF",
        uneven_times="the stacks name no interval, and each has its time in the text under Info",
        one_scan=True,
    ),
    "tcf": ExportFormat(
        "files.exporting.tcf:write_tcf",
        ".TCF",
        0.5,
        "TCF",
        "readers of Tomocube's files",
        uneven_times="TimeInterval is 0, and each time is in RecordingTime of its dataset",
    ),
    "numpy": ExportFormat(
        "files.exporting.numpy_arrays:write_npz",
        ".npz",
        1.0,
        "NumPy",
        "Python",
        by_channel=True,
    ),
    "matlab": ExportFormat(
        "files.exporting.matlab:write_matlab",
        ".mat",
        1.0,
        "MATLAB 7.3",
        "MATLAB, h5py",
        by_channel=True,
    ),
    "matlab-5": ExportFormat(
        "files.exporting.matlab:write_matlab_5",
        ".mat",
        1.0,
        "MATLAB 5",
        "MATLAB, Octave, SciPy",
        by_channel=True,
    ),
    "stl": ExportFormat(
        "files.exporting.surface_images:write_stl_image",
        ".stl",
        0.5,
        "STL, a surface",
        "slicers, Blender",
        one_scan=True,
        surfaces=True,
    ),
    "ply": ExportFormat(
        "files.exporting.surface_images:write_ply_image",
        ".ply",
        0.5,
        "PLY, surfaces in colour",
        "MeshLab, Blender",
        one_scan=True,
        surfaces=True,
    ),
    "gif": ExportFormat(
        "files.exporting.movie_images:write_gif", ".gif", 0.1, "GIF", "browsers", movie=True
    ),
    "mp4": ExportFormat(
        "files.exporting.movie_images:write_mp4", ".mp4", 0.1, "MP4", "players", movie=True
    ),
}


def default_exports(file: Path, kind: str, scans: int) -> list[Path]:
    """Return the files that ``export_tomograms`` makes of a file of one position by default.

    Parameters
    ----------
    file : Path
        The tomogram file; it need not exist yet.
    kind : str
        One of ``FORMATS``.
    scans : int
        Time points.
    """
    one = file.with_name(file.stem + FORMATS[kind].suffix)
    if not FORMATS[kind].one_scan or scans == 1:
        return [one]
    return [of_scan(one, time) for time in range(scans)]


def of_scan(path: Path, time: int) -> Path:
    """Return the file of one scan: ``cells_0007.stl`` for the scan number 7."""
    return path.with_stem(f"{path.stem}_{time:04d}")
