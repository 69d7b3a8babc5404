"""Draws the pictures of docs/explanation/performance.md: growth, and the paper's figure 6 on a CPU.

The curves of growth are those of the table in the page (``benchmarks growth`` measures it). Figure
6 of Ryu et al. 2021 compares the network with total variation (5 x 100 iterations of split Bregman)
on one GPU, at 64^3 and at 64 x 320 x 320. Beside it stand this project's network and iterations on
this machine's processor: processor time on one thread, which other programs hardly change, and no
time of a GPU. Times of iterations are those of ten, counted fifty-fold. ``--growth-only`` measures
nothing.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.gpu_scans import PAPER, Bench, size_text
from benchmarks.gpu_speeds import PAPER_MS
from benchmarks.machine import machine
from benchmarks.pages import DOCS
from files.figures.writing import save_figure
from reconstruction.tomogram import Spectrum
from regularizer.networks.inference import apply_whole
from regularizer.networks.trained import NETWORKS, best_network
from regularizer.total_variation.parameters import TvParameters
from regularizer.total_variation.split_bregman import SplitBregman

__all__ = ["growth_rows", "main"]

_PAGE = DOCS / "explanation" / "performance.md"
_IMAGES = DOCS / "images"
_DPI = 110.0
_TURNS, _ITERATIONS, _COUNTED = 3, 10, 500
_USUAL = ("256 x 256", "49", "64")  # frame, angles and slices, of which each curve changes one
_AXES = ("pixels of a frame's side", "angles", "slices")
Shape = tuple[int, int, int]


def growth_rows(page: str) -> list[list[str]]:
    """Return the cells of the table of growth in the page's text."""
    found = re.search(r"<!-- growth -->(.*?)<!-- /growth -->", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"{_PAGE} must have a table between <!-- growth --> and <!-- /growth -->")
    lines = [line for line in found[1].splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _draw_growth(rows: list[list[str]]) -> Figure:
    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row")
    for axis, name in enumerate(_AXES):
        others = [other for other in range(3) if other != axis]
        chosen = [row for row in rows if all(row[o] == _USUAL[o] for o in others)]
        chosen.sort(key=lambda row: _number(row[axis]))
        at = [_number(row[axis]) for row in chosen]
        times, memory = panels[0, axis], panels[1, axis]
        for column, label in ((5, "raw"), (6, "deep, cold")):
            times.plot(at, [_number(row[column]) for row in chosen], "o-", label=label)
        for column, label in ((7, "measured"), (8, "estimated")):
            memory.plot(at, [_number(row[column]) for row in chosen], "o-", label=label)
        memory.set_xlabel(name)
    panels[0, 0].set_ylabel("time, ms")
    panels[1, 0].set_ylabel("memory, MB")
    for panel in panels.flat:
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0, 0].legend()
    panels[1, 0].legend()
    return figure


def _number(cell: str) -> float:
    return float(cell.split(" ")[0])


def _network(shape: Shape) -> float:
    """Return the processor time of the network on a volume, ms on one thread."""
    bench = Bench(torch.device("cpu"), PAPER)
    name = best_network(bench.device)
    seen, network = torch.rand(len(NETWORKS[name].channels), *shape), bench.engine(name)

    def run() -> None:
        with torch.inference_mode():
            apply_whole(network, seen, NETWORKS[name].multiple)

    return _processor_ms(run)


def _bregman(shape: Shape) -> float:
    """Return the processor time of 5 x 100 iterations, ms on one thread."""
    z, y, x = shape
    values = torch.fft.rfftn(torch.rand(shape), norm="ortho")
    measured = (torch.rand(z, y, x // 2 + 1) < 0.1).float()
    optics = Bench(torch.device("cpu"), PAPER).scan((256, 256))[1].optics
    spectrum = Spectrum(values * measured, measured, shape, (0.2, 0.1, 0.1), optics)
    solver = SplitBregman(spectrum, TvParameters(1, _ITERATIONS, 50.0, 50.0, 1.0))
    return _processor_ms(lambda: solver.run()) * _COUNTED / _ITERATIONS


def _processor_ms(run: Callable[[], object]) -> float:
    run()  # what is loaded at a first time
    times = []
    for _ in range(_TURNS):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return 1e3 * min(times)


def _draw_figure_6(ours: dict[tuple[str, Shape], float]) -> Figure:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    panel = figure.subplots()
    places = np.arange(len(ours))
    for offset, times, label in (
        (-0.2, [PAPER_MS[task] for task in ours], "Ryu et al. 2021, one GPU"),
        (0.2, list(ours.values()), "LiveTomo, CPU, one thread (processor time)"),
    ):
        bars = panel.bar(places + offset, [t / 1e3 for t in times], 0.4, label=label)
        panel.bar_label(bars, [f"{t / 1e3:.3g} s" for t in times], fontsize=8)
    panel.set_yscale("log")
    panel.set_ylim(top=panel.get_ylim()[1] * 4)
    panel.set_xticks(places, [f"{what}\n{size_text(shape)}" for what, shape in ours])
    panel.set_ylabel("time, s")
    panel.set_title(f"{machine()}: no GPU was used", fontsize=9)
    panel.legend(fontsize=8)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Draw growth.png and figure-6.png in docs/images/."""
    parser = argparse.ArgumentParser(
        prog="benchmarks performance_pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--growth-only", action="store_true", help="see above")
    parser.add_argument("--folder", type=Path, default=_IMAGES, help="where the pictures go")
    options = parser.parse_args(argv)
    rows = growth_rows(_PAGE.read_text("utf-8"))
    save_figure(_draw_growth(rows), options.folder / "growth.png", _DPI)
    if options.growth_only:
        return 0
    torch.set_num_threads(1)
    measures = {"network": _network, "5 x 100 iterations": _bregman}
    ours = {(what, shape): measures[what](shape) for what, shape in PAPER_MS}
    for (what, shape), ms in ours.items():
        print(f"{what}, {size_text(shape)}: {ms:.0f} ms, paper {PAPER_MS[what, shape]:.0f} ms")
    save_figure(_draw_figure_6(ours), options.folder / "figure-6.png", _DPI)
    return 0


if __name__ == "__main__":
    sys.exit(main())
