"""The sections of a microscope.toml as checked models; each refuses unknown keys."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from acquisition.choices import REGULARIZERS, Constraint
from acquisition.devices.faults import Faults
from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import (
    PRESETS,
    AngleSet,
    angles_from_file,
    circular_scan,
    grid_scan,
    preset,
    spiral_scan,
)
from acquisition.illumination.gratings import UNCHANGED, DmdGeometry, lee_grating, time_multiplexed
from acquisition.illumination.spots import PupilGeometry
from acquisition.optics import Optics
from acquisition.simulation.simulation_settings import SimulationSettings

__all__ = [
    "SIMULATED_TAGS",
    "BackgroundSection",
    "CalibrationSection",
    "CameraSection",
    "DmdSection",
    "DriftSection",
    "FaultsSection",
    "FrameTagSection",
    "IlluminationSection",
    "MeasuringSection",
    "MicroscopeSection",
    "OpticsSection",
    "Pair",
    "ProcessingSection",
    "ReconstructionSection",
    "ScanSection",
    "Section",
    "SimulationSection",
    "StageSection",
]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[float, Field(ge=1, le=3)]
Pair = tuple[float, float]
if TYPE_CHECKING:
    RegularizerName = str  # a type checker cannot follow a Literal that is made
else:
    RegularizerName = Literal[tuple(REGULARIZERS)]


class Section(BaseModel):
    """A table of microscope.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MicroscopeSection(Section):
    """The microscope's name, and whether it is hardware.

    ``system_configuration`` is a Micro-Manager .cfg file that loads devices; its path is relative
    to this file.
    """

    name: str = "Simulated microscope"
    kind: Literal["simulated", "hardware"] = "simulated"
    system_configuration: Path | None = None


class OpticsSection(Section):
    """Optics: a preset, a preset with some values replaced, or all four values."""

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


class RingSection(Section):
    """A scan pattern of so many angles, out to ``na_fraction`` of the numerical aperture."""

    angles: Annotated[int, Field(ge=2)] = 49
    na_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9


class GridSection(Section):
    """A square grid of ``across`` angles per side, out to ``na_fraction`` of the aperture."""

    across: Annotated[int, Field(ge=2)] = 7
    na_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9


class IlluminationSection(Section):
    """One of: a preset, a circle with the normal angle first, a spiral, a grid, a list, a file.

    ``k`` lists (kx, ky) in cycles/um; ``file`` holds such a list, one angle per line.
    """

    preset: str | None = None
    circle: RingSection | None = None
    spiral: RingSection | None = None
    grid: GridSection | None = None
    file: Path | None = None
    k: list[Pair] | None = None
    normal: int | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        patterns = ("preset", "circle", "spiral", "grid", "file", "k")
        given = [name for name in patterns if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"[illumination] takes one pattern, got {' and '.join(given)}: keep one of them"
            )
        if self.normal is not None and self.k is None:
            raise ValueError("normal is an index into the list k: add k, or remove normal")
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
        elif self.grid is not None:
            angles = grid_scan(self.grid.across, self.grid.na_fraction * optics.cutoff)
        elif self.file is not None:
            angles = angles_from_file(self.file)
        else:
            angles = preset(self.preset or default).angles
        angles.check_within(optics)
        return angles


class _DeviceSection(Section):
    """A device: its label and, unless the .cfg file loads it, its adapter and device name."""

    label: str
    adapter: str | None = None
    device: str | None = None
    properties: dict[str, str | int | float] = {}


