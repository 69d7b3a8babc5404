"""The calibration file: what ``calibrate`` measured, for use by later runs.

It holds the orientation of the DMD's image (so that gratings produce the planned angles) and the
exposure that fills the camera's range. It is valid for one set of optics, one DMD and one camera. A
calibration of another set-up is ignored, an old one is used; both give a note.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from acquisition.configuration.microscope_file import (
    AcquisitionConfig,
    describe_problem,
    load_configuration,
)
from acquisition.configuration.text_files import read_text
from acquisition.errors import ConfigurationError, DataError

__all__ = [
    "CALIBRATION_SUFFIX",
    "CalibratedConfig",
    "Calibration",
    "calibrated_settings",
    "calibration_beside",
    "load_calibrated",
    "read_calibration",
]

Pair = tuple[float, float]
CALIBRATION_SUFFIX = ".calibration.json"

# The keys of each section that a calibration depends on; None: all.
_SETUP = {
    "optics": None,
    "dmd": (
        *("label", "shape", "conjugate", "carrier", "mirror_pitch_um", "duty", "disk_radius"),
        *("planes", "mirrors_per_k", "centre", "spot_radius"),
    ),
    "camera": ("label", "width", "height", "bit_depth", "origin", "binning", "properties"),
}


class Calibration(BaseModel):
    """The content of a calibration file.

    Attributes
    ----------
    made_at : datetime
        Time of the calibration, with its time zone.
    correction : ((xx, xy), (yx, yy))
        Matrix from planned to measured k, without a correction.
    carrier : (kx, ky)
        Carrier of the reference wave, cycles/um.
    exposure_ms : float
    shortest_picture_ms : float or None
        The shortest picture time without a lost frame; None if every one lost frames.
    setup : dict
        The settings that the calibration depends on.
    problems : list of str
        Problems found while calibrating.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["livetomo.calibration"] = "livetomo.calibration"
    version: Literal[1] = 1
    made_at: datetime
    microscope: str
    correction: tuple[Pair, Pair]
    carrier: Pair
    exposure_ms: Annotated[float, Field(gt=0)]
    shortest_picture_ms: float | None
    setup: dict[str, dict[str, Any]]
    problems: list[str]

    def save(self, path: Path) -> None:
        """Write the file, replacing an existing one whole or not at all."""
        unfinished = path.with_name(path.name + ".new")
        try:
            unfinished.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")
            unfinished.replace(path)
        except OSError as error:
            raise DataError(f"the calibration cannot be written: {error}") from error


@dataclass(frozen=True, slots=True)
class CalibratedConfig:
    """A configuration with its calibration applied, and notes for the operator."""

    config: AcquisitionConfig
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()


def calibrated_settings(config: AcquisitionConfig) -> dict[str, dict[str, Any]]:
    """Return the settings that a calibration depends on, as they are written to JSON."""
    return {
        name: getattr(config, name).model_dump(mode="json", include=set(keys) if keys else None)
        for name, keys in _SETUP.items()
    }


def calibration_beside(microscope: Path) -> Path:
    """Return the path of a microscope.toml's calibration file."""
    return microscope.with_suffix(CALIBRATION_SUFFIX)


def read_calibration(path: Path) -> Calibration:
    """Return the calibration in a file.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or is not a calibration; the message names the first problem.
    """
    try:
        return Calibration.model_validate_json(read_text(path))
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"])) or "the file"
        what = describe_problem(problem, name, list(Calibration.model_fields))
        raise ConfigurationError(
            f"{path} must be a calibration file: {what}; run calibrate again"
        ) from error


def load_calibrated(microscope: Path | None, now: datetime | None = None) -> CalibratedConfig:
    """Read a microscope.toml and its calibration.

    Parameters
    ----------
    microscope : Path or None
        None: the simulated microscope, which has no calibration.
    now : datetime or None
        Time from which the calibration's age is counted; None: the current time.

    Raises
    ------
    ConfigurationError
        If a file cannot be read or holds an impossible value.
    """
    config = load_configuration(microscope)
    section = config.calibration
    file = section.file
    if file is None and microscope is not None and calibration_beside(microscope).exists():
        file = calibration_beside(microscope)
    if file is None or not section.use:
        return CalibratedConfig(config)
    found = read_calibration(file)
    changed = _changed(found.setup, calibrated_settings(config))
    if changed:
        return CalibratedConfig(
            config,
            None,
            (
                f"the calibration {file.name} is for another set-up and is not used; changed "
                f"since: {', '.join(changed)}; run calibrate again",
            ),
        )
    return CalibratedConfig(
        _applied(config, found), found, _age(found, section.stale_after_days, now)
    )


def _changed(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"[{name}] {key}"
        for name, section in after.items()
        for key, value in section.items()
        if before.get(name, {}).get(key) != value
    ]


def _applied(config: AcquisitionConfig, found: Calibration) -> AcquisitionConfig:
    """Return the configuration with calibrated values where microscope.toml sets none."""
    dmd, camera = config.dmd, config.camera
    if "correction" not in dmd.model_fields_set:
        dmd = dmd.model_copy(update={"correction": found.correction})
    if "exposure_ms" not in camera.model_fields_set and found.exposure_ms <= dmd.picture_ms:
        camera = camera.model_copy(update={"exposure_ms": found.exposure_ms})
    calibrated = config.model_copy(update={"dmd": dmd, "camera": camera})
    try:
        calibrated.check()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"with the calibration of {found.made_at:%Y-%m-%d}: {error}; or set [calibration] "
            "use = false"
        ) from error
    return calibrated


def _age(found: Calibration, stale_after_days: float, now: datetime | None) -> tuple[str, ...]:
    days = ((now or datetime.now(UTC)) - found.made_at).total_seconds() / 86400
    notes = []
    if days > stale_after_days:
        notes.append(f"the calibration is {days:.0f} days old: run calibrate again")
    if found.problems:
        notes.append(f"the calibration had problems: {'; '.join(found.problems)}")
    return tuple(notes)
