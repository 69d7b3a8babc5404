"""What every regularizer has in common: how it is called, and what its result carries."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch

from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.metrics import data_residual, unexplained

__all__ = ["Progress", "Regularizer", "SignedRegularizer", "with_checked_contrast", "with_contrast"]

Progress = Callable[[int, int], None]  # called with (done, total)

_UNEXPLAINED = 0.6  # share of the measurement; 0.1 to 0.4 where the constraint fits the sample


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
    """A regularizer for non-negative contrast that can also run without that constraint."""

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        """Return the regularized tomogram; its index is at least the medium's unless unconstrained.

        Raises
        ------
        Stopped
            Soon after ``stop`` is set.
        """


def with_contrast(
    tomogram: Tomogram, contrast: torch.Tensor, spectrum: Spectrum, method: str
) -> Tomogram:
    """Return the tomogram with a new contrast (z, y, x) and its data residual.

    ``method`` is recorded in the provenance as "regularizer".
    """
    return replace(
        tomogram,
        index=index_from_contrast(contrast, tomogram.optics.medium_index),
        provenance={**tomogram.provenance, "regularizer": method},
        data_residual=data_residual(contrast, spectrum),
    )


def with_checked_contrast(
    tomogram: Tomogram, contrast: torch.Tensor, spectrum: Spectrum, method: str
) -> Tomogram:
    """Return ``with_contrast``, warning if 60 % or more of the measurement is unexplained."""
    result = with_contrast(tomogram, contrast, spectrum, method)
    missed = unexplained(result.data_residual, spectrum.noise)
    if missed < _UNEXPLAINED:
        return result
    return result.with_warning(
        f"the regularized tomogram leaves {100 * missed:.0f} % of the measurement unexplained: "
        "compare it with the raw one"
    )
