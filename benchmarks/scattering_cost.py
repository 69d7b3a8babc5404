"""What a correction of the Rytov error and a step of the multi-slice inversion cost, by box.

    python -m benchmarks scattering_cost [--rows NUMBER ...] [--again]

Makes the table of docs/explanation/scattering.md. Results are kept in
benchmarks/results/scattering_cost.json, and rows that were never measured say so.

Each row is a process of its own, so that its peak memory is its own. Times are processor time, in
seconds, the smallest of three; beside the light of a box stand the same transforms alone, by torch
and by pocketfft (SciPy), in the same threads. The parts are

light        the light of a contrast, forward through the slices
spectrum     what the reconstruction makes of that light
gradient     the light, and the adjoint back through the slices
TV           the 25 split-Bregman iterations of a step

The column of a correction is light and spectrum, a step is gradient and TV.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch

from acquisition.interferograms import InterferogramStack
from benchmarks.accuracy_cases import Sphere, View, record
from benchmarks.machine import machine, peak_mb
from benchmarks.pages import DOCS, markdown, put
from benchmarks.scattering_cases import sphere_contrast
from reconstruction.reconstructor import Reconstructor
from reconstruction.scattering.slice_model import SliceModel
from regularizer.scattering.full_inversion import ProximalStep
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.object_box import object_box

__all__ = ["Cost", "main", "measured"]

_PAGE = DOCS / "explanation" / "scattering.md"
_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = Path(__file__).parent / "results" / "scattering_cost.json"
_MARGIN_UM = 0.6  # as multislice has it
_TURNS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A sphere in a frame of so many pixels a side, and every n-th of the 49 angles."""

    radius_um: float
    every: int = 1
    frame: int = 256


_POINTS = (Point(1.0), Point(2.0), Point(3.5), Point(2.0, 2), Point(2.0, 4), Point(2.0, frame=384))


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of processor time of the parts; box and grid in voxels, peak memory in MB."""

    box: tuple[int, int, int]
    grid: tuple[int, int]
    angles: int
    light_s: float
    torch_s: float
    pocketfft_s: float
    spectrum_s: float
    gradient_s: float
    tv_s: float
    peak_mb: float


def measured(point: Point, turns: int = _TURNS) -> Cost:
    """Return what a point costs in this process."""
    sphere = Sphere(point.radius_um, 0.043)
    background, sample = record((sphere,), View(photons=5000.0, frame=point.frame))
    empty, lit = (_part(stack, point.every) for stack in (background, sample))
    spectrum = Reconstructor(empty, keep_fields=True)(lit).spectrum
    fields = spectrum.fields
    assert fields is not None
    truth = sphere_contrast(spectrum, sphere)
    box = object_box(truth, spectrum.voxel_size_um, _MARGIN_UM)
    assert box is not None
    contrast = truth[box.slices].contiguous()
    before = peak_mb()
    light = LightMisfit(fields, box)
    step = ProximalStep(light, contrast, spectrum.voxel_size_um, spectrum.optics)
    still = torch.zeros_like(contrast)
    scattered = light.light(contrast).scattered
    model = light.model
    works: dict[str, Callable[[], object]] = {
        "light_s": lambda: light.light(contrast),
        "torch_s": lambda: model.each(lambda angles: _transforms(model, angles)),
        "pocketfft_s": lambda: model.each(lambda angles: _pocketfft(model, angles)),
        "spectrum_s": lambda: fields.spectrum(scattered),
        "gradient_s": lambda: light.gradient(contrast),
        "tv_s": lambda: step(contrast, still),
    }
    best = dict.fromkeys(works, np.inf)
    for _ in range(turns):  # in turn, so that they share what else the machine does
        for name, work in works.items():
            begin = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - begin)
    return Cost(box.shape, model.grid, len(model), peak_mb=peak_mb() - before, **best)


def _part(stack: InterferogramStack, every: int) -> InterferogramStack:
    assert stack.illumination_k is not None
    return InterferogramStack(stack.frames[::every], stack.optics, stack.illumination_k[::every])


def _shapes(model: SliceModel, angles: slice) -> tuple[int, int, int, int]:
    """Return angles, rows and columns of the box, and the grid's columns."""
    return len(model.k[angles]), *model.box.shape[1:], model.grid[1]


