"""What a time-lapse would take, and what is wrong with it, by field; sample names and notes."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from acquisition.configuration.microscope_file import AcquisitionConfig
from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from files.disk import free_bytes
from files.recording import RecordingWriter, read_recording
from files.sample_notes import SampleNotes
from files.tomograms import TomogramWriter, read_tomograms
from pipeline.timelapse.outlook import Outlook, plan_of
from pipeline.timelapse.plan import interval_plan
from pipeline.wire.places import StagePlace, StageState
from pipeline.wire.state import RecordRequest
from tests.tomogram_files import noise

CONFIG = AcquisitionConfig()
STAGE = StageState(StagePlace(0.0, 0.0, 0.0))
EMPTY = InterferogramStack(np.zeros((3, 8, 8), np.uint8), CONFIG.build_optics())


@pytest.fixture
def wanted(tmp_path: Path) -> RecordRequest:
    return RecordRequest(str(tmp_path / "a.h5"), stacks=10, interval_s=30.0)


def problems(request: RecordRequest, stage: StageState | None = STAGE) -> dict[str, str]:
    return Outlook(CONFIG, stage).forecast(request).problems


def test_size_and_duration_by_hand(wanted: RecordRequest) -> None:
    forecast = Outlook(CONFIG, STAGE, scan_s=2.0).forecast(wanted)
    scan = CONFIG.camera.width * CONFIG.camera.height * 49
    assert (forecast.scans, forecast.recording_bytes) == (10, 11 * scan)
    assert forecast.seconds == 9 * 30 + 2
    fast = replace(wanted, interval_s=0.0, background_every_scans=4)
    forecast = Outlook(CONFIG, STAGE, scan_s=2.0).forecast(fast)
    assert forecast.recording_bytes == (10 + 3) * scan
    assert forecast.seconds == 2 * (10 + 2 * CONFIG.background.scans)


def test_each_time_point_visits_all_positions(wanted: RecordRequest) -> None:
    places = (StagePlace(1.0, 2.0, 3.0, "a"), StagePlace(4.0, 5.0))
    request = replace(wanted, stacks=2, positions=places, autofocus=True)
    plan = plan_of(request)
    went = [(v.position, v.x_um, v.z_um, v.autofocus, v.time_s) for v in plan.visits]
    assert went == [
        (0, 1.0, 3.0, True, 0.0), (1, 4.0, None, True, 0.0),
        (0, 1.0, 3.0, True, 30.0), (1, 4.0, None, True, 30.0),
    ]  # fmt: skip
    assert plan.positions == ("a", "")
    still = plan_of(replace(wanted, autofocus=True))
    assert [visit.autofocus for visit in still.visits] == [True] * 10 and not still.moves
    assert plan_of(wanted).to_json() == interval_plan(10, 30.0).to_json()


def test_what_is_wrong_is_said_at_its_field(wanted: RecordRequest, tmp_path: Path) -> None:
    assert problems(wanted) == {}
    (tmp_path / "there.h5").write_text("")
    cases: list[tuple[dict[str, object], str, str]] = [
        ({"output": str(tmp_path / "there.h5")}, "output", "is not overwritten"),
        ({"output": str(tmp_path / "none" / "a.h5")}, "output", "the folder of"),
        ({"tomograms": str(tmp_path / "there.h5")}, "tomograms", "is not overwritten"),
        ({"stacks": 0}, "times", "at least 1"),
        ({"stacks": None, "interval_s": 0.0, "sequence": "no.yaml"}, "sequence", "cannot be read"),
        ({"background_every_scans": 0}, "times", "greater than or equal to 1"),
        ({"notes": "x" * 40_000}, "notes", "at most 30000 bytes"),
        ({"stacks": 10**9}, "disk", "a recording of 1000000000 scans needs"),
    ]
    for change, name, text in cases:
        found = problems(replace(wanted, **change))  # type: ignore[arg-type]  # by name
        assert text in found[name], (change, found)
        assert set(found) <= {name, "times"}


def test_what_the_stage_lacks_is_said(wanted: RecordRequest) -> None:
    placed = replace(wanted, positions=(StagePlace(1.0, 1.0),))
    assert set(problems(placed, None)) == {"positions"}
    assert set(problems(placed, StageState(StagePlace(z_um=0.0)))) == {"positions"}
    assert problems(placed, StageState(StagePlace(0.0, 0.0))) == {}
    assert set(problems(replace(wanted, autofocus=True), None)) == {"autofocus"}


def test_a_background_needs_an_empty_field(wanted: RecordRequest) -> None:
    microscope = CONFIG.microscope.model_copy(update={"kind": "hardware"})
    config = CONFIG.model_copy(update={"microscope": microscope})
    found = Outlook(config, STAGE).forecast(replace(wanted, background_every_scans=5)).problems
    assert "[background] position_um" in found["background"]


def test_an_interval_shorter_than_its_scans_is_remarked(wanted: RecordRequest) -> None:
    places = (StagePlace(1.0, 1.0), StagePlace(2.0, 1.0))
    outlook = Outlook(CONFIG, STAGE, scan_s=20.0)
    assert outlook.forecast(wanted).remarks == {}
    remark = outlook.forecast(replace(wanted, positions=places)).remarks["times"]
    assert "about 40.0 s" in remark


def test_free_space_is_that_of_the_disk_of_the_file(wanted: RecordRequest, tmp_path: Path) -> None:
    free = Outlook(CONFIG, STAGE).forecast(wanted).free_bytes
    assert free == pytest.approx(free_bytes(tmp_path / "a.h5"), rel=0.2)
    lost = replace(wanted, output=str(tmp_path / "none" / "a.h5"))
    assert Outlook(CONFIG, STAGE).forecast(lost).free_bytes is None


NOTES = SampleNotes("Zellen Ä", "first line\nsecond: 37 °C")


def test_sample_and_notes_are_in_both_files(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    RecordingWriter(path, EMPTY, NOTES.attributes()).close()
    recording = read_recording(path)
    assert recording.sample == NOTES and recording.attributes == {}
    path = tmp_path / "b.h5"
    with TomogramWriter(path, noise(0), sample=NOTES) as writer:
        writer.append(noise(0))
    series = read_tomograms(path)
    assert series.sample == NOTES and series.attributes == {}


def test_files_without_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    RecordingWriter(path, EMPTY).close()
    with h5py.File(path) as file:
        assert not {"sample_name", "notes"} & set(file.attrs)
    assert read_recording(path).sample == SampleNotes()
    with h5py.File(path, "a") as file:
        file.attrs["notes"] = b"of another program"
        file.attrs["sample_name"] = 12
    assert read_recording(path).sample == SampleNotes("12", "of another program")


@pytest.mark.parametrize("text", ["x" * 30_001, "a\0b"])
def test_what_no_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="sample_name must"):
        SampleNotes(text)
