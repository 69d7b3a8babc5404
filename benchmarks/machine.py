"""Describes the machine that a figure was measured on, and the memory of this process."""

import os
import platform
import sys
from pathlib import Path

__all__ = ["forget_peak", "machine", "peak_mb", "resident_mb"]


def machine() -> str:
    """Return processor, number of usable cores and operating system in one line."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{_processor()}, {cores} cores, {platform.system()} {platform.machine()}"


def resident_mb() -> float:
    """Return the memory of this process, 10^6 bytes."""
    import psutil  # not on machines that only compute

    return float(psutil.Process().memory_info().rss) / 1e6


def forget_peak() -> bool:
    """Let the peak memory of this process begin anew; return whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # Linux
    except OSError:
        return False
    return True


def peak_mb() -> float:
    """Return the peak memory of this process, 10^6 bytes; since ``forget_peak``, where it can."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's getrusage begins with what the parent took when it made this one
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS: bytes


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
