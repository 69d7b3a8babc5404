"""Rate of regularized tomograms in the live pipeline, and the time of each stage.

The whole instrument runs: simulated microscope, sockets, reconstruction, regularizer, and a client
instead of the window. It is compared with the machine's own limit in the same run: the rate of the
real 3D transforms of one tomogram (forward and inverse). The processor time that each process takes
for a tomogram is compared with that of a pair of transforms on one thread; that ratio hardly
depends on what else the machine does. With ``--quality`` the rates with and without the quality
check are measured alternately and compared, with ``--measuring`` those with and without the
measuring of objects, with ``--window`` those with the real window open (on a virtual display where
there is none), its table of objects shown and objects measured, and without all of that.
"""

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.machine import machine
from pipeline.live.supervisor import Instrument
from pipeline.wire.state import MeasuringRequest, Phase, TomogramView
from ui.display import leave_display, virtual_display

__all__ = ["Run", "after_last_frame_s", "followed", "main", "measure", "transform_rate"]

_RESULTS = Path(__file__).parent / "results"
# what is compared: its title, what of ``followed`` it switches, what it makes, and the rate of that
_COMPARED = {
    "quality": ("the quality check", ("quality",), "a quality report", "checks_per_s"),
    "measuring": ("measuring of objects", ("measuring",), "a measured tomogram", "measured_per_s"),
    "window": (
        "the window and measuring of objects",
        ("window", "measuring"),
        "a measured tomogram",
        "measured_per_s",
    ),
}
_POLL_MS = 5  # of this program's client, between the window's events


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of a running instrument, after its first three tomograms.

    ``gaps_s`` are the times from one tomogram to the next, ``used_s`` is the processor time of each
    process, ``pairs_s`` that of transform pairs, and the counts are of reports and of scans.
    """

    views: list[TomogramView]
    gaps_s: list[float]
    elapsed_s: float
    used_s: dict[str, float]
    pairs_s: list[float]
    checks: int
    measured: int
    skipped: int


def followed(
    regularizer: str,
    seconds: float,
    microscope: Path | None = None,
    *,
    quality: bool = True,
    measuring: bool = False,
    window: bool = False,
    at_least: int = 1,
) -> Run:
    """Run the instrument for some time, and for ``at_least`` so many tomograms; follow it."""
    running = Instrument(microscope, regularizer=regularizer, quality=quality)
    with (
        running as instrument,
        instrument.client() as client,
        _window(instrument, shown=window) as act,
    ):
        if measuring:
            client.set_measuring(MeasuringRequest(True))
        views: list[TomogramView] = []
        times: list[float] = []
        skipped = [0, 0]
        checks = measured = 0
        begin = None
        pairs_s: list[float] = []
        while begin is None or len(views) < 3 + at_least or time.monotonic() - begin < seconds:
            act()
            updates = client.poll(_POLL_MS if window else 100)
            state, view = updates.state, updates.tomogram
            checks += updates.quality is not None and begin is not None
            measured += updates.measured is not None and begin is not None
            if state is not None:
                if state.phase is Phase.FAILED:
                    raise RuntimeError(state.message)
                skipped[1] = state.skipped
            if view is None or view.method != regularizer:
                continue
            views.append(view)
            times.append(time.monotonic())
            pairs_s.append(_pair_processor_s(view.raw.shape))
            if len(views) == 3:  # the first ones load the network and touch the buffers
                begin, skipped[0] = time.monotonic(), skipped[1]
                used = _processor_s(instrument)
        used = {name: end - used.get(name, 0) for name, end in _processor_s(instrument).items()}
        elapsed = time.monotonic() - begin
    gaps = [after - before for before, after in itertools.pairwise(times[2:])]
    return Run(
        views[3:], gaps, elapsed, used, pairs_s[3:], checks, measured, skipped[1] - skipped[0]
    )


@contextmanager
def _window(instrument: Instrument, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Open the window with its table of objects, if it is to be shown; yield what lets it act."""
    if not shown:
        yield lambda: None
        return
    from PySide6.QtWidgets import QApplication

    from ui.window import Window

    application = QApplication.instance() or QApplication([])
    with instrument.client() as client:
        window = Window(client, title="live rate")
        window.resize(1280, 800)
        window.docks.toggle("objects")
        window.show()
        yield application.processEvents
        window.close()
        window.finish_commands()


def measure(
    regularizer: str, seconds: float, microscope: Path | None = None, **switched: bool
) -> dict[str, float]:
    """Return rates per second, and times of a tomogram in seconds: latency, stages, processor.

    ``switched`` are options of ``followed``.
    """
    run = followed(regularizer, seconds, microscope, **switched)
    counted = run.views
    figures = {
        "tomograms_per_s": len(counted) / run.elapsed_s,
        "latency_s": float(np.median([view.latency_s for view in counted])),
        "last_frame_s": float(np.median([after_last_frame_s(view) for view in counted])),
        "skipped_per_s": run.skipped / run.elapsed_s,
        "checks_per_s": run.checks / run.elapsed_s,
        "measured_per_s": run.measured / run.elapsed_s,
    }
    for stage in counted[0].stages_s:
        figures[f"{stage}_s"] = float(np.median([view.stages_s[stage] for view in counted]))
    for name, seconds_used in run.used_s.items():
        figures[f"{name}_processor_s"] = seconds_used / len(counted)
    figures["pair_processor_s"] = float(np.median(run.pairs_s))
    figures["transform_pairs_per_s"] = transform_rate(counted[0].raw.shape)
    return figures


