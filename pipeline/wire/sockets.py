"""The addresses of the instrument's sockets, and requests to its processes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import zmq

from acquisition.errors import DataError
from pipeline.wire.bound_sockets import ANY_PORT, Context, connect
from pipeline.wire.messages import Command, Message, Reply, Stamp, decode, encode
from pipeline.wire.pipeline_error import PipelineError

__all__ = [
    "Endpoints",
    "PipelineError",
    "command",
    "fetch",
    "request",
]

ANSWER_LIMIT_S = 3.0  # a restart takes less


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
