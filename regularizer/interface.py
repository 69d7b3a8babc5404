"""What every regularizer has in common: how it is called, and what its result carries."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch

from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.metrics import data_residual, unexplained

__all__ = ["Progress", "Regularizer", "SignedRegularizer", "checked", "with_contrast"]

Progress = Callable[[int, int], None]  # told (done, of)

_UNEXPLAINED = 0.6  # of the measurement; 0.1 to 0.4 where the constraint fits the sample


class Regularizer(Protocol):
    """Anything that regularizes a tomogram, given the spectrum it was made from."""

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Tomogram:
        """Return the regularized tomogram; raise Stopped soon after ``stop`` is set."""


class SignedRegularizer(Protocol):
    """A regularizer made for contrast that is not negative, which can do without that, too."""

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> Tomogram:
        """Return the regularized tomogram; unless ``free``, nowhere below the medium's index."""


def with_contrast(
    tomogram: Tomogram, contrast: torch.Tensor, spectrum: Spectrum, how: str
) -> Tomogram:
    """Return a tomogram with another contrast (z, y, x), made ``how``, and its data residual."""
    return replace(
        tomogram,
        index=index_from_contrast(contrast, tomogram.optics.medium_index),
        provenance={**tomogram.provenance, "regularizer": how},
        data_residual=data_residual(contrast, spectrum),
    )


def checked(tomogram: Tomogram, contrast: torch.Tensor, spectrum: Spectrum, how: str) -> Tomogram:
    """Return the result with a warning where it is far from what was measured."""
    result = with_contrast(tomogram, contrast, spectrum, how)
    missed = unexplained(result.data_residual, spectrum.noise)
    if missed < _UNEXPLAINED:
        return result
    return result.warned(
        f"the regularized tomogram leaves {100 * missed:.0f} % of the measurement unexplained: "
        "look at the raw one"
    )
