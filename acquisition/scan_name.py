"""What people call a scan. They count from 1, as microscope programs and Fiji do.

Arrays, files, JSON and messages between processes count from 0.
"""

__all__ = ["scan_name"]


def scan_name(number: int) -> str:
    """Return the name of a scan in texts: "scan 1" is number 0, the first one of its session."""
    return f"scan {number + 1}"
