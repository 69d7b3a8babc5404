"""What the processes have in common: settings, sockets, commands, status, and when to end.

A process binds its sockets and reports their addresses on standard output before it loads
anything heavy. It ends when its standard input closes, which happens when its parent closes it or
dies, on every operating system.
"""

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import zmq
from pydantic import BaseModel, ConfigDict

from acquisition.errors import DataError, LiveTomoError
from pipeline.wire.messages import AnyHeader, Command, Message, Reply, Stamp, decode, encode, send
from pipeline.wire.sockets import ANY_PORT, Context, Socket, bind

__all__ = [
    "EXIT_CONFIGURATION",
    "Desk",
    "Publisher",
    "Rate",
    "Remember",
    "Remembered",
    "Report",
    "Settings",
    "end_with_parent",
    "give_way",
]

EXIT_CONFIGURATION = 3  # restarting would not help
HEARTBEAT_S = 0.25
_NICENESS = 10
Remembered = Literal["live", "regularizer", "constraint", "recording"]
Remember = Callable[[Remembered, bool | str], None]
LAST_WORDS_S = 5.0  # how long a process may take to end by itself


class Settings(BaseModel):
    """What a process is started with.

    ``recording`` is the request of a time-lapse that its former life did not finish.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["acquirer", "processor", "quality"]
    microscope_file: Path | None = None
    device: str | None = None
    regularizer: str | None = None
    constraint: str | None = None
    live: bool = True
    recording: str = ""
    life: int = 0
    endpoints: dict[str, str] = {}

    def endpoint(self, name: str) -> str:
        """Return the address that this process had in its previous life, or any."""
        return self.endpoints.get(name, ANY_PORT)


class Report(BaseModel):
    """What a process tells its parent, one JSON line each.

    Its addresses; settings that it was given since, for its next life; or why it ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    endpoints: dict[str, str] = {}
    remember: dict[Remembered, bool | str] = {}
    error: str = ""


class Publisher:
    """A PUB socket that several threads of a process may use."""

    def __init__(self, context: Context, endpoint: str) -> None:
        self._socket, self.endpoint = bind(context, zmq.PUB, endpoint)
        self._lock = threading.Lock()

    def publish(self, message: Message) -> None:
        """Send to whoever listens; slow listeners miss messages."""
        with self._lock:
            if not self._socket.closed:
                send(self._socket, message)

    def close(self) -> None:
        """Close the socket; later messages go nowhere."""
        with self._lock:
            self._socket.close()


class Desk(threading.Thread):
    """Answers commands and publishes the status, whatever the process is busy with.

    Parameters
    ----------
    commands : socket
        REP; owned by this thread from its start on.
    publisher : Publisher
    stamp : Stamp
    obey : callable
        Does what a command says, quickly, and returns the detail of the answer, or the data that
        were asked for; raises LiveTomoError to refuse.
    status : callable
        Returns the header to publish.
    """

    def __init__(
        self,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
        obey: Callable[[Command], str | Message],
        status: Callable[[], AnyHeader],
    ) -> None:
        super().__init__(name="desk", daemon=True)
        self._commands, self._publisher, self._stamp = commands, publisher, stamp
        self._obey, self._status = obey, status
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until ``end``."""
        next_status = 0.0
        while not self._ended.is_set():
            if self._commands.poll(50):
                self._commands.send_multipart(encode(self._answer()), copy=False)
                next_status = 0.0
            if time.monotonic() >= next_status:
                self._publisher.publish(Message(self._status()))
                next_status = time.monotonic() + HEARTBEAT_S
        self._commands.close()

    def end(self) -> None:
        """Publish the last status and end the thread."""
        self._ended.set()
        self.join()
        self._publisher.publish(Message(self._status()))

    def _answer(self) -> Message:
        try:
            header = decode(self._commands.recv_multipart()).header
            if not isinstance(header, Command):
                raise DataError(f"a request must be a command, got {header.kind!r}")
            answer = self._obey(header)
        except LiveTomoError as error:
            return Message(Reply(ok=False, detail=str(error), **self._stamp()))
        if isinstance(answer, Message):
            return answer
        return Message(Reply(ok=True, detail=answer, **self._stamp()))


class Rate:
    """Events per second over the last few."""

    def __init__(self, events: int = 8) -> None:
        self._times: deque[float] = deque(maxlen=events + 1)

    def tick(self) -> None:
        """Count an event; a gap that is far longer than those before does not count."""
        now = time.monotonic()
        if len(self._times) > 1 and now - self._times[-1] > 5 * self._mean_s():
            self._times.clear()
        self._times.append(now)

    def reset(self) -> None:
        """Forget what was, after a pause."""
        self._times.clear()

    @property
    def hz(self) -> float:
        """The rate; zero before two events, and falling when they cease."""
        if len(self._times) < 2:
            return 0.0
        # a source that ceased would keep its last rate for ever: count the wait once it is long
        waiting_s = (time.monotonic() - self._times[-1]) / 2
        return 1 / max(self._mean_s(), waiting_s, 1e-6)

    def _mean_s(self) -> float:
        return (self._times[-1] - self._times[0]) / (len(self._times) - 1)


def end_with_parent() -> threading.Event:
    """Return an event that is set when standard input closes; soon after, the process ends."""
    ending = threading.Event()

    def watch() -> None:
        # not sys.stdin: the interpreter aborts at exit while a thread waits in its buffer
        while os.read(0, 1024):
            pass
        ending.set()
        time.sleep(LAST_WORDS_S)
        os._exit(0)  # whatever still runs has had its time; nobody is left to wait for it

    threading.Thread(target=watch, name="parent", daemon=True).start()
    return ending


def give_way() -> None:
    """Lower the priority of this process, for ever.

    Beside processes that want all cores it still gets a twentieth of one, so that its work is done
    at some time. On Windows the priority is set by whoever starts the process.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):  # where it is refused, it is still at most one thread
        os.nice(_NICENESS)
