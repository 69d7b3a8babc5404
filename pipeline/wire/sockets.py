"""Sockets of the instrument: loopback TCP on free ports, bounded queues, no lingering.

A process binds its own sockets and keeps their ports when it is restarted, so that the others
reconnect by themselves. PUSH and PUB drop messages rather than wait: nothing can block the camera.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import zmq

from acquisition.errors import DataError
from pipeline.wire.messages import Command, Message, Reply, Socket, Stamp, decode, encode
from pipeline.wire.pipeline_error import PipelineError

__all__ = [
    "FRAMES_QUEUE",
    "Context",
    "Endpoints",
    "PipelineError",
    "Socket",
    "bind",
    "command",
    "connect",
    "fetch",
    "request",
]

Context = zmq.Context[Socket]
ANY_PORT = "tcp://127.0.0.1:*"
ANSWER_LIMIT_S = 3.0  # a restart takes less
# messages a queue may hold; a tomogram with its regularized volume can be 30 MB
FRAMES_QUEUE = 64  # messages on frames, of a hundred bytes
QUEUE = {zmq.PUSH: 2, zmq.PULL: 2, zmq.PUB: 4, zmq.SUB: 4, zmq.REQ: 10, zmq.REP: 10}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of a running instrument."""

    stacks: str = ANY_PORT
    frames: str = ANY_PORT
    acquirer: str = ANY_PORT
    acquirer_commands: str = ANY_PORT
    processor: str = ANY_PORT
    processor_commands: str = ANY_PORT
    quality: str = ANY_PORT
    quality_commands: str = ANY_PORT
    measuring: str = ANY_PORT
    measuring_commands: str = ANY_PORT
    supervisor: str = ANY_PORT

    @classmethod
    def merged(cls, *parts: Mapping[str, str]) -> Self:
        """Return the endpoints reported by several processes as one object."""
        return cls(**{name: address for part in parts for name, address in part.items()})

    def __post_init__(self) -> None:
        for field in fields(self):
            address = getattr(self, field.name)
            if not address.startswith("tcp://"):
                raise DataError(f"endpoint {field.name} must be a tcp:// address, got {address!r}")


def bind(
    context: Context, kind: int, endpoint: str, *, queue: int | None = None
) -> tuple[Socket, str]:
    """Return a bound socket and its address; wait up to 5 s for a port that is being freed.

    ``queue`` is the number of messages that may wait in it; None: that of its kind.
    """
    socket = _bounded(context, kind, queue)
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.bind(endpoint)
            return socket, str(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        except zmq.ZMQError as error:
            if time.monotonic() > deadline:
                socket.close()
                raise PipelineError(f"{endpoint} cannot be bound: {error}") from error
            time.sleep(0.1)  # the operating system has yet to free the port


def connect(context: Context, kind: int, *endpoints: str, queue: int | None = None) -> Socket:
    """Return a socket connected to the endpoints; a SUB socket subscribes to everything."""
    socket = _bounded(context, kind, queue)
    if kind == zmq.SUB:
        socket.subscribe(b"")
    for endpoint in endpoints:
        socket.connect(endpoint)
    return socket


def _bounded(context: Context, kind: int, queue: int | None) -> Socket:
    socket = context.socket(kind)
    socket.set_hwm(QUEUE[zmq.SocketType(kind)] if queue is None else queue)
    socket.setsockopt(zmq.LINGER, 0)
    # not IMMEDIATE: libzmq aborts where a peer goes away while its message is read, part by part
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    return socket


def request(
    context: Context, endpoint: str, command: Command, timeout_s: float = ANSWER_LIMIT_S
) -> str:
    """Send a command and return the detail of the answer.

    Raises
    ------
    PipelineError
        If the command is refused, or no answer comes within the time limit.
    """
    reply = _answer(context, endpoint, command, timeout_s).header
    if not isinstance(reply, Reply):
        raise PipelineError(f"{command.name}: the answer must be a reply, got {reply.kind!r}")
    return reply.detail


def fetch(
    context: Context, endpoint: str, command: Command, timeout_s: float = ANSWER_LIMIT_S
) -> Message | None:
    """Send a command that asks for data and return the data; None if there is nothing new.

    Raises
    ------
    PipelineError
        As for ``request``.
    """
    message = _answer(context, endpoint, command, timeout_s)
    return None if isinstance(message.header, Reply) else message


def _answer(context: Context, endpoint: str, command: Command, timeout_s: float) -> Message:
    with connect(context, zmq.REQ, endpoint) as socket:
        socket.send_multipart(encode(Message(command)))
        if not socket.poll(int(timeout_s * 1000)):
            raise PipelineError(
                f"{command.name}: no answer from {endpoint} in {timeout_s:g} s: is it running?"
            )
        message = decode(socket.recv_multipart(copy=False))
    if isinstance(message.header, Reply) and not message.header.ok:
        raise PipelineError(message.header.detail)
    return message


def command(name: str, argument: str = "", *, stamp: Stamp) -> Command:
    """Return a command; an unknown name is refused."""
    return Command.model_validate({"name": name, "argument": argument, **stamp()})
