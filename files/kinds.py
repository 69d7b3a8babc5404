"""What a file is, from its root alone: a recording or tomograms; nothing heavy is loaded for it."""

from pathlib import Path
from typing import Final, Literal

import h5py

from acquisition.errors import DataError
from files import hdf5

__all__ = ["Kind", "kind_of"]

Kind = Literal["recording", "tomograms"]
_KINDS: Final[dict[str, tuple[Kind, str]]] = {
    # by format: what it is, and the dataset with one row a finished scan or time point
    "livetomo.recording": ("recording", "sample/timestamps"),
    "livetomo.tomogram": ("tomograms", "tomograms/raw"),
}


def kind_of(path: Path) -> Kind:
    """Return what a file is.

    Raises
    ------
    DataError
        If it cannot be read, is neither a recording nor a tomogram file, or has no scan yet.
    """
    with hdf5.read_file(path) as file:
        found = file.attrs.get("format")
        name = found.decode(errors="replace") if isinstance(found, bytes) else found
        if not isinstance(name, str) or name not in _KINDS:
            raise DataError(
                f"{path} must be a recording or a tomogram file of LiveTomo, got format {name!r}: "
                "import interferograms of other programs with `launcher.py import`"
            )
        kind, rows = _KINDS[name]
        scans = file.get(rows)
        if not isinstance(scans, h5py.Dataset) or not len(scans):
            raise DataError(f"{path} must hold at least one finished scan, found none")
    return kind
