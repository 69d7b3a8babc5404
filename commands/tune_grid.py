"""Draws the results of a grid of total-variation parameters, like figure S1 of the paper.

Rows are outer iterations, columns mu. The first panels are the raw tomogram, the automatic
parameters and, for a simulated sample, the truth. Each panel states its residual and errors.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from commands.progress import progress_bar
from files.disk import check_output
from files.pictures import draw_grid, write_png
from files.recording import read_recording
from pipeline.tomograms.torch_device import torch_device
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum, index_from_contrast
from regularizer.metrics import compare, data_residual, relative_error
from regularizer.total_variation.automatic import automatic_parameters
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.training_data import KINDS, make_sample

__all__ = ["run_tune"]

_TAU, _GAMMA = PARAMETERS["tv"].tau, PARAMETERS["tv"].gamma


@dataclass(frozen=True, slots=True)
class _Result:
    """One volume of the picture; the last three figures compare it with the truth, if known."""

    name: str
    outer: int
    inner: int
    mu: float
    iterations: int
    seconds: float
    highest_index: float
    residual: float
    ssim: float | None = None
    correlation: float | None = None
    error: float | None = None


Cells = list[tuple[_Result, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class _Sample:
    """A measured spectrum, and the truth if known."""

    name: str
    spectrum: Spectrum
    truth: torch.Tensor | None = None


def run_tune(
    recording: Path | None,
    output: Path,
    *,
    simulate: str = "cell",
    seed: int = 1,
    scan: int = 0,
    mus: Sequence[float] = (2.0, 10.0, 50.0, 150.0),
    outers: Sequence[int] = (1, 2, 5),
    inner: int = 100,
    device: str | None = None,
    as_json: bool = False,
) -> int:
    """Regularize one scan with a grid of parameters, draw the slices and print the figures.

    Parameters
    ----------
    recording : Path or None
        None: use a simulated sample.
    output : Path
        A new PNG picture.
    simulate : str
        Kind of the simulated sample: "cell", "cocci" or "bead".
    seed : int
        Of the simulated sample.
    scan : int
        Which scan of the recording.
    mus, outers : sequences
        The values of mu and the numbers of outer iterations.
    inner : int
        Inner iterations of each outer one.
    device : str or None
    as_json : bool
        Print the results as JSON.

    Returns
    -------
    int
        0; an error raises LiveTomoError.
    """
    check_output(output)
    sets = [[TvParameters(outer, inner, mu, _TAU, _GAMMA) for mu in mus] for outer in outers]
    if not sets or not sets[0]:
        raise ConfigurationError(
            "a grid must have at least one mu and one number of outer iterations"
        )
    with progress_bar("Parameters", len(mus) * len(outers) + 2) as bar:
        bar.say("the sample")
        sample = (
            _simulated(simulate, seed) if recording is None else _recorded(recording, scan, device)
        )
        bar.advance_to(1)
        first = [_raw(sample)]
        if sample.spectrum.noise is not None:
            first.append(_solved("auto", automatic_parameters(sample.spectrum), sample))
        bar.advance_to(2)
        rows: list[Cells] = []
        for number, row in enumerate(sets):
            rows.append([])
            for parameters in row:
                bar.say(f"{parameters.outer} x {parameters.inner}, mu {parameters.mu:g}")
                rows[-1].append(_solved("", parameters, sample))
                bar.advance_to(2 + number * len(mus) + len(rows[-1]))
    _draw(output, sample, first, rows)
    results = [result for result, _ in (*first, *(cell for row in rows for cell in row))]
    _print(sample, results, output, as_json)
    return 0


def _simulated(kind: str, seed: int) -> _Sample:
    if kind not in KINDS:
        raise ConfigurationError(
            f"a simulated sample must be one of {', '.join(KINDS)}, got {kind!r}"
        )
    made = make_sample(kind, seed, tv=False)
    return _Sample(f"simulated {kind} {seed}", made.spectrum, made.truth)


def _recorded(path: Path, scan: int, device: str | None) -> _Sample:
    source = read_recording(path)
    if not 0 <= scan < len(source):
        raise DataError(f"{path}: --scan must be 0 to {len(source) - 1}, got {scan}")
    reconstructor = Reconstructor(source.background, torch_device(device))
    stack = next(stack for stack in source.stacks() if stack.sequence == scan)
    return _Sample(f"{path.name}, scan {scan}", reconstructor(stack).spectrum)


def _raw(sample: _Sample) -> tuple[_Result, torch.Tensor]:
    contrast = contrast_of(sample.spectrum)
    return _figures("raw", None, 0, 0.0, contrast, sample), contrast


def _solved(name: str, parameters: TvParameters, sample: _Sample) -> tuple[_Result, torch.Tensor]:
    done: list[int] = []
    begin = time.perf_counter()
    contrast = SplitBregman(sample.spectrum, parameters).run(lambda i, of: done.append(i))
    seconds = time.perf_counter() - begin
    return _figures(name, parameters, len(done), seconds, contrast, sample), contrast


def _figures(
    name: str,
    parameters: TvParameters | None,
    iterations: int,
    seconds: float,
    contrast: torch.Tensor,
    sample: _Sample,
) -> _Result:
    medium = sample.spectrum.optics.medium_index
    outer, inner, mu = (
        (parameters.outer, parameters.inner, parameters.mu) if parameters else (0, 0, 0.0)
    )
    highest = float(index_from_contrast(contrast, medium).max())
    residual = data_residual(contrast, sample.spectrum)
    result = (name, outer, inner, mu, iterations, seconds, highest, residual)
    if sample.truth is None:
        return _Result(*result)
    metrics = compare(contrast, sample.truth, medium)
    error = relative_error(contrast, sample.truth)
    return _Result(*result, metrics.ssim, metrics.correlation, error)


def _draw(output: Path, sample: _Sample, first: Cells, rows: list[Cells]) -> None:
    spectrum = sample.spectrum
    medium = spectrum.optics.medium_index

    def index(contrast: torch.Tensor) -> NDArray[np.float32]:
        return np.asarray(index_from_contrast(contrast, medium).cpu().numpy())

    front = [(_title(result), index(contrast)) for result, contrast in first]
    if sample.truth is not None:
        front.append(("truth", index(sample.truth)))
    cells = [[(_title(result), index(contrast)) for result, contrast in row] for row in rows]
    size = max(len(row) for row in cells)
    cells = [front[i : i + size] for i in range(0, len(front), size)] + cells
    reference = front[-1][1] if len(front) > 1 else cells[-1][0][1]
    write_png(output, draw_grid(cells, reference, spectrum.voxel_size_um, medium))


def _title(result: _Result) -> str:
    name = result.name or f"{result.outer} x {result.inner} mu {result.mu:g}"
    name = f"auto: {result.outer} x mu {result.mu:g}" if result.name == "auto" else name
    if result.ssim is None:
        return f"{name}\nresidual {result.residual:.3f}"
    return f"{name}\nSSIM {result.ssim:.3f}\nerror {result.error:.3f}"


def _print(sample: _Sample, results: list[_Result], output: Path, as_json: bool) -> None:
    noise = sample.spectrum.noise
    if as_json:
        rows = [asdict(result) for result in results]
        print(
            json.dumps({"sample": sample.name, "noise": noise, "sets": rows, "output": str(output)})
        )
        return
    known = sample.truth is not None
    print(
        f"{sample.name}; noise of the spectrum: {'unknown' if noise is None else f'{noise:.3f}'}\n"
    )
    names = ["parameters", "iterations", "s", "highest RI", "residual"]
    names += ["SSIM", "correlation", "error"] if known else []
    print(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}")
    for result in results:
        print(f"| {' | '.join(_cells(result))} |")
    print(f"\nslices: {output}")


def _cells(result: _Result) -> list[str]:
    grid = f"{result.outer} x {result.inner}, mu {result.mu:g}" if result.outer else ""
    name = f"{result.name}: {grid}" if result.name and grid else result.name or grid
    cells = [name, str(result.iterations), f"{result.seconds:.2f}"]
    cells += [f"{result.highest_index:.4f}", f"{result.residual:.3f}"]
    if result.ssim is not None:
        cells += [f"{result.ssim:.3f}", f"{result.correlation:.4f}", f"{result.error:.3f}"]
    return cells
