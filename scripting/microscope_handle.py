"""The microscope for scripts: opened from its file, it takes scans that can be reconstructed."""

from __future__ import annotations  # what a type names is loaded when it is used

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripting.recordings import ReconstructorCache, Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from acquisition.interferograms import InterferogramStack
    from acquisition.microscope import Microscope as Instrument

__all__ = ["Microscope", "open_microscope"]


class Microscope:
    """An open microscope that takes scans, see ``open_microscope``."""

    def __init__(self, instrument: Instrument, settings: dict[str, Any]) -> None:
        self._instrument, self._settings = instrument, settings
        self._background: InterferogramStack | None = None
        self.reconstructors = ReconstructorCache()

    @property
    def core(self) -> Any:
        """The ``CMMCorePlus`` with all devices."""
        return self._instrument.core

    def background(self, scans: int | None = None) -> InterferogramStack:
        """Take the background of the scans that follow, and return it.

        Parameters
        ----------
        scans : int or None
            How many are averaged; None: as the microscope's file says.

        Notes
        -----
        The stage goes to the empty field and back where the file says where that is.
        """
        self._background = self._instrument.background(scans)
        return self._background

    def scan(self) -> Scan:
        """Take one scan; it carries the last background.

        Raises
        ------
        DeviceError
            If a device fails.
        """
        return Scan(self._instrument.scan(), self._background, self._settings, self.reconstructors)

    def snap(self) -> NDArray[Any]:
        """Take one frame (y, x) under the illumination of the normal angle."""
        return self._instrument.snap()


@contextmanager
def open_microscope(path: str | Path | None = None) -> Iterator[Microscope]:
    """Open the microscope of a microscope.toml; a context manager that closes it.

    Parameters
    ----------
    path : str, Path or None
        None: the simulated microscope.

    Yields
    ------
    Microscope

    Raises
    ------
    ConfigurationError
        If the file says something impossible.
    DeviceError
        If a device is absent or refuses its settings.
    """
    from acquisition.configuration.calibration_file import load_calibrated
    from acquisition.microscope import open_microscope as opened

    calibrated = load_calibrated(None if path is None else Path(path))
    with opened(calibrated) as instrument:
        yield Microscope(instrument, calibrated.config.reconstruction.set_values())
