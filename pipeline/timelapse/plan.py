"""The plan of a time-lapse: a useq sequence, and when the background is retaken.

A sequence has a time plan, stage positions (a list, a grid or a well plate) and an autofocus plan.
What an angle scan cannot do (channels, z plans, device properties, ...) is refused. useq ignores
unknown keys; they are refused here. useq has no field for retaking the background, so ``metadata``
may say it:

    metadata:
      livetomo:
        background_every_scans: 50     # or background_every_min: 30
"""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, overload

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from useq import (
    AcquireImage,
    AxesBasedAF,
    HardwareAutofocus,
    MDAEvent,
    MDASequence,
    Position,
    TIntervalLoops,
)

from acquisition.configuration.text_files import read_text
from acquisition.errors import ConfigurationError

__all__ = [
    "BackgroundPlan",
    "TimelapsePlan",
    "Visit",
    "interval_plan",
    "plan_from_options",
    "positions_plan",
    "read_plan",
]

_MOST_VISITS = 1_000_000  # of a sequence that must be expanded: minutes and gigabytes
_MEANINGLESS = {
    "channels": "a scan has one wavelength, that of the laser",
    "z_plan": "a scan is a volume already",
    "setup": "the microscope is configured by its microscope.toml",
    "keep_shutter_open_across": "a scan has no shutter",
}
_TIME_KEYS = {"interval", "duration", "loops", "phases", "prioritize_duration"}


