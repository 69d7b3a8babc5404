"""Measuring of live tomograms: what is published, on the wire, and by which settings."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from acquisition.configuration.microscope_file import load_configuration
from acquisition.errors import ConfigurationError, DataError
from measuring.measuring_settings import MeasuringSettings
from pipeline.live.measuring_process import MeasuringProcess, ViewMeasurer
from pipeline.live.process_settings import ProcessSettings
from pipeline.live.service import Publisher
from pipeline.wire.bound_sockets import ANY_PORT, bind
from pipeline.wire.measuring_messages import MeasuredHeader, measured_message, measured_view
from pipeline.wire.messages import Message, Stamp, decode, encode, tomogram_message
from pipeline.wire.sockets import PipelineError, command, request
from pipeline.wire.state import MeasuredView, MeasuringRequest, TomogramView
from tests.blurred_objects import MEDIUM, VOXEL_UM, ball, blurred, sphere_um3, together
from tests.scans import CELL

SETTINGS = MeasuringSettings(lipid_threshold=1.4)
STAMP = Stamp("test", 1)


def live(step: int = 0, view_x: float = 0.0, **changes: Any) -> TomogramView:
    """Return the processor's view of a scan of two balls, of which the larger one moves along x.

    The field of view has been moved by ``view_x`` um.
    """
    moving = ball(1.0, (0, -1.2, -0.5 + 0.3 * step - view_x))
    pair = together(moving, ball(0.8, (0, 1.2, -view_x)))
    index = blurred(pair, (24, 48, 48))
    view = TomogramView(
        raw=np.full_like(index, MEDIUM),
        regularized=index,
        method="tv",
        voxel_size_um=VOXEL_UM,
        medium_index=MEDIUM,
        sequence=step,
        timestamp=100.0 + 2 * step,
        latency_s=0.1,
        optics=CELL.optics,
        correction_um=(view_x, 0.0, 0.0),
    )
    return replace(view, **changes)


def test_objects_of_successive_scans_keep_their_numbers() -> None:
    measure = ViewMeasurer()
    first, second = (measure(live(step), SETTINGS) for step in (0, 3))
    assert (first.sequence, first.timestamp, first.method) == (0, 100.0, "tv")
    assert [one.number for one in first.objects] == [one.number for one in second.objects] == [1, 2]
    assert first.objects[0].volume_um3 == pytest.approx(sphere_um3(1.0), rel=0.03)
    assert first.objects[0].speed_um_per_s is None
    assert second.objects[0].speed_um_per_s == pytest.approx(0.9 / 6, rel=0.05)
    assert second.objects[0].lipid_fraction == 0
    assert first.labels.dtype == np.uint8
    assert set(np.unique(first.labels)) == {0, 1, 2}
    assert first.threshold is not None and MEDIUM < first.threshold < MEDIUM + 0.03
    assert (first.voxel_size_um, first.medium_index, first.settings) == (VOXEL_UM, MEDIUM, SETTINGS)


def test_a_stage_that_follows_an_object_changes_neither_its_place_nor_its_speed() -> None:
    """The larger ball moves at 0.15 um/s; with corrections on it stays where it is in the view."""
    still, following = ViewMeasurer(), ViewMeasurer()
    for step in (0, 2, 4):
        off, on = still(live(step), SETTINGS), following(live(step, 0.3 * step), SETTINGS)
    for one, other in zip(off.objects, on.objects, strict=True):
        assert other.centroid_um == pytest.approx(one.centroid_um, abs=0.02)
    assert [one.number for one in on.objects] == [1, 2]
    speeds = [one.speed_um_per_s for one in on.objects]
    assert speeds == pytest.approx([0.15, 0.0], abs=0.01)
    assert on.place_of(0)[2] == pytest.approx(-0.5, abs=0.02)  # in the tomogram, for the cursor
    assert over_the_wire(on).correction_um == pytest.approx((1.2, 0, 0))


def test_objects_are_followed_at_each_position_by_themselves() -> None:
    """At four positions in turn: more scans lie between two of one than an object may miss."""
    measure = ViewMeasurer()
    numbers: dict[str, set[tuple[int, ...]]] = {}
    for turn in range(2):
        for place in "ABCD":
            view = live(turn, position=place, timestamp=100.0 + 10 * turn)
            found = measure(view, SETTINGS)
            assert over_the_wire(found).position == place
            numbers.setdefault(place, set()).add(tuple(one.number for one in found.objects))
    assert numbers == {"A": {(1, 2)}, "B": {(3, 4)}, "C": {(5, 6)}, "D": {(7, 8)}}
    assert found.objects[0].speed_um_per_s == pytest.approx(0.03, abs=0.005)


def test_the_displayed_part_is_measured() -> None:
    window = ((24, 24, 24), (0.178, 0.214, 0.214))
    found = ViewMeasurer()(live(window=window), SETTINGS)
    assert found.labels.shape == (24, 24, 24)
    assert found.voxel_size_um == window[1]
    assert found.objects[0].volume_um3 == pytest.approx(sphere_um3(1.0), rel=0.05)


def test_a_raw_tomogram_is_measured_where_there_is_no_other() -> None:
    index = live().regularized
    assert index is not None
    found = ViewMeasurer()(live(raw=index, regularized=None, method="none"), SETTINGS)
    assert (found.method, len(found.objects)) == ("none", 2)


def test_only_noise_is_no_object() -> None:
    index = blurred(ball(0.1, height=0), (24, 32, 32))
    found = ViewMeasurer()(live(regularized=index), SETTINGS)
    assert (found.objects, found.threshold) == ((), None)
    assert not over_the_wire(found).labels.any()


def over_the_wire(view: MeasuredView) -> MeasuredView:
    message = decode([bytes(part) for part in encode(measured_message(view, STAMP))])
    assert isinstance(message.header, MeasuredHeader)
    return measured_view(message.header, message.arrays)


def test_what_was_measured_survives_the_wire() -> None:
    found = ViewMeasurer()(live(), SETTINGS)
    read = over_the_wire(found)
    np.testing.assert_array_equal(read.labels, found.labels)
    assert replace(read, labels=found.labels) == found


def test_malformed_objects_are_refused() -> None:
    message = measured_message(ViewMeasurer()(live(), SETTINGS), STAMP)
    assert isinstance(message.header, MeasuredHeader)
    with pytest.raises(DataError, match="cannot have arrays"):
        measured_view(message.header, ())
    with pytest.raises(DataError, match="cannot have arrays"):
        measured_view(message.header, (message.arrays[0].astype(np.float32),))
    parts = [bytes(part) for part in encode(message)]
    parts[1] = parts[1].replace(b'"minimum_um3":0.2', b'"minimum_um3":-1')
    with pytest.raises(DataError, match="must follow its schema"):
        decode(parts)


def test_a_tomogram_without_optics_is_named() -> None:
    with pytest.raises(DataError, match="scan 1 came without"):
        ViewMeasurer()(live(optics=None), SETTINGS)


# ---- Its process ---------------------------------------------------------------------------------


class _Listening(Publisher):
    """A publisher that keeps what was measured."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        super().__init__(bind(context, zmq.PUB, ANY_PORT)[0])
        self.found: list[MeasuredHeader] = []
        self.changed = threading.Condition()

    def publish(self, message: Message) -> None:
        if isinstance(message.header, MeasuredHeader):
            with self.changed:
                self.found.append(message.header)
                self.changed.notify_all()

    def wait_for(self, count: int) -> MeasuredHeader:
        with self.changed:
            self.changed.wait_for(lambda: len(self.found) >= count)
            return self.found[count - 1]


