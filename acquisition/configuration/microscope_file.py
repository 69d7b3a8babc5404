"""microscope.toml: the file that describes the microscope, read into checked models.

Its sections are defined in ``sections.py``. They refuse unknown keys, so that a misspelt setting is
an error and not a default. Without a file the instrument is the simulated microscope with a moving
cell. Settings of the other packages (``[processing]``) are in the same file and are checked here as
well.
"""

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, ValidationError, model_validator

from acquisition.configuration.sections import (
    SIMULATED_TAGS,
    BackgroundSection,
    CalibrationSection,
    CameraSection,
    DmdSection,
    DriftSection,
    FaultsSection,
    FrameTagSection,
    IlluminationSection,
    MeasuringSection,
    MicroscopeSection,
    OpticsSection,
    Pair,
    ProcessingSection,
    ReconstructionSection,
    ScanSection,
    Section,
    SimulationSection,
    StageSection,
)
from acquisition.configuration.text_files import read_text
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import AngleSet
from acquisition.optics import Optics
from acquisition.simulation.simulation_settings import SimulationSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "AcquisitionConfig",
    "ConfigurationProblem",
    "describe_problem",
    "find_problems",
    "load_configuration",
    "read_toml",
]

_EMPTY_FIELD_UM = (200.0, 0.0)  # a position without simulated objects


class AcquisitionConfig(Section):
    """The content of a microscope.toml; with all defaults, the simulated microscope."""

    microscope: MicroscopeSection = MicroscopeSection()
    optics: OpticsSection = OpticsSection()
    illumination: IlluminationSection = IlluminationSection()
    dmd: DmdSection = DmdSection()
    camera: CameraSection = CameraSection()
    stage: StageSection = StageSection()
    background: BackgroundSection = BackgroundSection()
    calibration: CalibrationSection = CalibrationSection()
    scan: ScanSection = ScanSection()
    simulation: SimulationSection = SimulationSection()
    faults: FaultsSection = FaultsSection()
    reconstruction: ReconstructionSection = ReconstructionSection()
    processing: ProcessingSection = ProcessingSection()
    measuring: MeasuringSection = MeasuringSection()
    drift: DriftSection = DriftSection()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.microscope.kind == "hardware":
            self._require_explicit()
        if self.camera.exposure_ms > self.dmd.picture_ms:
            raise ValueError(
                f"[camera] exposure_ms must not exceed [dmd] picture_ms {self.dmd.picture_ms:g}, "
                f"got {self.camera.exposure_ms:g}: an exposure would see two pictures"
            )
        least_ms = self.dmd.picture_ms * (1 - 1 / self.dmd.planes)
        if self.camera.exposure_ms <= least_ms:
            raise ValueError(
                f"[camera] exposure_ms must be above {least_ms:g} to see all {self.dmd.planes} "
                f"planes of a picture, got {self.camera.exposure_ms:g}"
            )
        return self

    def _require_explicit(self) -> None:
        """Refuse the simulated microscope's numbers for hardware."""
        needed = {
            "optics": (),
            "dmd": self.dmd.required_keys,
            "camera": ("label", "width", "height", "bit_depth"),
        }
        for name, keys in needed.items():
            section: BaseModel = getattr(self, name)
            absent = [key for key in keys if key not in section.model_fields_set]
            if absent or not section.model_fields_set:
                raise ValueError(
                    f'kind = "hardware" needs [{name}] {", ".join(absent)}'.rstrip()
                    + ": the defaults are those of the simulated microscope"
                )

    def check(self) -> None:
        """Build optics, angles and DMD patterns; ConfigurationError if any is impossible."""
        self.build_angles()
        self.dmd.geometry()
        self.simulation_settings()
        self.faults.build()

    def build_optics(self) -> Optics:
        """Return the optics."""
        return self.optics.build()

    def scan_bytes(self) -> int:
        """Return the size of a scan's frames in bytes."""
        pixels = self.camera.height * self.camera.width
        return pixels * self.camera.dtype.itemsize * len(self.build_angles())

    def build_angles(self) -> AngleSet:
        """Return the planned illumination, checked against the aperture and the DMD's optics."""
        optics = self.build_optics()
        angles = self.illumination.build(optics, self.optics.preset or "cell")
        self.dmd.geometry().check(angles)
        return angles

    def frame_tags(self) -> FrameTagSection:
        """Return the camera's frame tags; the default depends on the microscope's kind."""
        simulated = self.microscope.kind == "simulated"
        return self.camera.frame_tags or (SIMULATED_TAGS if simulated else FrameTagSection())

    def background_position_um(self) -> Pair | None:
        """Return the (x, y) stage position of the empty field; None: the operator moves there."""
        simulated = self.microscope.kind == "simulated"
        return self.background.position_um or (_EMPTY_FIELD_UM if simulated else None)

    def simulation_settings(self) -> SimulationSettings:
        """Return the settings of the simulated microscope."""
        return SimulationSettings(
            frame_shape=self.camera.shape,
            bit_depth=self.camera.bit_depth,
            **dict(self.simulation),
        )


