"""Wave vectors refined on exact spheres that were reconstructed with wrong ones.

The table "vectors" of ``python -m benchmarks scattering``: how far the wave vectors are from the
true ones, and what that does to the tomogram, as calibrated and refined.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_cases import Sphere, View, lit_by, record
from benchmarks.pages import markdown
from benchmarks.scattering_cases import sphere_contrast
from reconstruction.inversion import contrast_of
from reconstruction.reconstructor import Reconstructor
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.deep import DeepRegularizer
from regularizer.metrics import relative_error
from regularizer.registry import regularizer
from regularizer.scattering.defect_correction import fields_of
from regularizer.scattering.multislice_regularizer import MultisliceRegularizer
from regularizer.scattering.refined_vectors import refined

__all__ = ["CASES", "VectorsCase", "measured", "table"]

_METHODS = ("deep, 1 correction", "multislice")


@dataclass(frozen=True, slots=True)
class VectorsCase:
    """A sphere, and how wrong the wave vectors are that it is reconstructed with.

    Parameters
    ----------
    name : str
    sphere : Sphere
    view : View
        Where its illumination has moved since the background, that is what is wrong, too.
    off : float
        NA/wavelength: each is wrong by up to this along x and y,
    scale, shift : float, (x, y) in NA/wavelength
        after all were multiplied and shifted.
    """

    name: str
    sphere: Sphere
    view: View
    off: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def wrong(self, k: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
        """Return the wrong wave vectors (angles, 2) for those that the background shows."""
        error = np.random.default_rng(8).uniform(-self.off, self.off, k.shape)
        return k * self.scale + (error + self.shift) * cutoff


@dataclass(frozen=True, slots=True)
class _Result:
    """Errors as calibrated and refined.

    ``k_error`` is the rms distance of the wave vectors from the true ones, NA/wavelength; the
    others are relative errors of the contrast by method. ``seconds`` is processor time.
    """

    k_error: tuple[float, float]
    deep: tuple[float, float]
    multislice: tuple[float, float]
    seconds: float
    note: str


def _case(
    what: str,
    radius: float = 1.5,
    centre: tuple[float, float, float] = (0.8, -0.6, 0.5),
    photons: float = 5000.0,
    moved: float = 0.0,
    **wrong: Any,
) -> VectorsCase:
    noise = "" if photons == 5000 else f", {photons:g} photo-electrons"
    name = f"R {radius:g} um, n 1.380, centre {centre}{noise}: {what}"
    view = View("cell", photons, frame=160, moved=moved, cut=True)
    return VectorsCase(name, Sphere(radius, 0.043, centre), view, **wrong)


CASES = (
    _case("as calibrated"),
    _case("k off by up to 0.01", off=0.01),
    _case("k off by up to 0.003", off=0.003),
    _case("all k off by (0.006, -0.004)", shift=(0.006, -0.004)),
    _case("k 1 % too short", scale=0.99),
    _case("off by up to 0.01, 1 % too long, all by (0.004, 0.004)", off=0.01, scale=1.01,
          shift=(0.004, 0.004)),
    _case("k off by up to 0.01", photons=500.0, off=0.01),
    _case("light moved by up to 0.01 since the background", moved=0.01),
)  # fmt: skip


def measured(case: VectorsCase) -> dict[str, object]:
    """Return the results of a case, as JSON holds them."""
    background, sample = record((case.sphere,), case.view)
    made = Reconstructor(background, keep_fields=True)(sample)
    fields = fields_of(made.spectrum)
    cutoff = fields.optics.cutoff
    spectrum = fields.with_wave_vectors(
        case.wrong(fields.inversion.views.vectors.k, cutoff)
    ).own_spectrum()
    index = index_from_contrast(contrast_of(spectrum), made.tomogram.optics.medium_index)
    raw, true = replace(made.tomogram, index=index), lit_by(case.view)
    begin = time.process_time()
    tomogram, moved, vectors = refined(raw, spectrum)
    seconds = time.process_time() - begin
    before = _errors(case, raw, spectrum)
    after = _errors(case, tomogram, moved) if vectors.changed else before
    k_error = tuple(_rms(k - true) / cutoff for k in (vectors.calibrated, vectors.k))
    result = _Result(
        (k_error[0], k_error[1]),
        (before[0], after[0]),
        (before[1], after[1]),
        seconds,
        vectors.summary(),
    )
    return asdict(result)


def _errors(case: VectorsCase, raw: Tomogram, spectrum: Spectrum) -> tuple[float, float]:
    """Return the relative errors of ``_METHODS``."""
    truth = sphere_contrast(spectrum, case.sphere)
    start = regularizer("deep", corrections=1)(raw, spectrum)
    network = DeepRegularizer()
    found = MultisliceRegularizer(lambda *_, **__: start, network=network)(raw, spectrum)
    return relative_error(start.contrast, truth), relative_error(found.contrast, truth)


def _rms(difference: NDArray[np.float64]) -> float:
    return float(np.sqrt((difference**2).sum(axis=1).mean()))


def table(kept: Mapping[str, Mapping[str, object]]) -> str:
    """Return the table of all cases; what was not measured says so."""
    head = ("k error", "refined", *(f"{name}{r}" for name in _METHODS for r in ("", ", refined")))
    return markdown(("case",), (*head, "s"), (_row(case, kept.get(case.name)) for case in CASES))


def _row(case: VectorsCase, result: Mapping[str, object] | None) -> list[str]:
    if result is None:
        return [case.name, "not yet measured", *[""] * 6]
    cells = [case.name]
    for key, form in (("k_error", ".4f"), ("deep", ".3f"), ("multislice", ".3f")):
        pair = result[key]
        assert isinstance(pair, list | tuple)
        cells += [format(value, form) for value in pair]
    return [*cells, f"{result['seconds']:.0f}"]
