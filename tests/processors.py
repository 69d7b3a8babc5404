"""Runs a processor in the thread of a test, on sockets of its own."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import Queue

import torch
import zmq

from acquisition.interferograms import InterferogramStack
from pipeline.live.process_settings import ProcessSettings
from pipeline.live.processor import Processor
from pipeline.live.service import Publisher
from pipeline.wire.bound_sockets import ANY_PORT, Context, bind
from pipeline.wire.messages import (
    Message,
    ProcessorStatus,
    Reply,
    Stamp,
    TomogramHeader,
    encode,
    send,
    stack_message,
    tomogram_view,
)
from pipeline.wire.sockets import command, fetch
from pipeline.wire.state import TomogramView

__all__ = ["process"]


class _Listening(Publisher):
    """A publisher that keeps the tomograms and the last status."""

    def __init__(self, context: Context) -> None:
        super().__init__(bind(context, zmq.PUB, ANY_PORT)[0])
        self.views: Queue[TomogramView | None] = Queue()  # None: there will be no more
        self.planned = threading.Event()
        self.status: ProcessorStatus | None = None

    def taken(self) -> TomogramView:
        view = self.views.get()
        assert view is not None
        return view

    def publish(self, message: Message) -> None:
        if isinstance(message.header, TomogramHeader):
            self.views.put(tomogram_view(message.header, message.arrays))
            self.planned.set()  # it may have said so between two of its states
        elif isinstance(message.header, ProcessorStatus):
            self.status = message.header
            if self.status.message == "waiting for a scan":
                self.planned.set()
        super().publish(message)


def process(
    microscope: Path, background: InterferogramStack, scans: Sequence[InterferogramStack],
    rubbish: Sequence[bytes] = (), early: InterferogramStack | None = None,
    fetched: list[Message] | None = None,
) -> tuple[list[TomogramView], ProcessorStatus]:  # fmt: skip
    """Run a processor on a background and scans; return the tomograms and the last status.

    A scan is sent when that before it has become a tomogram. ``rubbish`` are the parts of a message
    that comes before the first. ``early`` is a scan that comes before its background, which is sent
    when the processor asks for it; its tomogram is the first of those returned. The answer to
    "newest with fields" is appended to ``fetched``.
    """
    ending, threads = threading.Event(), torch.get_num_threads()
    with zmq.Context() as context:
        stacks, endpoint = bind(context, zmq.PUSH, ANY_PORT)
        frames, of_frames = bind(context, zmq.PUSH, ANY_PORT)
        commands, of_commands = bind(context, zmq.REP, ANY_PORT)
        asked, acquirer = bind(context, zmq.REP, ANY_PORT)
        listening = _Listening(context)

        def play() -> list[TomogramView]:
            made = partial(stack_message, stamp=Stamp("acquirer", 1), background=0, sent_at=0.0)
            views = []
            with stacks, frames, asked:
                if early is not None:
                    while not send(stacks, made(early, kind="stack")):
                        listening.planned.wait(0.05)  # the processor is still to connect
                    asked.recv_multipart()
                    stamp = Stamp("acquirer", 1)
                    asked.send_multipart(encode(Message(Reply(ok=True, **stamp()))))
                while not send(stacks, made(background, kind="background")):
                    if listening.planned.wait(0.05):  # the processor is still to connect
                        return []
                if rubbish:
                    stacks.send_multipart(rubbish)
                listening.planned.wait()
                if early is not None:
                    views.append(listening.taken())
                for number, scan in enumerate(scans):
                    assert send(stacks, made(replace(scan, sequence=number), kind="stack"))
                    views.append(listening.taken())
                if fetched is not None:
                    wish = command("newest with fields", stamp=Stamp("test", 3))
                    answer = fetch(context, of_commands, wish)
                    assert answer is not None
                    fetched.append(answer)
            return views

        settings = ProcessSettings(
            name="processor",
            microscope_file=microscope,
            endpoints={
                "stacks": endpoint,
                "frames": of_frames,
                "acquirer_commands": acquirer,
            },
        )
        stamp = Stamp("processor", 2)
        processor = Processor(settings, context, commands, listening, stamp, lambda *_: None)
        with ThreadPoolExecutor(1) as pool:
            played = pool.submit(play)
            played.add_done_callback(lambda _: ending.set())
            try:
                processor.run(ending)
            finally:  # what waits for it waits in vain
                torch.set_num_threads(threads)  # as many as it had: results round accordingly
                listening.planned.set()
                listening.views.put(None)
                listening.close()
    assert listening.status is not None
    return played.result(), listening.status
