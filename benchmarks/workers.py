"""How a batch grows with its scans and with the workers that share it.

A recording of one scan many times is reconstructed and regularized with "deep", in this process and
on local workers, in turns. Processes and plans are warm: a start of a worker (some 3 s of processor
time for the libraries) and the first plan are not in the figures. Each result is compared with that
of this process, bit by bit. Times are those of the wall, so a busy machine tells less; processor
time is that of all processes together.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import torch

from benchmarks.gpu_scans import PAPER, Bench
from benchmarks.machine import machine, peak_mb
from benchmarks.pages import DOCS, markdown, put
from files.recording import RecordingWriter
from pipeline.tomograms.batch import run_batch
from pipeline.tomograms.cluster import local_workers
from pipeline.tomograms.cluster_batch import run_on_cluster
from pipeline.tomograms.file_work import RecordingWork, file_stamp
from pipeline.tomograms.recipe import Recipe

__all__ = ["main"]

_PAGE = DOCS / "explanation" / "performance.md"
_FRAME = 128
_SCANS = (4, 8)
_WORKERS = (0, 1, 2)  # 0: in this process
_COLUMNS = ("scans", "s/scan", "speed-up", "processor s/scan", "peak of a process, MB", "same bits")


class _Silent:
    """Progress that nobody watches."""

    def say(self, what: str) -> None:
        pass

    def advance_to(self, done: float) -> None:
        pass

    def expect(self, total: int) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Cost:
    wall_s: float
    processor_s: float
    peak_mb: float


def _recording(path: Path, scans: int) -> Path:
    background, sample = Bench(torch.device("cpu"), PAPER).scan((_FRAME, _FRAME))
    with RecordingWriter(path, background) as writer:
        for number in range(scans):
            writer.append(replace(sample, timestamp=float(number + 1)))
    return path


def _made(works: list[RecordingWork], client: Any) -> None:
    results = run_on_cluster(works, client, _Silent()) if client else run_batch(works, _Silent())
    for result in results:
        if result.state != "made":
            raise SystemExit(f"{result.source}: {result.state} {result.error}")


def _cost(work: RecordingWork, client: Any) -> _Cost:
    begin, busy = time.perf_counter(), _processor_s(client)
    _made([work], client)
    wall, spent = time.perf_counter() - begin, _processor_s(client) - busy
    peaks = client.run(peak_mb).values() if client else [peak_mb()]
    return _Cost(wall, spent, max(peaks))


def _processor_s(client: Any) -> float:
    workers = client.run(time.process_time).values() if client else []
    return time.process_time() + float(sum(workers))


def _same(one: Path, other: Path) -> bool:
    with h5py.File(one) as a, h5py.File(other) as b:
        return all(
            a["tomograms"][name][row].tobytes() == b["tomograms"][name][row].tobytes()
            for name in ("raw", "deep")
            for row in range(len(a["tomograms/raw"]))
        )


def _rows(folder: Path) -> Iterator[list[str]]:
    recordings = {n: _recording(folder / f"{n}.h5", n) for n in _SCANS}
    alone: dict[int, tuple[_Cost, Path]] = {}
    for workers in _WORKERS:
        with local_workers(workers, "cpu") if workers else nullcontext() as client:
            first = recordings[_SCANS[0]]
            warm = RecordingWork(first, folder / f"warm{workers}.h5", Recipe("deep", "cpu"))
            _made([warm], client)
            for scans, path in recordings.items():
                output = folder / f"{scans}_{workers}.h5"
                work = RecordingWork(path, output, warm.recipe, stamp=file_stamp(path))
                cost = _cost(work, client)
                if not workers:
                    alone[scans] = cost, output
                reference, whole = alone[scans]
                yield [
                    str(workers) if workers else "this process",
                    str(scans),
                    f"{cost.wall_s / scans:.2f}",
                    f"{reference.wall_s / cost.wall_s:.2f}",
                    f"{cost.processor_s / scans:.2f}",
                    f"{cost.peak_mb:.0f}",
                    "yes" if _same(whole, output) else "NO",
                ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write it into docs/explanation/performance.md."""
    parser = argparse.ArgumentParser(
        prog="benchmarks workers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        last = [
            "scans",
            "s/scan",
            "speed-up",
            "processor s/scan",
            "peak of a process, MB",
            "same bits",
        ]
        table = markdown(["workers"], last, _rows(Path(folder)))
    put(_PAGE, "workers", table)
    print(f"{machine()}, frames of {_FRAME} x {_FRAME} pixels, 49 angles\n\n{table}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
