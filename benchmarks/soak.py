"""Endurance test of a time-lapse: lost frames, growing memory or handles, reproducible tomograms.

``launcher.py record`` runs as for a user, at full speed on the simulated microscope, with tomograms
on the fly. Memory, open files and threads of its processes are sampled meanwhile. Afterwards every
frame is checked, and tomograms are recomputed from the recording and compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from acquisition.choices import REGULARIZERS
from acquisition.configuration.microscope_file import load_configuration
from benchmarks.machine import machine
from files.recording import Recording, read_recording
from files.tomograms import read_tomograms
from pipeline.tomograms.job import SilentProgress, TomogramJob
from pipeline.tomograms.recipe import Recipe, settings_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = Path(__file__).parent / "results"
_LOOK_S = 1.0


@dataclass(slots=True)
class Usage:
    """Samples of a process's memory in MB, open files and threads."""

    memory_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def sample(self, process: psutil.Process) -> None:
        """Add a sample; a process that has just ended is skipped."""
        try:
            with process.oneshot():
                memory_mb = process.memory_info().rss / 1e6
                files = process.num_handles() if sys.platform == "win32" else process.num_fds()
                threads = process.num_threads()
        except psutil.Error:
            return
        self.memory_mb.append(memory_mb)
        self.files.append(files)
        self.threads.append(threads)

    def row(self, name: str) -> str:
        """Return a table row of medians over the second and the last quarter of the samples."""
        cells = [name]
        for values, digits in ((self.memory_mb, 0), (self.files, 0), (self.threads, 0)):
            quarter = max(len(values) // 4, 1)
            early, late = np.median(values[quarter : 2 * quarter]), np.median(values[-quarter:])
            cells.append(f"{early:.{digits}f} -> {late:.{digits}f} (at most {max(values):.0f})")
        return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True, slots=True)
class Run:
    """The figures that the time-lapse reported, and the usage of its processes."""

    figures: dict[str, object]
    seconds: float
    usage: dict[str, Usage]


def record(recording: Path, tomograms: Path, options: argparse.Namespace) -> Run:
    """Run the time-lapse and sample its processes."""
    command = [sys.executable, str(_ROOT / "launcher.py"), "record", "--json", "-o", str(recording)]
    command += ["--stacks", str(options.stacks), "--tomograms", str(tomograms)]
    command += ["--regularizer", options.regularizer, "--background-every", "50"]
    command += ["--microscope", str(options.microscope)] if options.microscope else []
    begin = time.monotonic()
    usage = {"record": Usage(), "follower": Usage()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        own = psutil.Process(process.pid)
        while process.poll() is None:
            usage["record"].sample(own)
            for child in _children(own):
                usage["follower"].sample(child)
            time.sleep(_LOOK_S)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode != 0:
        raise RuntimeError(f"record ended with status {process.returncode}: {said}")
    return Run(json.loads(said), time.monotonic() - begin, usage)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children())
    except psutil.Error:
        return []


def lost_frames(recording: Recording) -> int:
    """Return the number of frames that are marked as lost, black, or from another scan."""
    lost = 0
    last: NDArray[Any] | None = None
    for stack in recording.stacks():
        frames = stack.frames
        bad = np.asarray(~frames.any(axis=(1, 2)))
        bad[list(stack.lost)] = True
        if last is not None:
            bad = bad | (frames == last).all(axis=(1, 2))  # noise makes every frame different
        lost += int(bad.sum())
        last = frames
    return lost


def greatest_difference(
    recording: Recording, tomograms: Path, folder: Path, options: argparse.Namespace
) -> tuple[int, float]:
    """Recompute tomograms from the recording; return their number and the largest difference."""
    kept = read_tomograms(tomograms)
    step = 1 if options.all else max(len(kept) // options.sample, 1)
    recipe = Recipe(options.regularizer, settings=settings_for(recording, {}))
    chosen = range(0, len(kept), step)
    again = folder / "again.h5"
    with TomogramJob(recording, again, recipe, SilentProgress(), stop=Event()) as job:
        for number in chosen:
            job.run(next(recording.scans(number)))
    made = read_tomograms(again)
    worst = 0.0
    for row, number in enumerate(chosen):
        pairs = [(kept.raw(number), made.raw(row))]
        if options.regularizer != "none":
            name = REGULARIZERS[options.regularizer].volume
            left, right = kept.regularized(name, number), made.regularized(name, row)
            assert left is not None and right is not None
            pairs.append((left, right))
        worst = max(worst, *(float((a.index - b.index).abs().max()) for a, b in pairs))
    return len(chosen), worst


def report(options: argparse.Namespace, run: Run, lost: int, again: tuple[int, float]) -> str:
    """Return the result as text with a table."""
    config = load_configuration(options.microscope)
    angles = len(config.build_angles())
    stacks = options.stacks
    scanning_s = float(str(run.figures["seconds"]))
    bare_s = angles * config.dmd.picture_ms / 1e3
    count, worst = again
    tomograms = run.figures["tomograms"]
    made = tomograms["made"] if isinstance(tomograms, dict) else 0
    return "\n".join(
        [
            f"Time-lapse of {stacks} scans at full speed, {angles} angles of {config.camera.height}"
            f" x {config.camera.width}, regularizer {options.regularizer}, background retaken "
            "every 50 scans",
            f"machine: {machine()}",
            f"scans recorded: {run.figures['stacks']} of {stacks}, "
            f"{scanning_s / stacks:.3f} s each with retaking and writing "
            f"(the pictures alone take {bare_s:.3f} s)",
            f"frames lost: {lost} of {stacks * angles}",
            f"tomograms on the fly: {made} of {stacks}, "
            f"the last one {run.seconds - scanning_s:.0f} s after the last scan, start included",
            f"made again from the archive: {count}, greatest difference of a voxel {worst:.2g}",
            "",
            "| process | memory, MB | open files | threads |",
            "| --- | --- | --- | --- |",
            *(usage.row(name) for name, usage in run.usage.items() if usage.memory_mb),
        ]
    )


def main(argv: Sequence[str] = ()) -> int:
    """Run, print and save the result; return 1 if a frame was lost or a tomogram differs."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--stacks", type=int, default=200)
    parser.add_argument("--regularizer", default="deep")
    parser.add_argument("--microscope", type=Path, help="microscope.toml")
    parser.add_argument("--sample", type=int, default=20, help="tomograms that are made again")
    parser.add_argument("--all", action="store_true", help="make all of them again")
    parser.add_argument("--folder", type=Path, help="where the files go, and stay")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        recording, tomograms = folder / "soak.h5", folder / "soak_tomograms.h5"
        run = record(recording, tomograms, options)
        source = read_recording(recording)
        lost = lost_frames(source)
        again = greatest_difference(source, tomograms, folder, options)
    text = report(options, run, lost, again)
    print(text)
    (_RESULTS / "soak.txt").write_text(text + "\n", encoding="utf-8")
    return 1 if lost or again[1] > 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
