"""The regularizers by name, one interface: (tomogram, spectrum) -> regularized tomogram.

none      the raw tomogram as it is
gp        Gerchberg-Papoulis iterations with non-negativity: the classical repair
tv-fast   20 split-Bregman iterations, 10 from the last tomogram
tv        100 iterations, the reference of the quality check
auto      the same with mu and the number of iterations chosen by the scan's noise
deep      20 iterations (10 from the last tomogram), whose result a network then corrects: the
          choice for the live view

The names stand in ``acquisition.choices.REGULARIZERS``, each with the function that makes it:
a new one is a file with that function and an entry there. Presets of total variation and the
networks can be asked for by their own names. Each takes a constraint on the sign of the contrast,
by default the one that the data show (``regularizer.constraint``).
"""

import importlib
import threading
from typing import TYPE_CHECKING

import torch

from acquisition.choices import REGULARIZERS
from acquisition.errors import ConfigurationError
from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.constraint import Constrained, Constraint
from regularizer.interface import Progress, Regularizer, SignedRegularizer
from regularizer.networks.trained import NETWORKS
from regularizer.total_variation.parameters import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METHODS", "bytes_each_voxel", "regularizer"]

METHODS = tuple(REGULARIZERS)


def regularizer(
    name: str,
    device: str | torch.device = "cpu",
    *,
    warm: bool = False,
    uncertainty: bool = False,
    constraint: Constraint = "auto",
) -> Regularizer:
    """Return the regularizer of that name.

    Parameters
    ----------
    name : str
        One of ``METHODS``, a preset of total variation, or a network.
    device : str or torch.device
    warm : bool
        Whether "tv-fast" and "deep" go on from the last tomogram.
    uncertainty : bool
        Whether "deep" says how sure it is of each voxel.
    constraint : "auto", "non-negative", "non-positive" or "none"
        What may be taken for granted about the sign of the contrast; "auto": what the data show.

    Raises
    ------
    ConfigurationError
        If there is none of that name.
    DataError
        If the network's weights are missing or do not fit.
    """
    where = _where(name)
    if not where:
        return _unchanged
    module, _, function = where.partition(":")
    make: Callable[..., SignedRegularizer] = getattr(importlib.import_module(module), function)
    made = make(name, device, warm=warm, uncertainty=uncertainty)
    return Constrained(made, constraint)


def bytes_each_voxel(name: str) -> float:
    """Return how much memory a regularizer takes while it works, in bytes a voxel."""
    largest = max(choice.bytes_each_voxel for choice in REGULARIZERS.values())
    return REGULARIZERS[name].bytes_each_voxel if name in REGULARIZERS else largest


def _where(name: str) -> str:
    """Return "module:function" of what makes a regularizer; empty for the raw tomogram."""
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
