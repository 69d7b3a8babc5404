"""The supervisor gives the microscope to another program and takes it back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.live.instrument_client import InstrumentClient
from pipeline.live.supervisor import Instrument
from pipeline.wire.state import InstrumentState, Phase
from tests.microscopes import LIVE_SMALL

pytestmark = pytest.mark.usefixtures("logs")


RELEASED = "the microscope is released to another program"


def state_of(
    client: InstrumentClient, wanted: Callable[[InstrumentState], bool]
) -> InstrumentState:
    while True:
        state = client.poll(500).state
        if state is not None and wanted(state):
            return state


def rests(state: InstrumentState) -> bool:
    return state.phase is Phase.IDLE


def test_the_microscope_is_released_and_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(LIVE_SMALL)
    with (
        Instrument(file, live=False, quality=False, measuring=False) as instrument,
        instrument.client() as client,
    ):
        state_of(client, rests)
        before = instrument.pids
        instrument.release()
        state = state_of(client, lambda s: s.message == RELEASED)
        assert state.phase is Phase.STOPPED
        held = {process.name: (process.alive, process.held) for process in state.processes}
        assert held == {"acquirer": (False, True), "processor": (True, False)}
        file.write_text(LIVE_SMALL.replace('"Small"', '"Small and changed"'))
        instrument.take_back()
        state = state_of(client, rests)
        assert state.microscope == "Small and changed"
        after = instrument.pids
        assert after["processor"] == before["processor"]
        assert after["acquirer"] != before["acquirer"]