class BackgroundPlan(BaseModel):
    """When the background is retaken: every N scans, every M minutes, or never."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    background_every_scans: Annotated[int, Field(ge=1)] | None = None
    background_every_min: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @property
    def retakes(self) -> bool:
        """Whether the background is ever retaken."""
        return not (self.background_every_scans is None and self.background_every_min is None)

    def due(self, scans: int, minutes: float) -> bool:
        """Return whether a background of this age, in scans and minutes, must be retaken."""
        return scans >= (self.background_every_scans or math.inf) or minutes >= (
            self.background_every_min or math.inf
        )

    def count(self, scans: int, seconds: float) -> int:
        """Return the largest number of retakes in a time-lapse of this length."""
        by_number = (scans - 1) // self.background_every_scans if self.background_every_scans else 0
        by_time = int(seconds / 60 / self.background_every_min) if self.background_every_min else 0
        return min(by_number + by_time, scans)


@dataclass(frozen=True, slots=True)
class Visit:
    """One scan of the plan.

    Parameters
    ----------
    time_s : float
        Earliest start, on the clock that ``starts_clock`` sets to zero.
    position : int
        Number of the stage position, in the order of first visits.
    x_um, y_um, z_um : float or None
        Target of the stage; None: it does not move.
    autofocus : bool
        Whether to autofocus before the scan.
    starts_clock : bool
        Whether the clock is set to zero when this scan starts.
    """

    time_s: float = 0.0
    position: int = 0
    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None
    autofocus: bool = False
    starts_clock: bool = False


Place = tuple[float | None, float | None, float | None]  # x, y and z in um; None: it stays
_HERE: Place = (None, None, None)


class _RegularVisits(Sequence[Visit]):
    """Scans at even intervals, at the same places each time.

    They are computed on demand, for there may be millions.
    """

    def __init__(
        self, times: int, interval_s: float, places: Sequence[Place], autofocus: bool
    ) -> None:
        self._times, self._interval_s = times, interval_s
        self.places, self.autofocus = tuple(places), autofocus

    def __len__(self) -> int:
        return self._times * len(self.places)

    @overload
    def __getitem__(self, index: int) -> Visit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Visit]: ...
    def __getitem__(self, index: int | slice) -> Visit | Sequence[Visit]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        number = range(len(self))[index]
        time, place = divmod(number, len(self.places))
        where = self.places[place]
        return Visit(time * self._interval_s, place, *where, self.autofocus, number == 0)


class TimelapsePlan:
    """What a time-lapse records, and when.

    Parameters
    ----------
    sequence : MDASequence
    background : BackgroundPlan or None
        None: as the metadata of the sequence say.

    Attributes
    ----------
    visits : sequence of Visit
        In order; each becomes one scan.
    positions : tuple of str
        Names of the stage positions.

    Raises
    ------
    ConfigurationError
        If the sequence asks for something that a scan cannot do.
    """

    def __init__(self, sequence: MDASequence, background: BackgroundPlan | None = None) -> None:
        _check(sequence)
        # useq's autofocus plan remembers the last event: iterate over a fresh copy
        self.sequence = MDASequence.model_validate_json(_dumped(sequence))
        self.background = background or _from_metadata(sequence.metadata)
        self.visits, self.positions = _visits(self.sequence)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the plan that ``to_json`` wrote."""
        try:
            parts = json.loads(text)
            sequence = MDASequence.model_validate(parts["sequence"])
            return cls(sequence, BackgroundPlan.model_validate(parts["background"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"a plan must be one that record wrote: {error}") from error

    def to_json(self) -> str:
        """Return the plan as JSON; equal plans give equal texts."""
        parts = {"sequence": json.loads(_dumped(self.sequence)), "background": self._background()}
        return json.dumps(parts, sort_keys=True)

    def _background(self) -> dict[str, Any]:
        return self.background.model_dump(exclude_none=True)

    @property
    def moves(self) -> bool:
        """Whether the stage moves in x or y."""
        return any(visit.x_um is not None or visit.y_um is not None for visit in self._different)

    @property
    def focuses(self) -> bool:
        """Whether the focus drive is used."""
        return any(visit.autofocus or visit.z_um is not None for visit in self._different)

    @property
    def _different(self) -> Iterable[Visit]:
        """The visits, those of later time points only where they may differ from the first."""
        regular = isinstance(self.visits, _RegularVisits)
        return self.visits[: len(self.positions)] if regular else self.visits

    @property
    def seconds(self) -> float:
        """Planned duration in seconds, without the scans themselves."""
        if isinstance(self.visits, _RegularVisits):
            return self.visits[-1].time_s
        ends = [v.time_s for v, after in _pairs(self.visits) if after is None or after.starts_clock]
        return sum(ends)


def interval_plan(
    stacks: int, interval_s: float, background: BackgroundPlan | None = None
) -> TimelapsePlan:
    """Return a plan of ``stacks`` scans in place, one every ``interval_s`` seconds."""
    if stacks < 1 or not 0 <= interval_s < math.inf:
        raise ConfigurationError(
            f"stacks must be at least 1 and interval at least 0 s, got {stacks} and {interval_s}"
        )
    time_plan = {"interval": interval_s, "loops": stacks}
    return TimelapsePlan(MDASequence.model_validate({"time_plan": time_plan}), background)


def positions_plan(
    stacks: int,
    interval_s: float,
    positions: Sequence[Mapping[str, Any]],
    autofocus: bool = False,
    background: BackgroundPlan | None = None,
) -> TimelapsePlan:
    """Return a plan of ``stacks`` time points, each a scan at every position in turn.

    Parameters
    ----------
    stacks : int
        Number of time points.
    interval_s : float
        From the start of one time point to the start of the next.
    positions : sequence of mapping
        ``name``, and ``x``, ``y`` and ``z`` in um where the stage moves; empty: it stays.
    autofocus : bool
        Whether to autofocus before each scan.
    background : BackgroundPlan or None

    Raises
    ------
    ConfigurationError
        If a number is out of range.
    """
    plain = interval_plan(stacks, interval_s, background)
    if not positions and not autofocus:
        return plain
    parts: dict[str, Any] = {"time_plan": {"interval": interval_s, "loops": stacks}}
    if positions:
        parts["stage_positions"] = [dict(position) for position in positions]
    if autofocus:
        parts["autofocus_plan"] = {"axes": ("t", "p")}
    return TimelapsePlan(MDASequence.model_validate(parts), background)


def read_plan(path: Path, background: BackgroundPlan | None = None) -> TimelapsePlan:
    """Read a useq MDASequence from a .yaml, .yml or .json file.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or asks for something that a scan cannot do; the message names it.
    """
    text = read_text(path)
    try:
        # JSON is valid YAML except for tabs
        given = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise ConfigurationError(f"{path} must be a sequence in YAML or JSON: {why}") from error
    try:
        _check_keys(given)
        return TimelapsePlan(MDASequence.model_validate(_with_tuples(given)), background)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_first_problem(error)}") from error


def plan_from_options(
    stacks: int | None, interval_s: float, sequence: Path | None, background: BackgroundPlan | None
) -> TimelapsePlan:
    """Return the plan of a sequence file, or of scans at an interval; only one may be given."""
    if sequence is None:
        return interval_plan(stacks or 0, interval_s, background)
    if stacks is not None or interval_s:
        raise ConfigurationError(
            "stacks and interval must be left out with a sequence, which says how many scans "
            "and when"
        )
    return read_plan(sequence, background)


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()  # each kind of time plan has its own; absent keys say least
    problem = next((p for p in problems if p["type"] != "missing"), problems[0])
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}, got {problem['input']!r}"


def _check_keys(given: Any) -> None:
    """Refuse keys that useq would ignore."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"a sequence must have keys such as time_plan and stage_positions, got {given!r}"
        )
    _known(given, set(MDASequence.model_fields), "a sequence")
    positions = given.get("stage_positions")
    for position in positions if isinstance(positions, list) else ():
        if isinstance(position, Mapping):
            _known(position, set(Position.model_fields) | {"row", "col"}, "a stage position")
            inner = position.get("sequence")
            if isinstance(inner, Mapping):
                _check_keys(inner)
    _known(given.get("autofocus_plan"), set(AxesBasedAF.model_fields), "autofocus_plan")
    times = given.get("time_plan")
    phases = times.get("phases", ()) if isinstance(times, Mapping) else times or ()
    for phase in (times, *(phases if isinstance(phases, list) else ())):
        _known(phase, _TIME_KEYS, "time_plan")


def _with_tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with positions [x, y, z] as tuples, which useq expects; files have lists."""
    positions = given.get("stage_positions")
    if not isinstance(positions, list):
        return dict(given)
    tuples = [tuple(position) if isinstance(position, list) else position for position in positions]
    return {**given, "stage_positions": tuples}


