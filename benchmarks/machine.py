"""Which machine a figure belongs to."""

import os
import platform
from pathlib import Path

__all__ = ["machine"]


def machine() -> str:
    """Return processor, number of usable cores and operating system in one line."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{_processor()}, {cores} cores, {platform.system()} {platform.machine()}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
