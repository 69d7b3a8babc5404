"""Quality of the regularizers: regenerates the tables of docs/explanation/regularizer.md.

    python -m benchmarks regularization [--data FOLDER] [--only TABLE ...]

Every table is between ``<!-- NAME -->`` and ``<!-- /NAME -->`` in docs/explanation/regularizer.md
and is replaced there. FOLDER (or LIVETOMO_DATA) holds the recording bead_exact and the map
hl60_cell; without it, their tables stay unchanged. ``launcher.py evaluate`` gives figures on
simulated objects outside the training.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from acquisition.configuration.microscope_file import load_configuration
from acquisition.illumination.angles import preset
from acquisition.microscope import open_microscope
from benchmarks.pages import DOCS, make_tables, markdown
from benchmarks.real_cell import hl60_phantom
from files.pictures import draw_grid, write_png
from reconstruction.reconstructor import Reconstruction, Reconstructor
from reconstruction.tomogram import Spectrum, index_from_contrast
from regularizer.metrics import compare, data_residual, relative_error
from regularizer.registry import regularizer
from regularizer.total_variation.automatic import automatic_parameters
from regularizer.total_variation.parameters import PARAMETERS, TvParameters
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.training.training_data import Sample, make_sample, simulate_sample
from tests.exact_bead import INDEX, RADIUS_UM, exact_bead
from tests.scans import correlation, distance_um

__all__ = ["main"]

_PAGE = DOCS / "explanation" / "regularizer.md"
_PICTURE = DOCS / "images" / "regularizers.png"
METHODS = ("none", "gp", "tv-fast", "tv", "auto", "beads", "s-pyogenes", "oci-aml3", "deep")
_NAMES = {"none": "raw", "beads": "the paper's, beads: 2 x 400, mu 10",
          "s-pyogenes": "the paper's, S. pyogenes: 5 x 100, mu 50",
          "oci-aml3": "the paper's, OCI-AML3: 3 x 60, mu 150"}  # fmt: skip
_TEST_SEEDS = (2000, 2001)  # outside the training


def _name(method: str) -> str:
    return _NAMES.get(method, f"`{method}`")


def sphere(data: Path) -> str:
    """Regularize the recording bead_exact by every method."""
    background, scan = exact_bead(data)
    result = Reconstructor(background)(scan)
    medium = result.spectrum.optics.medium_index

    def rows() -> Iterator[list[str]]:
        for method in METHODS:
            index = regularizer(method)(result.tomogram, result.spectrum).index
            yield [_name(method), *_sphere_figures(index, result)]
        for gradient in ("voxels", "micrometres"):
            parameters = replace(PARAMETERS["tv"], gradient=gradient)
            contrast = SplitBregman(result.spectrum, parameters).run()
            index = index_from_contrast(contrast, medium)
            yield [f"`tv`, gradient by {gradient}", *_sphere_figures(index, result)]

    figures = ("mean index", "axial width, um", "background std", "correlation", "residual")
    truth = ["truth", f"{INDEX:.4f}", f"{2 * RADIUS_UM:.2f}", "0", "1", ""]
    return markdown(("method",), figures, [*rows(), truth])


def _sphere_figures(index: torch.Tensor, result: Reconstruction) -> list[str]:
    spectrum = result.spectrum
    medium = spectrum.optics.medium_index
    r = distance_um(spectrum.shape, spectrum.voxel_size_um)
    exact = torch.where(r < RADIUS_UM, INDEX, medium)
    mean, spread = index[r < 0.7 * RADIUS_UM].mean(), index[r > 3 * RADIUS_UM].std()
    residual = data_residual((index / medium) ** 2 - 1, spectrum)
    return [
        f"{mean:.4f}",
        f"{_axial_width_um(index, spectrum):.2f}",
        f"{spread:.1e}",
        f"{correlation(index.flatten(), exact.flatten()):.3f}",
        f"{residual:.3f}",
    ]


def _axial_width_um(index: torch.Tensor, spectrum: Spectrum) -> float:
    """Return the full width at half of the true contrast, through the centre."""
    slices, rows, columns = index.shape
    z = (np.arange(slices) - slices // 2) * spectrum.voxel_size_um[0]
    fine = np.linspace(z[0], z[-1], 8000)
    profile = np.interp(fine, z, index[:, rows // 2, columns // 2].numpy())
    half = (spectrum.optics.medium_index + INDEX) / 2
    return float((profile > half).sum() * (fine[1] - fine[0]))


_AGAINST_TRUTH = ("SSIM", "MSE", "correlation", "error", "residual", "s")


def _against_truth(method: str, samples: Sequence[Sample]) -> list[str]:
    """Return the figures of a method, averaged over samples."""
    rows = []
    for sample in samples:
        medium = sample.spectrum.optics.medium_index
        apply = regularizer(method)
        begin = time.perf_counter()
        contrast = apply(sample.tomogram, sample.spectrum).contrast
        seconds = time.perf_counter() - begin
        metrics = compare(contrast, sample.truth, medium)
        residual = data_residual(contrast, sample.spectrum)
        wrong = relative_error(contrast, sample.truth)
        figures = (metrics.ssim, metrics.mse, metrics.correlation, wrong, residual, seconds)
        rows.append(figures)
    ssim, mse, corr, wrong, residual, seconds = np.mean(rows, axis=0)
    return [f"{ssim:.3f}", f"{mse:.1e}", f"{corr:.4f}", f"{wrong:.3f}", f"{residual:.3f}",
            f"{seconds:.2f}"]  # fmt: skip


def hl60(data: Path) -> str:
    """Regularize simulated scans of a real cell's index map by every method."""
    phantom = hl60_phantom(data)

    def rows() -> Iterator[list[str]]:
        for aperture, frame in (("cell", 320), ("bacteria", 192)):  # 26 and 23 um of view
            samples = [
                simulate_sample(
                    phantom, preset(aperture), "hl60", s, np.random.default_rng(s), frame
                )
                for s in _TEST_SEEDS
            ]
            for method in METHODS:
                yield [aperture, _name(method), *_against_truth(method, samples)]

    return markdown(("optics", "method"), _AGAINST_TRUTH, rows())