def _known(given: Any, known: set[str], what: str) -> None:
    for key in given if isinstance(given, Mapping) else ():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = (
                f": did you mean {close[0]}?" if close else f": it has {', '.join(sorted(known))}"
            )
            raise ConfigurationError(f"{what} has no {key!r}{hint}")


def _check(sequence: MDASequence) -> None:
    """Refuse what a scan cannot do."""
    for name, why in _MEANINGLESS.items():
        if getattr(sequence, name):
            raise ConfigurationError(f"{name} must be left out: {why}")
    focus = sequence.autofocus_plan
    for name in ("autofocus_device_name", "autofocus_motor_offset"):
        if focus is not None and getattr(focus, name) is not None:
            raise ConfigurationError(
                f"autofocus_plan must not have {name}: autofocus moves the focus drive by the "
                "sharpness of the refocused field"
            )
    for position in sequence.stage_positions:
        if getattr(position, "properties", None):
            raise ConfigurationError(
                "a stage position must have no properties: the microscope is configured by its "
                "microscope.toml"
            )
        if position.sequence is not None:
            if position.sequence.time_plan is not None:
                raise ConfigurationError(
                    "a stage position must have no time_plan of its own: give the sequence one, "
                    'and axis_order "pt..." to finish each position before the next'
                )
            _check(position.sequence)


def _dumped(sequence: MDASequence) -> str:
    return sequence.model_dump_json(exclude_defaults=True)


def _from_metadata(metadata: Mapping[str, Any]) -> BackgroundPlan:
    try:
        return BackgroundPlan.model_validate(metadata.get("livetomo", {}))
    except ValidationError as error:
        problem = f"metadata: livetomo: {_first_problem(error)}"
        fields = ", ".join(BackgroundPlan.model_fields)
        raise ConfigurationError(f"{problem}; it may have {fields}") from error


def _visits(sequence: MDASequence) -> tuple[Sequence[Visit], tuple[str, ...]]:
    time_plan, focus = sequence.time_plan, sequence.autofocus_plan
    regular = (
        isinstance(time_plan, TIntervalLoops)
        and sequence.grid_plan is None
        and isinstance(sequence.stage_positions, tuple)  # no well plate
        and all(position.sequence is None for position in sequence.stage_positions)
        and tuple(axis for axis in sequence.axis_order if axis in "tp") == ("t", "p")
        and (focus is None or {"t", "p"} <= set(focus.axes))
    )
    if not regular or not isinstance(time_plan, TIntervalLoops):
        return _written_out(sequence)
    positions = sequence.stage_positions
    places = [(one.x, one.y, one.z) for one in positions] or [_HERE]
    names = tuple(one.name or "" for one in positions) or ("",)
    visits = _RegularVisits(
        time_plan.loops, time_plan.interval.total_seconds(), places, focus is not None
    )
    return visits, names


def _written_out(sequence: MDASequence) -> tuple[tuple[Visit, ...], tuple[str, ...]]:
    visits: list[Visit] = []
    numbers: dict[tuple[int, int], int] = {}
    names: list[str] = []
    autofocus = False
    for event in sequence:
        if isinstance(event.action, HardwareAutofocus):
            autofocus = True
            continue
        _check_event(event, len(visits))
        place = (event.index.get("p", 0), event.index.get("g", 0))
        if place not in numbers:
            numbers[place] = len(numbers)
            names.append(event.pos_name or "")
        visits.append(_visit(event, numbers[place], autofocus, first=not visits))
        autofocus = False
    if not visits:
        raise ConfigurationError("a sequence must have a time_plan or stage_positions, got neither")
    return tuple(visits), tuple(names)


def _check_event(event: MDAEvent, number: int) -> None:
    if not isinstance(event.action, AcquireImage | None):
        raise ConfigurationError(f"a sequence can only scan and autofocus, got {event.action}")
    if number >= _MOST_VISITS:
        raise ConfigurationError(f"a sequence must have at most {_MOST_VISITS} scans, got more")


def _visit(event: MDAEvent, position: int, autofocus: bool, *, first: bool) -> Visit:
    return Visit(
        event.min_start_time or 0.0,
        position,
        event.x_pos,
        event.y_pos,
        event.z_pos,
        autofocus,
        starts_clock=first or event.reset_event_timer,
    )


def _pairs(visits: Sequence[Visit]) -> Iterable[tuple[Visit, Visit | None]]:
    return zip(visits, (*visits[1:], None), strict=True)