class DmdSection(_DeviceSection):
    """The DMD: how its gratings become angles, and how long it shows each.

    stepping : "hardware" is a sequence that triggers the camera, "software" one picture after
    another, each snapped; "auto" is a sequence where the adapter takes one.

    conjugate : conjugate to the "sample" it shows gratings, to the "pupil" spots (``mirrors_per_k``
    mirrors tilt the light by one cycle/um, ``centre`` is the mirror of normal light).
    dark_pictures : pictures without light at the end of a scan, for adapters that leave the last
    picture of a sequence on.
    planes : binary gratings that one exposure adds up to a sinusoidal one, with fewer stray orders;
    the DMD triggers the camera with the first of each ``planes``.

    With the default carrier and stop the second order never passes (|carrier| > 3 stop_radius), and
    the orders that the mirror grid folds into the stop carry at most 5 % of the first one's power.
    """

    label: str = "Dmd"
    shape: tuple[Count, Count] = (480, 480)
    conjugate: Literal["sample", "pupil"] = "sample"
    carrier: Pair = (0.22, 0.385)
    mirror_pitch_um: Positive = 0.05
    stop_radius: Positive = 0.118
    duty: Annotated[float, Field(gt=0, lt=1)] = 0.5
    disk_radius: Positive | None = None  # mirrors; None: the whole DMD
    dark_pictures: Annotated[int, Field(ge=0)] = 0
    planes: Annotated[int, Field(ge=1, le=32)] = 1
    mirrors_per_k: Positive = 90.0
    centre: Pair | None = None
    spot_radius: Positive = 2.0
    correction: tuple[Pair, Pair] = UNCHANGED  # of the image's axes; measured by ``calibrate``
    on_value: Annotated[int, Field(ge=1, le=255)] = 1
    stepping: Literal["auto", "hardware", "software"] = "auto"
    picture_ms: Positive = 5.0

    def geometry(self) -> DmdGeometry | PupilGeometry:
        """Return how pictures on it map to wave vectors."""
        if self.conjugate == "pupil":
            return PupilGeometry(
                self.shape, self.mirrors_per_k, self.spot_radius, self.centre, self.correction
            )
        return DmdGeometry(
            self.shape, self.carrier, self.mirror_pitch_um, self.stop_radius, self.correction
        )

    def bit_planes(self, k: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
        """Return the pictures (rows, columns) of 0 and 1 for the angle k (2,) in cycles/um."""
        geometry, (kx, ky) = self.geometry(), k.tolist()
        if isinstance(geometry, PupilGeometry):
            return [geometry.spot(kx, ky)]
        frequency = geometry.frequency(kx, ky)
        if self.planes > 1:
            return time_multiplexed(self.shape, frequency, self.planes, self.disk_radius)
        return [lee_grating(self.shape, frequency, duty=self.duty, disk_radius=self.disk_radius)]

    @model_validator(mode="after")
    def _planes_are_gratings(self) -> Self:
        if self.planes > 1 and (self.conjugate == "pupil" or self.stepping == "software"):
            raise ValueError(
                f"[dmd] planes = {self.planes} needs gratings (conjugate to the sample) in a "
                "sequence that the DMD runs by itself: leave planes out, or change conjugate or "
                "stepping"
            )
        return self

    @property
    def required_keys(self) -> tuple[str, ...]:
        """The keys that hardware must set."""
        if self.conjugate == "pupil":
            return ("label", "shape", "mirrors_per_k", "spot_radius")
        return ("label", "shape", "carrier", "mirror_pitch_um", "stop_radius")


class TriggerSection(Section):
    """The camera's property that selects what starts an exposure, and its two values.

    An empty ``property`` leaves the camera's trigger as its own configuration has set it.
    """

    property: str = "TriggerMode"
    external: str = "External"
    internal: str = "Internal"


class FrameTagSection(Section):
    """What the camera reports with each frame, by the names of its metadata tags.

    counter_start : value of ``counter`` for the first trigger after arming. Leave it out if the
    counter does not restart; a scan without its first or last frame cannot be attributed then.
    timestamp : start of the exposure on the camera's own clock, times ``timestamp_unit_s``; leave
    it out if the adapter only reports the time of arrival at the computer.
    triggers_property : a camera property with the number of edges since arming.
    """

    counter: str = "ImageNumber"
    counter_start: int | None = 0
    timestamp: str | None = None
    timestamp_unit_s: Positive = 1e-6
    triggers_property: str | None = None


SIMULATED_TAGS = FrameTagSection(
    counter="TriggerCount",
    counter_start=1,
    timestamp="Timestamp-us",
    triggers_property="TriggersReceived",
)


class CameraSection(_DeviceSection):
    """The camera: frame format, exposure, trigger, and the metadata it reports.

    width and height are those of a frame, after binning. With ``origin`` (x, y) they are set as the
    region of interest; without it the camera keeps its current one.
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

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels (y, x) of a frame."""
        return self.height, self.width

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        """Type of a pixel."""
        return np.dtype(np.uint8) if self.bit_depth == 8 else np.dtype(np.uint16)


class StageSection(Section):
    """Labels of the sample stage and the focus drive ("" if there is none), and their directions.

    axes : image = axes @ stage: which way along the camera's x (columns) and y (rows) the field of
    view goes for one um of the stage's x and y. What is seen goes the other way.
    focus_direction : 1 if the drive's upward moves bring higher parts of the sample into focus.
    """

    label: str = "XYStage"
    focus_label: str = "Focus"
    axes: tuple[Pair, Pair] = UNCHANGED
    focus_direction: Literal[1, -1] = 1

    @model_validator(mode="after")
    def _axes_are_independent(self) -> Self:
        (a, b), (c, d) = self.axes
        if not abs(a * d - b * c) > 1e-3:
            raise ValueError(
                "[stage] axes must turn the stage's two axes into two different directions, got "
                f"{self.axes}: [[1, 0], [0, 1]] where they are those of the camera"
            )
        return self


class DriftSection(Section):
    """How an object is kept in the middle of the field and in focus, by the stages.

    keep_in_middle : whether it is, from the start; the window and ``record`` switch it on as well.
    gain : share of the measured distance that is corrected before the next scan.
    dead_band_um : distances along an axis that are left alone.
    step_um : the longest way of one correction.
    total_um : the farthest that the stages go from the place where the time-lapse began.
    """

    keep_in_middle: bool = False
    gain: Annotated[float, Field(gt=0, le=1)] = 0.8
    dead_band_um: NotNegative = 0.1
    step_um: Positive = 2.0
    total_um: Positive = 50.0


class BackgroundSection(Section):
    """Position of the empty field (None: the operator moves there), and the scans to average."""

    position_um: Pair | None = None
    scans: Count = 4


class ScanSection(Section):
    """Limits of one scan.

    patience_s : beyond a scan's duration, how long the camera may be silent before the scan ends.
    minimum_period_s : least time from the start of a scan to the start of the next; the scans of a
    background follow each other at once.
    """

    patience_s: Positive = 0.3
    minimum_period_s: NotNegative = 0.0


class ProcessingSection(Section):
    """How scans are processed; used by the pipeline.

    constraint : on the sign of the contrast: "non-negative" for samples denser than their medium,
    "non-positive" for lighter ones, "none" for both, "auto" for what the data show.

    update_every : live tomograms between whole scans, one after so many frames, of the newest frame
    of each angle; 0: none.

    corrections : how often the error of the Rytov approximation is taken off, at most; each costs
    seconds on processors.

    quality_reference : what the live tomograms are compared with: "tv" (total variation, seconds a
    report), or "multislice", which does without the Rytov approximation (minutes a report).
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    regularizer: RegularizerName = "deep"
    constraint: Constraint = "auto"
    uncertainty: bool = False  # whether "deep" estimates each voxel's standard deviation
    quality: bool = True  # whether some of the live tomograms are checked
    quality_reference: Literal["tv", "multislice"] = "tv"
    update_every: Annotated[int, Field(ge=0)] = 0  # frames; 0: whole scans only
    corrections: Annotated[int, Field(ge=0, le=20)] = 0  # of the Rytov approximation; 0: none


class MeasuringSection(Section):
    """How the objects of live tomograms are found and measured.

    The keys are explained in ``measuring.measuring_settings.MeasuringSettings``. The window and
    clients switch measuring on and off as well, and change its settings.
    """

    live: bool = False  # whether it is on from the start
    threshold: Index | None = None
    increment_ml_per_g: Positive = 0.19
    minimum_um3: NotNegative = 0.2
    lipid_threshold: Index | None = None


class ReconstructionSection(Section):
    """How scans become tomograms; keys that are left out have defaults that suit the optics.

    The keys are explained in ``reconstruction.settings.ReconstructionSettings``, which checks them.
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
    objects: Literal["denser", "lighter"] | None = None
    anchor: Literal["field", "background", "lowest", "highest"] | None = None
    offset: float | None = None

    def set_values(self) -> dict[str, Any]:
        """Return the keys that are set, with their values."""
        return self.model_dump(exclude_none=True)


class CalibrationSection(Section):
    """Which calibration is used (``calibrate`` measures the DMD's image and the exposure).

    file : the calibration file; None: the one beside microscope.toml, with the same name and the
    ending ``.calibration.json``, if it exists.
    """

    file: Path | None = None
    use: bool = True
    stale_after_days: Positive = 30.0


class FaultsSection(Section):
    """Faults of the simulated microscope, for tests and teaching."""

    lost_frames: tuple[int, ...] = ()
    swapped_frames: tuple[int, ...] = ()
    missed_triggers: tuple[int, ...] = ()
    late_triggers: tuple[int, ...] = ()
    late_by: Positive = 0.6
    trigger_cable_cut: bool = False
    dead_illumination: bool = False
    saturated_laser: bool = False

    def build(self) -> Faults:
        """Return the faults as the simulated instrument takes them."""
        return Faults(**self.model_dump())


def _simulation_section() -> type[Section]:
    """Return a section with the fields of SimulationSettings, except those set in [camera]."""
    own: dict[str, Any] = {
        f.name: (f.type, f.default)
        for f in fields(SimulationSettings)
        if f.name not in ("frame_shape", "bit_depth")
    }
    return create_model("SimulationSection", __base__=Section, **own)


if TYPE_CHECKING:
    SimulationSection = Section  # a type checker cannot follow create_model
else:
    SimulationSection = _simulation_section()