def load_configuration(path: Path | None = None) -> AcquisitionConfig:
    """Read a microscope.toml; without a path, return the simulated microscope.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or a key or value is wrong; the message names file and key.
    """
    if path is None:
        # slower than possible, so that the simulation leaves most of two cores to other processes
        return AcquisitionConfig(scan=ScanSection(minimum_period_s=0.6))
    settings = read_toml(path)
    try:
        config = AcquisitionConfig.model_validate(_resolve_files(settings, path.parent))
        config.check()
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_first_problem(error)}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return config


@dataclass(frozen=True, slots=True)
class ConfigurationProblem:
    """What is wrong with a microscope.toml, and the path of the key that it is about."""

    keys: tuple[str, ...]
    text: str


def find_problems(settings: dict[str, Any], folder: Path) -> list[ConfigurationProblem]:
    """Return all that is wrong with the content of a microscope.toml; nothing if it can be used.

    Parameters
    ----------
    settings : dict
        As ``tomllib`` reads it.
    folder : Path
        Where the file is; names of other files are relative to it.
    """
    try:
        config = AcquisitionConfig.model_validate(_resolve_files(settings, folder))
        config.check()
    except ValidationError as error:
        found = [_described(problem) for problem in error.errors()]
        return list({problem.text: problem for problem in found}.values())
    except ConfigurationError as error:
        return [ConfigurationProblem(_keys_in(str(error)), str(error))]
    return []


def _described(problem: "ErrorDetails") -> ConfigurationProblem:
    text = _message(problem)
    if problem["type"] == "value_error" and len(problem["loc"]) < 2:
        return ConfigurationProblem(_keys_in(text), text)  # of a rule between several keys
    return ConfigurationProblem(tuple(map(str, problem["loc"])), text)


def _keys_in(text: str) -> tuple[str, ...]:
    """Return the key that a message names: "[dmd] picture_ms must be" is about dmd, picture_ms."""
    found = re.search(r"\[([a-z_.]+)\](?: ([a-z_]+))?", text)
    if found is None:
        return ()
    return (*found[1].split("."), *((found[2],) if found[2] else ()))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the unchecked content of a TOML file; ConfigurationError if it cannot be read."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from error


def _resolve_files(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make file names relative to the folder of the microscope.toml."""
    for section, key in (
        ("microscope", "system_configuration"),
        ("simulation", "phantom"),
        ("calibration", "file"),
        ("illumination", "file"),
    ):
        table = settings.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(value, str) and Path(value).suffix:
            table[key] = str(folder / value)
    return settings


def _first_problem(error: ValidationError) -> str:
    """Return a message on the first wrong key, with a suggestion for a misspelt one."""
    return _message(error.errors()[0])


def _message(problem: "ErrorDetails") -> str:
    where = [str(part) for part in problem["loc"]]
    name = f"[{'.'.join(where[:-1])}] {where[-1]}" if len(where) > 1 else f"[{''.join(where)}]"
    known = _known_keys(where[:-1]) if problem["type"] == "extra_forbidden" else []
    return describe_problem(problem, name, known)


def describe_problem(problem: "ErrorDetails", name: str, known: Sequence[str]) -> str:
    """Return a message on the key ``name``; a misspelt one gets a suggestion from ``known``.

    ValueErrors raised by a model already name their key.
    """
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"{name} is not a known key: {hint}"
    if problem["type"] == "missing":
        return f"{name} must be given"
    message = problem["msg"].removeprefix("Value error, ")
    return (
        message
        if problem["type"] == "value_error"
        else f"{name}: {message}, got {problem['input']!r}"
    )


def _known_keys(where: list[str]) -> list[str]:
    """Return the keys of the section at ``where``."""
    model: type[BaseModel] = AcquisitionConfig
    for part in where:
        annotation = model.model_fields[part].annotation
        options = (annotation, *get_args(annotation))
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return list(model.model_fields)
