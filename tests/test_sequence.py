"""Plans of time-lapses: what a useq sequence becomes, what is refused, and when scans are due."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from useq import MDASequence

from acquisition.errors import ConfigurationError
from pipeline.timelapse.plan import BackgroundPlan, TimelapsePlan, Visit, interval_plan, read_plan
from pipeline.timelapse.schedule import Schedule

TWO_PLACES: dict[str, Any] = {
    "time_plan": {"interval": 2, "loops": 2},
    "stage_positions": [{"x": 1, "y": 2, "z": 3, "name": "left"}, [4, 5]],
}


def written(folder: Path, sequence: Any, suffix: str = ".yaml") -> Path:
    path = folder / f"sequence{suffix}"
    dump = json.dumps if suffix == ".json" else yaml.safe_dump
    path.write_text(dump(sequence), "utf-8")
    return path


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_a_sequence_becomes_visits_in_its_order(tmp_path: Path, suffix: str) -> None:
    plan = read_plan(written(tmp_path, TWO_PLACES, suffix))
    assert list(plan.visits) == [
        Visit(0.0, 0, 1.0, 2.0, 3.0, starts_clock=True),
        Visit(0.0, 1, 4.0, 5.0),
        Visit(2.0, 0, 1.0, 2.0, 3.0),
        Visit(2.0, 1, 4.0, 5.0),
    ]
    assert plan.positions == ("left", "")
    assert (plan.moves, plan.focuses, plan.seconds) == (True, True, 2.0)
    assert not plan.background.retakes


def test_a_position_may_be_finished_before_the_next(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, {**TWO_PLACES, "axis_order": "pt"}))
    assert [visit.position for visit in plan.visits] == [0, 0, 1, 1]
    assert [visit.starts_clock for visit in plan.visits] == [True, False, True, False]
    assert plan.seconds == 4.0  # each has a clock of its own


@pytest.mark.parametrize("positions", [[], [(1, 2, 3)], TWO_PLACES["stage_positions"]])
@pytest.mark.parametrize("axes", [None, ("t",), ("p",), ("t", "p")])
@pytest.mark.parametrize("order", ["tp", "pt"])
def test_visits_made_on_demand_are_those_that_useq_makes(
    positions: list[Any], axes: tuple[str, ...] | None, order: str
) -> None:
    given: dict[str, Any] = {"time_plan": {"interval": 2, "loops": 3}, "axis_order": order}
    given |= {"stage_positions": [tuple(p) if isinstance(p, list) else p for p in positions]}
    given |= {} if axes is None else {"autofocus_plan": {"axes": axes}}
    plan = TimelapsePlan(MDASequence.model_validate(given))
    # a plan in phases is written out event by event
    phases = [{"interval": 2, "loops": 3}]
    written_out = TimelapsePlan(MDASequence.model_validate({**given, "time_plan": phases}))
    assert isinstance(written_out.visits, tuple)
    assert list(plan.visits) == list(written_out.visits)
    for name in ("positions", "moves", "focuses", "seconds"):
        assert getattr(plan, name) == getattr(written_out, name), name


def test_a_million_time_points_at_positions_are_not_written_out() -> None:
    given = {**TWO_PLACES, "time_plan": {"interval": 1, "loops": 1_000_000}}
    given["stage_positions"] = [(1, 2), (4, 5)]
    plan = TimelapsePlan(MDASequence.model_validate(given))
    assert not isinstance(plan.visits, tuple) and len(plan.visits) == 2_000_000
    assert plan.visits[-1] == Visit(999_999.0, 1, 4.0, 5.0)
    assert plan.seconds == 999_999.0 and plan.moves and not plan.focuses


def test_a_grid_is_a_list_of_positions(tmp_path: Path) -> None:
    grid = {"rows": 2, "columns": 2, "fov_width": 10, "fov_height": 10}
    plan = read_plan(
        written(tmp_path, {"grid_plan": grid, "time_plan": {"interval": 1, "loops": 2}})
    )
    assert [visit.position for visit in plan.visits] == [0, 1, 2, 3] * 2
    assert len({(visit.x_um, visit.y_um) for visit in plan.visits}) == 4


def test_the_focus_is_searched_where_the_plan_says_and_each_time_the_plan_is_read() -> None:
    given = {**TWO_PLACES, "stage_positions": [(1, 2)], "autofocus_plan": {"axes": ("t",)}}
    sequence = MDASequence.model_validate(given)
    for _ in range(2):  # useq itself forgets the first one when it counts a sequence again
        assert [visit.autofocus for visit in TimelapsePlan(sequence).visits] == [True, True]
    by_place = {**TWO_PLACES, "autofocus_plan": {"axes": ("p",)}}
    by_place["stage_positions"] = [(1, 2), (3, 4)]
    plan = TimelapsePlan(MDASequence.model_validate(by_place))
    assert [visit.autofocus for visit in plan.visits] == [True] * 4
    assert TimelapsePlan.from_json(plan.to_json()).visits == plan.visits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": ["DAPI"]}, "channels must be left out: a scan has one wavelength"),
        ({"z_plan": {"range": 4, "step": 1}}, "z_plan must be left out: a scan is a volume"),
        ({"setup": {"exposure": 3}}, "setup must be left out"),
        ({"stage_position": []}, "no 'stage_position': did you mean stage_positions"),
        (
            {"stage_positions": [{"x": 1, "nam": "A"}]},
            "no 'nam': did you mean name",
        ),
        ({"time_plan": {"interval": 1, "loop": 3}}, "time_plan has no 'loop': did you mean loops"),
        (
            {"time_plan": {"interval": 1, "loops": 0}},
            "loops: Input should be greater than 0, got 0",
        ),
        (
            {"stage_positions": [{"x": 1, "y": 1, "sequence": {"channels": ["A"]}}]},
            "channels must be left out",
        ),
        (
            {
                "stage_positions": [
                    {"x": 1, "y": 1, "sequence": {"time_plan": {"interval": 1, "loops": 2}}}
                ]
            },
            "no time_plan of its own",
        ),
        (
            {"stage_positions": [{"x": 1, "y": 1, "properties": [["Camera", "Gain", 2]]}]},
            "must have no properties",
        ),
        (
            {"autofocus_plan": {"axes": ["t"], "autofocus_device_name": "PFS"}},
            "must not have autofocus_device_name: autofocus moves the focus drive by the sharpness",
        ),
        ({"metadata": {"livetomo": {"background": 3}}}, "it may have background_every_scans"),
        ({"metadata": {"livetomo": {"background_every_scans": 0}}}, "greater than or equal to 1"),
    ],
)
def test_what_a_scan_cannot_honour_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, {"time_plan": {"interval": 1, "loops": 2}, **change})
    with pytest.raises(ConfigurationError) as refusal:
        read_plan(path)
    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2", "in YAML or JSON"), ("", "must have keys"), ("{}", "time_plan or stage_positions")],
)
def test_what_is_no_sequence_is_said_so(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "no.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as refusal:
        read_plan(path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigurationError, match="absent"):
        read_plan(tmp_path / "absent.yaml")


def test_the_command_line_says_more_than_the_file_about_the_background(tmp_path: Path) -> None:
    path = written(tmp_path, {**TWO_PLACES, "metadata": {"livetomo": {"background_every_min": 30}}})
    assert read_plan(path).background == BackgroundPlan(background_every_min=30)
    asked = BackgroundPlan(background_every_scans=3)
    assert read_plan(path, asked).background == asked


@pytest.mark.parametrize(
    ("plan", "scans", "minutes", "due"),
    [
        (BackgroundPlan(), 10**6, 1e6, False),
        (BackgroundPlan(background_every_scans=3), 2, 1e6, False),
        (BackgroundPlan(background_every_scans=3), 3, 0.0, True),
        (BackgroundPlan(background_every_min=0.5), 10**6, 0.4, False),
        (BackgroundPlan(background_every_min=0.5), 1, 0.5, True),
    ],
)
def test_a_background_is_due(plan: BackgroundPlan, scans: int, minutes: float, due: bool) -> None:
    assert plan.due(scans, minutes) is due


@pytest.mark.parametrize(
    ("plan", "count"),
    [
        (BackgroundPlan(), 0),
        (BackgroundPlan(background_every_scans=3), 3),  # before the scans 3, 6 and 9 of ten
        (BackgroundPlan(background_every_min=1), 1),
    ],
)
def test_backgrounds_are_counted_for_the_forecast(plan: BackgroundPlan, count: int) -> None:
    assert plan.count(10, 90.0) == count


def test_millions_of_scans_are_planned_at_once() -> None:
    begin = time.process_time()
    plan = interval_plan(100_000_000, 0.5)
    assert (len(plan.visits), plan.seconds) == (100_000_000, 49_999_999.5)
    assert plan.visits[7] == Visit(3.5)
    assert plan.visits[-1].time_s == plan.seconds
    assert Schedule(plan.visits).left_s == pytest.approx(plan.seconds, abs=1)
    assert time.process_time() - begin < 1


class Clock:
    """The schedule's clock, of which a test says how far it goes."""

    def __init__(self) -> None:
        self.now_s = 1e5

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return 1.7e9 + self.now_s

    def go(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("pipeline.timelapse.schedule.time", made)
    return made


def visit(schedule: Schedule, clock: Clock, seconds: float = 0.0) -> None:
    schedule.start_visit()
    clock.go(seconds)
    schedule.end_visit()


def test_a_late_scan_does_not_move_the_others_but_a_pause_does(clock: Clock) -> None:
    schedule = Schedule(interval_plan(4, 0.2).visits)
    visit(schedule, clock, 0.25)  # too long
    assert schedule.due_s == 0  # the second is late
    visit(schedule, clock)
    assert schedule.due_s == pytest.approx(0.15)  # the third is in time
    schedule.pause()
    schedule.pause()  # said twice
    assert (schedule.due_s, schedule.paused) == (float("inf"), True)
    clock.go(0.3)
    schedule.unpause()
    assert schedule.due_s == pytest.approx(0.15)
    assert schedule.left_s == pytest.approx(0.35 + schedule.scan_s)


def test_time_left_is_by_the_plan_or_by_the_pace_whichever_is_more(clock: Clock) -> None:
    fast = Schedule(interval_plan(11, 0.0).visits)
    visit(fast, clock, 0.1)
    assert fast.left_s == pytest.approx(1.0)
    visits = read_plan_of({**TWO_PLACES, "axis_order": "pt"})
    both = Schedule(visits)
    assert both.left_s == pytest.approx(4.0)  # two clocks, one after the other
    visit(both, clock)
    visit(both, clock)
    assert both.due_s == 0  # a new clock: at once
    visit(both, clock)
    assert both.due_s == pytest.approx(2.0)


def read_plan_of(sequence: dict[str, Any]) -> tuple[Visit, ...]:
    places = {"stage_positions": [(1, 2), (4, 5)]}
    return tuple(TimelapsePlan(MDASequence.model_validate({**sequence, **places})).visits)


@pytest.mark.parametrize(
    ("ago_s", "due_s"),
    [(0.0, 10.0), (4.0, 6.0), (1e6, 0.0), (-1e6, 10.0)],  # the last: the clock was set back
)
def test_after_a_crash_the_next_scan_is_due_as_planned_or_at_once(
    ago_s: float, due_s: float, clock: Clock
) -> None:
    schedule = Schedule(interval_plan(5, 10.0).visits)
    schedule.continue_after(2, clock.time() - ago_s)
    assert schedule.due_s == pytest.approx(due_s)
    assert schedule.left_s == pytest.approx(due_s + 20.0)
    schedule.continue_after(5, clock.time())
    assert schedule.next is None
    assert (schedule.due_s, schedule.left_s) == (float("inf"), 0.0)
