"""Each stage from frames to a regularized tomogram, beside the machine's own limits.

Stages are timed in turns with a fixed piece of work, the bare real transforms of one volume of
64 x 192 x 192 (forward and inverse), so that a shared machine disturbs both alike: a stage's time
in such pairs is what two runs, or two machines of one kind, are compared by. The floor is the
minimum time, as in ``gpu_speeds``: bytes over the rate of a copy, or operations over the rate of a
matrix product, both measured in the same run.

The last rows are of processes together: frames from the camera's buffer to the processor
(``transport``), and the simulated microscope, live with the regularizer "deep" (``live_rate``): the
time from one tomogram to the next, and from the start of a scan to the publication of its tomogram.
There the transform pairs are timed right after the run.

--json writes the figures with the machine, the versions and the commit; --compare FILE says what
has become slower than in that file, and --compare FILE FILE compares two of them. --publish writes
them to benchmarks/results/stages.json, and the table to docs/explanation/performance.md.
"""

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_clock import Limits, Work, measure_limits
from benchmarks.gpu_scans import PAPER, SMALL, Bench, size_text
from benchmarks.gpu_speeds import iterations_work, live_path, live_work, network_work
from benchmarks.machine import machine, peak_mb
from benchmarks.pages import DOCS, put
from benchmarks.running import running_rows
from benchmarks.stage_rows import Row, row_of, table
from reconstruction.inversion import contrast_of
from reconstruction.unwrap import unwrap_frames
from regularizer.networks.inference import apply_whole
from regularizer.networks.trained import NETWORKS, best_network
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = ["compare", "main", "measure"]

_RESULTS = Path(__file__).parent / "results" / "stages.json"
_PAIR = (64, 192, 192)  # of the calibrating transforms
_SLOWER = 1.2  # what counts as slower
_PACKAGES = ("torch", "numpy", "scipy", "numba", "openvino")


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    size: str
    run: Callable[[], object]
    work: Work | None = None
    repeats: int = 1  # of what is counted, in a run


