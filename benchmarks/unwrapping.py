"""Phase unwrapping compared with scikit-image's: pixels off by whole turns, and time.

Both run on one thread, on the same frames, in one run; the best of three times counts. The fields
are computed and their truth is known. With LIVETOMO_DATA (or --data) two measurements are added, on
which the two unwrappers are compared with each other.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from acquisition.errors import ConfigurationError
from benchmarks.machine import machine
from benchmarks.unwrapping_fields import Case, computed_cases, measured_cases
from files.figures.panels import ColourScale, Overlaid, Panel
from files.pictures import draw_panels, write_png
from reconstruction.unwrap import residues, unwrap, unwrap_frames, weighted_turns

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main", "measure"]

_RESULT = Path(__file__).parent / "results" / "unwrapping.txt"
_TURN = 2 * math.pi
_RED = np.array([(0, 0, 0, 0), (230, 60, 50, 255)], np.uint8)
_PICTURES = {  # file: cases, and how much larger a pixel is drawn
    "unwrapping-cell.png": (["HL60 cell, hologram"], 3),
    "unwrapping-spheres.png": (
        ["sphere 3.0 um, 1.45, band noise 0.1", "sphere 5.0 um, 1.417, band noise 0.1"],
        1,
    ),
    "unwrapping-noise.png": (
        ["hills, noise 0.65", "steep hills (2.3 rad a pixel), noise 0.5"],
        1,
    ),
    "unwrapping-vortices.png": (["8 vortex pairs, noise 0.2", "hills, dark spot, noise 0.12"], 1),
}

_T = TypeVar("_T")
Figures = dict[str, float | str | None]


def measure(case: Case) -> tuple[Figures, torch.Tensor, torch.Tensor]:
    """Return the figures of a case, its frames unwrapped here and by scikit-image."""
    phase, amplitude = case.fields.angle(), case.fields.abs()
    here, here_s = _timed(lambda: unwrap_frames(phase, amplitude))
    peer, peer_s = _timed(lambda: _scikit_image(phase))
    frames = len(phase)
    figures: Figures = {
        "name": case.name,
        "residues": float(here.residues.float().mean()),
        "ms": 1000 * here_s / frames,
        "peer_ms": 1000 * peer_s / frames,
    }
    if case.truth is None:
        figures |= {"differs": _off(here.phase, peer)}
    else:
        figures |= {
            "off": _off(here.phase, case.truth),
            "off_without_amplitude": _off(unwrap(phase), case.truth),
            "off_least_squares": _off(
                phase + _TURN * weighted_turns(phase, iterations=1), case.truth
            ),
            "off_peer": _off(peer, case.truth),
        }
    return figures, here.phase, peer


def _scikit_image(phase: torch.Tensor) -> torch.Tensor:
    try:
        from skimage.restoration import unwrap_phase
    except ImportError as error:
        raise ConfigurationError(
            "this comparison needs scikit-image, which is not installed: pip install scikit-image"
        ) from error
    unwrapped: Callable[..., NDArray[np.float64]] = unwrap_phase
    frames = [unwrapped(frame.astype(np.float64), rng=0) for frame in phase.numpy()]
    return torch.tensor(np.stack(frames)).float()


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, best


def _wrong(phase: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return a mask of pixels off by whole turns, relative to the frame's most frequent turn."""
    turns = torch.round((phase - truth) / _TURN)
    return turns != turns.flatten(1).median(dim=1).values[:, None, None]


def _off(phase: torch.Tensor, truth: torch.Tensor) -> float:
    return 100 * float(_wrong(phase, truth).float().mean())


