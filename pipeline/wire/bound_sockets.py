"""Makes the sockets of the instrument: loopback TCP on free ports, bounded queues, no lingering.

A process binds its own sockets and keeps their ports when it is restarted, so that the others
reconnect by themselves. PUSH and PUB drop messages rather than wait: nothing can block the camera.
Imports nothing that takes time: a process binds before anything else.
"""

import time

import zmq

from pipeline.wire.pipeline_error import PipelineError

__all__ = ["ANY_PORT", "FRAMES_QUEUE", "Context", "Socket", "bind", "connect"]

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
ANY_PORT = "tcp://127.0.0.1:*"
# messages a queue may hold; a tomogram with its regularized volume can be 30 MB
FRAMES_QUEUE = 64  # messages on frames, of a hundred bytes
QUEUE = {zmq.PUSH: 2, zmq.PULL: 2, zmq.PUB: 4, zmq.SUB: 4, zmq.REQ: 10, zmq.REP: 10}


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
