"""Frames from the camera's buffer to the processor: frames a second, lost ones, processor time.

One process writes scans of 1024 x 1280 pixels as the acquirer does, as fast as it can or at a given
rate; another receives them as the processor does and reads every pixel once. Compared with the
machine's own limit in the same run, copying a frame in memory and reading it, and with the same
scans as messages over loopback TCP.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from acquisition.illumination.angles import preset
from acquisition.interferograms import InterferogramStack
from acquisition.scanning.attribution import FrameReport
from acquisition.scanning.collected_frames import CollectedFrames
from benchmarks.machine import machine
from pipeline.live.receiver import ArrivedScan, Receiver
from pipeline.live.sending import Sending
from pipeline.wire.bound_sockets import ANY_PORT, FRAMES_QUEUE, bind
from pipeline.wire.messages import Stamp

__all__ = ["FRAME", "main", "measure"]

_RESULT = Path(__file__).parent / "results" / "transport.txt"
FRAME = (1024, 1280)
_ANGLES = 49
_BLOCK = np.dtype(np.uint64)  # how the receiver reads: eight pixels at a time


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run measured; times in ms of processor time a frame."""

    sent: int
    received: int
    frames_per_s: float
    sender_ms: float
    receiver_ms: float


class _Messages:
    """A ``Sending`` without shared memory."""

    def __init__(self, sending: Sending) -> None:
        self.send = sending.send
        self.next_scan = sending.next_scan

    def begin(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
        return np.empty(shape, dtype)

    def arrived(self, angle: int) -> None:
        """Nothing can be said of it."""

    def moved(self) -> None:
        """Nothing was said of it."""


def measure(seconds: float, frames_per_s: float | None, *, shared: bool) -> Figures:
    """Send scans for some time; return what arrived.

    Parameters
    ----------
    seconds : float
    frames_per_s : float or None
        Rate of the camera; None: as fast as frames are taken over.
    shared : bool
        Through shared memory, or as messages.
    """
    with zmq.Context() as context:
        stacks, of_stacks = bind(context, zmq.PUSH, ANY_PORT)
        news, of_news = bind(context, zmq.PUSH, ANY_PORT, queue=FRAMES_QUEUE)
        answers, of_answers = bind(context, zmq.PULL, ANY_PORT)
        command = [sys.executable, "-m", "benchmarks.transport", of_stacks, of_news, of_answers]
        with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as receiver, stacks, news:
            sending = Sending(stacks, news, Stamp("acquirer", 1))
            try:
                answers.recv()  # it is connected
                sink = sending if shared else _Messages(sending)
                sent, elapsed, busy = _send(sink, answers, seconds, frames_per_s)
                stacks.send(b"end")
                while not (answer := answers.recv()):
                    pass  # of a scan
                received, receiver_s = json.loads(answer)
            finally:
                sending.close()
                answers.close()
                receiver.kill()
    return Figures(sent, received, sent / elapsed, 1e3 * busy / sent, 1e3 * receiver_s / sent)


def _send(
    sink: Sending | _Messages, answers: Any, seconds: float, frames_per_s: float | None
) -> tuple[int, float, float]:
    """Return frames sent, the time it took and the processor time, in seconds."""
    image = np.zeros(FRAME, np.uint8)  # the camera's buffer
    chosen = preset("cell")
    begin, busy = time.perf_counter(), time.process_time()
    sent = number = 0
    while time.perf_counter() - begin < seconds:
        sink.next_scan(number, 0)
        scan = CollectedFrames(_ANGLES, FRAME, image.dtype, "Camera", 0, sink)
        for angle in range(_ANGLES):
            if frames_per_s is not None:
                time.sleep(max(begin + sent / frames_per_s - time.perf_counter(), 0))
            image[0, 0] = angle
            scan.add(image, FrameReport(angle))
            sent += 1
        stack = InterferogramStack(scan.stack, chosen.optics, chosen.angles.k, sequence=number)
        while not sink.send(stack, "stack", 0):
            time.sleep(1e-3)
        if frames_per_s is None:
            answers.recv()  # the receiver has read it
        number += 1
    elapsed = time.perf_counter() - begin
    return sent, elapsed, time.process_time() - busy


def _receive(of_stacks: str, of_news: str, of_answers: str) -> None:
    """Read every frame once as soon as it is there; count those that are the right ones."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as answers:
        answers.connect(of_answers)
        receiver = Receiver(context, of_stacks, of_news)
        receiver.start()
        answers.send(b"")
        received, seen, busy = 0, set[int](), time.process_time()
        # the last message is none; what came before it is still taken
        while (arrived := receiver.take(0.05)) is not None or not receiver.malformed:
            if isinstance(arrived, ArrivedScan):
                with receiver.stack(arrived) as stack:
                    received += _read(stack.frames, set(range(_ANGLES)) - seen)
                received, seen = received + len(seen), set()
                answers.send(b"")
            elif arrived is not None:
                with receiver.frames(arrived) as frames:
                    if frames is not None:
                        _read(frames, arrived.angles)
                        seen.update(arrived.angles)
        answers.send_string(json.dumps([received, time.process_time() - busy]))
        receiver.end()


def _read(frames: NDArray[Any], angles: Any) -> int:
    """Read these frames; return how many are those of their angle."""
    right = 0
    for angle in angles:
        right += int(frames[angle].view(_BLOCK).sum()) == angle
    return right


def _limit() -> float:
    """Return the processor time of copying a frame in memory and reading it, ms."""
    image, copies = np.zeros(FRAME, np.uint8), np.empty((_ANGLES, *FRAME), np.uint8)
    times = []
    for _ in range(5):
        begin = time.process_time()
        for copy in copies:
            copy[:] = image
            copy.view(_BLOCK).sum()
        times.append((time.process_time() - begin) / _ANGLES)
    return 1e3 * min(times)


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.transport", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=500.0, help="frames/s of the camera")
    options = parser.parse_args(argv)
    lines = [
        f"Frames of {FRAME[0]} x {FRAME[1]} uint8 from the camera's buffer to the processor, "
        f"{_ANGLES} a scan",
        f"machine: {machine()}",
        f"copying a frame and reading it, one process: {_limit():.2f} ms",
    ]
    for name, shared in (("shared memory", True), ("messages", False)):
        for rate in (options.rate, None):
            made = measure(options.seconds, rate, shared=shared)
            wanted = "as fast as possible" if rate is None else f"camera at {rate:g} frames/s"
            lines.append(
                f"{name}, {wanted}: {made.frames_per_s:.0f} frames/s, lost "
                f"{made.sent - made.received} of {made.sent}; processor time a frame "
                f"{made.sender_ms:.2f} + {made.receiver_ms:.2f} ms"
            )
            print(json.dumps(asdict(made)))
    text = "\n".join(lines)
    print(text)
    _RESULT.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    _receive(*sys.argv[1:])
