"""The formats that tomograms are exported to: a new one is a file and an entry here."""

from dataclasses import dataclass

__all__ = ["FORMATS", "ExportFormat"]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """How a format is written.

    Parameters
    ----------
    write : str
        "module:function", called with the images, their volumes and the file's path.
    ending : str
        Of the files' names.
    size : float
        Of a file, over that of its voxels in float32.
    collects : bool
        Whether one file holds several images (stage positions).
    uneven : str
        What becomes of times without an interval.
    """

    write: str
    ending: str
    size: float
    collects: bool = True
    uneven: str = ""


FORMATS = {
    "ome-zarr": ExportFormat(
        "files.exporting.ome_zarr:write_ome_zarr",
        ".ome.zarr",
        1.15,  # an eighth for the halved copies
        uneven="the time axis of an OME-Zarr counts time points then, and their times in s are in "
        "its attribute livetomo.times_s",
    ),
    "ome-tiff": ExportFormat("files.exporting.ome_tiff:write_ome_tiff", ".ome.tiff", 1.0),
    "tcf": ExportFormat(
        "files.exporting.tcf:write_tcf",
        ".TCF",
        0.5,
        collects=False,
        uneven="TimeInterval is 0 then, and each time is in RecordingTime of its dataset",
    ),
}
