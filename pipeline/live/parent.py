"""What a child process hears from its parent, and its priority; imports nothing that takes time."""

import contextlib
import json
import os
import sys
import threading
import time

__all__ = ["Parent", "lower_priority"]

SHUTDOWN_GRACE_S = 5.0  # time for a process to end by itself


class Parent:
    """The process that started this one, heard through standard input.

    It writes one line, the addresses of the other processes as JSON. Once it closes standard
    input, or dies, this process has to end; ``SHUTDOWN_GRACE_S`` later it is ended.

    Attributes
    ----------
    ending : Event
        Set when standard input closes.
    loading : bool
        Whether only libraries have been loaded so far: then nothing needs time to end.
    """

    def __init__(self) -> None:
        self.ending, self.loading = threading.Event(), True
        self._told = threading.Event()
        self._line = b""
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def addresses(self) -> dict[str, str]:
        """Wait for the addresses of the other processes, and return them by name.

        Raises
        ------
        SystemExit
            If this process has to end instead.
        """
        self._told.wait()
        if self.ending.is_set():
            raise SystemExit(0)
        found: dict[str, str] = json.loads(self._line)
        return found

    def _listen(self) -> None:
        # not sys.stdin: the interpreter aborts at exit while a thread waits in its buffer
        while part := os.read(0, 1024):
            self._line += part
            if self._line.endswith(b"\n"):
                self._told.set()
        self.ending.set()
        self._told.set()
        if not self.loading:
            time.sleep(SHUTDOWN_GRACE_S)
        os._exit(0)  # the parent no longer waits for it


def lower_priority() -> None:
    """Give this process the lowest priority: it runs when the processor is otherwise idle.

    On Windows the supervisor sets the priority when it starts the process.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):  # where it is refused, the process still uses few threads
        os.nice(19)
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
