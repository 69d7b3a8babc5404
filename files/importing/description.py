"""The TOML file that describes imported frames: optics, number of angles, times.

Lengths in micrometres, wave vectors in cycles per micrometre, times in seconds. Unknown keys are
refused. docs/how-to/importing.md lists all keys; docs/examples/import.toml is an example.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from acquisition.configuration.microscope_file import describe_problem, read_toml
from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.angle_files import read_wave_vectors
from acquisition.illumination.angles import check_wave_vectors
from acquisition.optics import Optics
from acquisition.scanning.timestamps import guessed_unit, is_possible_time

__all__ = ["ImportDescription", "load_description"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


class ImportDescription(BaseModel):
    """The settings that the frames do not contain.

    Parameters
    ----------
    wavelength_um, numerical_aperture, medium_index, pixel_size_um : float
        As in ``Optics``; the pixel size is that of the camera without binning.
    angles : int, optional
        Frames in a scan; not needed if ``k`` or ``k_file`` is given.
    k : list of (kx, ky), optional
        Illumination wave vectors in cycles/um, in the order of the frames.
    binning : int
        Camera pixels in one pixel of the frames, along each side.
    crop : (top, left, height, width), optional
        Part of the frames to keep, in their pixels.
    timestamps : list of float, optional
        Start of each scan, in seconds since the epoch or since the first scan.
    interval_s : float, optional
        From scan to scan; the first scan is at ``start``.
    start : datetime, optional
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wavelength_um: Positive
    numerical_aperture: Positive
    medium_index: Positive
    pixel_size_um: Positive
    angles: int | None = None
    k: list[tuple[Finite, Finite]] | None = None
    k_file: Path | None = None
    binning: Count = 1
    crop: tuple[Index, Index, Count, Count] | None = None
    timestamps: list[Finite] | None = None
    interval_s: Positive | None = None
    start: datetime | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for one, other in (("k", "k_file"), ("timestamps", "interval_s"), ("timestamps", "start")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} must not both be given: leave one out")
        if self.angles is None and self.k is None and self.k_file is None:
            raise ValueError("angles must be given: the number of frames in a scan")
        if self.angles is not None and self.angles < 2:
            raise ValueError(
                f"angles must be at least 2, got {self.angles}: a single hologram gives a phase "
                "image without depth, not a tomogram"
            )
        return self

    @property
    def optics(self) -> Optics:
        """The optics, with the pixel size of the frames (binning included)."""
        pixel = self.pixel_size_um * self.binning
        return Optics(self.wavelength_um, self.numerical_aperture, self.medium_index, pixel)

    @property
    def scan_length(self) -> int:
        """Frames in a scan."""
        return self.angles or len(self.k or ())

    @property
    def illumination_k(self) -> NDArray[np.float64] | None:
        """(angles, 2) kx, ky in cycles/um; None: to be found on the background."""
        return None if self.k is None else np.array(self.k, dtype=np.float64)

    def times_s(self, scans: int) -> NDArray[np.float64]:
        """Return the start of each of ``scans`` scans, in seconds since the epoch.

        Without ``start`` times count from 0; without ``interval_s`` too, in steps of 1 s.

        Raises
        ------
        DataError
            If there is not one time for each scan, or they cannot be seconds.
        """
        if self.timestamps is None:
            begin = self.start.timestamp() if self.start else 0.0
            times = np.asarray(begin + np.arange(scans) * (self.interval_s or 1.0), np.float64)
            _check_times("start and interval_s", times.tolist())
            return times
        if len(self.timestamps) != scans:
            raise DataError(
                f"timestamps must have one value for each scan, got {len(self.timestamps)} for "
                f"{scans} scans"
            )
        _check_times("timestamps", self.timestamps)
        return np.array(self.timestamps, dtype=np.float64)


def _check_times(key: str, times_s: Sequence[float]) -> None:
    """Refuse times that cannot be seconds since the epoch; name the probable unit."""
    unit = guessed_unit(times_s)
    wrong = next((time for time in times_s if not is_possible_time(time) or time < 0), None)
    if wrong is None and not unit:
        return
    likely = f"probably {unit}, convert them" if unit else "before 1970 or far in the future"
    raise DataError(
        f"{key} must be in seconds since the epoch (1970-01-01 UTC) or since the first scan, got "
        f"{times_s[0] if wrong is None else wrong:.15g}: {likely}"
    )


def load_description(path: Path) -> ImportDescription:
    """Read the TOML and its ``k_file``, whose path is relative to the TOML.

    Raises
    ------
    ConfigurationError
        If a file cannot be read, or a key or value is wrong; the message names file and key.
    """
    settings = read_toml(path)
    try:
        description = ImportDescription.model_validate(settings)
        if description.k_file is not None:
            settings["k"] = read_wave_vectors(path.parent / description.k_file).tolist()
            del settings["k_file"]
            description = ImportDescription.model_validate(settings)
        _check_physics(description)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_first_problem(error)}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return description


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key, *inside = problem["loc"] or ("",)
    name = str(key) + "".join(f"[{part}]" for part in inside)
    return describe_problem(problem, name, list(ImportDescription.model_fields))


def _check_physics(description: ImportDescription) -> None:
    optics, k = description.optics, description.illumination_k
    if k is None:
        return
    if len(k) != description.scan_length:
        raise ConfigurationError(
            f"k must have one (kx, ky) for each of the {description.scan_length} angles, "
            f"got {len(k)}"
        )
    check_wave_vectors(k, optics)
