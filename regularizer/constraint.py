"""The sign of the contrast as a constraint: what a regularizer may take for granted about a sample.

Most samples are denser than their medium everywhere, and "contrast is not negative" fills much of
the missing cone. Air, water in oil and many vacuoles are lighter; forced to be positive they are
wiped out. Which holds is seen in the data: the plane Kz = 0 of the spectrum, which every scan
measures without a missing cone, is the contrast summed along the light path. What a lighter object
adds to that is negative, whatever the halos of the raw tomogram are.
"""

import threading
from dataclasses import replace
from typing import Literal, get_args

import torch

from acquisition.errors import ConfigurationError
from reconstruction.settings import ReconstructionSettings
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.interface import Progress, SignedRegularizer

__all__ = [
    "CONSTRAINTS",
    "Constrained",
    "Constraint",
    "check_constraint",
    "negative_of",
    "opposite_of",
    "oriented",
    "resolved",
    "share_below_medium",
]

Constraint = Literal["auto", "non-negative", "non-positive", "none"]
CONSTRAINTS: tuple[Constraint, ...] = get_args(Constraint)

_PART = 1 / 3  # of the highest sum: rings around an object reach a quarter of it
# Of the sums around the objects: what does not stand out by as much is none. Where noise and drift
# outweigh a faint sample, sums of the wrong sign reach 6.
_SIGMAS = 10.0
_CLEAR = 0.15  # share of the other sign that is still one sign; cells, beads, bacteria have 0.00


class Constrained:
    """A regularizer with a constraint on the sign of the contrast.

    Parameters
    ----------
    base : SignedRegularizer
    asked : "auto", "non-negative", "non-positive" or "none"
    """

    def __init__(self, base: SignedRegularizer, asked: Constraint = "auto") -> None:
        self.base, self.asked = base, asked

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Tomogram:
        """Return the regularized tomogram; it warns where the constraint is not the usual one."""
        constraint, note = resolved(self.asked, spectrum)
        if constraint == "non-positive":
            opposite = negative_of(tomogram), opposite_of(spectrum)
            made = negative_of(self.base(*opposite, progress, stop))
        else:
            made = self.base(tomogram, spectrum, progress, stop, free=constraint == "none")
        made = made.warned(note) if note else made
        return replace(made, provenance={**made.provenance, "constraint": constraint})


def check_constraint(name: str) -> Constraint:
    """Return the constraint of that name.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    for known in CONSTRAINTS:
        if name == known:
            return known
    raise ConfigurationError(f"constraint must be one of {', '.join(CONSTRAINTS)}, got {name!r}")


def oriented(settings: ReconstructionSettings, constraint: Constraint) -> ReconstructionSettings:
    """Return the settings with what a constraint says about objects of unknown orientation."""
    return replace(settings, objects="lighter") if constraint == "non-positive" else settings


def share_below_medium(spectrum: Spectrum) -> float | None:
    """Return how much of the contrast summed along the light path is negative, 0 to 1.

    None where nothing stands out of the noise.
    """
    _, y, x = spectrum.shape
    sums = torch.fft.irfft2(spectrum.values[0], s=(y, x), norm="ortho")
    size = sums.abs()
    highest = float(size.max())
    noise = 1.48 * float(size.median())  # of a field that is mostly empty
    if not highest > _SIGMAS * noise:
        return None
    objects = torch.where(size > max(_PART * highest, _SIGMAS * noise), sums, 0)
    below, whole = float(-objects.clamp_max(0).sum()), float(objects.abs().sum())
    return below / whole


def resolved(asked: Constraint, spectrum: Spectrum) -> tuple[Constraint, str]:
    """Return the constraint to regularize with, and a sentence for the user; "" where all is usual.

    "auto" is non-negative unless the data show clearly that there are lighter objects, too, or none
    but those.
    """
    below = share_below_medium(spectrum)
    if asked == "auto":
        return _by_evidence(below)
    against = {"non-negative": below, "non-positive": None if below is None else 1 - below}
    lost = against.get(asked)
    if lost is None or lost < _CLEAR:
        return asked, ""
    where = "below" if asked == "non-negative" else "above"
    return asked, (
        f"{100 * lost:.0f} % of the sample's contrast lies {where} the medium's index, the "
        f"{asked} constraint takes it away: choose the constraint auto or none"
    )


def _by_evidence(below: float | None) -> tuple[Constraint, str]:
    if below is None or below < _CLEAR:
        return "non-negative", ""
    if below > 1 - _CLEAR:
        return "non-positive", (
            "the sample is lighter than its medium and was regularized so; if it should be denser, "
            "the wave vectors have the wrong sign"
        )
    return "none", (
        "the sample has parts denser and parts lighter than its medium: regularized without a "
        "constraint on the sign"
    )


def opposite_of(spectrum: Spectrum) -> Spectrum:
    """Return the spectrum of the opposite contrast."""
    return replace(spectrum, values=-spectrum.values)


def negative_of(tomogram: Tomogram) -> Tomogram:
    """Return the tomogram of the opposite contrast."""
    index = index_from_contrast(-tomogram.contrast, tomogram.optics.medium_index)
    spread = tomogram.uncertainty
    if spread is not None:  # it is one of the contrast, dn = n_m^2 / (2 n) df
        spread = spread * (tomogram.index / index)
    return replace(tomogram, index=index, uncertainty=spread)
