"""The regularizers by name, one interface: (tomogram, spectrum) -> regularized tomogram.

none      the raw tomogram as it is
gp        Gerchberg-Papoulis iterations with non-negativity: the classical repair
tv-fast   20 split-Bregman iterations, 10 from the last tomogram
tv        100 iterations, the reference of the quality check
auto      the same with mu and the number of iterations chosen by the scan's noise
deep      20 iterations (10 from the last tomogram), whose result a network then corrects: the
          choice for the live view

Each takes a constraint on the sign of the contrast, by default the one that the data show
(``regularizer.constraint``).
"""

import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from acquisition.errors import ConfigurationError
from reconstruction.inversion import contrast_of
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.automatic import automatic_parameters, quick_parameters
from regularizer.constraint import Constrained, Constraint, negative_of, opposite_of
from regularizer.engines import fastest
from regularizer.gerchberg_papoulis import gerchberg_papoulis
from regularizer.inference import apply_occupied, apply_patches
from regularizer.metrics import data_residual
from regularizer.total_variation import (
    PARAMETERS,
    Progress,
    SplitBregman,
    TvParameters,
    fused_pass,
)
from regularizer.trained import NETWORKS, best_network, load_network, network_input
from regularizer.training_range import figures, unexplained

__all__ = [
    "METHODS",
    "DeepRegularizer",
    "Regularizer",
    "TotalVariation",
    "bytes_each_voxel",
    "regularizer",
]

METHODS = ("none", "gp", "tv-fast", "tv", "deep")

# Relative changes of the spectrum from scan to scan, noise taken off. Measured on a moving cell
# (docs/regularizer.md): 20 iterations that go on from the last tomogram are better than 20 from
# nothing up to 0.55, 10 are as good up to 0.2.
_SIMILAR, _SAME = 0.5, 0.2
_UNEXPLAINED = 0.6  # of the measurement; 0.1 to 0.4 where the constraint fits the sample
_SAME_SCALE = 0.1  # of the maximum, which mu, tau and gamma refer to


# Highest resident memory over that of the raw tomogram, measured on 1 to 5 million voxels.
_BYTES = {"none": 0.0, "gp": 40.0}
_BYTES_OTHER = 75.0


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
        One of ``METHODS``, or a preset of total variation.
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
    if name == "none":
        return _unchanged
    if name == "gp":
        return Constrained(_GerchbergPapoulis(), constraint)
    if name == "deep" or name in NETWORKS:
        network = None if name == "deep" else name
        deep = DeepRegularizer(device, network, warm=warm, uncertainty=uncertainty)
        return Constrained(deep, constraint)
    if name in (*PARAMETERS, "auto", "quick"):
        return Constrained(
            TotalVariation(name, device, warm=warm and name == "tv-fast"), constraint
        )
    raise ConfigurationError(f"regularizer must be one of {', '.join(METHODS)}, got {name!r}")


def bytes_each_voxel(name: str) -> float:
    """Return how much memory a regularizer takes while it works, in bytes a voxel."""
    return _BYTES.get(name, _BYTES_OTHER)


