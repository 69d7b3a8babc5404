"""The client of an instrument that is being started; the window is there meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from acquisition.closing import Closing
from pipeline.wire.state import InstrumentState, Phase, Updates

__all__ = ["ConnectingClient"]


class ConnectingClient(Closing):
    """Connects to the instrument at the second ``poll``, in a thread of its own.

    Until then it says that the instrument starts; commands wait for the connection. What a client
    needs is imported by the thread, too: the window is painted after the first poll at the latest.

    Parameters
    ----------
    connect : callable
        Returns the client. It may block, but not for longer than the instrument is open.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._client: Future[Any] = Future()
        self._polled = self._closed = False
        self._thread: threading.Thread | None = None

    def poll(self, timeout_ms: int = 0) -> Updates:
        """Return the newest of each kind since the last poll."""
        if not self._polled:
            self._polled = True
            return Updates(InstrumentState(Phase.STARTING, "starting its processes"))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="connecting")
            self._thread.start()
        if not self._client.done():
            return Updates()
        if failure := self._client.exception():
            return Updates(InstrumentState(Phase.FAILED, str(failure)))
        updates: Updates = self._client.result().poll(timeout_ms)
        return updates

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a command of the client; called before there is one, it waits."""
        return lambda *given: getattr(self._client.result(), name)(*given)

    def close(self) -> None:
        """Close the client. If there will be none, raise the reason."""
        self._closed = True
        if self._client.done():
            self._client.result().close()

    def _run(self) -> None:
        try:
            client = self._connect()
        except Exception as error:  # the end of the thread: the window shows it
            self._client.set_exception(error)
            return
        self._client.set_result(client)
        if self._closed:
            client.close()
