"""The regularizers by name, one interface: (tomogram, spectrum) -> regularized tomogram.

none      the raw tomogram as it is
gp        Gerchberg-Papoulis iterations with non-negativity: the classical repair
tv-fast   2 x 20 split-Bregman iterations: the live choice without a network
tv        100 iterations, the reference of the quality check
deep      network on the whole volume, finished by a few warm split-Bregman iterations on the
          measured spectrum: the network's guess is pushed back to what was measured
"""

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch

from acquisition.errors import ConfigurationError
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.gerchberg_papoulis import gerchberg_papoulis
from regularizer.inference import apply_occupied, apply_patches
from regularizer.networks import fold_batch_norm, shipped_network
from regularizer.total_variation import PARAMETERS, SplitBregman, TvParameters, fused_pass

__all__ = ["METHODS", "DeepRegularizer", "Regularizer", "TotalVariation", "regularizer"]

Progress = Callable[[int, int], None]

METHODS = ("none", "gp", "tv-fast", "tv", "deep")

FINISH_ITERATIONS = 4


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


def regularizer(
    name: str, device: str | torch.device = "cpu", *, finish: int = FINISH_ITERATIONS
) -> Regularizer:
    """Return the regularizer of that name; ``finish`` counts the iterations after the network.

    Raises
    ------
    ConfigurationError
        If there is none of that name.
    DataError
        If the network's weights are missing or do not fit.
    """
    if name == "none":
        return _unchanged
    if name == "gp":
        return _gerchberg_papoulis
    if name == "deep":
        return DeepRegularizer(device, finish=finish)
    if name in PARAMETERS:
        return TotalVariation(name, device)
    raise ConfigurationError(f"regularizer must be one of {', '.join(METHODS)}, got {name!r}")


def _unchanged(
    tomogram: Tomogram,
    spectrum: Spectrum,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Tomogram:
    return tomogram


def _gerchberg_papoulis(
    tomogram: Tomogram,
    spectrum: Spectrum,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Tomogram:
    contrast = gerchberg_papoulis(spectrum, progress=progress, stop=stop)
    return _with_contrast(tomogram, contrast, "Gerchberg-Papoulis, non-negative")


def _with_contrast(tomogram: Tomogram, contrast: torch.Tensor, how: str) -> Tomogram:
    index = index_from_contrast(contrast, tomogram.optics.medium_index)
    return replace(tomogram, index=index, provenance={**tomogram.provenance, "regularizer": how})


class TotalVariation:
    """Split Bregman with a named parameter set."""

    def __init__(self, name: str, device: str | torch.device = "cpu") -> None:
        self.name = name
        self.parameters = PARAMETERS[name]
        fused_pass(torch.device(device))  # compiled while loading, not with the first tomogram

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Tomogram:
        """Return the tomogram of least total variation that fits the measured spectrum."""
        contrast = SplitBregman(spectrum, self.parameters).run(progress, stop)
        return _with_contrast(tomogram, contrast, f"{self.name}: {self.parameters}")


class DeepRegularizer:
    """The shipped network, with a finish on the measured spectrum.

    Parameters
    ----------
    device : str or torch.device
    finish : int
        Warm split-Bregman iterations after the network; 0 leaves its output as it is.
    patches : bool
        Run on 64^3 patches with stride 32, as in the paper, instead of the part of the volume
        that holds objects in one go.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        *,
        finish: int = FINISH_ITERATIONS,
        patches: bool = False,
    ) -> None:
        network, self.about = shipped_network()
        self._network = fold_batch_norm(network).to(device)
        self._multiple = network.multiple
        self.finish = finish
        self.patches = patches
        fused_pass(torch.device(device))

    def contrast(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the network's contrast (z, y, x) for a raw one."""
        scale = max(float(raw.max()), math.ulp(1.0))
        with torch.inference_mode():
            if self.patches:
                return apply_patches(self._network, raw / scale) * scale
            return apply_occupied(self._network, raw / scale, self._multiple) * scale

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Tomogram:
        """Return the network's tomogram, finished where ``finish`` says so."""
        contrast = self.contrast(tomogram.contrast)
        how = f"deep: light-unet, validation MSE {self.about.get('validation_mse', 'unknown')}"
        if self.finish == 0:
            return _with_contrast(tomogram, contrast.clone(), how)
        parameters: TvParameters = replace(PARAMETERS["tv"], inner=self.finish)
        solver = SplitBregman(spectrum, parameters, scale=float(tomogram.contrast.max()))
        solver.start_from(contrast)
        return _with_contrast(tomogram, solver.run(progress, stop), f"{how}, finish {self.finish}")
