"""The recording bead_exact of the ground truth: a sphere whose scattering others computed."""

from pathlib import Path

from acquisition.interferograms import InterferogramStack
from pipeline.archive.recording import read_recording

__all__ = ["INDEX", "RADIUS_UM", "exact_bead"]

RADIUS_UM, INDEX = 2.0, 1.380


def exact_bead(data: Path) -> tuple[InterferogramStack, InterferogramStack]:
    """Return the background and the scan, from the folder of the ground truth."""
    recording = read_recording(data / "bead_exact" / "bead_na1.20_49_angles.h5")
    return recording.background, next(recording.stacks())
