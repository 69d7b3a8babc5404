"""Which volumes of a scan are displayed, and what is said about them; without Qt."""

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from acquisition.scan_name import scan_name
from pipeline.wire.state import MeasuredView, QualityView, TomogramView
from ui.sections.voxel_grid import Voxel, X, Y, Z

__all__ = [
    "KINDS",
    "DisplayedVolume",
    "displayed_volume",
    "here",
    "map_of",
    "sections",
    "volume_of",
    "warning_line",
]

Volume = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)
Triple = tuple[NDArray[T], NDArray[T], NDArray[T]]
Sections = Triple[np.float32]

KINDS: Final = {
    "regularized": "Regularized",
    "raw": "Raw",
    "tv": "Total variation",
    "regularized - raw": "Regularized - raw",
    "regularized - tv": "Regularized - TV",
}


_NAMES = {"tv": "total variation", "multislice": "multi-slice"}  # references, in labels
_SHORT = {"tv": "TV"}  # and in labels of differences


@dataclass(frozen=True, slots=True)
class DisplayedVolume:
    """The displayed volume, its label, and a note if it is not the requested one.

    ``difference``: the volume holds differences of RI, drawn about zero.
    """

    volume: Volume
    regularized: bool
    label: str
    note: str = ""
    difference: bool = False


def displayed_volume(
    tomogram: TomogramView, kind: str, check: QualityView | None = None
) -> DisplayedVolume:
    """Return a volume of a scan by its kind; if missing, the raw one and a note.

    Parameters
    ----------
    tomogram : TomogramView
    kind : str
        One of KINDS.
    check : QualityView or None
        The last check against total variation. While ``tomogram`` is of another scan than it,
        kinds with total variation are those of the checked scan, and their labels say so.
    """
    if kind == "raw":
        return DisplayedVolume(tomogram.raw, False, "raw")
    if "tv" in kind:
        return _checked(tomogram, kind, check)
    if tomogram.regularized is None:
        note = f"no regularized volume: the method is “{tomogram.method}”"
        return DisplayedVolume(tomogram.raw, False, "raw", note)
    if kind == "regularized - raw":
        return DisplayedVolume(
            tomogram.regularized - tomogram.raw, True, f"{tomogram.method} - raw", difference=True
        )
    return DisplayedVolume(tomogram.regularized, True, f"regularized · {tomogram.method}")


def _checked(tomogram: TomogramView, kind: str, check: QualityView | None) -> DisplayedVolume:
    if tomogram.total_variation is not None:
        if kind == "tv":
            return DisplayedVolume(tomogram.total_variation, True, "total variation")
        if tomogram.regularized is not None:
            volume = tomogram.regularized - tomogram.total_variation
            return DisplayedVolume(volume, True, f"{tomogram.method} - TV", difference=True)
    if check is None or check.reference.shape != tomogram.raw.shape:
        note = "total variation: not computed yet for a scan of this volume"
        return DisplayedVolume(tomogram.raw, False, "raw", note)
    of = "" if check.sequence == tomogram.sequence else f" of {scan_name(check.sequence)}"
    reference = _NAMES.get(check.report.reference, check.report.reference)
    if kind == "tv":
        return DisplayedVolume(check.reference, True, f"{reference}{of}")
    name = check.report.method if check.report.method != "none" else "raw"
    other = _SHORT.get(check.report.reference, reference)
    return DisplayedVolume(check.error, True, f"{name} - {other}{of}", difference=True)


def volume_of(
    tomogram: TomogramView, kind: str, other: str, check: QualityView | None
) -> DisplayedVolume:
    """Return the volume of a kind that is displayed beside another one, of the same scan.

    Total variation is computed after the live view has gone on: beside it stands what was compared
    with it, not a later scan.
    """
    compared = kind == "regularized" and "tv" in other and tomogram.total_variation is None
    if not compared or check is None or check.reference.shape != tomogram.raw.shape:
        return displayed_volume(tomogram, kind, check)
    name = check.report.method
    label = "raw" if name == "none" else f"regularized · {name}"
    volume = check.reference + check.error
    return DisplayedVolume(volume, name != "none", f"{label} of {scan_name(check.sequence)}")


def here(tomogram: TomogramView, measured: MeasuredView | None) -> MeasuredView | None:
    """Return the objects of a tomogram that has the same voxels and stage position; else None."""
    if measured is None or measured.labels.shape != tomogram.raw.shape:
        return None
    return measured if measured.position == tomogram.position else None


def map_of(
    tomogram: TomogramView, kind: str, check: QualityView | None, *, compared: bool = False
) -> tuple[Volume | None, str]:
    """Return the map that is painted over a volume, and a note; None and why if there is none.

    Parameters
    ----------
    tomogram : TomogramView
    kind : str
        "error": the distance from total variation of the last checked scan. "uncertainty": the
        standard deviation that the network states. "": none.
    check : QualityView or None
    compared : bool
        The displayed volume is that of the check, at whatever stage position it was.
    """
    if kind == "uncertainty":
        if tomogram.uncertainty is None:
            return None, "this regularizer states no uncertainty"
        return tomogram.uncertainty, ""
    if kind != "error":
        return None, ""
    if check is None or check.error.shape != tomogram.raw.shape:
        return None, "no scan of this volume was compared with total variation yet"
    if check.position != tomogram.position and not compared:
        return None, "no scan of this stage position was compared with total variation lately"
    old = check.sequence != tomogram.sequence
    return np.abs(check.error), f"errors of {scan_name(check.sequence)}" if old else ""


def warning_line(tomogram: TomogramView, on_display: DisplayedVolume) -> str:
    """Return the warnings about this tomogram in one line; empty if there are none."""
    lost = ", ".join(map(str, tomogram.lost_angles))
    # the warnings of a reconstruction name all angles that it left out
    parts = (*(tomogram.warnings or (lost and f"lost angles: {lost}",)), on_display.note)
    return "; ".join(filter(None, parts))


def sections(volume: NDArray[T], cursor: Voxel, projection: bool) -> Triple[T]:
    """Return the XY, XZ and YZ images, rows down: (y, x), (z, x) and (y, z).

    Through the cursor, or with ``projection`` the maximum along the viewing axis of each panel.
    """
    if projection:
        return volume.max(axis=Z), volume.max(axis=Y), volume.max(axis=X).T
    z, y, x = cursor
    return volume[z], volume[:, y], volume[:, :, x].T
