"""How time and memory grow with the field, the angles and the slices; what each memory size holds.

Each point is two processes of their own: one scan, planned, reconstructed and regularized with
"deep". Times are of an exact sphere; memory is that of a field full of spheres, so that the network
sees all of it: the peak above what the process holds when it has loaded libraries, network and
interferograms.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from acquisition.illumination.angles import preset
from acquisition.interferograms import InterferogramStack
from benchmarks.gpu_scans import PAPER, Bench
from benchmarks.machine import forget_peak, machine, peak_mb, resident_mb
from benchmarks.pages import DOCS, markdown, put
from reconstruction.fields import FieldPlan
from reconstruction.geometry import Views
from reconstruction.memory import bytes_needed
from reconstruction.reconstructor import Reconstructor
from reconstruction.settings import ReconstructionSettings
from reconstruction.volume import plan_volume
from reconstruction.wave_vectors import WaveVectors
from regularizer.registry import bytes_per_voxel, regularizer

__all__ = ["Point", "largest_field", "main", "needed_bytes"]

_PAGE = DOCS / "explanation" / "performance.md"
_ROOT = Path(__file__).resolve().parents[1]
_TURNS = 3
_MEMORY_GB = (4, 8, 16, 24, 48, 80)
_METHOD = "deep"
_PITCH = 96  # pixels between spheres


@dataclass(frozen=True, slots=True)
class Point:
    """A scan of square frames, its angles, and the slices of its volume."""

    frame: int = 256
    angles: int = 49
    slices: int = 64


_POINTS = (
    *(Point(frame=frame) for frame in (128, 192, 256, 384, 512)),
    *(Point(angles=angles) for angles in (13, 25, 37)),
    *(Point(slices=slices) for slices in (96, 128)),
)


def _measure(point: Point, *, filled: bool) -> dict[str, float]:
    """Return times in s and the peak memory in MB."""
    bench = Bench(torch.device("cpu"), PAPER)
    scan = bench.scan((point.frame, point.frame), _PITCH if filled else None)
    background, sample = (_part(one, point.angles) for one in scan)
    del bench, scan
    regularize = regularizer(_METHOD)
    before = resident_mb() if forget_peak() else peak_mb()
    begin = time.perf_counter()
    settings = ReconstructionSettings(slices=point.slices)
    reconstructor = Reconstructor(background, "cpu", settings)
    planned = time.perf_counter() - begin
    raw, regularized = [], []
    for _ in range(_TURNS):
        begin = time.perf_counter()
        made = reconstructor(sample)
        raw.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        regularize(made.tomogram, made.spectrum)
        regularized.append(time.perf_counter() - begin)
    return {
        "planned_s": planned,
        "raw_s": min(raw),
        "regularized_s": min(regularized),
        "megabytes": peak_mb() - before,
        "voxels": float(np.prod(made.spectrum.shape)),
    }


def _part(stack: InterferogramStack, angles: int) -> InterferogramStack:
    """Return a scan with some of its angles, evenly chosen, the normal one among them."""
    chosen = np.linspace(0, len(stack.frames) - 1, angles).round().astype(int)
    k = stack.illumination_k
    return replace(
        stack, frames=stack.frames[chosen], illumination_k=None if k is None else k[chosen]
    )


def _rows(points: Sequence[Point]) -> Iterator[list[str]]:
    for point in points:
        found, filled = (_answer(point, filled=filled) for filled in (False, True))
        yield [
            f"{point.frame} x {point.frame}",
            str(point.angles),
            str(point.slices),
            f"{found['voxels'] / 1e6:.1f}",
            f"{found['planned_s']:.2f}",
            f"{1e3 * found['raw_s']:.0f}",
            f"{1e3 * found['regularized_s']:.0f}",
            f"{filled['megabytes']:.0f}",
            f"{needed_bytes(**asdict(point)) / 1e6:.0f}",
        ]


def _answer(point: Point, *, filled: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.growth", "--point", json.dumps(asdict(point))]
    command += ["--filled"] if filled else []
    answer = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def needed_bytes(frame: int, angles: int, slices: int) -> int:
    """Return the estimate that volumes are refused by, in bytes."""
    chosen = preset("cell")
    k = np.resize(chosen.angles.k, (angles, 2))
    carrier = (2.46 * chosen.optics.cutoff, 1.73 * chosen.optics.cutoff)
    plan = FieldPlan((frame, frame), chosen.optics, carrier, torch.device("cpu"))
    vectors = WaveVectors(carrier, k, ())
    views = Views(vectors, chosen.optics, plan.shape, plan.pixel_size_um)
    grid = plan_volume(ReconstructionSettings(slices=slices), views)
    return bytes_needed(grid, angles, bytes_per_voxel(_METHOD))


def largest_field(memory_bytes: float, *, angles: int = 49, slices: int = 64) -> int:
    """Return the largest square frame, in steps of 32 pixels, whose scan fits into memory."""
    frame = 64
    while needed_bytes(frame + 32, angles, slices) <= memory_bytes:
        frame += 32
    return frame


def growth_table() -> str:
    """Return times and memory of all points."""
    first = ["frames", "angles", "slices"]
    last = ["10^6 voxels", "plan, s", "raw, ms", "`deep`, ms", "memory, MB", "estimated, MB"]
    return markdown(first, last, _rows(_POINTS))


def memory_table() -> str:
    """Return the largest square frames that memory sizes hold, by the estimate."""
    rows = []
    for size in _MEMORY_GB:
        frames = [largest_field(size * 1e9, slices=slices) for slices in (64, 128)]
        rows.append([f"{size} GB", *(f"{frame} x {frame}" for frame in frames)])
    return markdown(["free memory"], ["64 slices", "128 slices"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, and write them into docs/explanation/performance.md."""
    parser = argparse.ArgumentParser(
        prog="benchmarks growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--point", help=argparse.SUPPRESS)  # of a child process, as JSON
    parser.add_argument("--filled", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.point is not None:
        print(json.dumps(_measure(Point(**json.loads(options.point)), filled=options.filled)))
        return 0
    for name, table in (("growth", growth_table()), ("memory", memory_table())):
        print(f"{table}\n", flush=True)
        put(_PAGE, name, table)
    print(f"machine: {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
