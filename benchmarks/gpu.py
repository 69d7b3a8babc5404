"""Benchmark of LiveTomo on a GPU, in ten minutes: correctness, speed, and where the time goes.

    python -m benchmarks gpu [--minutes M] [--output FOLDER] [--device cuda]

Each step has its own time box. Tasks that do not fit are skipped, failures are reported with their
traceback, and ``FOLDER/gpu_NAME.md`` (JSON beside it) is written after each task. The steps are:

1. every stage on the device against the processor on the same input, and an exact sphere through
   all stages
2. the device's own limits: the rates of a copy and of a matrix product
3. times beside the minimum that these limits allow, and peak memory
4. profiles of the live path and of training steps

It needs only torch, numpy, scipy, h5py, safetensors and numba. On a processor (``--device cpu``)
everything is small, to test that it runs, not how fast.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.gpu_checks import sphere_tasks, stage_tasks
from benchmarks.gpu_clock import Limits, measure_limits
from benchmarks.gpu_profiles import profile_tasks
from benchmarks.gpu_report import Report, Result, Step, Task, run_steps
from benchmarks.gpu_scans import PAPER, SMALL, Bench, Sizes
from benchmarks.gpu_speeds import speed_tasks
from benchmarks.gpu_watch import run_watched
from benchmarks.machine import machine

__all__ = ["main", "steps"]

_RESULTS = Path(__file__).parent / "results"
_MINUTES = 6.0
_SKIPPED = "no GPU that torch can use: nothing is measured; --device cpu tries everything, small"


def steps(bench: Bench, report: Report) -> list[Step]:
    """Return all steps, with their shares of the minutes."""
    return [
        Step(
            "Right, stage by stage",
            "The same input on the device and on the processor.",
            0.2,
            stage_tasks(bench),
        ),
        Step(
            "Right, the whole way",
            "Interferograms of an exact sphere with shot noise; mean within 70 % of its radius.",
            0.1,
            sphere_tasks(bench),
        ),
        Step(
            "The device's limits", "", 0.05, [Task("limits", lambda s: _limits(bench, report, s))]
        ),
        Step(
            "Fast",
            "Medians of warm calls. Targets are for an H100, the paper's times from its figure 6.",
            0.45,
            speed_tasks(bench),
        ),
        Step("Where the time goes", "", 0.2, profile_tasks(bench)),
    ]


def _limits(bench: Bench, report: Report, limit_s: float) -> Result:
    sizes = bench.sizes
    found = measure_limits(bench.device, sizes.copied_mb, sizes.edge, limit_s, sizes.turns)
    bench.limits = found
    report.kept["limits"] = asdict(found)
    half = "bfloat16" if bench.device.type == "cuda" else "float32"
    rows: list[tuple[str, float, str]] = [
        ("copy on the device, read and written", found.copied / 1e9, "GB/s"),
        (f"matrix product, {half}", found.half / 1e12, "10^12 operations/s"),
        ("matrix product, float32", found.single / 1e12, "10^12 operations/s"),
        ("from the processor", found.uploaded / 1e9, "GB/s"),
        ("to the processor", found.downloaded / 1e9, "GB/s"),
    ]
    return Result([{"what": what, "unit": unit, "rate": rate} for what, rate, unit in rows])


def measure(device: torch.device, path: Path, minutes: float, sizes: Sizes) -> Report:
    """Run the steps that are not in the report at ``path`` yet, and return the report."""
    torch.manual_seed(0)
    bench = Bench(device, sizes)
    report = Report(path, _about(device, sizes is not PAPER, minutes), minutes)
    if report.kept["limits"] is not None:
        bench.limits = Limits(**report.kept["limits"])
    run_steps(steps(bench, report), report, lambda: _tidy(device))
    return report


def _about(device: torch.device, small: bool, minutes: float) -> dict[str, str]:
    about = {"device": _name(device)}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        about["its memory"] = f"{memory / 1e9:.0f} GB"
    about["processor"] = machine()
    about["torch"] = f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}"
    about["minutes"] = f"{minutes:g}"
    if small:
        about["sizes"] = "small: whether everything runs, not how fast it is"
    return about


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _tidy(device: torch.device) -> None:
    """Free the memory of the last task; raise if it left the GPU unusable."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def main(argv: Sequence[str]) -> int:
    """Measure in a separate process; return 1 if something failed or is wrong."""
    options = _options(argv)
    if options.device is None:
        print(_SKIPPED)
        return 0
    device = torch.device(options.device)
    folder = options.output or (_RESULTS if device.type == "cuda" else Path("runs"))
    path = (folder / f"gpu_{_name(device).lower().replace(' ', '_')}.json").resolve()
    if options.measure:
        measure(device, path, options.minutes, PAPER if device.type == "cuda" else SMALL)
        return 0
    path.unlink(missing_ok=True)
    # ending this process ends the measuring one as well
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    command = [sys.executable, "-m", "benchmarks", "gpu", "--measure"]
    command += ["--minutes", str(options.minutes), "--device", str(device)]
    report = run_watched([*command, "--output", str(path.parent)], path, 6 * options.minutes)
    if report is None:
        print("the measuring process did not start: see its messages above")
        return 1
    print(f"{report.markdown()}\nwritten to {path.with_suffix('.md')}")
    return int(not report.kept["ended"] or report.count("failed", "wrong") > 0)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("benchmarks gpu", description=__doc__, formatter_class=how)
    parser.add_argument("--minutes", type=float, default=_MINUTES, help=f"default {_MINUTES:g}")
    parser.add_argument("--output", type=Path, help="folder; benchmarks/results, or runs on a "
                        "processor, if not given")  # fmt: skip
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else None)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