def picture() -> str:
    """Draw a cell by each method, with the errors; return the page's line."""
    sample = make_sample("cell", _TEST_SEEDS[0])
    raw = sample.tomogram
    medium = raw.optics.medium_index
    truth = index_from_contrast(sample.truth, medium).numpy()
    drawn, errors = [("truth", truth)], [("", np.full_like(truth, medium))]
    for method in ("none", "tv", "auto", "deep"):
        index = regularizer(method)(raw, sample.spectrum).index.numpy()
        drawn.append((_NAMES.get(method, method), index))
        errors.append(("error", medium + np.abs(index - truth)))
    write_png(_PICTURE, draw_grid([drawn, errors], truth, raw.voxel_size_um, medium))
    return f"![A simulated cell by each method, and the errors](../images/{_PICTURE.name})"


def outer() -> str:
    """Return the table over outer iterations on one cell: gain, and noise that comes back."""
    sample = make_sample("cell", _TEST_SEEDS[0])
    spectrum, truth = sample.spectrum, sample.truth
    empty = _far_from(truth)

    def rows() -> Iterator[list[str]]:
        for mu in (2.0, 20.0, 100.0):
            for count in (1, 2, 3, 5):
                found = SplitBregman(spectrum, TvParameters(count, 100, mu, 20.0, 1.0)).run()
                wrong, ssim = relative_error(found, truth), compare(found, truth).ssim
                yield [f"{mu:g}", str(count), f"{wrong:.3f}", f"{ssim:.3f}",
                       f"{found[empty].std():.1e}", f"{found.max():.3f}",
                       f"{data_residual(found, spectrum):.3f}"]  # fmt: skip
        yield ["truth", "", "0", "1", "0", f"{truth.max():.3f}",
               f"{data_residual(truth, spectrum):.3f}"]  # fmt: skip
        chosen = automatic_parameters(spectrum)
        print(f"noise {spectrum.noise:.3f}, automatic: {chosen}")

    figures = ("error", "SSIM", "background std", "highest contrast", "residual")
    return markdown(("mu", "outer"), figures, rows())