def _report(rows: Sequence[Figures]) -> str:
    known = [row for row in rows if "off" in row]
    measured = [row for row in rows if "differs" in row]
    title = f"{'':<42}{'residues':>9}"
    lines = [
        "Phase unwrapping: pixels off by whole turns (%), ms a frame",
        f"machine: {machine()}, one thread",
        "",
        f"{title}{'here':>8}{'no amp.':>8}{'least sq.':>10}{'skimage':>8}{'ms':>7}"
        f"{'skimage ms':>11}",
    ]
    lines += [
        f"{row['name']:<42}{row['residues']:9.1f}{row['off']:8.2f}"
        f"{row['off_without_amplitude']:8.2f}{row['off_least_squares']:10.2f}"
        f"{row['off_peer']:8.2f}{row['ms']:7.2f}{row['peer_ms']:11.2f}"
        for row in known
    ]
    if measured:
        lines += ["", f"{title}{'differs from skimage':>26}{'ms':>15}{'skimage ms':>11}"]
    lines += [
        f"{row['name']:<42}{row['residues']:9.1f}{row['differs']:26.2f}"
        f"{row['ms']:15.2f}{row['peer_ms']:11.2f}"
        for row in measured
    ]
    return "\n".join(lines)


def _row(case: Case, here: torch.Tensor, peer: torch.Tensor) -> list[tuple[str, Panel]]:
    """Return the panels of the first frame: amplitude, wrapped, LiveTomo, scikit-image."""
    field = case.fields[:1]
    truth = here if case.truth is None else case.truth
    low, high = (float(truth[0].quantile(q)) for q in (0.001, 0.999))
    limits = (low - 0.05 * (high - low), high + 0.05 * (high - low))
    torn = torch.nn.functional.pad(residues(field.angle()) != 0, (0, 1, 0, 1))
    none = torch.zeros_like(torn)
    span = f"{round(limits[0])} to {round(limits[1])} rad"
    peer = peer[:1] - _TURN * torch.round((peer[:1] - truth[:1]) / _TURN).median()
    here = here[:1] - _TURN * torch.round((here[:1] - truth[:1]) / _TURN).median()
    panels = [
        (f"{case.name}\namplitude, 0 to 2", field.abs(), (0.0, 2.0), none),
        ("wrapped, residues in red", field.angle(), (-math.pi, math.pi), torn),
        (f"LiveTomo, {span}", here, limits, _wrong(here, truth[:1])),
        ("scikit-image, wrong turns in red", peer, limits, _wrong(peer, truth[:1])),
    ]
    return [(name, _panel(v[0], limits, marks[0])) for name, v, limits, marks in panels]


def _panel(values: torch.Tensor, limits: tuple[float, float], red: torch.Tensor) -> Panel:
    """Return values in grey with marked pixels in red."""
    rows, columns = values.shape
    marks = Overlaid(red.numpy().astype(np.float32), ColourScale(0, 1, colours=_RED))
    grey = ColourScale(*limits, colours="gray")
    edges = (0.0, float(columns), 0.0, float(rows))
    return Panel(values.numpy(), grey, edges, overlaid=[marks], smooth=False)


def _draw(rows: dict[str, list[tuple[str, Panel]]], folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (cases, zoom) in _PICTURES.items():
        if drawn := [rows[case] for case in cases if case in rows]:
            write_png(folder / name, draw_panels(drawn, zoom))
            yield folder / name


def main(argv: Sequence[str] = ()) -> int:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="benchmarks.unwrapping", description=__doc__)
    parser.add_argument("--figures", type=Path, help="a folder to draw pictures into")
    parser.add_argument("--data", type=Path, default=os.environ.get("LIVETOMO_DATA"))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(argv)
    wanted = {case for cases, _ in _PICTURES.values() for case in cases}
    rows, drawn = [], {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cases = [*computed_cases(), *(measured_cases(options.data) if options.data else ())]
    for case in cases:
        figures, here, peer = measure(case)
        rows.append(figures)
        if case.name in wanted:
            drawn[case.name] = _row(case, here, peer)
    torch.set_num_threads(threads)
    report = _report(rows)
    print(json.dumps({"machine": machine(), "rows": rows}) if options.json else report)
    if options.figures:
        print(*_draw(drawn, options.figures), sep="\n", file=sys.stderr)
    _RESULT.parent.mkdir(exist_ok=True)
    _RESULT.write_text(report + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
