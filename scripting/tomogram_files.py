"""Tomogram files for scripts: opened as a sequence, written from tomograms."""

from __future__ import annotations  # what a type names is loaded when it is used

from pathlib import Path
from typing import TYPE_CHECKING

from acquisition.choices import REGULARIZERS
from acquisition.errors import DataError
from scripting.read_sequence import ReadSequence
from scripting.tomogram_handle import Tomogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acquisition.optics import Optics
    from files.tomograms import TomogramSeries

__all__ = ["Tomograms", "open_tomograms", "save_tomograms"]


class Tomograms(ReadSequence[Tomogram]):
    """A tomogram file: its time points, read when they are asked for.

    Attributes
    ----------
    volumes : tuple of str
        The kinds of volume that it holds: "raw", and regularized ones.
    """

    def __init__(self, series: TomogramSeries) -> None:
        self._series = series

    @property
    def volumes(self) -> tuple[str, ...]:
        """The kinds of volume that it holds."""
        return ("raw", *(name for name, held in self._series.indices.items() if len(held)))

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self._series.optics

    def volume(self, time: int, kind: str) -> Tomogram | None:
        """Return the volume of that kind of a time point; None where the file has none."""
        raw = Tomogram(self._series.raw(time))
        if kind == "raw":
            return raw
        found = self._series.regularized(kind, time)
        return None if found is None else Tomogram(found, raw=raw, method=kind)

    def __len__(self) -> int:
        return len(self._series)

    def _read(self, number: int) -> Tomogram:
        """Return the best volume of a time point: deep, tv, gp, or the raw one."""
        from acquisition.choices import VOLUMES

        found = (self.volume(number, kind) for kind in (*VOLUMES, "raw"))
        return next(one for one in found if one is not None)


def open_tomograms(path: str | Path) -> Tomograms:
    """Open a tomogram file (HDF5, docs/reference).

    Raises
    ------
    DataError
        If the file does not hold tomograms, or something in it is missing or impossible.
    """
    from files.tomograms import read_tomograms

    return Tomograms(read_tomograms(Path(path)))


def save_tomograms(path: str | Path, tomograms: Iterable[Tomogram]) -> None:
    """Write tomograms to a new file, each with the raw one that it was made from.

    Parameters
    ----------
    path : str or Path
        A new file.
    tomograms : iterable of Tomogram
        In the order of time, with the same voxels. Several of one scan, by different regularizers,
        become one time point.

    Raises
    ------
    DataError
        If the file exists, their voxels differ, or the format has no volume for a regularizer.
    """
    from files.tomograms import TomogramWriter

    points: dict[int, dict[str, Tomogram]] = {}
    for one in tomograms:
        raw = one.raw or one
        points.setdefault(id(raw), {"raw": raw})[_dataset(one)] = one
    if not points:
        raise DataError("a tomogram file must hold at least one tomogram, got none")
    first = next(iter(points.values()))["raw"]
    kinds = tuple(sorted({kind for held in points.values() for kind in held} - {"raw"}))
    vectors = [held["raw"].refined_vectors for held in points.values()]
    angles = max((0 if one is None else len(one.k) for one in vectors), default=0)
    with TomogramWriter(Path(path), first.windowed, kinds, refined_angles=angles) as writer:
        for held in points.values():
            raw = held.pop("raw")
            shown = {kind: one.windowed for kind, one in held.items()}
            known = raw.refined_vectors
            writer.append(raw.windowed, shown, refined_k=None if known is None else known.k)


def _dataset(tomogram: Tomogram) -> str:
    """Return the volume of a tomogram file that holds it."""
    name = tomogram.method
    if name == "none" or name == "raw":
        return "raw"
    from regularizer.networks.trained import NETWORKS
    from regularizer.total_variation.parameters import PRESETS

    volumes = {method: choice.volume for method, choice in REGULARIZERS.items()}
    volumes |= dict.fromkeys(PRESETS, "tv") | dict.fromkeys(NETWORKS, "deep")
    if name not in volumes:
        kinds = ", ".join(sorted({*volumes.values()} - {""}))
        raise DataError(
            f"a tomogram file holds the volumes raw, {kinds}, and has none for {name!r}: set the "
            "tomogram's method to the kind that it belongs to"
        )
    return volumes[name]
