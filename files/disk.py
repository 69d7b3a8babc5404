"""Whether what will be written can be, and fits on the disk: asked before a start and later."""

import shutil
from pathlib import Path

from acquisition.errors import DataError

__all__ = ["SPARE_BYTES", "check_output", "check_space", "free_bytes"]

SPARE_BYTES = 256 * 2**20  # that are left to the rest of the computer


def free_bytes(file: Path) -> int:
    """Return how much room the disk of a file has, which may not exist yet; its folder does."""
    return shutil.disk_usage(file.parent).free


def check_space(file: Path, needed: int, what: str, free: int | None = None) -> None:
    """Refuse to write more than there is room for.

    Parameters
    ----------
    file : Path
        Which may not exist yet; its folder does.
    needed : int
        Bytes still to be written.
    what : str
        What takes them, for the message.
    free : int or None
        Bytes that are free, where they are known already.

    Raises
    ------
    DataError
        If the disk has less, or would be left with less than 256 MiB.
    """
    free = free_bytes(file) if free is None else free
    if needed + SPARE_BYTES > free:
        raise DataError(
            f"{what} needs {needed / 1e9:.2f} GB on the disk of {file.parent}, which has "
            f"{free / 1e9:.2f} GB free and must keep {SPARE_BYTES / 1e9:.2f}: make room, or choose "
            "another disk or fewer scans"
        )


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written before any work is done."""
    if path.exists():
        raise DataError(f"{path} exists and is not overwritten: choose another name")
    if not path.parent.is_dir():
        raise DataError(f"the folder of {path} must exist: make it, or choose another")