class Running:
    """A measuring process in a thread of the test, and a processor with one tomogram."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", settings: str = "") -> None:
        self.context, self.ending = context, threading.Event()
        self.kept: list[tuple[str, Any]] = []
        self.listening = _Listening(context)
        self._newest, newest = bind(context, zmq.REP, ANY_PORT)
        commands, self.endpoint = bind(context, zmq.REP, ANY_PORT)
        process = MeasuringProcess(
            ProcessSettings(
                name="measuring", measuring=settings, endpoints={"processor_commands": newest}
            ),
            context,
            commands,
            self.listening,
            Stamp("measuring", 3),
            lambda name, value: self.kept.append((name, value)),
        )
        self._threads = [
            threading.Thread(target=self._answer),
            threading.Thread(target=process.run, args=(self.ending,)),
        ]
        for thread in self._threads:
            thread.start()

    def _answer(self) -> None:
        """Answer as the processor does: the tomogram, or that it is the newest still."""
        message = tomogram_message(live(), Stamp("processor", 5))
        from pipeline.wire.messages import Command, Reply

        while not self.ending.is_set():
            if self._newest.poll(20):
                asked = decode(self._newest.recv_multipart()).header
                assert isinstance(asked, Command)
                known = asked.argument == message.identity
                same = Message(Reply(ok=True, detail="", **STAMP()))
                self._newest.send_multipart(encode(same if known else message))
        self._newest.close()

    def ask(self, text: str) -> str:
        return request(self.context, self.endpoint, command("measure", text, stamp=STAMP))

    def end(self) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join()
        self.listening.close()


@pytest.fixture
def running() -> Iterator[Running]:
    with zmq.Context() as context:
        one = Running(context)
        yield one
        one.end()


def test_it_is_off_until_asked_and_measures_the_newest_again_with_new_settings(
    running: Running,
) -> None:
    assert running.listening.found == []
    assert running.ask('{"on": true}') == "objects are measured"
    assert len(running.listening.wait_for(1).objects) == 2
    running.ask('{"on": true, "settings": {"minimum_um3": 3.0}}')
    assert len(running.listening.wait_for(2).objects) == 1
    assert running.ask('{"on": false}') == "objects are not measured"
    assert [name for name, _ in running.kept] == ["measuring"] * 3


@pytest.mark.parametrize("text", ["", "{}", '{"on": true, "settings": {"minimum_um3": -1}}'])
def test_a_malformed_request_is_refused(running: Running, text: str) -> None:
    with pytest.raises(PipelineError):
        running.ask(text)
    assert running.kept == []


def test_a_restarted_process_goes_on_as_before() -> None:
    with zmq.Context() as context:
        one = Running(context, '{"on": true, "settings": {"increment_ml_per_g": 0.2}}')
        assert one.listening.wait_for(1).settings.increment_ml_per_g == 0.2
        one.end()


def test_microscope_toml_switches_it_on(tmp_path: Path) -> None:
    from pipeline.live.measuring_process import _first_request

    file = tmp_path / "microscope.toml"
    file.write_text("[measuring]\nlive = true\nthreshold = 1.35\nlipid_threshold = 1.4\n")
    asked = _first_request(ProcessSettings(name="measuring", microscope_file=file))
    assert asked == MeasuringRequest(True, MeasuringSettings(1.35, lipid_threshold=1.4))
    file.write_text("")
    asked = _first_request(ProcessSettings(name="measuring", microscope_file=file))
    assert asked == MeasuringRequest(False)
    file.write_text("[measuring]\nthreshold = 0.9\n")
    with pytest.raises(ConfigurationError, match=r"\[measuring\] threshold"):
        load_configuration(file)
