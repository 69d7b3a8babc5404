"""DeepRegularizer: a few iterations of total variation, whose result a network corrects.

Ryu et al., IEEE Trans. Med. Imaging 40(5), 2021, with networks of our own:
docs/explanation/networks.md.
"""

import threading
from dataclasses import replace
from pathlib import Path

import torch

from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.constraint import negative_of, opposite_of
from regularizer.interface import Progress, SignedRegularizer, with_contrast
from regularizer.metrics import unexplained
from regularizer.networks.engines import fastest
from regularizer.networks.inference import apply_occupied, apply_patches
from regularizer.networks.trained import best_network, load_network, network_input
from regularizer.total_variation.parameters import PARAMETERS
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.total_variation.total_variation import TotalVariation
from regularizer.training.trained_range import figures

__all__ = ["DeepRegularizer", "make"]


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return it as ``regularizer.registry`` asks for it: "deep", or the network of that name."""
    network = None if name == "deep" else name
    return DeepRegularizer(device, network, warm=warm, uncertainty=uncertainty)


class DeepRegularizer:
    """A shipped network, after the few iterations that it starts from.

    Parameters
    ----------
    device : str or torch.device
    network : str or None
        In ``regularizer.networks.trained.NETWORKS``; None: the best that is shipped for the device.
    weights : Path or None
        Their file; None: the shipped ones.
    warm : bool
        Whether the iterations before the network go on from the last tomogram.
    finish : int
        Warm split-Bregman iterations after the network.
    uncertainty : bool
        Whether the result has the standard deviation that the network expects of its error.
    patches : bool
        Run on 64^3 patches with stride 32, as in the paper, instead of the part of the volume
        that holds objects in one go. Networks that look at a whole patch always do.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        network: str | None = None,
        *,
        weights: Path | None = None,
        warm: bool = False,
        finish: int = 0,
        uncertainty: bool = False,
        patches: bool = False,
    ) -> None:
        device = torch.device(device)
        self.trained = load_network(network or best_network(device), weights)
        self._network = fastest(self.trained.network, device, doubt=uncertainty)
        self._quick = TotalVariation("quick", device, warm=warm)
        self.uncertainty = uncertainty
        self.finish = finish
        self.patches = patches or self.trained.recipe.patches

    def contrast(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the network's contrast (z, y, x), and its uncertainty where that is asked for."""
        seen, scale = network_input(
            tomogram.contrast,
            spectrum,
            self.trained.recipe.channels,
            lambda: self._quick.solved(tomogram, spectrum, progress, stop)[0],
        )
        with torch.inference_mode():
            if self.patches:
                found = apply_patches(self._network, seen)
            else:
                found = apply_occupied(self._network, seen, self.trained.recipe.multiple)
        contrast, *deviation = found * scale
        return contrast, deviation[0] if deviation else None

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> Tomogram:
        """Return the network's tomogram; its provenance warns of a scan outside the training."""
        if free:
            return self._both_signs(tomogram, spectrum, progress, stop)
        contrast, spread = self.contrast(tomogram, spectrum, progress, stop)
        how = self._how
        if self.finish:
            parameters = replace(PARAMETERS["tv"], inner=self.finish)
            solver = SplitBregman(spectrum, parameters, scale=float(tomogram.contrast.max()))
            solver.start_from(contrast)
            contrast, how = solver.run(progress, stop), f"{how}; finish {self.finish}"
        return self._told(tomogram, contrast, spectrum, how, spread)

    def _both_signs(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> Tomogram:
        """Return the tomogram of objects above and below the medium's index.

        The network knows contrast of one sign. So total variation without a constraint tells the
        two kinds of objects apart; each is then seen by the network alone, what the other one
        scatters taken off the measured spectrum.
        """
        start, _ = self._quick.solved(tomogram, spectrum, progress, stop, free=True)
        above, spread = self._alone(tomogram, spectrum, start.clamp_max(0), stop)
        below, other = self._alone(negative_of(tomogram), opposite_of(spectrum), -above, stop)
        if spread is not None and other is not None:
            spread = torch.maximum(spread, other)
        return self._told(tomogram, above - below, spectrum, f"{self._how}; both signs", spread)

    def _alone(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        others: torch.Tensor,
        stop: threading.Event | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the network's contrast of the objects that are not ``others`` (z, y, x)."""
        scattered = torch.fft.rfftn(torch.fft.ifftshift(others), norm="ortho")
        values = spectrum.values - scattered * (spectrum.measured > 0)
        rest = replace(spectrum, values=values)
        index = index_from_contrast(contrast_of(rest), tomogram.optics.medium_index)
        return self.contrast(replace(tomogram, index=index), rest, None, stop)

    @property
    def _how(self) -> str:
        return f"deep: {self.trained.name}, trained on {self.trained.about['training_data']}"

    def _told(
        self,
        tomogram: Tomogram,
        contrast: torch.Tensor,
        spectrum: Spectrum,
        how: str,
        spread: torch.Tensor | None,
    ) -> Tomogram:
        """Return the result with what is to be said of it."""
        result = with_contrast(tomogram, contrast, spectrum, how)
        found = figures(tomogram.contrast, spectrum)
        found["unexplained"] = unexplained(result.data_residual, spectrum.noise)
        warning = "; ".join(self.trained.range.outside(found))
        provenance = {**result.provenance, "warning": warning} if warning else result.provenance
        if spread is not None:  # dn = n_m^2 / (2 n) df
            spread = spread * (tomogram.optics.medium_index**2 / (2 * result.index))
        return replace(result, provenance=provenance, uncertainty=spread)
