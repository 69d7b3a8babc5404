"""The window's client while the instrument is being started."""

import threading
from collections.abc import Callable

import pytest

from acquisition.errors import LiveTomoError
from pipeline.wire.state import InstrumentState, Phase, Updates
from ui.connecting_client import ConnectingClient

LIVE = Updates(InstrumentState(Phase.LIVE, "live"))


class Client:
    """A client that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.closed = threading.Event()

    def poll(self, timeout_ms: int = 0) -> Updates:
        return LIVE

    def set_regularizer(self, name: str) -> None:
        self.asked.append(name)

    def close(self) -> None:
        self.closed.set()


def polled_until(client: ConnectingClient, enough: Callable[[Updates], bool]) -> Updates:
    """Poll until something has come; the time limit of the test ends a hang."""
    while not enough(updates := client.poll()):
        pass
    return updates


def test_it_says_that_the_instrument_starts_until_there_is_a_client() -> None:
    made, there = Client(), threading.Event()

    def connect() -> Client:
        there.wait()
        return made

    client = ConnectingClient(connect)
    first = client.poll()
    assert first.state is not None and first.state.phase is Phase.STARTING
    assert client.poll() == Updates()
    asking = threading.Thread(target=client.set_regularizer, args=("tv",))
    asking.start()
    assert not made.asked
    there.set()
    assert polled_until(client, lambda updates: updates != Updates()) is LIVE
    asking.join()
    assert made.asked == ["tv"]
    client.close()
    assert made.closed.is_set()


def test_nothing_is_connected_before_the_window_is_painted() -> None:
    asked: list[Client] = []

    def connect() -> Client:
        asked.append(Client())
        return asked[0]

    client = ConnectingClient(connect)
    client.poll()
    client.close()
    assert not asked


def test_a_client_that_comes_after_the_end_is_closed() -> None:
    made, there = Client(), threading.Event()

    def connect() -> Client:
        there.wait()
        return made

    client = ConnectingClient(connect)
    client.poll()
    client.poll()
    client.close()
    there.set()
    made.closed.wait()


def test_an_instrument_that_does_not_start_is_shown_and_raised_at_the_end() -> None:
    def connect() -> Client:
        raise LiveTomoError("the acquirer reported no addresses")

    client = ConnectingClient(connect)
    client.poll()
    state = polled_until(client, lambda updates: updates != Updates()).state
    assert state is not None and state.phase is Phase.FAILED
    assert state.message == "the acquirer reported no addresses"
    with pytest.raises(LiveTomoError, match="no addresses"):
        client.close()
