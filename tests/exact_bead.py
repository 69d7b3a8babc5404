"""The ground-truth recording bead_exact: a sphere whose scattering other software computed."""

from pathlib import Path

from acquisition.interferograms import InterferogramStack
from files.recording import read_recording

__all__ = ["INDEX", "RADIUS_UM", "exact_bead", "exact_bead_path"]

RADIUS_UM, INDEX = 2.0, 1.380


def exact_bead_path(data: Path) -> Path:
    """Return its path in the folder of the ground truth."""
    return data / "bead_exact" / "bead_na1.20_49_angles.h5"


def exact_bead(data: Path) -> tuple[InterferogramStack, InterferogramStack]:
    """Return the background and the scan, from the folder of the ground truth."""
    recording = read_recording(exact_bead_path(data))
    return recording.background, next(recording.stacks())
