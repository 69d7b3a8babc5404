"""DeepRegularizer: a few iterations of total variation, corrected by a network.

After Ryu et al., IEEE Trans. Med. Imaging 40(5), 2021, with LiveTomo's own networks
(docs/explanation/networks.md).
"""

import threading
from dataclasses import replace
from pathlib import Path

import torch

from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, contrast_from_index, to_corner
from regularizer.constraint import negated_spectrum
from regularizer.interface import Progress, SignedRegularizer, with_contrast
from regularizer.metrics import unexplained
from regularizer.networks.engines import fastest
from regularizer.networks.inference import apply_occupied, apply_patches
from regularizer.networks.trained import best_network, load_network, network_channels
from regularizer.total_variation.parameters import PARAMETERS
from regularizer.total_variation.split_bregman import SplitBregman
from regularizer.total_variation.total_variation import TotalVariation
from regularizer.training.trained_range import figures

__all__ = ["DeepRegularizer", "make"]


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return the regularizer "deep", or the same with the network ``name``."""
    network = None if name == "deep" else name
    return DeepRegularizer(device, network, warm=warm, uncertainty=uncertainty)


class DeepRegularizer:
    """A trained network, applied to the result of a few total-variation iterations.

    Parameters
    ----------
    device : str or torch.device
    network : str or None
        A name in ``regularizer.networks.trained.NETWORKS``; None: the best one shipped for the
        device.
    weights : Path or None
        File of the weights; None: the shipped ones.
    warm : bool
        Whether the iterations before the network start from the last tomogram.
    finish : int
        Warm split-Bregman iterations after the network.
    uncertainty : bool
        Whether the result carries the predicted standard deviation of its error.
    patches : bool
        Whether to run on 64^3 patches with stride 32, as in the paper, instead of once on the part
        of the volume that holds objects. Networks that use patch-wide statistics always do.
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
        self._network = fastest(self.trained.network, device, uncertainty=uncertainty)
        self._quick = TotalVariation("quick", device, warm=warm)
        self.uncertainty = uncertainty
        self.finish = finish
        self.patches = patches or self.trained.recipe.patches

    def contrast(
        self,
        raw: torch.Tensor,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the network's contrast (z, y, x) of a raw one, and its uncertainty or None."""
        recipe = self.trained.recipe
        seen, scale = network_channels(
            raw,
            spectrum,
            recipe.channels,
            lambda: self._quick.solve(raw, spectrum, progress, stop)[0],
        )
        with torch.inference_mode():
            if self.patches:
                found = apply_patches(self._network, torch.stack(seen).div_(scale)).mul_(scale)
            else:
                found = apply_occupied(self._network, seen, recipe.multiple, scale)
        contrast, *deviation = found
        return contrast, deviation[0] if deviation else None

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        """Return the network's tomogram; a scan outside the trained range adds a warning."""
        if unconstrained:
            return self._both_signs(tomogram, spectrum, progress, stop)
        contrast, spread = self.contrast(tomogram.contrast, spectrum, progress, stop)
        method = self._method
        if self.finish:
            parameters = replace(PARAMETERS["tv"], inner=self.finish, relaxation=1.0)
            solver = SplitBregman(spectrum, parameters, scale=float(tomogram.contrast.max()))
            solver.start_from(contrast)
            contrast, method = solver.run(progress, stop), f"{method}; finish {self.finish}"
        return self._result(tomogram, contrast, spectrum, method, spread)

    def _both_signs(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> Tomogram:
        """Return the tomogram of objects above and below the medium's index.

        The network handles contrast of one sign. Total variation without a constraint separates
        the two kinds of objects; the network then runs on each kind, with the scattering of the
        other kind subtracted from the measured spectrum.
        """
        how = spectrum, progress, stop
        start, _ = self._quick.solve(tomogram.contrast, *how, unconstrained=True)
        above, spread = self._alone(spectrum, start.clamp_max(0), stop)
        below, other = self._alone(negated_spectrum(spectrum), -above, stop)
        if spread is not None and other is not None:
            spread = torch.maximum(spread, other)
        return self._result(
            tomogram, above - below, spectrum, f"{self._method}; both signs", spread
        )

    def _alone(
        self,
        spectrum: Spectrum,
        others: torch.Tensor,
        stop: threading.Event | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the network's contrast without the objects ``others`` (z, y, x), and uncertainty.

        ``others`` is their contrast.
        """
        scattered = torch.fft.rfftn(to_corner(others), norm="ortho")
        values = spectrum.values - scattered * (spectrum.measured > 0)
        rest = replace(spectrum, values=values)
        return self.contrast(contrast_of(rest), rest, None, stop)

    @property
    def _method(self) -> str:
        return f"deep: {self.trained.name}, trained on {self.trained.metadata['training_data']}"

    def _result(
        self,
        tomogram: Tomogram,
        contrast: torch.Tensor,
        spectrum: Spectrum,
        method: str,
        spread: torch.Tensor | None,
    ) -> Tomogram:
        """Return the tomogram with provenance, uncertainty and any out-of-range warning."""
        result = with_contrast(tomogram, contrast, spectrum, method)
        highest = contrast_from_index(tomogram.index.amax(), tomogram.optics.medium_index)
        found = figures(highest, spectrum)
        found["unexplained"] = unexplained(result.data_residual, spectrum.noise)
        warning = "; ".join(self.trained.range.outside(found))
        provenance = {**result.provenance, "warning": warning} if warning else result.provenance
        if spread is not None:  # dn = n_m^2 / (2 n) df
            spread = spread * (tomogram.optics.medium_index**2 / (2 * result.index))
        return replace(result, provenance=provenance, uncertainty=spread)