def _unchanged(
    tomogram: Tomogram,
    spectrum: Spectrum,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Tomogram:
    return tomogram


class _GerchbergPapoulis:
    """``gerchberg_papoulis`` as a regularizer."""

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> Tomogram:
        if free:
            how = "Gerchberg-Papoulis: nothing to add to the raw tomogram without a constraint"
            return _with_contrast(tomogram, tomogram.contrast, spectrum, how)
        contrast = gerchberg_papoulis(spectrum, progress=progress, stop=stop)
        return _checked(tomogram, contrast, spectrum, "Gerchberg-Papoulis")


def _with_contrast(
    tomogram: Tomogram, contrast: torch.Tensor, spectrum: Spectrum, how: str
) -> Tomogram:
    return replace(
        tomogram,
        index=index_from_contrast(contrast, tomogram.optics.medium_index),
        provenance={**tomogram.provenance, "regularizer": how},
        data_residual=data_residual(contrast, spectrum),
    )


def _checked(tomogram: Tomogram, contrast: torch.Tensor, spectrum: Spectrum, how: str) -> Tomogram:
    """Return the result with a warning where it is far from what was measured."""
    result = _with_contrast(tomogram, contrast, spectrum, how)
    missed = unexplained(result.data_residual, spectrum.noise)
    if missed < _UNEXPLAINED:
        return result
    return result.warned(
        f"the regularized tomogram leaves {100 * missed:.0f} % of the measurement unexplained: "
        "look at the raw one"
    )


class TotalVariation:
    """Split Bregman with a named parameter set.

    Parameters
    ----------
    name : str
        In ``PARAMETERS``, or chosen for each scan by its noise: "auto", or "quick", the few
        iterations that networks start from.
    device : str or torch.device
    warm : bool
        Go on from the last tomogram where the sample is similar, with half of the iterations where
        it is nearly the same: for scans that follow each other in time.
    """

    def __init__(
        self, name: str, device: str | torch.device = "cpu", *, warm: bool = False
    ) -> None:
        self.name = name
        self._warm = warm
        self._last: tuple[SplitBregman, Spectrum] | None = None
        fused_pass(torch.device(device))  # compiled while loading, not with the first tomogram

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> Tomogram:
        """Return the tomogram of least total variation that fits the measured spectrum.

        ``free`` contrast may be negative, too.
        """
        contrast, parameters = self.solved(tomogram, spectrum, progress, stop, free=free)
        return _checked(tomogram, contrast, spectrum, f"{self.name}: {parameters}")

    def solved(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        free: bool = False,
    ) -> tuple[torch.Tensor, TvParameters]:
        """Return its contrast (z, y, x), and the parameters that were taken."""
        parameters = replace(self._chosen(spectrum), nonnegative=not free)
        solver = self._following(tomogram, spectrum, parameters)
        contrast = solver.run(progress, stop)
        if self._warm:
            self._last = (solver, spectrum)
        return contrast, solver.parameters

    def _chosen(self, spectrum: Spectrum) -> TvParameters:
        if self.name == "auto":
            return automatic_parameters(spectrum)
        return quick_parameters(spectrum) if self.name == "quick" else PARAMETERS[self.name]

    def _following(
        self, tomogram: Tomogram, spectrum: Spectrum, parameters: TvParameters
    ) -> SplitBregman:
        """Return a solver for the scan: the last one's, if it may go on from there."""
        last, self._last = self._last, None  # a run that is stopped leaves nothing to go on from
        change = math.inf if last is None else _change(last, tomogram, spectrum)
        if last is not None and last[0].parameters.nonnegative != parameters.nonnegative:
            change = math.inf
        if last is None or change > _SIMILAR:
            return SplitBregman(spectrum, parameters)
        solver = last[0]
        half = max(1, parameters.inner // 2)
        solver.parameters = replace(parameters, inner=half if change < _SAME else parameters.inner)
        solver.follow(spectrum)
        return solver


def _change(last: tuple[SplitBregman, Spectrum], tomogram: Tomogram, spectrum: Spectrum) -> float:
    """Return the relative change of the spectrum since the last scan, less that of its noise.

    Infinite where nothing can go on from the last one: other voxels, or another scale.
    """
    solver, before = last
    if (before.shape, before.voxel_size_um, before.values.device) != (
        spectrum.shape,
        spectrum.voxel_size_um,
        spectrum.values.device,
    ):
        return math.inf
    highest = tomogram.contrast if solver.parameters.nonnegative else tomogram.contrast.abs()
    if abs(float(highest.max()) / float(solver.scale) - 1) > _SAME_SCALE:
        return math.inf
    size = torch.linalg.vector_norm(spectrum.values).clamp_min(1e-30)
    change = float(torch.linalg.vector_norm(spectrum.values - before.values) / size)
    noise = math.hypot(before.noise or 0.0, spectrum.noise or 0.0)
    return math.sqrt(max(change**2 - noise**2, 0.0))


class DeepRegularizer:
    """A shipped network, after the few iterations that it starts from.

    Parameters
    ----------
    device : str or torch.device
    network : str or None
        In ``regularizer.trained.NETWORKS``; None: the best that is shipped for the device.
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
        result = _with_contrast(tomogram, contrast, spectrum, how)
        found = figures(tomogram.contrast, spectrum)
        found["unexplained"] = unexplained(result.data_residual, spectrum.noise)
        warning = "; ".join(self.trained.range.outside(found))
        provenance = {**result.provenance, "warning": warning} if warning else result.provenance
        if spread is not None:  # dn = n_m^2 / (2 n) df
            spread = spread * (tomogram.optics.medium_index**2 / (2 * result.index))
        return replace(result, provenance=provenance, uncertainty=spread)
