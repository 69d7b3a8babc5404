"""The ground-truth recording bead_exact: a sphere whose scattering other software computed."""

from dataclasses import replace
from pathlib import Path

from acquisition.interferograms import InterferogramStack
from files.recording import RecordingWriter, read_recording

__all__ = ["INDEX", "MIDDLE", "RADIUS_UM", "exact_bead", "exact_bead_path", "write_middle"]

RADIUS_UM, INDEX = 2.0, 1.380
MIDDLE = 160  # pixels of 256 along y and x: 12.8 um, which hold the sphere's light


def exact_bead_path(data: Path) -> Path:
    """Return its path in the folder of the ground truth."""
    return data / "bead_exact" / "bead_na1.20_49_angles.h5"


def exact_bead(
    data: Path, size: int | None = None
) -> tuple[InterferogramStack, InterferogramStack]:
    """Return the background and the scan, from the folder of the ground truth.

    ``size``: pixels along y and x that are kept, in the middle; None: all.
    """
    recording = read_recording(exact_bead_path(data))
    background, scan = recording.background, next(recording.stacks())
    return _cut(background, size), _cut(scan, size)


def write_middle(data: Path, path: Path) -> Path:
    """Write a recording of the middle of the frames: two fifths of the work; return its path."""
    background, scan = exact_bead(data, MIDDLE)
    with RecordingWriter(path, background) as writer:
        writer.append(scan)
    return path


def _cut(stack: InterferogramStack, size: int | None) -> InterferogramStack:
    if size is None:
        return stack
    rows, columns = (slice(n // 2 - size // 2, n // 2 + size // 2) for n in stack.frames.shape[1:])
    return replace(stack, frames=stack.frames[:, rows, columns].copy())
