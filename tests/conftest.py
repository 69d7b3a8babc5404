"""Shared fixtures: the ground truth, and a check that no test leaves anything running."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from zmq.utils.garbage import gc as collector

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from pipeline.wire.state import TomogramView
    from tests.recorded_session import RecordedSession
    from ui.window import Window

ROOT = Path(__file__).resolve().parents[1]
LEAVING_S = 60.0  # how long what a test has ended may take to be gone, on busy cores
ANY_CHILD = 0x40000000  # __WALL of wait(2), which os lacks: Qt's processes send no SIGCHLD
FIRST = {
    f"test_{name}"
    for name in (
        "live", "record", "launcher", "calibrate_dialog", "gpu_benchmark", "training_team",
        "resuming", "batches", "house", "packaging", "test_command",
    )
}  # fmt: skip

# Before torch and Qt are imported: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run two at a time
# On busy cores threads that spin while they wait made 40 TV iterations ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What is started in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# Where "logs" moves the home folder, each test and process would compute the simulated light and
# list the fonts anew.
if sys.platform == "linux":
    os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))


def pytest_configure(config: pytest.Config) -> None:
    """Let numba compile once, not in each worker."""
    begins_workers = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    kept = [*ROOT.glob("regularizer/*/__pycache__/*_kernel.*.o")]
    kept += ROOT.glob("reconstruction/*/__pycache__/*_kernel.*.o")
    if begins_workers and len(kept) < 5:  # where numba fails, tests say so
        code = """
from reconstruction.kernels import edges, hartley, logarithms, plane_waves
from regularizer.total_variation.fused import FusedPass
edges.EdgeSteps(), hartley.Hartley(), logarithms.FieldLogarithm(), FusedPass()
plane_waves.PlaneWaves(1, 0, 1, 0.0)
"""
        command = [sys.executable, "-c", code]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what starts processes, and shares them: only the last tests change workers."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.stem not in FIRST)


def pytest_collection_finish() -> None:
    """Keep what was imported out of garbage collections, each of which takes a second otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def zarr_ends() -> Iterator[None]:
    """End zarr's background threads after a test that reads or writes by it."""
    from zarr.core.sync import cleanup_resources

    yield
    cleanup_resources()


@pytest.fixture(scope="session")
def ground_truth() -> Path:
    """Return the folder of measured and exactly computed data; skip if it is missing."""
    folder = Path(os.environ.get("LIVETOMO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the ground truth is not at {folder}; LIVETOMO_DATA says where it is")
    return folder


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the logs of failed tests out of the user's folder; return where they go."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def quick_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the engine of a network on a small volume; each regularizer chooses anew."""
    monkeypatch.setattr("regularizer.networks.engines._TRIAL", (16, 16, 16))


@pytest.fixture(scope="session")
def qapp(qapp: "QApplication") -> "QApplication":
    """Return the Qt application, in the window's style."""
    from ui.style import apply_style

    apply_style(qapp)
    return qapp


@pytest.fixture
def session(tomograms: "list[TomogramView]") -> "RecordedSession":
    """Return a session that has recorded the tomograms of the test's file."""
    from tests.recorded_session import RecordedSession

    return RecordedSession(list(tomograms))


@pytest.fixture
def window(qapp: "QApplication", session: "RecordedSession") -> "Iterator[Window]":
    """Yield a window that has the state and shows the first tomogram of the session."""
    from tests.windows import shown

    with shown(qapp, session) as window:
        yield window


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a thread, a process or an open ZeroMQ socket behind.

    Those of fixtures with a wider scope were there before, and stay out of it; a process that such
    an instrument starts again replaces the former one.
    """
    looks: tuple[Callable[[], Counter[str]], ...] = (_threads, _processes, _sockets)
    before = [look() for look in looks]
    yield
    for look, known in zip(looks, before, strict=True):
        deadline = time.monotonic() + LEAVING_S
        while (left := look() - known) and time.monotonic() < deadline:
            time.sleep(0.02)  # what has been told to end is on its way
        assert not left, f"left behind by the test: {sorted(left)}"


def _threads() -> Counter[str]:
    # pyzmq keeps one of its own, with sockets, for messages that are sent without a copy; compiled
    # loops keep those that compute, as torch does where Python does not see it; Dask keeps two
    own = ("zmq.", "slabs", "Dask-")
    return Counter(
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if not (type(thread).__module__.startswith(own) or thread.name.startswith(own))
    )


def _processes() -> Counter[str]:
    """Return the command lines of the direct children, on Linux, up to settings in JSON."""
    while True:
        try:
            return _children()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread has ended meanwhile: its children are now another thread's


def _children() -> Counter[str]:
    found: Counter[str] = Counter()
    if sys.platform != "linux" or not _has_children():
        return found
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            command = _command_line(int(child))
            if "multiprocessing.resource_tracker" not in command:  # lives as long as Python does
                found[f"process: {command.partition(' {')[0]}"] += 1
    return found


def _has_children() -> bool:
    """Ask the system once: each thread has a list of its own, and late in a run there are 250."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | ANY_CHILD)
    except ChildProcessError:
        return False
    return True


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "just ended"


_OPENED: "weakref.WeakValueDictionary[int, zmq.Socket[Any]]" = weakref.WeakValueDictionary()


def _remember_sockets() -> None:
    """Track sockets as they are created: searching all objects took minutes."""
    make = zmq.Socket.__init__

    def made(self: "zmq.Socket[Any]", *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        _OPENED[id(self)] = self

    zmq.Socket.__init__ = made  # type: ignore[method-assign]  # that is what this is for


_remember_sockets()


def _sockets() -> Counter[str]:
    own = collector.context if collector.is_alive() else None  # of the thread named above
    sockets = list(_OPENED.values())
    return Counter(f"socket {s!r}" for s in sockets if not s.closed and s.context is not own)
