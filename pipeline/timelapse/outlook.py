"""The plan of a requested time-lapse, and what it would take: size, duration, what is wrong.

Nothing is written and no device is asked, so a client may ask after every key that is pressed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from acquisition.choices import check_regularizer
from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import DataError, LiveTomoError
from files.disk import check_output, free_bytes
from files.sample_notes import SampleNotes
from pipeline.timelapse.forecast import Forecast, volumes_per_scan
from pipeline.timelapse.plan import (
    BackgroundPlan,
    TimelapsePlan,
    plan_from_options,
    positions_plan,
)
from pipeline.wire.places import StagePlace, StageState
from pipeline.wire.state import ForecastRequest, RecordingForecast, RecordRequest

__all__ = ["Outlook", "check_stage", "plan_of"]

T = TypeVar("T")
_ASKED = TypeAdapter(ForecastRequest)
_FORECAST = TypeAdapter(RecordingForecast)


def plan_of(request: RecordRequest) -> TimelapsePlan:
    """Return the plan of a requested time-lapse; ConfigurationError if there can be none."""
    plan = BackgroundPlan(
        background_every_scans=request.background_every_scans,
        background_every_min=request.background_every_min,
    )
    background = plan if plan.retakes else None
    if request.sequence is not None:
        if request.positions or request.autofocus:
            raise DataError(
                "positions and autofocus must be left out with a sequence, which says where to go "
                "and when to focus"
            )
        sequence = Path(request.sequence)
        return plan_from_options(request.stacks, request.interval_s, sequence, background)
    return positions_plan(
        request.stacks or 0,
        request.interval_s,
        [_of_useq(place) for place in request.positions],
        request.autofocus,
        background,
    )


def _of_useq(place: StagePlace) -> dict[str, float | str | None]:
    return {"name": place.name or None, "x": place.x_um, "y": place.y_um, "z": place.z_um}


def check_stage(plan: TimelapsePlan, stage: StageState | None) -> dict[str, str]:
    """Return by field what a plan needs and a microscope with this stage lacks."""
    problems = {}
    if plan.moves and (stage is None or not stage.sideways):
        problems["positions"] = (
            "positions need a sample stage, and the microscope has none: scan where the sample is, "
            "or name the stage in [stage] label of microscope.toml"
        )
    if plan.focuses and (stage is None or not stage.focus):
        problems["autofocus"] = (
            "autofocus and heights need a focus drive, and the microscope has none: leave them "
            "out, or name the drive in [stage] focus_label of microscope.toml"
        )
    return problems


@dataclass(slots=True)
class _Findings:
    """Problems by field; the first of each counts."""

    problems: dict[str, str] = field(default_factory=dict)

    def attempt(self, name: str, action: Callable[[], T]) -> T | None:
        """Return what an action gives; None if it fails, which is a problem of the field."""
        try:
            return action()
        except LiveTomoError as error:
            self.problems.setdefault(name, str(error))
        except ValidationError as error:
            self.problems.setdefault(name, error.errors()[0]["msg"])
        return None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What time-lapses would take on a microscope.

    Parameters
    ----------
    config : AcquisitionConfig
    stage : StageState or None
    scan_s : float
        How long a scan took last; 0: it is reckoned from the pictures of a scan.
    """

    config: AcquisitionConfig
    stage: StageState | None
    scan_s: float = 0.0

    def answer(self, text: str) -> str:
        """Return the RecordingForecast for a ForecastRequest, both as JSON."""
        try:
            asked = _ASKED.validate_json(text)
        except ValidationError as error:
            raise DataError(f"forecast: {error.errors()[0]['msg']}") from error
        forecast = self.forecast(asked.request, asked.tomogram_shape)
        return _FORECAST.dump_json(forecast).decode()

    def forecast(
        self, request: RecordRequest, shape: tuple[int, int, int] | None = None
    ) -> RecordingForecast:
        """Return what a time-lapse would take; ``shape`` (z, y, x) is that of a tomogram."""
        found, tomograms = _Findings(), request.tomograms
        found.attempt("output", lambda: check_output(Path(request.output)))
        if tomograms is not None:
            found.attempt("tomograms", lambda: check_regularizer(request.regularizer))
            found.attempt("tomograms", lambda: check_output(Path(tomograms)))
        found.attempt("notes", lambda: SampleNotes(request.sample_name, request.notes))
        plan = found.attempt(
            "times" if request.sequence is None else "sequence", lambda: plan_of(request)
        )
        folder = Path(request.output).parent
        free = free_bytes(Path(request.output)) if folder.is_dir() else None
        scan_s = self._scan_s
        if plan is None:
            return RecordingForecast(scan_s=scan_s, free_bytes=free, problems=found.problems)
        found.problems.update(check_stage(plan, self.stage))
        if plan.background.retakes and self.config.background_position_um() is None:
            found.problems["background"] = (
                "a background needs an empty field to go to: set [background] position_um in "
                "microscope.toml, or do not retake it"
            )
        sizes = self._sizes(plan, request, shape)
        if not found.problems:
            files = Path(request.output), None if tomograms is None else Path(tomograms)
            found.attempt("disk", lambda: sizes.check(*files))
        return RecordingForecast(
            sizes.scans,
            self._seconds(plan),
            scan_s,
            sizes.recording,
            sizes.tomograms,
            free,
            found.problems,
            self._remarks(plan, request),
        )

    def _sizes(
        self, plan: TimelapsePlan, request: RecordRequest, shape: tuple[int, int, int] | None
    ) -> Forecast:
        # without torch, which would take seconds from the live view to say the shape itself
        sizes = Forecast.of(self.config, plan, None)
        if request.tomograms is None or shape is None:
            return sizes
        z, y, x = shape
        each = volumes_per_scan(request.regularizer) * 4 * z * y * x
        return Forecast(sizes.scans, sizes.recording, sizes.scans * each)

    @property
    def _scan_s(self) -> float:
        reckoned = self.config.dmd.picture_ms / 1000 * len(self.config.build_angles())
        return self.scan_s or max(reckoned, self.config.scan.minimum_period_s)

    def _seconds(self, plan: TimelapsePlan) -> float:
        scans = len(plan.visits)
        retakes = plan.background.count(scans, plan.seconds)
        scanning = scans + retakes * self.config.background.scans
        return max(plan.seconds + self._scan_s, scanning * self._scan_s)

    def _remarks(self, plan: TimelapsePlan, request: RecordRequest) -> dict[str, str]:
        each = max(len(request.positions), 1) * self._scan_s
        if request.sequence is None and len(plan.visits) > 1 and 0 < request.interval_s < each:
            return {
                "times": f"a time point takes about {each:.1f} s, longer than the interval: "
                "scans will follow one another without a pause"
            }
        return {}
