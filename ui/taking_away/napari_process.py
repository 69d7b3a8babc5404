"""Opens the volumes on display in napari, in a process of its own."""

import contextlib
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from acquisition.scan_name import scan_name
from ui.sections.displayed import here
from ui.taking_away.snapshot import Snapshot
from ui.taking_away.worker import Progress, Worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NapariProcess", "missing_napari", "write_layers"]

LOOK_MS: Final = 500
SCRIPT: Final = Path(__file__).with_name("napari_view.py")


def missing_napari() -> str:
    """Return how to get napari, if it is not installed here; "": it is."""
    if find_spec("napari") is not None:
        return ""
    return (
        f'napari is not installed beside LiveTomo: {sys.executable} -m pip install "napari[pyqt6]"'
        ", or export as OME-Zarr (Ctrl+E) and open that in a napari elsewhere"
    )


def write_layers(snapshot: Snapshot, folder: Path) -> None:
    """Write the volumes of a scan and its objects for ``napari_view``.

    Layers are "raw", "regularized" and "total variation" as far as they are there, and "objects"
    where they were measured on such voxels at this stage position. The displayed one is visible.
    """
    tomogram, state = snapshot.tomogram, snapshot.state
    assert state.contrast is not None
    limits = [state.contrast.low, state.contrast.high]
    volumes: dict[str, NDArray[Any]] = {"raw": tomogram.raw}
    if tomogram.regularized is not None:
        volumes[f"regularized ({tomogram.method})"] = tomogram.regularized
    if tomogram.total_variation is not None and tomogram.method != "tv":
        volumes["total variation"] = tomogram.total_variation
    shown = "raw" if state.volume == "raw" else list(volumes)[min(1, len(volumes) - 1)]
    layers: list[dict[str, object]] = [
        {"kind": "image", "name": name, "limits": limits, "visible": name == shown}
        for name in volumes
    ]
    measured = here(tomogram, snapshot.measured)
    if measured is not None:
        # the numbers that the objects keep from scan to scan, in place of their order
        numbers = np.array([0, *(found.number for found in measured.objects)])
        volumes["objects"] = numbers[measured.labels].astype(np.int32)
        layers.append({"kind": "labels", "name": "objects"})
    for number, layer in enumerate(layers):
        layer["key"] = f"layer{number}"
    arrays = {f"layer{number}": volume for number, volume in enumerate(volumes.values())}
    np.savez(folder / "layers.npz", **arrays)  # type: ignore[arg-type]  # no keyword but names
    about = {
        "title": scan_name(tomogram.sequence),
        "voxel_size_um": list(tomogram.voxel_size_um),
        "layers": layers,
    }
    (folder / "layers.json").write_text(json.dumps(about), "utf-8")


class NapariProcess(QObject):
    """Starts napari and says if it could not; it goes on when the window is closed.

    ``said`` is emitted with a text for the status bar and its tone.
    """

    said = Signal(str, str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._worker = Worker(self, "napari-layers")
        self._worker.finished.connect(self._started)
        self._worker.failed.connect(lambda why: self.said.emit(f"napari: {why}", "error"))
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._look = QTimer(self)
        self._look.setInterval(LOOK_MS)
        self._look.timeout.connect(self._check)

    def open(self, snapshot: Snapshot) -> None:
        """Open the volumes of a snapshot; returns at once."""
        if missing := missing_napari():
            self.said.emit(missing, "warning")
            return
        if self._worker.busy:
            return
        self.said.emit("opening napari", "")

        def work(progress: Progress) -> tuple[subprocess.Popen[bytes], Path]:
            folder = Path(tempfile.mkdtemp(prefix="livetomo-napari-"))
            write_layers(snapshot, folder)
            log = folder.with_suffix(".log")
            with log.open("wb") as sink:
                process = subprocess.Popen(
                    [sys.executable, "-P", str(SCRIPT), str(folder)],
                    stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
            return process, log

        self._worker.start(work)

    def _started(self, made: object) -> None:
        assert isinstance(made, tuple)
        self._running.append(made)
        self._look.start()

    def _check(self) -> None:
        for process, log in tuple(self._running):
            if process.poll() is None:
                continue
            self._running.remove((process, log))
            lines = log.read_text("utf-8", "replace").strip().splitlines()
            _remove(log)
            if process.returncode:
                why = lines[-1] if lines else f"it ended with status {process.returncode}"
                self.said.emit(f"napari: {why}", "error")
        if not self._running:
            self._look.stop()

    @property
    def running(self) -> int:
        """How many napari are open, as far as it was looked."""
        return len(self._running)

    def close(self) -> None:
        """Look no longer after the processes, which go on."""
        self._worker.close()
        self._look.stop()
        for process, log in self._running:
            if process.poll() is None:
                process.returncode = 0  # Python would warn that it runs on
            _remove(log)
        self._running.clear()


def _remove(log: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps what a process still writes
        log.unlink()
