"""Publishes which processes of the instrument run, for its clients."""

import time
from collections.abc import Iterable
from typing import Protocol

import zmq

from acquisition.closing import Closing
from pipeline.live.service import Publisher
from pipeline.wire.bound_sockets import ANY_PORT, Context, bind
from pipeline.wire.messages import Message, Stamp, SupervisorStatus
from pipeline.wire.state import ProcessState

__all__ = ["StatusPublisher", "Supervised"]


class Supervised(Protocol):
    """What is said of a process."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""

    @property
    def detail(self) -> str:
        """Why it ended."""

    @property
    def held(self) -> bool:
        """Whether it was ended on request."""


class StatusPublisher(Closing):
    """The socket of the supervisor, bound at any free port: ``address``."""

    def __init__(self) -> None:
        self._context: Context = zmq.Context()
        socket, self.address = bind(self._context, zmq.PUB, ANY_PORT)
        self._publisher = Publisher(socket)
        self._stamp = Stamp("supervisor", time.time_ns())

    def publish(self, processes: Iterable[Supervised], failure: str) -> None:
        """Publish the state of the processes, and why the instrument has failed if it has."""
        states = tuple(
            ProcessState(one.name, one.alive, one.restarts, one.detail, one.held)
            for one in processes
        )
        status = SupervisorStatus(processes=states, failure=failure, **self._stamp())
        self._publisher.publish(Message(status))

    def close(self) -> None:
        """Close the socket."""
        self._publisher.close()
        self._context.destroy(linger=0)
