"""The follower: a process that makes tomograms from a recording while it grows.

``python -m pipeline.tomograms.follower '{"recording": ..., "output": ...}'``. It reads
the file, so it may be slower than the scans and may be restarted without losing one. It writes one
JSON line for each scan to standard output. When its standard input closes, or after the line
``end``, the recording is over: it catches up and ends. After the line ``stop`` it ends soon.

Tensor code, which takes seconds to load, is imported once the recording is known to be one.
"""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import BaseModel, ConfigDict

from acquisition.choices import Constraint
from acquisition.errors import LiveTomoError, Stopped
from files.disk import check_space
from files.recording import Recording, read_recording
from files.reopening import FileBusy, sole_writer

if TYPE_CHECKING:
    from pipeline.tomograms.job import TomogramJob

__all__ = ["FollowerSettings", "main"]

_NICENESS = 10  # recording has priority


class FollowerSettings(BaseModel):
    """The settings of a follower, passed to it as JSON.

    ``planned`` is how many scans the recording will have: the follower leaves disk space for them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    recording: Path
    output: Path
    method: str
    device: str | None = None
    planned: int = 0
    constraint: Constraint = "auto"


def main(argument: str) -> int:
    """Follow a recording to its end; return the exit status, 0 for success."""
    # Ctrl-C in a terminal reaches the whole group: the parent decides what ends
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # other output goes to the log
    settings = FollowerSettings.model_validate_json(argument)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    ended, stop = _parent_commands()
    try:
        _follow(settings, reports, ended, stop)
    except Stopped:
        return 0
    except LiveTomoError as error:
        traceback.print_exc()
        _report(reports, {"error": str(error)})
        return 1
    return 0


def _follow(
    settings: FollowerSettings, reports: TextIO, ended: threading.Event, stop: threading.Event
) -> None:
    source = read_recording(settings.recording)
    from pipeline.tomograms.job import SilentProgress, TomogramJob, pending_scans
    from pipeline.tomograms.recipe import Recipe, settings_for
    from pipeline.tomograms.torch_device import torch_device

    recipe = Recipe(
        settings.method,
        torch_device(settings.device),
        settings_for(source, {}),
        constraint=settings.constraint,
    )
    with (
        _exclusive(settings.output, stop),
        TomogramJob(
            source, settings.output, recipe, SilentProgress(), resume=True, stop=stop
        ) as job,
    ):
        _report(reports, {"held": len(job.done)})
        for scan in pending_scans(job, ended, stop):
            _check_disk(settings, source, job)
            row = job.run(scan)
            _report(reports, {"row": asdict(row)})


@contextmanager
def _exclusive(output: Path, stop: threading.Event) -> Iterator[None]:
    """Wait for the write lock of ``output`` and hold it.

    An earlier follower whose parent was killed may still hold it.
    """
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(sole_writer(output))
                break
            except FileBusy:
                if stop.wait(0.2):
                    raise Stopped("stopped while waiting for the lock of the file") from None
        yield


def _check_disk(settings: FollowerSettings, source: Recording, job: "TomogramJob") -> None:
    """Refuse a tomogram that would use the disk space of scans still to be recorded."""
    needed = job.bytes_each
    if os.stat(settings.output.parent).st_dev == os.stat(settings.recording.parent).st_dev:
        to_come = max(settings.planned - source.count_complete(), 0)
        needed += to_come * source.background.frames.nbytes
    what = "a tomogram (keeping room for the scans still to be recorded)"
    check_space(settings.output, needed, what)


def _parent_commands() -> tuple[threading.Event, threading.Event]:
    """Return two events that the parent sets: the recording has ended; stop at once."""
    ended, stop = threading.Event(), threading.Event()

    def listen() -> None:
        # not sys.stdin: the interpreter aborts at exit while a thread waits in its buffer
        while said := os.read(0, 1024):
            if b"end" in said:
                ended.set()
            if b"stop" in said:
                stop.set()
        ended.set()  # the parent is gone

    threading.Thread(target=listen, name="parent", daemon=True).start()
    return ended, stop


def _report(reports: TextIO, report: dict[str, Any]) -> None:
    print(json.dumps(report), file=reports, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
