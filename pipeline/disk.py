"""Whether what will be written fits on the disk: asked before a start, and while it runs."""

import shutil
from pathlib import Path

from acquisition.errors import DataError

__all__ = ["check_space"]

_SPARE = 256 * 2**20  # bytes that are left to the rest of the computer


def check_space(file: Path, needed: int, what: str) -> None:
    """Refuse to write more than there is room for.

    Parameters
    ----------
    file : Path
        Which may not exist yet; its folder does.
    needed : int
        Bytes still to be written.
    what : str
        What takes them, for the message.

    Raises
    ------
    DataError
        If the disk has less, or would be left with less than 256 MiB.
    """
    free = shutil.disk_usage(file.parent).free
    if needed + _SPARE > free:
        raise DataError(
            f"{what} needs {needed / 1e9:.2f} GB on the disk of {file.parent}, which has "
            f"{free / 1e9:.2f} GB free and must keep {_SPARE / 1e9:.2f}: make room, or choose "
            "another disk or fewer scans"
        )
