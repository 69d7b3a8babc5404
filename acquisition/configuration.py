"""microscope.toml: one file that says what the microscope is, read into checked models.

Every section refuses keys that it does not know, so that a misspelt setting is an error and not a
default. Without a file the instrument is the simulated microscope with a moving cell. The upper
layers' settings (``[processing]``) stand in the same file and are checked here as well.
"""

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from acquisition.devices.faults import Faults
from acquisition.errors import ConfigurationError
from acquisition.gratings import UNCHANGED, DmdGeometry
from acquisition.illumination import PRESETS, AngleSet, circular_scan, preset, spiral_scan
from acquisition.optics import Optics
from acquisition.simulation.settings import SimulationSettings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "AcquisitionConfig",
    "BackgroundSection",
    "CalibrationSection",
    "CameraSection",
    "DmdSection",
    "IlluminationSection",
    "MicroscopeSection",
    "OpticsSection",
    "ProcessingSection",
    "ScanSection",
    "StageSection",
    "describe_problem",
    "load_configuration",
    "read_toml",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Pair = tuple[float, float]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MicroscopeSection(_Section):
    """What it is called, and whether it is hardware.

    ``system_configuration`` is a Micro-Manager .cfg file that loads devices; relative to this file.
    """

    name: str = "Simulated microscope"
    kind: Literal["simulated", "hardware"] = "simulated"
    system_configuration: Path | None = None


class OpticsSection(_Section):
    """A preset, values that replace the preset's, or all four values."""

    preset: str | None = None
    wavelength_um: Positive | None = None
    numerical_aperture: Positive | None = None
    medium_index: Positive | None = None
    pixel_size_um: Positive | None = None

    def build(self) -> Optics:
        """Return the optics that the section describes."""
        given = {k: v for k, v in self.model_dump(exclude={"preset"}).items() if v is not None}
        if self.preset is None and given:
            missing = sorted({f.name for f in fields(Optics)} - set(given))
            if missing:
                raise ConfigurationError(
                    f"[optics] without a preset needs all four values, {', '.join(missing)} "
                    f"missing: add them, or preset = one of {sorted(PRESETS)} to fill them in"
                )
            return Optics(**given)
        base = preset(self.preset or "cell").optics
        return Optics(**({f.name: getattr(base, f.name) for f in fields(Optics)} | given))


class RingSection(_Section):
    """Angles of a scan pattern that reaches ``na_fraction`` of the aperture."""

    angles: Annotated[int, Field(ge=2)] = 49
    na_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9


class IlluminationSection(_Section):
    """One of: a preset, a circle with the normal angle first, a spiral, or a list of (kx, ky)."""

    preset: str | None = None
    circle: RingSection | None = None
    spiral: RingSection | None = None
    k: list[Pair] | None = None
    normal: int | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        given = [n for n in ("preset", "circle", "spiral", "k") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"[illumination] takes one pattern, got {' and '.join(given)}")
        if self.normal is not None and self.k is None:
            raise ValueError("normal numbers an angle of the list k: give k, or leave normal out")
        return self

    def build(self, optics: Optics, default: str) -> AngleSet:
        """Return the planned angles; the preset ``default`` where the section names none."""
        if self.k is not None:
            angles = AngleSet(np.array(self.k, dtype=np.float64), self.normal)
        elif self.circle is not None:
            radius = self.circle.na_fraction * optics.cutoff
            angles = circular_scan(self.circle.angles, radius)
        elif self.spiral is not None:
            radius = self.spiral.na_fraction * optics.cutoff
            angles = spiral_scan(self.spiral.angles, radius)
        else:
            angles = preset(self.preset or default).angles
        angles.check_within(optics)
        return angles


class _DeviceSection(_Section):
    """A device of the core: its label and, unless the .cfg file loads it, adapter and device."""

    label: str
    adapter: str | None = None
    device: str | None = None
    properties: dict[str, str | int | float] = {}


class DmdSection(_DeviceSection):
    """The DMD: how its gratings become angles, and how long it shows each.

    stepping : "hardware" is a sequence that triggers the camera, "software" one picture after
    another, each snapped; "auto" is a sequence where the adapter takes one.

    With the default carrier and stop the second order never passes (|carrier| > 3 stop_radius), and
    the orders that the mirror grid folds into the stop carry at most 5 % of the first one's power.
    """

    label: str = "Dmd"
    shape: tuple[Count, Count] = (480, 480)
    carrier: Pair = (0.22, 0.385)
    mirror_pitch_um: Positive = 0.05
    stop_radius: Positive = 0.118
    duty: Annotated[float, Field(gt=0, lt=1)] = 0.5
    disk_radius: Positive | None = None  # mirrors; None: the whole DMD
    correction: tuple[Pair, Pair] = UNCHANGED  # of the image's axes; measured by ``calibrate``
    on_value: Annotated[int, Field(ge=1, le=255)] = 1
    stepping: Literal["auto", "hardware", "software"] = "auto"
    picture_ms: Positive = 5.0

    def geometry(self) -> DmdGeometry:
        """Return how grating frequencies map to wave vectors."""
        return DmdGeometry(
            self.shape, self.carrier, self.mirror_pitch_um, self.stop_radius, self.correction
        )


