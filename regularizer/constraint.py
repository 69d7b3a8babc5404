"""The sign of the contrast as a constraint: what a regularizer may assume about a sample.

Most samples are denser than their medium everywhere, and "contrast is not negative" fills much of
the missing cone. Air, water in oil and many vacuoles are lighter; a positivity constraint removes
them. The data show which case holds: the plane Kz = 0 of the spectrum, which every scan measures
without a missing cone, is the contrast summed along the light path. A lighter object adds a
negative sum there, even where the raw tomogram has halos.
"""

import threading
from dataclasses import replace

import torch

from acquisition.choices import Constraint
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.interface import Progress, SignedRegularizer

__all__ = [
    "Constrained",
    "negated_spectrum",
    "negated_tomogram",
    "resolve_constraint",
    "share_below_medium",
    "with_objects",
]

_PART = 1 / 3  # of the highest sum: rings around an object reach a quarter of it
# An object's sums must exceed the noise around it by this factor. Where noise and drift outweigh a
# faint sample, sums of the wrong sign reach 6.
_SIGMAS = 10.0
_CLEAR = 0.15  # smaller shares of the other sign are ignored; cells, beads, bacteria have 0.00


class Constrained:
    """A regularizer with a constraint on the sign of the contrast.

    Parameters
    ----------
    base : SignedRegularizer
    requested : "auto", "non-negative", "non-positive" or "none"
    """

    def __init__(self, base: SignedRegularizer, requested: Constraint = "auto") -> None:
        self.base, self.requested = base, requested

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Tomogram:
        """Return the regularized tomogram.

        Its provenance names the constraint used, with a warning where that is not "non-negative"
        or contradicts the data.
        """
        constraint, note = resolve_constraint(self.requested, spectrum)
        if constraint == "non-positive":
            opposite = negated_tomogram(tomogram), negated_spectrum(spectrum)
            result = negated_tomogram(self.base(*opposite, progress, stop))
        else:
            result = self.base(
                tomogram, spectrum, progress, stop, unconstrained=constraint == "none"
            )
        result = result.with_warning(note) if note else result
        return replace(result, provenance={**result.provenance, "constraint": constraint})


def with_objects(
    settings: ReconstructionSettings, constraint: Constraint
) -> ReconstructionSettings:
    """Return the settings with ``objects`` "lighter" where the constraint is "non-positive"."""
    return replace(settings, objects="lighter") if constraint == "non-positive" else settings


def share_below_medium(spectrum: Spectrum) -> float | None:
    """Return the negative share, 0 to 1, of the contrast summed along the light path.

    None where no object stands out from the noise.
    """
    _, y, x = spectrum.shape
    sums = torch.fft.irfft2(spectrum.values[0], s=(y, x), norm="ortho")
    size = sums.abs()
    highest = float(size.max())
    noise = 1.48 * float(size.median())  # assumes a field that is mostly empty
    if not highest > _SIGMAS * noise:
        return None
    objects = torch.where(size > max(_PART * highest, _SIGMAS * noise), sums, 0)
    below, whole = float(-objects.clamp_max(0).sum()), float(objects.abs().sum())
    return below / whole


def resolve_constraint(requested: Constraint, spectrum: Spectrum) -> tuple[Constraint, str]:
    """Return the constraint to regularize with, and a warning for the user ("" if none is needed).

    "auto" becomes "non-negative" unless the data clearly show lighter objects: then "none" beside
    denser ones, "non-positive" where there are only lighter ones.
    """
    below = share_below_medium(spectrum)
    if requested == "auto":
        return _by_evidence(below)
    against = {"non-negative": below, "non-positive": None if below is None else 1 - below}
    lost = against.get(requested)
    if lost is None or lost < _CLEAR:
        return requested, ""
    where = "below" if requested == "non-negative" else "above"
    return requested, (
        f"{100 * lost:.0f} % of the sample's contrast lies {where} the medium's index, and the "
        f"{requested} constraint removes it: choose the constraint auto or none"
    )


def _by_evidence(below: float | None) -> tuple[Constraint, str]:
    if below is None or below < _CLEAR:
        return "non-negative", ""
    if below > 1 - _CLEAR:
        return "non-positive", (
            "the sample is lighter than its medium and was regularized as non-positive; if it "
            "should be denser, the wave vectors have the wrong sign"
        )
    return "none", (
        "the sample has parts denser and parts lighter than its medium: it was regularized without "
        "a constraint on the sign"
    )


def negated_spectrum(spectrum: Spectrum) -> Spectrum:
    """Return the spectrum of the negated contrast."""
    fields = None if spectrum.fields is None else spectrum.fields.negated()
    return replace(spectrum, values=-spectrum.values, fields=fields)


def negated_tomogram(tomogram: Tomogram) -> Tomogram:
    """Return the tomogram of the negated contrast, its uncertainty rescaled to the new index."""
    index = index_from_contrast(-tomogram.contrast, tomogram.optics.medium_index)
    spread = tomogram.uncertainty
    if spread is not None:  # the contrast's stays the same, and dn = n_m^2 / (2 n) df
        spread = spread * (tomogram.index / index)
    return replace(tomogram, index=index, uncertainty=spread)
