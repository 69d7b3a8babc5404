"""Checks before writing: whether the output can be created and fits on the disk."""

import shutil
from pathlib import Path

from acquisition.errors import DataError

__all__ = ["SPARE_BYTES", "check_output", "check_space", "free_bytes"]

SPARE_BYTES = 256 * 2**20  # left free for the rest of the computer


def free_bytes(file: Path) -> int:
    """Return the free bytes on the disk of ``file``, which need not exist; its folder must."""
    return shutil.disk_usage(file.parent).free


def check_space(file: Path, needed_bytes: int, what: str, free: int | None = None) -> None:
    """Refuse to write more than the disk has room for.

    Parameters
    ----------
    file : Path
        It need not exist; its folder must.
    needed_bytes : int
        Bytes still to be written.
    what : str
        What will be written, for the message.
    free : int or None
        Free bytes; None: look them up.

    Raises
    ------
    DataError
        If less than 256 MiB would stay free.
    """
    free = free_bytes(file) if free is None else free
    if needed_bytes + SPARE_BYTES > free:
        raise DataError(
            f"{what} needs {needed_bytes / 1e9:.2f} GB on the disk of {file.parent}, which has "
            f"{free / 1e9:.2f} GB free and must keep {SPARE_BYTES / 1e9:.2f}: free some space, or "
            "choose another disk or fewer scans"
        )


def check_output(path: Path) -> None:
    """Refuse an output that exists, or whose folder does not, before any work is done."""
    if path.exists():
        raise DataError(f"{path} exists and is not overwritten: choose another name")
    if not path.parent.is_dir():
        raise DataError(f"the folder of {path} must exist: create it, or choose another")
