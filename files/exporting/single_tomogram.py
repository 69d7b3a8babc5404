"""Writes the volumes of one scan, as they are in memory, to a tomogram file or another format."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.choices import VOLUMES
from acquisition.errors import DataError
from acquisition.optics import Optics
from files.disk import check_output
from files.exporting.export_tomograms import export_tomograms
from files.sample_notes import NO_NOTES, SampleNotes
from files.series import ScanLocation
from files.tomograms import TomogramWriter
from reconstruction.tomogram import Tomogram

__all__ = ["OWN", "SingleTomogram", "export_single"]

OWN = "h5"  # the format of LiveTomo's own tomogram files


@dataclass(frozen=True, slots=True, eq=False)
class SingleTomogram:
    """The volumes of one scan.

    Parameters
    ----------
    volumes : mapping of str to (z, y, x) float32
        RI by name: "raw", which must be there, and names in ``acquisition.choices.VOLUMES``.
    voxel_size_um : (dz, dy, dx)
    optics : Optics
    timestamp : float
        Start of the scan, seconds since the epoch.
    sequence : int
    provenance : mapping
    location : ScanLocation or None
        Where it was taken, with the name of the place; None: not known.
    place_name : str
    sample : SampleNotes
    """

    volumes: Mapping[str, NDArray[np.float32]]
    voxel_size_um: tuple[float, float, float]
    optics: Optics
    timestamp: float
    sequence: int
    provenance: Mapping[str, str]
    location: ScanLocation | None = None
    place_name: str = ""
    sample: SampleNotes = NO_NOTES

    def __post_init__(self) -> None:
        unknown = sorted(set(self.volumes) - {"raw", *VOLUMES})
        if unknown or "raw" not in self.volumes:
            raise DataError(
                f"the volumes of a scan must be raw and any of {', '.join(VOLUMES)}, got "
                f"{', '.join(self.volumes)}"
            )

    def write(self, path: Path) -> None:
        """Write a tomogram file of one time point; ``path`` is a new file."""
        made = {name: self._tomogram(volume) for name, volume in self.volumes.items()}
        raw = made.pop("raw")
        names = None if self.location is None else (self.place_name,)
        with TomogramWriter(path, raw, tuple(made), None, names, self.sample) as writer:
            writer.append(raw, made, self.location)

    def _tomogram(self, volume: NDArray[np.float32]) -> Tomogram:
        return Tomogram(
            torch.from_numpy(np.ascontiguousarray(volume)),
            self.voxel_size_um,
            self.optics,
            self.timestamp,
            self.sequence,
            dict(self.provenance),
        )


def export_single(
    scan: SingleTomogram,
    kind: str,
    output: Path,
    volumes: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    levels: Sequence[float] = (),
) -> tuple[list[Path], list[str]]:
    """Write one scan in a format of ``FORMATS``, or as a tomogram file (OWN).

    Parameters
    ----------
    scan : SingleTomogram
    kind : str
        OWN, or one of ``files.exporting.formats.FORMATS``.
    output : Path
        A new file.
    volumes, progress, levels
        As of ``export_tomograms``. A tomogram file holds the raw volume always.

    Returns
    -------
    files : list of Path
    warnings : list of str

    Raises
    ------
    LiveTomoError
        If they cannot be written. No partial file is left.
    """
    check_output(output)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".livetomo-") as folder:
        whole = Path(folder) / f"{output.name.split('.')[0] or 'scan'}.h5"
        scan.write(whole)
        if kind == OWN:
            progress("writing", 1, 1)
            whole.rename(output)
            return [output], []
        files, warnings = export_tomograms(whole, kind, output, volumes, (), progress, levels)
    return [file.path for file in files], warnings
