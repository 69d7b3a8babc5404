"""Shared by all processes: commands, status and shutdown.

A process binds its sockets and reports their addresses on standard output before heavy imports, and
is told those of the others on standard input. It ends when its standard input closes: the parent
closes it, or dies. This works on every operating system.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from acquisition.errors import DataError, LiveTomoError
from pipeline.live.process_settings import HEARTBEAT_S
from pipeline.wire.bound_sockets import Socket
from pipeline.wire.messages import AnyHeader, Command, Message, Reply, Stamp, decode, encode, send

__all__ = ["CommandServer", "Publisher", "Rate"]


class Publisher:
    """A PUB socket that several threads may use.

    Parameters
    ----------
    socket : PUB, bound
    """

    def __init__(self, socket: Socket) -> None:
        self._socket, self._lock = socket, threading.Lock()

    def publish(self, message: Message) -> None:
        """Send to all subscribers; slow ones miss messages."""
        with self._lock:
            if not self._socket.closed:
                send(self._socket, message)

    def close(self) -> None:
        """Close the socket; later messages are dropped."""
        with self._lock:
            self._socket.close()


class CommandServer(threading.Thread):
    """A thread that answers commands and publishes the status.

    Parameters
    ----------
    commands : socket
        REP; owned by this thread once it has started.
    publisher : Publisher
    stamp : Stamp
    handle : callable
        Handles a command quickly. Returns the detail of the answer or the requested data; raises
        LiveTomoError to refuse.
    status : callable
        Returns the header to publish.
    """

    def __init__(
        self,
        commands: Socket,
        publisher: Publisher,
        stamp: Stamp,
        handle: Callable[[Command], str | Message],
        status: Callable[[], AnyHeader],
    ) -> None:
        super().__init__(name="commands", daemon=True)
        self._commands, self._publisher, self._stamp = commands, publisher, stamp
        self._handle, self._status = handle, status
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until ``end`` is called."""
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
        """End the thread and publish the last status."""
        self._ended.set()
        self.join()
        self._publisher.publish(Message(self._status()))

    def _answer(self) -> Message:
        try:
            header = decode(self._commands.recv_multipart()).header
            if not isinstance(header, Command):
                raise DataError(f"a request must be a command, got {header.kind!r}")
            answer = self._handle(header)
        except (LiveTomoError, OSError) as error:  # a disk that fails ends no instrument
            return Message(Reply(ok=False, detail=str(error), **self._stamp()))
        if isinstance(answer, Message):
            return answer
        return Message(Reply(ok=True, detail=answer, **self._stamp()))


class Rate:
    """Rate of the last few events."""

    def __init__(self, events: int = 8) -> None:
        self._times: deque[float] = deque(maxlen=events + 1)

    def tick(self) -> None:
        """Count an event; an unusually long gap before it restarts the average."""
        now = time.monotonic()
        if len(self._times) > 1 and now - self._times[-1] > 5 * self._mean_s():
            self._times.clear()
        self._times.append(now)

    def reset(self) -> None:
        """Forget the past events, after a pause."""
        self._times.clear()

    @property
    def hz(self) -> float:
        """Events per second; zero before two events, and falling once they cease."""
        if len(self._times) < 2:
            return 0.0
        # once events cease, count the long wait too, or the last rate would stay
        waiting_s = (time.monotonic() - self._times[-1]) / 2
        return 1 / max(self._mean_s(), waiting_s, 1e-6)

    def _mean_s(self) -> float:
        return (self._times[-1] - self._times[0]) / (len(self._times) - 1)