def _far_from(truth: torch.Tensor) -> torch.Tensor:
    """Return a mask (z, y, x) of voxels with no object within 8 voxels."""
    there = (truth > 0.02 * truth.max()).float()[None, None]
    near: torch.Tensor = torch.nn.functional.max_pool3d(there, 17, 1, 8)[0, 0]
    return near == 0


def gradient() -> str:
    """Return the table of gradients with and without weighting by the voxels' distance."""

    def rows() -> Iterator[list[str]]:
        for kind in ("cell", "cocci", "bead"):
            samples = [make_sample(kind, s, varied=v) for s in _TEST_SEEDS for v in (False, True)]
            for name in ("voxels", "micrometres"):
                errors = np.zeros((len(samples), len(_GRADIENT_MU)))
                for sample, row in zip(samples, errors, strict=True):
                    for column, mu in enumerate(_GRADIENT_MU):
                        how = replace(PARAMETERS["tv"], mu=mu, gradient=name)
                        row[column] = relative_error(
                            SplitBregman(sample.spectrum, how).run(), sample.truth
                        )
                best = errors.min(axis=1).mean()
                yield [kind, name, *(f"{e:.3f}" for e in errors.mean(axis=0)), f"{best:.3f}"]

    columns = [f"mu {mu:g}" for mu in _GRADIENT_MU]
    return markdown(("object", "gradient by"), (*columns, "each at its best mu"), rows())


_GRADIENT_MU = (5.0, 20.0, 80.0)


def live() -> str:
    """Return the table of warm and cold starts on a moving cell: distance to converged TV."""
    with open_microscope(load_configuration(None)) as microscope:
        reconstructor = Reconstructor(microscope.background())
        spectra, begin = [], time.monotonic()
        for number in range(_SCANS):
            time.sleep(max(begin + number * _PERIOD_S - time.monotonic(), 0.0))
            spectra.append(reconstructor(microscope.scan()).spectrum)
    fast = PARAMETERS["tv-fast"]
    converged = [SplitBregman(s, replace(fast, inner=200)).run() for s in spectra]
    last = len(spectra) - 1

    def rows() -> Iterator[list[str]]:
        for lag in (1, 2, 4, 8):
            before, now = spectra[last - lag], spectra[last]
            difference = torch.linalg.vector_norm(now.values - before.values)
            change = float(difference / torch.linalg.vector_norm(now.values))
            noise = np.hypot(before.noise or 0, now.noise or 0)
            cells = [f"{lag * _PERIOD_S:.1f}", f"{np.sqrt(max(change**2 - noise**2, 0)):.2f}"]
            for inner in (5, 10, 20):
                solver = SplitBregman(before, replace(fast, inner=100))
                solver.run()
                solver.parameters = replace(fast, inner=inner)
                solver.update_data(now)
                cells.append(f"{relative_error(solver.run(), converged[last]):.3f}")
            for inner in (10, 20):
                cold = SplitBregman(now, replace(fast, inner=inner)).run()
                cells.append(f"{relative_error(cold, converged[last]):.3f}")
            yield cells

    figures = ("change", "5, going on", "10, going on", "20, going on", "10 anew", "20 anew")
    return markdown(("s between scans",), figures, rows())


_SCANS, _PERIOD_S = 9, 0.7


def main(argv: Sequence[str] = ()) -> int:
    """Make the tables and write them into the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.regularization", description=__doc__)
    tables = {"picture": picture, "outer": outer, "gradient": gradient, "live": live}
    return make_tables(_PAGE, tables, {"sphere": sphere, "hl60": hl60}, parser, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
