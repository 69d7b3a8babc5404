"""Sockets between processes that may die at any moment."""

import time

import pytest
import zmq

from pipeline.wire.bound_sockets import bind
from pipeline.wire.messages import Stamp
from pipeline.wire.sockets import PipelineError, command, request
from tests.children import output_of

# more parts than libzmq hands over without looking what has happened to their sender
RECEIVE_FROM_THE_DEAD = """
import sys, time, zmq
from pipeline.wire.bound_sockets import bind, connect
context = zmq.Context()
source, endpoint = bind(context, int(sys.argv[1]), "tcp://127.0.0.1:*")
sink = connect(context, int(sys.argv[2]), endpoint)
if sink.type == zmq.REQ:
    sink.send(b"?")
    source.recv()
while not sink.poll(50):
    if source.poll(0, zmq.POLLOUT):
        source.send_multipart([b"part"] * 300)
received = [sink.recv()]
source.close()
time.sleep(0.5)  # until the reader's input/output thread has noticed; nothing says when it has
while sink.getsockopt(zmq.RCVMORE):
    received.append(sink.recv())
print(len(received))
"""


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [(zmq.PUB, zmq.SUB), (zmq.PUSH, zmq.PULL), (zmq.REP, zmq.REQ)],
    ids=["published", "pushed", "answered"],
)
def test_a_message_whose_sender_dies_while_it_is_read_arrives(sender: int, receiver: int) -> None:
    """With the option IMMEDIATE libzmq would abort the reader."""
    assert output_of(RECEIVE_FROM_THE_DEAD, str(int(sender)), str(int(receiver))) == "300\n"


def test_a_command_to_nobody_is_given_up_in_time() -> None:
    with zmq.Context() as context:
        socket, nowhere = bind(context, zmq.REP, "tcp://127.0.0.1:*")
        socket.close()
        begin = time.monotonic()
        with pytest.raises(PipelineError, match=r"start: no answer from .* in 0\.2 s: is it runn"):
            request(context, nowhere, command("start", stamp=Stamp("test", 1)), timeout_s=0.2)
        assert time.monotonic() - begin < 30