class TriggerSection(_Section):
    """The camera's property that selects what starts an exposure, and its two values.

    An empty ``property`` leaves the camera's trigger as its own configuration has set it.
    """

    property: str = "TriggerMode"
    external: str = "External"
    internal: str = "Internal"


class FrameTagSection(_Section):
    """What the camera reports with each frame, by the names of its metadata tags.

    counter_start : value of ``counter`` for the first trigger after arming; leave it out where the
    counter does not restart, then a scan that lacks a frame at either end cannot be attributed.
    timestamp : start of the exposure on the camera's own clock, times ``timestamp_unit_s``; leave
    it out where the adapter only has the computer's time of arrival.
    triggers_property : a camera property with the number of edges since arming.
    """

    counter: str = "ImageNumber"
    counter_start: int | None = 0
    timestamp: str | None = None
    timestamp_unit_s: Positive = 1e-6
    triggers_property: str | None = None


_SIMULATED_TAGS = FrameTagSection(
    counter="TriggerCount",
    counter_start=1,
    timestamp="Timestamp-us",
    triggers_property="TriggersReceived",
)


class CameraSection(_DeviceSection):
    """The camera: frame format, exposure, trigger, and what it reports.

    width, height are those of a frame, after binning; with ``origin`` (x, y) they are set as the
    region of interest, without it the camera keeps the one it has.
    """

    label: str = "Camera"
    origin: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] | None = None
    binning: Count | None = None
    width: Count = 256
    height: Count = 256
    bit_depth: Annotated[int, Field(ge=8, le=16)] = 8
    exposure_ms: Positive = 2.0
    trigger: TriggerSection = TriggerSection()
    frame_tags: FrameTagSection | None = None


class StageSection(_Section):
    """Labels of the sample stage and the focus drive; empty where there is none."""

    label: str = "XYStage"
    focus_label: str = "Focus"


class BackgroundSection(_Section):
    """The empty field: where (None: the operator moves there), and how many scans to average."""

    position_um: Pair | None = None
    scans: Count = 4


class ScanSection(_Section):
    """Limits of one scan.

    patience_s : beyond a scan's duration, how long the camera may be silent before the scan ends.
    minimum_period_s : least time from the start of a scan to the start of the next.
    """

    patience_s: Positive = 0.3
    minimum_period_s: NotNegative = 0.0