def _stages(bench: Bench, frame: tuple[int, int]) -> list[_Stage]:
    """Return the stages of scans with frames (y, x), 49 angles, and of the networks."""
    reconstructor, sample = bench.reconstructor(frame), bench.scan(frame)[1]
    angles = len(sample.frames)
    fields, _ = reconstructor.retrieve(sample.frames, sample)
    scattered = reconstructor.inversion.scattered(fields)
    made = reconstructor(sample)
    shape = made.spectrum.shape
    scan, volume = f"{angles} x {size_text(frame)}", size_text(shape)
    iterations = 10
    parameters = TvParameters(1, iterations, mu=50.0, tau=50.0, gamma=1.0)
    phase = fields.angle()
    half = 8 * shape[0] * shape[1] * (shape[2] // 2 + 1)
    name = best_network(bench.device)
    network, multiple = bench.engine(name), NETWORKS[name].multiple
    edge = bench.sizes.patch
    patch = (edge, edge, edge)
    channels = len(NETWORKS[name].channels)
    cube, whole = torch.rand(channels, *patch), torch.rand(channels, *shape)

    def infer(seen: torch.Tensor) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return apply_whole(network, seen.to(bench.device), multiple)

        return run

    deep, none = bench.regularizer("deep", warm=True), live_path(bench, frame, "none")
    return [
        _Stage(
            "fields: retrieval, empty field, quality",
            scan,
            lambda: reconstructor.retrieve(sample.frames, sample),
            Work(bytes=sample.frames.nbytes + 2 * 8 * fields.numel()),
        ),
        _Stage(
            "unwrapping of all fields",
            f"{angles} x {size_text(tuple(fields.shape[1:]))}",
            lambda: unwrap_frames(phase),
            Work(bytes=2.0 * 4 * phase.numel()),
        ),
        _Stage(
            "scattered fields on the caps",
            scan,
            lambda: reconstructor.inversion.scattered(fields),
            Work(bytes=2.0 * 8 * fields.numel()),
        ),
        _Stage(
            "mapping to k-space",
            volume,
            lambda: reconstructor.inversion.spectrum(scattered.samples, ()),
            Work(bytes=2.0 * half),
        ),
        _Stage(
            "inverse transform",
            volume,
            lambda: contrast_of(made.spectrum),
            Work(bytes=6.0 * half),
        ),
        _Stage("interferograms to raw tomogram", scan, none, live_work(bench, frame, "none")),
        _Stage(
            "split Bregman, an iteration",
            volume,
            lambda: SplitBregman(made.spectrum, parameters).run(),
            iterations_work(shape, iterations),
            iterations,
        ),
        _Stage(
            f"`{name}`, a patch", size_text(patch), infer(cube), network_work(bench, name, patch)
        ),
        _Stage(f"`{name}`, a volume", volume, infer(whole), network_work(bench, name, shape)),
        _Stage(
            "`deep`, warm, as live",
            volume,
            lambda: deep(made.tomogram, made.spectrum),
            iterations_work(shape, iterations),
        ),
        _Stage(
            "interferograms to `deep` tomogram",
            scan,
            live_path(bench, frame, "deep"),
            live_work(bench, frame, "deep"),
        ),
    ]


def _transform_pair(device: torch.device, shape: tuple[int, int, int]) -> Callable[[], object]:
    volume = torch.rand(shape, device=device)

    def pair() -> torch.Tensor:
        spectrum = torch.fft.rfftn(volume)
        back: torch.Tensor = torch.fft.irfftn(spectrum, s=shape)
        return back

    return pair


def measure(bench: Bench, frame: tuple[int, int], seconds: float) -> list[Row]:
    """Return the figures of all stages; each takes about ``seconds``, two turns at least."""
    pair = _transform_pair(bench.device, _PAIR if bench.sizes is PAPER else bench.sizes.volumes[0])
    rows = []
    for stage in _stages(bench, frame):
        times, calibrations = _in_turns(bench.device, stage.run, pair, seconds)
        times = [t / stage.repeats for t in times]
        floor = None
        if stage.work is not None and bench.limits is not None:
            floor = bench.limits.floor_s(stage.work) / stage.repeats
        pair_s = statistics.median(calibrations)
        rows.append(row_of(stage.name, stage.size, times, pair_s, floor))
    return rows


def _in_turns(
    device: torch.device, run: Callable[[], object], pair: Callable[[], object], seconds: float
) -> tuple[list[float], list[float]]:
    run(), pair()  # what is compiled or loaded at a first time
    times: list[float] = []
    calibrations: list[float] = []
    begin = time.perf_counter()
    while len(times) < 2 or time.perf_counter() - begin < seconds:
        for work, kept in ((pair, calibrations), (run, times)):
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            kept.append(time.perf_counter() - start)
    return times, calibrations


def result(rows: Sequence[Row], limits: Limits) -> dict[str, Any]:
    """Return what is written to a file: figures, machine, its limits, versions and commit."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "machine": machine(),
        "copied_gb_s": limits.copied / 1e9,
        "products_gflop_s": limits.single / 1e9,
        "peak_mb": peak_mb(),
        "versions": versions,
        "commit": _commit(),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [asdict(row) for row in rows],
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def compare(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return what has changed between two results, by the time in transform pairs."""
    lines = [f"before: {_about(before)}", f"after:  {_about(after)}"]
    if before["machine"] != after["machine"]:
        lines.append("on another machine: differences below a factor of two say little")
    earlier = {(row["stage"], row["size"]): row["pairs"] for row in before["rows"]}
    slower = []
    for row in after["rows"]:
        name = f"{row['stage']}, {row['size']}"
        known = earlier.get((row["stage"], row["size"]))
        if known is None:
            lines.append(f"{name}: {row['pairs']:.2f} transform pairs, not measured before")
            continue
        ratio = row["pairs"] / known
        lines.append(
            f"{name}: {known:.2f} -> {row['pairs']:.2f} transform pairs, {ratio:.2f} times"
        )
        if ratio > _SLOWER:
            slower.append(name)
    lines.append(f"more than {_SLOWER - 1:.0%} slower: {'; '.join(slower) or 'nothing'}")
    return "\n".join(lines)


def _limits_text(found: dict[str, Any]) -> str:
    return (
        f"{found['machine']}; copies {found['copied_gb_s']:.1f} GB/s, products "
        f"{found['products_gflop_s']:.0f} GFLOP/s; peak memory {found['peak_mb']:.0f} MB"
    )


def _about(found: dict[str, Any]) -> str:
    return f"{found['commit']}, {found['measured'][:10]}, {found['machine']}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write or compare it."""
    parser = argparse.ArgumentParser(
        prog="benchmarks stages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--frame", type=int, default=256, help="pixels per side (default: 256)")
    parser.add_argument("--seconds", type=float, default=5.0, help="for a stage (default: 5)")
    parser.add_argument("--device", default="cpu", help='"cpu" (default) or "cuda"')
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    parser.add_argument("--compare", type=Path, nargs="+", metavar="FILE", help="see above")
    parser.add_argument("--publish", action="store_true", help="see above")
    text = "leave out the rows of transport and of the running instrument"
    parser.add_argument("--stages-only", action="store_true", help=text)
    parser.add_argument("--small", action="store_true", help="sizes that show that it runs")
    options = parser.parse_args(argv)
    known = [json.loads(path.read_text("utf-8")) for path in options.compare or ()]
    if len(known) == 2:
        print(compare(*known))
        return 0
    if len(known) > 2:
        parser.error(f"--compare takes one or two files, got {len(known)}")
    sizes = SMALL if options.small else PAPER
    bench = Bench(torch.device(options.device), sizes)
    bench.limits = measure_limits(bench.device, 200 if sizes is PAPER else 4, 1024, 5.0, 10)
    frame = 64 if options.small else options.frame
    rows = measure(bench, (frame, frame), options.seconds)
    if not options.stages_only:
        rows += running_rows(bench.limits, options.seconds)
    found = result(rows, bench.limits)
    text = f"{_limits_text(found)}\n\n{table(rows)}"
    print(text)
    files = [_RESULTS] if options.publish else []
    for file in (*files, *([options.json] if options.json is not None else [])):
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.publish:
        put(DOCS / "explanation" / "performance.md", "stages", text)
    if known:
        print(compare(known[0], found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
