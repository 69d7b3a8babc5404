"""A file lock that the system releases when its holder dies; standard library only."""

import contextlib
import sys

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["lock"]


def lock(descriptor: int) -> bool:
    """Lock an open file without waiting; return whether the lock was free."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
