"""What a file is, from its root alone: a recording or tomograms; nothing heavy is loaded for it."""

from pathlib import Path
from typing import Final, Literal

import h5py

from acquisition.errors import DataError
from files import hdf5

__all__ = ["Kind", "kind_of", "may_be"]

Kind = Literal["recording", "tomograms"]
_SUFFIXES: Final = (".h5", ".hdf5")
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
        name = _format(file)
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


def may_be(path: Path, kind: Kind) -> bool:
    """Return whether a file is of a kind, or damaged: an HDF5 file by its ending that is none.

    A folder's damaged recording must be reported, not passed over.
    """
    if path.suffix.lower() not in _SUFFIXES and not _begins_as_hdf5(path):
        return False
    try:
        with hdf5.read_file(path) as file:
            name = _format(file)
    except DataError:
        return True
    return isinstance(name, str) and name in _KINDS and _KINDS[name][0] == kind


def _begins_as_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError:
        return False


def _format(file: h5py.File) -> object:
    found = file.attrs.get("format")
    return found.decode(errors="replace") if isinstance(found, bytes) else found
