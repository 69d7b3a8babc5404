"""How fast `view` opens a long time-lapse, how fast it steps through it, and what memory it takes.

Files of 10, 1000 and 5000 time points are written by the product's own writers: tomograms of a
cell that drifts through noise (raw and regularized, 12 x 64 x 64), and recordings of its
interferograms (9 angles of 96 x 96). Each is opened in processes of their own: a window drawn
offscreen, from the start of Python to the first tomogram in it, the best of three; and a playback
without a window that is stepped through the file twice. The processor's time is that of all cores:
on a busy machine it tells more. Memory is what the process holds (resident), 10^6 bytes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine, resident_mb

__all__ = ["main", "window_figures"]

_RESULT = Path(__file__).parent / "results" / "looking_back.txt"
_COUNTS = (10, 1000, 5000)
_SHAPE = (12, 64, 64)
_VOXEL_UM = (0.356, 0.2, 0.2)
_MEDIUM = 1.337
_FRAME = 96
_STEPS = {"tomograms": 200, "recording": 20}  # at most, of each of the two rounds
_BEGUN_S = 1.7e9
Figures = dict[str, Any]


def cell(time_point: int, noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return RI of a cell that drifts, (z, y, x) float32; ``noise`` has the same shape."""
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in _SHAPE)
    turn = time_point / 100
    y, x = y - 0.3 * np.float32(np.sin(turn)), x - 0.3 * np.float32(np.cos(turn))
    radius = np.sqrt(z[:, None, None] ** 2 + (2 * y[None, :, None]) ** 2 + (2 * x) ** 2)
    return np.asarray(_MEDIUM + 0.03 * (radius < 0.8) + np.roll(noise, time_point), np.float32)


def write_tomograms(path: Path, count: int) -> Path:
    """Write a file of ``count`` time points, raw and regularized, every tenth compared with TV."""
    import torch

    from acquisition.optics import Optics
    from files.tomograms import TomogramWriter
    from reconstruction.tomogram import Tomogram
    from regularizer.quality_report import QualityReport

    noise = 0.002 * np.random.default_rng(0).standard_normal(_SHAPE, np.float32)
    optics = Optics(0.532, 1.2, _MEDIUM, 0.08)

    def tomogram(scan: int, strength: float) -> Tomogram:
        index = torch.from_numpy(cell(scan, np.float32(strength) * noise))
        return Tomogram(index, _VOXEL_UM, optics, _BEGUN_S + 10 * scan, scan)

    slices = (0.9,) * (_SHAPE[0] - 6)
    report = QualityReport("deep", 0.9, slices, 1e-4, 0.99, 0.05, 0.0, 0.11, 0.12)
    with TomogramWriter(path, tomogram(0, 1), ("deep", "tv")) as writer:
        for scan in range(count):
            writer.append(tomogram(scan, 1), {"deep": tomogram(scan, 0.2)})
            if scan % 10 == 0:
                writer.append_quality(scan, report, tomogram(scan, 0.1))
    return path


