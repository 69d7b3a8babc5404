"""The export formats. To add one, add a module and an entry in ``FORMATS``."""

from dataclasses import dataclass

__all__ = ["FORMATS", "ExportFormat"]


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
    holds_several_images : bool
        Whether one file can hold several images (stage positions).
    uneven_times : str
        How times that are not evenly spaced are stored, for the warning.
    surfaces : bool
        Whether it holds surfaces of constant RI, of one scan a file, instead of voxels. ``write``
        is then called with their RI, too.
    movie : bool
        Whether it is for looking at: sections as pictures, without the values.
    """

    write: str
    suffix: str
    relative_size: float
    holds_several_images: bool = True
    uneven_times: str = ""
    surfaces: bool = False
    movie: bool = False


FORMATS = {
    "ome-zarr": ExportFormat(
        "files.exporting.ome_zarr:write_ome_zarr",
        ".ome.zarr",
        1.15,  # an eighth for the halved copies
        uneven_times="the time axis of the OME-Zarr counts time points, and the times in s are "
        "in its attribute livetomo.times_s",
    ),
    "ome-tiff": ExportFormat("files.exporting.ome_tiff:write_ome_tiff", ".ome.tiff", 1.0),
    "tcf": ExportFormat(
        "files.exporting.tcf:write_tcf",
        ".TCF",
        0.5,
        holds_several_images=False,
        uneven_times="TimeInterval is 0, and each time is in RecordingTime of its dataset",
    ),
    "stl": ExportFormat(
        "files.exporting.surface_images:write_stl_image", ".stl", 0.5, False, surfaces=True
    ),
    "ply": ExportFormat(
        "files.exporting.surface_images:write_ply_image", ".ply", 0.5, False, surfaces=True
    ),
    "gif": ExportFormat("files.exporting.movie_images:write_gif", ".gif", 0.1, False, movie=True),
    "mp4": ExportFormat("files.exporting.movie_images:write_mp4", ".mp4", 0.1, False, movie=True),
}