class ProcessingSection(_Section):
    """What happens to the scans; read by the processes above."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    regularizer: Literal["none", "gp", "tv", "tv-fast", "deep"] = "deep"
    uncertainty: bool = False  # of each voxel of "deep", which takes it longer
    quality: bool = True  # total variation behind the live tomograms says how good they are


class ReconstructionSection(_Section):
    """How scans become tomograms; what is left out has a default that suits the optics.

    The fields are those of ``reconstruction.settings.ReconstructionSettings``, which checks values.
    """

    approximation: Literal["rytov", "born"] | None = None
    planes: Count | None = None
    gridding: Literal["nearest", "linear"] | None = None
    oversampling: Count | None = None
    apodisation: Annotated[float, Field(ge=0, le=1)] | None = None
    slices: Count | None = None
    dz_um: Positive | None = None
    voxel_um: Positive | None = None
    size_um: tuple[Positive, Positive] | None = None
    refocus_um: float | None = None

    def given(self) -> dict[str, Any]:
        """Return what is set."""
        return self.model_dump(exclude_none=True)


class CalibrationSection(_Section):
    """What ``calibrate`` found: how the DMD's image lies, and the exposure.

    file : its ``calibration.json``; None: the one beside the microscope.toml, of the same name with
    ``.calibration.json``, where there is one.
    """

    file: Path | None = None
    use: bool = True
    stale_after_days: Positive = 30.0


class FaultsSection(_Section):
    """What is wrong with the simulated microscope from the start; for tests and teaching."""

    lost_frames: tuple[int, ...] = ()
    swapped_frames: tuple[int, ...] = ()
    missed_triggers: tuple[int, ...] = ()
    late_triggers: tuple[int, ...] = ()
    late_by: Positive = 0.6
    trigger_cable_cut: bool = False
    dead_illumination: bool = False
    saturated_laser: bool = False

    def build(self) -> Faults:
        """Return them as the instrument takes them."""
        return Faults(**self.model_dump())


def _simulation_section() -> type[_Section]:
    """Return a section with what SimulationSettings has, except for what [camera] says."""
    own: dict[str, Any] = {
        f.name: (f.type, f.default)
        for f in fields(SimulationSettings)
        if f.name not in ("frame_shape", "bit_depth")
    }
    return create_model("SimulationSection", __base__=_Section, **own)


if TYPE_CHECKING:
    SimulationSection = _Section  # a type checker cannot follow create_model
else:
    SimulationSection = _simulation_section()

_EMPTY_FIELD_UM = (200.0, 0.0)  # no simulated object is there


class AcquisitionConfig(_Section):
    """One microscope and what it is used for; all defaults: the simulated one."""

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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.microscope.kind == "hardware":
            self._require_explicit()
        if self.camera.exposure_ms > self.dmd.picture_ms:
            raise ValueError(
                f"[camera] exposure_ms must not exceed [dmd] picture_ms {self.dmd.picture_ms:g}, "
                f"got {self.camera.exposure_ms:g}: an exposure would see two pictures"
            )
        return self

    def _require_explicit(self) -> None:
        """Refuse the simulated microscope's numbers for hardware."""
        needed = {
            "optics": (),
            "dmd": ("label", "shape", "carrier", "mirror_pitch_um", "stop_radius"),
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
        """Build all that the sections describe; raises ConfigurationError where they cannot."""
        self.build_angles()
        self.dmd.geometry()
        self.simulation_settings()
        self.faults.build()

    def build_optics(self) -> Optics:
        """Return the optics."""
        return self.optics.build()

    def scan_bytes(self) -> int:
        """Return the size of a scan's frames."""
        camera = self.camera
        pixel = 1 if camera.bit_depth == 8 else 2
        return camera.width * camera.height * pixel * len(self.build_angles())

    def build_angles(self) -> AngleSet:
        """Return the planned illumination, checked against the aperture and the Fourier stop."""
        optics = self.build_optics()
        angles = self.illumination.build(optics, self.optics.preset or "cell")
        geometry = self.dmd.geometry()
        tilts = [np.subtract(geometry.frequency(*k), geometry.carrier) for k in angles.k.tolist()]
        steepest = max(float(np.hypot(*tilt)) for tilt in tilts)
        if steepest > self.dmd.stop_radius:
            raise ConfigurationError(
                f"[dmd] stop_radius must let the steepest angle pass, {steepest:.4f} cycles/mirror,"
                f" got {self.dmd.stop_radius}: open the stop or reduce the scan's angles"
            )
        return angles

    def frame_tags(self) -> FrameTagSection:
        """Return what the camera reports; the default depends on the microscope's kind."""
        simulated = self.microscope.kind == "simulated"
        return self.camera.frame_tags or (_SIMULATED_TAGS if simulated else FrameTagSection())

    def background_position_um(self) -> Pair | None:
        """Return where the field is empty; None: the operator moves there."""
        simulated = self.microscope.kind == "simulated"
        return self.background.position_um or (_EMPTY_FIELD_UM if simulated else None)

    def simulation_settings(self) -> SimulationSettings:
        """Return what the simulated microscope looks at, and how well."""
        return SimulationSettings(
            frame_shape=(self.camera.height, self.camera.width),
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
        # not as fast as it goes: the simulation leaves most of two cores to what is done with it
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


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says, unchecked; ConfigurationError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are the latter
        raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from error


def _resolve_files(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make file names relative to the folder of the microscope.toml."""
    for section, key in (
        ("microscope", "system_configuration"),
        ("simulation", "phantom"),
        ("calibration", "file"),
    ):
        table = settings.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(value, str) and Path(value).suffix:
            table[key] = str(folder / value)
    return settings


def _first_problem(error: ValidationError) -> str:
    """Say what is wrong with the first bad key, and where one is misspelt, which was meant."""
    problem = error.errors()[0]
    where = [str(part) for part in problem["loc"]]
    name = f"[{'.'.join(where[:-1])}] {where[-1]}" if len(where) > 1 else f"[{''.join(where)}]"
    known = _known_keys(where[:-1]) if problem["type"] == "extra_forbidden" else []
    return describe_problem(problem, name, known)


def describe_problem(problem: "ErrorDetails", name: str, known: Sequence[str]) -> str:
    """Say what is wrong with the key ``name``; where it is misspelt, which of ``known`` is meant.

    A model's own ValueErrors name their key themselves.
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
