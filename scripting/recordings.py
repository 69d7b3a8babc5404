"""Recordings and scans for scripts: of a file, of a simulation."""

from __future__ import annotations  # what a type names is loaded when it is used

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from acquisition.errors import ConfigurationError, DataError
from scripting.read_sequence import ReadSequence
from scripting.tomogram_handle import Tomogram, reconstruct

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from acquisition.interferograms import InterferogramStack
    from acquisition.optics import Optics
    from reconstruction.reconstructor import Reconstructor
    from reconstruction.settings import ReconstructionSettings
    from regularizer.training.training_data import SimulatedScan

__all__ = ["ReconstructorCache", "Recording", "Scan", "open_recording", "simulate_scan"]


@dataclass(frozen=True)
class Scan:
    """One scan: an interferogram for each angle, and the background that it is divided by.

    Parameters
    ----------
    stack : InterferogramStack
        Frames (angle, y, x) with their optics and illumination.
    background : InterferogramStack or None
        Of the empty field; None where none was taken.
    settings : mapping
        How its microscope says that it is reconstructed: fields of ``ReconstructionSettings``.
    """

    stack: InterferogramStack
    background: InterferogramStack | None
    settings: dict[str, Any] = field(default_factory=dict)
    reconstructors: ReconstructorCache = field(
        default_factory=lambda: ReconstructorCache(), repr=False
    )

    @property
    def frames(self) -> NDArray[Any]:
        """The interferograms, (angle, y, x) uint8 or uint16."""
        return self.stack.frames

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self.stack.optics

    @property
    def timestamp(self) -> float:
        """When it began, in seconds since the epoch."""
        return self.stack.timestamp

    @property
    def lost(self) -> tuple[int, ...]:
        """Angles whose frame is missing."""
        return self.stack.lost


class ReconstructorCache:
    """The last reconstructor of a recording: geometry is planned once for scans that share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Reconstructor | None = None

    def reconstructor(
        self, background: InterferogramStack, device: str, settings: ReconstructionSettings
    ) -> Reconstructor:
        """Return the one for a background and settings: the last one, if it fits."""
        import numpy as np

        from reconstruction.reconstructor import Reconstructor

        with self._lock:
            last = self._last
            fits = (
                last is not None
                and (last.device.type, last.settings) == (device.partition(":")[0], settings)
                and (
                    last.background is background
                    or np.array_equal(last.background.frames, background.frames)
                )
            )
            if not fits:
                last = self._last = Reconstructor(background, device, settings, keep_fields=True)
            return cast("Reconstructor", last)


class Recording(ReadSequence[Scan]):
    """Scans in the order of time, read when they are asked for.

    Attributes
    ----------
    optics : Optics
    background : InterferogramStack
        The first one, of the empty field.
    truth : Tomogram or None
        What the sample is, on the voxels that ``reconstruct`` makes by default; None unless it was
        simulated.
    """

    def __init__(
        self,
        count: Callable[[], int],
        scan: Callable[[int], Scan],
        background: InterferogramStack,
        simulated: SimulatedScan | None = None,
    ) -> None:
        self._count, self._scan = count, scan
        self.background = background
        self._simulated = simulated

    @property
    def optics(self) -> Optics:
        """Wavelength, numerical aperture, medium and pixel size."""
        return self.background.optics

    @cached_property
    def truth(self) -> Tomogram | None:
        """What the sample is, on the voxels that ``reconstruct`` makes by default."""
        return None if self._simulated is None else self.truth_like(reconstruct(self[0]))

    def truth_like(self, tomogram: Tomogram) -> Tomogram:
        """Return what a simulated sample is, on the voxels of a tomogram of it.

        Raises
        ------
        DataError
            If the recording was not simulated, or the tomogram was not reconstructed from it.
        """
        from reconstruction.tomogram import index_from_contrast
        from regularizer.training.training_data import true_contrast

        if self._simulated is None or tomogram.spectrum is None:
            raise DataError(
                "the truth is known of simulated recordings, on the voxels of a tomogram that was "
                "reconstructed from one: use simulate_scan and reconstruct"
            )
        made = self._simulated
        contrast = true_contrast(made.phantom, made.position_um, tomogram.spectrum)
        index = index_from_contrast(contrast, self.optics.medium_index)
        whole = replace(
            tomogram.whole,
            index=index,
            uncertainty=None,
            data_residual=0.0,
            provenance={"regularizer": "none: the simulated sample itself"},
        )
        return Tomogram(whole)

    def save(self, path: str | Path) -> None:
        """Write the recording to a new file, which every command reads.

        Parameters
        ----------
        path : str or Path
            An existing file is refused.

        Raises
        ------
        DataError
            If the file exists, or a scan does not fit the background.
        """
        from files.recording import RecordingWriter

        with RecordingWriter(Path(path), self.background) as writer:
            for scan in self:
                writer.append(scan.stack)

    def __len__(self) -> int:
        return self._count()

    def _read(self, number: int) -> Scan:
        return self._scan(number)

    def __repr__(self) -> str:
        angles, rows, columns = self.background.frames.shape
        return f"<Recording: {len(self)} scans of {angles} angles, {rows} x {columns} pixels>"


def open_recording(path: str | Path) -> Recording:
    """Open a recording file (HDF5, docs/reference).

    Parameters
    ----------
    path : str or Path
        It may still be growing; its length is that of the scans that are finished now.

    Returns
    -------
    Recording

    Raises
    ------
    DataError
        If the file is not a recording, or something in it is missing or impossible.
    """
    from files.recording import read_recording

    source = read_recording(Path(path))
    own = {} if source.series is None else dict(source.series.reconstruction)
    plans = ReconstructorCache()

    def scan(number: int) -> Scan:
        recorded = next(source.scans(number))
        return Scan(recorded.stack, recorded.background, own, plans)

    return Recording(source.count_complete, scan, source.background)


def simulate_scan(kind: str = "cell", seed: int = 1, frame: int = 192) -> Recording:
    """Simulate one scan of a sample whose truth is known.

    The light is scattered by the multi-slice (split-step) method, the camera has noise.

    Parameters
    ----------
    kind : str
        "cell", "cocci", "bead", "rods", "fatty", "adherent", "debris", "random" or "several"; or
        "crystal", which no shipped network was trained on.
    seed : int
        Decides the sample, its place and the noise.
    frame : int
        Camera pixels a side.

    Returns
    -------
    Recording
        In memory, of one scan; its ``truth`` is the sample.

    Raises
    ------
    ConfigurationError
        If there is no sample of that kind.
    """
    from regularizer.training.training_data import KINDS, UNSEEN_KINDS, simulated

    if kind not in (known := (*KINDS, *UNSEEN_KINDS)):
        raise ConfigurationError(f"kind must be one of {', '.join(known)}, got {kind!r}")
    made = simulated(kind, seed, frame)
    scan = Scan(made.stack, made.background)
    return Recording(lambda: 1, lambda number: scan, made.background, made)
