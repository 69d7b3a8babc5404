"""How far a tomogram file has grown: a look that costs milliseconds, however long it is."""

from pathlib import Path

from acquisition.choices import VOLUMES
from files import hdf5
from files.tomograms import FORMAT

__all__ = ["extent"]


def extent(path: Path) -> tuple[int, ...]:
    """Return how many rows the datasets of a tomogram file have now.

    Whoever follows a growing file reads it anew where this has changed.

    Raises
    ------
    DataError
        If it is not a tomogram file.
    """
    with hdf5.read_file(path) as file:
        hdf5.check_format(file, FORMAT)
        indices = (f"tomograms/{method}_index" for method in VOLUMES)
        names = ("tomograms/raw", "tomograms/timestamps", *indices, "quality")
        return tuple(len(file[name]) if name in file else 0 for name in names)