def _transforms(model: SliceModel, angles: slice) -> None:
    """Run the transforms of ``SliceModel.scatter`` alone, by torch."""
    count, rows, columns, wide = _shapes(model, angles)
    field = torch.ones((count, *model.grid), dtype=model.dtype)
    for _ in range(model.box.shape[0]):
        inside = torch.fft.ifft(torch.fft.ifft(field, dim=-2)[:, :rows], dim=-1)[:, :, :columns]
        field = torch.fft.fft(torch.fft.fft(inside, n=wide, dim=-1), n=model.grid[0], dim=-2)


def _pocketfft(model: SliceModel, angles: slice) -> None:
    """Run the transforms of ``SliceModel.scatter`` alone, by SciPy's pocketfft."""
    count, rows, columns, wide = _shapes(model, angles)
    field = np.ones((count, *model.grid), np.complex64)
    for _ in range(model.box.shape[0]):
        inside = scipy.fft.ifft(scipy.fft.ifft(field, axis=-2)[:, :rows], axis=-1)[:, :, :columns]
        field = scipy.fft.fft(scipy.fft.fft(inside, n=wide, axis=-1), n=model.grid[0], axis=-2)


def _apart(point: Point) -> Cost:
    """Measure a point in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scattering_cost", json.dumps(asdict(point))]
    out = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    return _cost(json.loads(out.strip().splitlines()[-1]))


def _cost(found: dict[str, Any]) -> Cost:
    box, grid = (tuple(found[name]) for name in ("box", "grid"))
    return Cost(**{**found, "box": box, "grid": grid})


def _row(point: Point, kept: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f"R {point.radius_um:g} um, frame {point.frame}, {-(-49 // point.every)} angles"
    if _name(point) not in kept:
        yield from ("not yet measured", *[""] * (len(_HEAD) - 1))
        return
    cost = _cost(kept[_name(point)])
    yield " x ".join(map(str, cost.box))
    yield " x ".join(map(str, cost.grid))
    yield f"{cost.light_s:.2f}"
    yield f"{100 * cost.torch_s / cost.light_s:.0f} %"
    yield f"{100 * cost.pocketfft_s / cost.light_s:.0f} %"
    yield f"{cost.spectrum_s:.2f}"
    yield f"{cost.light_s + cost.spectrum_s:.2f}"
    yield f"{cost.gradient_s:.2f}"
    yield f"{cost.tv_s:.2f}"
    yield f"{cost.gradient_s + cost.tv_s:.2f}"
    yield f"{cost.peak_mb:.0f}"


_HEAD = (
    "box", "grid", "light, s", "its transforms", "by pocketfft", "spectrum, s",
    "**correction, s**", "gradient, s", "TV, s", "**step, s**", "memory, MB",
)  # fmt: skip


def main(argv: Sequence[str] = ()) -> int:
    """Measure all points, or the one that is given as JSON, and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.scattering_cost", description=__doc__)
    parser.add_argument("point", nargs="?", help="JSON of a point: measured here, printed as JSON")
    numbers = range(1, len(_POINTS) + 1)
    parser.add_argument("--rows", type=int, nargs="+", choices=numbers, default=list(numbers))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args(argv)
    if options.point:
        print(json.dumps(asdict(measured(Point(**json.loads(options.point))))))
        return 0
    kept = json.loads(_RESULTS.read_text("utf-8")) if _RESULTS.exists() else {}
    for number in options.rows:
        point = _POINTS[number - 1]
        if options.again or _name(point) not in kept:
            kept[_name(point)] = asdict(_apart(point))
            _RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(" | ".join(_row(point, kept)), flush=True)
    put(_PAGE, "cost", markdown(("sphere",), _HEAD, (list(_row(one, kept)) for one in _POINTS)))
    print(f"machine: {machine()}; torch {torch.__version__}")
    return 0


def _name(point: Point) -> str:
    return json.dumps(asdict(point))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
