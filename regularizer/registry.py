"""The regularizers by name, with one interface: (tomogram, spectrum) -> regularized tomogram.

none      the raw tomogram, unchanged
gp        Gerchberg-Papoulis iterations with non-negativity
tv-fast   20 split-Bregman iterations, or 10 that start from the last tomogram
tv        100 split-Bregman iterations, the reference of the quality check
auto      total variation with mu and the number of iterations chosen from the scan's noise
deep      20 iterations (4 from the last tomogram) corrected by a network: the live view's choice
multislice  total variation on the measured light, without the Rytov approximation: the reference

The names are listed in ``acquisition.choices.REGULARIZERS``, each with the function that makes it.
To add a regularizer, write a module with that function and add an entry there. Presets of total
variation and networks also go by their own names. Each regularizer takes a constraint on the sign
of the contrast, by default the one that the data show (``regularizer.constraint``).
"""

import importlib
import threading
from typing import TYPE_CHECKING

import torch

from acquisition.choices import REGULARIZERS, Constraint
from acquisition.errors import ConfigurationError
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.constraint import Constrained
from regularizer.interface import Progress, Regularizer, SignedRegularizer
from regularizer.networks.trained import NETWORKS
from regularizer.scattering.defect_correction import Corrected
from regularizer.total_variation.parameters import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METHODS", "bytes_per_voxel", "needs_fields", "regularizer"]

METHODS = tuple(REGULARIZERS)


def regularizer(
    name: str,
    device: str | torch.device = "cpu",
    *,
    warm: bool = False,
    uncertainty: bool = False,
    constraint: Constraint = "auto",
    corrections: int = 0,
) -> Regularizer:
    """Return the regularizer of that name.

    Parameters
    ----------
    name : str
        One of ``METHODS``, a preset of total variation, or a network.
    device : str or torch.device
    warm : bool
        Whether "tv-fast" and "deep" start from the last tomogram.
    uncertainty : bool
        Whether "deep" estimates the standard deviation of each voxel.
    constraint : "auto", "non-negative", "non-positive" or "none"
        Constraint on the sign of the contrast; "auto": the one that the data show.
    corrections : int
        How often the error of the Rytov approximation is taken off, at most; where there are any,
        spectra must carry their fields. "multislice" has its own, "none" none.

    Raises
    ------
    ConfigurationError
        If there is no regularizer or constraint of that name.
    DataError
        If the network's weights are missing or do not fit.
    """
    where = _maker(name)
    if not where:
        return _unchanged
    module, _, function = where.partition(":")
    make: Callable[..., SignedRegularizer] = getattr(importlib.import_module(module), function)
    made = make(name, device, warm=warm, uncertainty=uncertainty)
    if corrections and not needs_fields(name):
        made = Corrected(made, corrections)
    return Constrained(made, constraint)


def needs_fields(name: str, corrections: int = 0) -> bool:
    """Return whether a regularizer needs spectra that carry the fields they were made from."""
    choice = REGULARIZERS.get(name)
    return corrections > 0 or (choice is not None and choice.needs_fields)


def bytes_per_voxel(name: str) -> float:
    """Return a regularizer's peak memory beside the raw tomogram, in bytes per voxel."""
    largest = max(choice.bytes_per_voxel for choice in REGULARIZERS.values())
    return REGULARIZERS[name].bytes_per_voxel if name in REGULARIZERS else largest


def _maker(name: str) -> str:
    """Return "module:function" that makes a regularizer; "" for the raw tomogram."""
    if name in REGULARIZERS:
        return REGULARIZERS[name].make
    if name in NETWORKS:
        return REGULARIZERS["deep"].make
    if name in (*PRESETS, "quick"):
        return REGULARIZERS["tv"].make
    raise ConfigurationError(f"regularizer must be one of {', '.join(METHODS)}, got {name!r}")


def _unchanged(
    tomogram: Tomogram,
    spectrum: Spectrum,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Tomogram:
    return tomogram
