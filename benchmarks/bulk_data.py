"""Compares training samples in bulk with simulated scans, and their times.

The table is in docs/explanation/networks.md.

    python -m benchmarks bulk_data

Both use the same objects and the optics of the preset "cell". Without noise: the relative
difference of the spectra, for the object and for one with a twentieth of its contrast, where the
Rytov approximation holds. With noise: its norm (``Spectrum.noise`` times that of the values), means
over four camera seeds. Times are for one thread, without total variation.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from acquisition.illumination.angles import preset
from acquisition.simulation.phantom import Phantom
from benchmarks.pages import DOCS, make_tables, markdown
from reconstruction.tomogram import Spectrum
from regularizer.training.bulk_samples import EmptyScan, bulk_sample, measured_spectrum
from regularizer.training.training_data import KINDS, draw_phantom, draw_position, make_sample
from tests.scans import perfect_scan

__all__ = ["main"]

_KINDS = ("bead", "cell", "fatty", "adherent", "random", "several")  # all seen by these optics
_SEEDS = range(3000, 3004)
_FRAME = 192
_WEAK = 0.05

_Made = TypeVar("_Made")


def bulk() -> str:
    """Return the table of agreement and times."""
    chosen = preset("cell")
    scans = [EmptyScan(chosen, seed, _FRAME) for seed in _SEEDS]
    rows = []
    for kind in _KINDS:
        weak, strong = (_difference(scans[0], kind, part) for part in (_WEAK, 1.0))
        real, real_s = _timed(lambda: [make_sample(kind, s, _FRAME, tv=False) for s in _SEEDS])  # noqa: B023  # called at once
        made, made_s = _timed(
            lambda: [bulk_sample(scan, kind, s) for scan, s in zip(scans, _SEEDS, strict=True)]  # noqa: B023  # called at once
        )
        noises = (np.mean([_noise(sample.spectrum) for sample in part]) for part in (real, made))
        times = (real_s / len(_SEEDS), made_s / len(_SEEDS))
        rows.append(
            [kind, f"{weak:.3f}", f"{strong:.3f}", *(f"{noise:.2f}" for noise in noises),
             *(f"{t:.2f}" for t in times), f"{real_s / made_s:.1f}"]
        )  # fmt: skip
    _, planning_s = _timed(lambda: EmptyScan(chosen, _SEEDS[0], _FRAME))
    print(f"planning a geometry, once for all kinds: {planning_s:.2f} s")
    figures = ("weak", "as it is", "noise, scan", "noise, bulk", "scan, s", "bulk, s", "ratio")
    return markdown(("object",), figures, rows)


def _difference(scan: EmptyScan, kind: str, part: float) -> float:
    """Return ||bulk - scan|| / ||scan|| without noise, of an object with scaled contrast."""
    rng = np.random.default_rng([_SEEDS[0], KINDS.index(kind)])
    chosen = preset("cell")
    pixel = chosen.optics.pixel_size_um
    phantom = draw_phantom(kind, (2 * pixel, pixel, pixel), rng)
    phantom = Phantom(phantom.contrast * np.float32(part), phantom.voxel_size_um)
    position_um = draw_position(rng)
    made = measured_spectrum(scan, phantom, position_um, noisy=False).values
    real = perfect_scan(phantom, position_um, chosen, _FRAME).spectrum.values
    return float(torch.linalg.vector_norm(made - real) / torch.linalg.vector_norm(real))


def _noise(spectrum: Spectrum) -> float:
    assert spectrum.noise is not None
    return spectrum.noise * float(torch.linalg.vector_norm(spectrum.values))


def _timed(work: Callable[[], _Made]) -> tuple[_Made, float]:
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def main(argv: Sequence[str]) -> int:
    """Make the table and write it into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks bulk_data", description=__doc__)
    torch.set_num_threads(1)
    return make_tables(DOCS / "explanation" / "networks.md", {"bulk": bulk}, {}, parser, argv)