def write_recording(path: Path, count: int) -> Path:
    """Write a recording of ``count`` scans of a phase disk, 9 angles each."""
    from acquisition.illumination.angles import preset
    from acquisition.interferograms import InterferogramStack
    from files.recording import RecordingWriter

    optics, k = preset("cell").optics, preset("cell").angles.k[::6]
    y, x = (np.mgrid[:_FRAME, :_FRAME] - _FRAME // 2) * optics.pixel_size_um
    right, down = 2.46 * optics.cutoff, 1.73 * optics.cutoff  # of the carrier, as in the simulation

    def frames(phase: NDArray[np.float64]) -> NDArray[np.uint8]:
        waves = [2 * np.pi * ((right + kx) * x + (down + ky) * y) + phase for kx, ky in k.tolist()]
        return np.asarray([100 + 80 * np.cos(wave) for wave in waves], np.uint8)

    disk = np.sqrt(np.clip(1 - (x**2 + y**2) / 1.5**2, 0, None))
    empty = InterferogramStack(frames(0 * x), optics, k)
    scan = replace(empty, frames=frames(0.8 * disk))
    with RecordingWriter(path, empty) as writer:
        for number in range(count):
            writer.append(replace(scan, timestamp=_BEGUN_S + 10 * number, sequence=number))
    return path


def window_figures(path: Path, method: str) -> Figures:
    """Open a window on a file in this process; seconds and processor time to its first tomogram."""
    from pipeline.live.playback import open_playback

    with open_playback(path, method, "cpu") as playback:
        from PySide6.QtWidgets import QApplication

        from ui.window import Window

        application = QApplication(["benchmark"])
        window = Window(playback, title="LiveTomo", timeline=playback)
        window.resize(1280, 800)
        window.show()
        while window.tomogram is None:
            application.processEvents()
            time.sleep(0.002)
        application.processEvents()
        used = time.process_time()
        figures = {"cpu_s": used, "memory_mb": resident_mb(), "opened": time.time()}
        window.close()
        window.finish_commands()
    return figures


def stepping_figures(path: Path, method: str) -> Figures:
    """Step through a file in this process, twice; ms a step, and memory before and after."""
    from pipeline.live.playback import open_playback

    with open_playback(path, method, "cpu") as playback:
        shown, memory, times = -1, [], []
        count = len(playback.playlist.scans)
        steps = np.linspace(0, count - 1, min(_STEPS[path.stem], count)).astype(int).tolist()
        for scan in (*steps, *steps):
            begun = time.perf_counter()
            playback.seek(scan)
            while shown != scan:
                tomogram = playback.poll().tomogram
                shown = shown if tomogram is None else tomogram.sequence
                time.sleep(0.0005)
            times.append(1000 * (time.perf_counter() - begun))
            memory.append(resident_mb())
    middle = len(steps) - 1
    return {
        "step_ms": float(np.median(times[1 : len(steps)])),
        "begin_mb": memory[min(9, middle)],
        "once_mb": memory[middle],
        "twice_mb": memory[-1],
    }


def _in_a_process(what: str, path: Path, method: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.looking_back", "--one", what]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    begun = time.time()
    result = subprocess.run(
        [*command, "--file", str(path), "--method", method],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise SystemExit(result.stderr)
    figures: Figures = json.loads(result.stdout.splitlines()[-1])
    if "opened" in figures:
        figures["window_s"] = figures.pop("opened") - begun
    return figures


def measure(kind: str, path: Path, count: int) -> Figures:
    """Return the figures of one file."""
    method = "deep" if kind == "tomograms" else "gp"
    windows = [_in_a_process("window", path, method) for _ in range(3)]
    best = min(windows, key=lambda figures: figures["window_s"])
    return {"kind": kind, "count": count} | best | _in_a_process("steps", path, method)


def _report(rows: Sequence[Figures]) -> str:
    lines = [
        f"Tomograms of {' x '.join(map(str, _SHAPE))}, recordings of 9 angles of {_FRAME}^2",
        f"machine: {machine()}",
        "",
        f"{'':<11}{'time':>7}{'first tomogram':>16}{'processor':>11}{'a step':>9}"
        f"{'memory: window':>16}{'10 steps':>10}{'once':>7}{'twice':>7}",
        f"{'':<11}{'points':>7}{'s':>16}{'s':>11}{'ms':>9}{'MB':>16}{'MB':>10}{'MB':>7}{'MB':>7}",
    ]
    lines += [
        f"{row['kind']:<11}{row['count']:>7}{row['window_s']:16.2f}{row['cpu_s']:11.2f}"
        f"{row['step_ms']:9.1f}{row['memory_mb']:16.0f}{row['begin_mb']:10.0f}"
        f"{row['once_mb']:7.0f}{row['twice_mb']:7.0f}"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.looking_back", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=_COUNTS, help="time points")
    parser.add_argument("--one", choices=("window", "steps"), help="measure one in this process")
    parser.add_argument("--file", type=Path, help="with --one: the file")
    parser.add_argument("--method", default="deep", help="with --one: its regularizer")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    if options.one:
        ways = {"window": window_figures, "steps": stepping_figures}
        print(json.dumps(ways[options.one](options.file, options.method)))
        return 0
    rows = []
    writers = {"tomograms": write_tomograms, "recording": write_recording}
    with tempfile.TemporaryDirectory(prefix="livetomo-") as folder:
        for kind, write in writers.items():
            for count in options.counts:
                path = write(Path(folder) / f"{kind}.h5", count)
                rows.append(measure(kind, path, count))
                path.unlink()
    report = _report(rows)
    print(json.dumps({"machine": machine(), "rows": rows}) if options.json else report)
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(report + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