def after_last_frame_s(view: TomogramView) -> float:
    """Return the time from the end of a tomogram's scan to its publication, in seconds."""
    return view.latency_s - view.stages_s["scan"]


def _processor_s(instrument: Instrument) -> dict[str, float]:
    """Return the processor time that each process has used, in seconds."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in instrument.pids.items()}
    return {name: float(used.user + used.system) for name, used in times.items()}


def _pair_processor_s(shape: tuple[int, ...]) -> float:
    """Return the processor time of a transform pair on one thread, in seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    volume = torch.rand(shape)
    start = time.thread_time()
    torch.fft.irfftn(torch.fft.rfftn(volume), s=shape)
    used = time.thread_time() - start
    torch.set_num_threads(threads)
    return used


def transform_rate(shape: tuple[int, ...]) -> float:
    """Return the rate of forward and inverse real transform pairs of a volume, per second."""
    volume = torch.rand(shape)
    pair = []
    for _ in range(12):
        start = time.perf_counter()
        torch.fft.irfftn(torch.fft.rfftn(volume), s=shape)
        pair.append(time.perf_counter() - start)
    return 1 / float(np.median(pair))


def _report(regularizer: str, figures: dict[str, float]) -> str:
    stages = ", ".join(
        f"{name[:-2]} {value:.2f} s"
        for name, value in figures.items()
        if name.endswith("_s")
        and not name.endswith(("per_s", "processor_s"))
        and name not in ("latency_s", "last_frame_s")
    )
    pair_s, last_s = figures["pair_processor_s"], figures["last_frame_s"]
    used = ", ".join(
        f"{name.removesuffix('_processor_s')} {value:.2f} s or {value / pair_s:.1f} pairs"
        for name, value in figures.items()
        if name.endswith("_processor_s") and name != "pair_processor_s"
    )
    return "\n".join(
        [
            f"Live pipeline, cell, 49 angles of 256 x 256, 64 slices, regularizer {regularizer}",
            f"machine: {machine()}",
            f"regularized tomograms: {figures['tomograms_per_s']:.2f} /s",
            f"latency, start of the scan to publication: {figures['latency_s']:.2f} s",
            f"of that from its last frame: {last_s:.2f} s or "
            f"{last_s * figures['transform_pairs_per_s']:.0f} bare transform pairs",
            f"where it goes: {stages}",
            f"scans passed over: {figures['skipped_per_s']:.1f} /s",
            f"bare transform pairs of the volume: {figures['transform_pairs_per_s']:.0f} /s, "
            f"{figures['transform_pairs_per_s'] / figures['tomograms_per_s']:.0f} per tomogram",
            f"processor time a tomogram: {used} (a pair: {1e3 * pair_s:.0f} ms on one thread)",
        ]
    )


def with_and_without(
    what: str, regularizer: str, seconds: float, microscope: Path | None, rounds: int
) -> str:
    """Measure alternately with and without what is compared; return the report."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    done = []
    title, switches, result, count = _COMPARED[what]
    for turn in range(rounds):
        for on in (True, False) if turn % 2 == 0 else (False, True):
            figures = measure(regularizer, seconds, microscope, **dict.fromkeys(switches, on))
            rates[on].append(figures["tomograms_per_s"])
            done += [figures[count]] * on
    with_it, without = (float(np.mean(rates[on])) for on in (True, False))
    each = {on: ", ".join(f"{rate:.2f}" for rate in rates[on]) for on in rates}
    return "\n".join(
        [
            f"Live pipeline with and without {title}, regularizer {regularizer}, "
            f"{rounds} turns of {seconds:g} s",
            f"machine: {machine()}",
            f"tomograms with it: {with_it:.3f} /s ({each[True]}), without: {without:.3f} /s "
            f"({each[False]}), ratio {with_it / without:.3f}",
            f"{result} every {1 / max(float(np.mean(done)), 1e-6):.1f} s",
        ]
    )


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.live_rate", description=__doc__)
    parser.add_argument("--regularizer", default="deep")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--microscope", type=Path, help="microscope.toml")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    text = "compare the rates with and without the quality check, in so many turns"
    parser.add_argument("--quality", type=int, metavar="TURNS", default=0, help=text)
    text = "compare the rates with and without measuring objects, in so many turns"
    parser.add_argument("--measuring", type=int, metavar="TURNS", default=0, help=text)
    text = "compare the rates with the window open and objects measured, and without"
    parser.add_argument("--window", type=int, metavar="TURNS", default=0, help=text)
    options = parser.parse_args(argv)
    for what in _COMPARED:
        if turns := getattr(options, what):
            how = (options.regularizer, options.seconds, options.microscope, turns)
            with virtual_display() as environment:
                os.environ.update(environment)
                report = with_and_without(what, *how)
                leave_display()
            print(report)
            name = f"live_rate_{options.regularizer}_{what}.txt"
            (_RESULTS / name).write_text(report + "\n", encoding="utf-8")
            return 0
    figures = measure(options.regularizer, options.seconds, options.microscope)
    report = _report(options.regularizer, figures)
    print(json.dumps(figures | {"machine": machine()}) if options.json else report)
    (_RESULTS / f"live_rate_{options.regularizer}.txt").write_text(report + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
