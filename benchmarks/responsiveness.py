"""Whether the window stays alive: its start, its views, its reactions, and what it leaves behind.

start       seconds of a fresh process until the window on the simulated microscope is painted,
            and until it shows a tomogram
views       time to draw the 2D views of a volume of 64 x 320 x 320 anew, while the cursor moves
reactions   longest time in which the window did not react, and time until it says what is wrong,
            while the processor is stopped and after the acquirer was killed
opening     threads, sockets and files, and memory that are left after opening and closing it

A virtual display serves where there is none. Processor time is that of this process: on a busy
machine it tells more.
"""

import argparse
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import machine, resident_mb
from tests.recorded_session import RecordedSession, volumes
from tests.windows import shown

__all__ = ["main"]

_RESULT = Path(__file__).parent / "results" / "responsiveness.txt"
_ROOT = Path(__file__).parents[1]
_SHAPE, _VOXEL_UM = (64, 320, 320), (0.356, 0.111, 0.111)
_PICTURES_S = 24  # that are asked for
_BEAT_MS = 5
_OPENED = 50
_FIRST = 20  # openings that load and fill caches
_STARTING = """
import time
import psutil
from acquisition.loading import loading
from pipeline.live.supervisor import open_instrument
born = psutil.Process().create_time()
with open_instrument() as instrument:
    with loading():
        from PySide6.QtCore import QTimer
        from PySide6.QtWidgets import QApplication
        from ui.connecting_client import ConnectingClient
        from ui.window import Window
    application = QApplication([])
    client = ConnectingClient(instrument.client)
    window = Window(client, title="start")
    window.show()
    def painted():
        if window.grab().isNull():
            return
        print("painted", time.time() - born, flush=True)
        watch.start(20)
    def shown():
        if window.tomogram is not None:
            print("tomogram", time.time() - born, flush=True)
            window.close()
    watch = QTimer()
    watch.timeout.connect(shown)
    QTimer.singleShot(0, painted)
    application.exec()
    window.finish_commands()
    client.close()
"""


def start(turns: int) -> str:
    """Return how long a fresh process takes until its window, and a tomogram in it, is painted."""
    painted, shown = [], []
    for _ in range(turns):
        said = subprocess.run(
            [sys.executable, "-c", _STARTING], cwd=_ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
        painted.append(float(said[1]))
        shown.append(float(said[3]))
    return (
        f"start: window painted after {min(painted):.2f} s (best of {turns}; {_listed(painted)}), "
        f"first tomogram in it after {min(shown):.2f} s ({_listed(shown)})"
    )


def views(application: Any, seconds: float) -> str:
    """Return the time to draw the views anew while the cursor moves through a volume."""
    session = RecordedSession(volumes(1, _SHAPE, _VOXEL_UM))
    with shown(application, session) as window:
        begun, used, count = time.perf_counter(), time.thread_time(), 0
        while time.perf_counter() - begun < seconds:
            window.move_cursor(count % 3, 1 if count // 60 % 2 == 0 else -1)
            application.processEvents()  # paints what the move has changed
            count += 1
        each = 1e3 * (time.thread_time() - used) / count
        rate = count / (time.perf_counter() - begun)
    return (
        f"views: {each:.1f} ms of processor time to draw all three anew, {rate:.0f} pictures/s; at "
        f"{_PICTURES_S}/s they take {100 * each * _PICTURES_S / 1e3:.0f} % of a core"
    )


class _Beat:
    """Ticks in the window's own event loop; the longest gap is how long it did not react."""

    def __init__(self) -> None:
        from PySide6.QtCore import Qt, QTimer

        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self._tick)
        self.timer.start(_BEAT_MS)
        self.reset()

    def reset(self) -> None:
        """Forget the gaps until now."""
        self.longest_ms, self._last = 0.0, time.perf_counter()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest_ms = max(self.longest_ms, 1e3 * (now - self._last))
        self._last = now


def reactions(application: Any, seconds: float) -> list[str]:
    """Return how the live window reacts while processes stop or die."""
    from pipeline.live.supervisor import open_instrument
    from ui.window import Window

    lines = []
    with open_instrument() as instrument:
        client = instrument.client()
        window = Window(client, title="reactions")
        window.show()
        beat = _Beat()

        def wait(until: Callable[[], bool], patience_s: float) -> float:
            begun = time.perf_counter()
            while not until() and time.perf_counter() - begun < patience_s:
                application.processEvents()
                time.sleep(1e-3)
            return time.perf_counter() - begun

        def note(what: str, until: Callable[[], bool], patience_s: float) -> None:
            beat.reset()
            took = wait(until, patience_s)
            said = "" if window.instrument is None else window.instrument.message
            lines.append(
                f"{what}: longest without reaction {beat.longest_ms:.0f} ms"
                + (f'; after {took:.1f} s it says "{said}"' if until() else "")
            )

        def says(words: str) -> bool:
            return window.instrument is not None and words in window.instrument.message

        wait(lambda: window.tomogram is not None, 120)
        note("live", lambda: False, seconds)
        processor = instrument.pids["processor"]
        os.kill(processor, signal.SIGSTOP)
        note("processor stopped", lambda: says("does not answer"), 20)
        window.experiment.choose_regularizer("tv-fast")
        note("a command to it", lambda: not window.experiment.busy, 20)
        os.kill(processor, signal.SIGCONT)
        os.kill(instrument.pids["acquirer"], signal.SIGSTOP)
        note("acquirer stopped, as by a slow disk", lambda: says("disk may hang"), 20)
        os.kill(instrument.pids["acquirer"], signal.SIGKILL)
        note("acquirer gone", lambda: says("restarting the acquirer"), 20)
        window.close()
        window.finish_commands()
        client.close()
    return lines


def opening(application: Any, times: int) -> str:
    """Return what opening and closing the window leaves behind."""
    figures = []
    for number in range(times + _FIRST):
        with shown(application, RecordedSession(volumes(1, (32, 64, 64), _VOXEL_UM))):
            pass
        if number in (_FIRST - 1, times + _FIRST - 1):
            gc.collect()
            process = psutil.Process()
            figures.append((threading.active_count(), process.num_fds(), resident_mb()))
    before, after = figures
    return (
        f"opening and closing it {times} times: threads {before[0]} -> {after[0]}, sockets and "
        f"files {before[1]} -> {after[1]}, memory {before[2]:.0f} -> {after[2]:.0f} MB"
    )


def _listed(times: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in times)


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.responsiveness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--turns", type=int, default=3, help="starts of the window")
    options = parser.parse_args(argv)
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtWidgets import QApplication

    application = QApplication([])
    lines = [
        f"The window on {_SHAPE[0]} x {_SHAPE[1]} x {_SHAPE[2]} voxels",
        f"machine: {machine()}",
        start(options.turns),
        views(application, options.seconds),
        *reactions(application, options.seconds),
        opening(application, _OPENED),
    ]
    text = "\n".join(lines)
    print(text)
    _RESULT.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
