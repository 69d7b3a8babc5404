"""The regularizer "multislice": total variation on the measured light, from a corrected network.

DeepRegularizer with one correction of the Rytov error gives the start, and the inverse of
multi-slice scattering goes on from there (``full_inversion``). It takes seconds to minutes on
processors: the reference for what a faster regularizer shows.

Where total variation is a poor prior, the network is a better one. So at the end the network sees
the spectrum corrected with the inverse f, and its result n is averaged with f. With e what their
light leaves beyond the noise (``beyond_noise``), each counts by 1/e^2, as two measurements of one
thing do:

    f <- f + a (n - f),      a = e(f)^2 / (e(f)^2 + e(n)^2)

An inverse whose light is within the noise is left alone: nothing is known that it lacks.
"""

import math
import threading
from dataclasses import replace

import torch

from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.deep import DeepRegularizer
from regularizer.interface import Progress, SignedRegularizer, with_contrast
from regularizer.scattering.defect_correction import (
    DROWNED,
    FILLED,
    Corrected,
    Seen,
    beyond_noise,
    corrected,
    fields_of,
    seen_of,
    share_of,
    warned,
)
from regularizer.scattering.full_inversion import STEPS, invert
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.object_box import object_box

__all__ = ["MultisliceRegularizer", "make"]

_MARGIN_UM = 0.6  # the inversion may move an object's rim outwards
_PARTS = 4  # of the progress; the first is the start


def make(
    name: str, device: str | torch.device, *, warm: bool, uncertainty: bool
) -> SignedRegularizer:
    """Return the regularizer "multislice"; it has no uncertainty."""
    deep = DeepRegularizer(device, warm=warm)
    return MultisliceRegularizer(Corrected(deep, 1), network=deep)


class MultisliceRegularizer:
    """Inverts multi-slice scattering, from the result of another regularizer.

    Parameters
    ----------
    start : SignedRegularizer
    steps : int
        The largest number of steps.
    network : SignedRegularizer or None
        Sees the corrected spectrum at the end, and is averaged with the inverse; None: nothing is.
    """

    def __init__(
        self,
        start: SignedRegularizer,
        steps: int = STEPS,
        *,
        network: SignedRegularizer | None = None,
    ) -> None:
        self._start, self._steps, self._network = start, steps, network

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        """Return the contrast of least total variation that scatters the measured light.

        Where no step fits better than the start, that is returned, with a warning.

        Raises
        ------
        DataError
            If the spectrum carries no fields, or those of a rotated sample.
        Stopped
            Soon after ``stop`` is set.
        """
        fields = fields_of(spectrum)
        begin = self._start(
            tomogram, spectrum, share_of(progress, 0, _PARTS), stop, unconstrained=unconstrained
        )
        box = object_box(begin.contrast, spectrum.voxel_size_um, _MARGIN_UM)
        if box is None:
            return begin
        light = LightMisfit(fields, box, stop)
        if light.noise > DROWNED:
            return begin.with_warning(
                f"multislice needs objects that stand out of the noise, which is "
                f"{100 * light.noise:.0f} % of the measured light here: its start is shown"
            )
        if light.at_rim > FILLED:
            return begin.with_warning(
                f"multislice needs a sample whose light stays within the frame, and at its rim is "
                f"{100 * light.at_rim:.0f} % of the mean light here: its start is shown"
            )
        found = invert(
            light,
            begin.contrast[box.slices].contiguous(),
            spectrum.voxel_size_um,
            tomogram.optics,
            nonnegative=not unconstrained,
            steps=self._steps,
            progress=share_of(progress, 1, _PARTS, length=_PARTS - 1),
            stop=stop,
        )
        notes = f"misfit of the light {found.begin:.4f} to {found.misfit:.4f}"
        if found.misfit >= found.begin:
            found_none = begin.with_warning(
                "multislice found nothing that fits the measured light better than its start, "
                f"which is shown: {notes}"
            )
            return warned(found_none, found.begin, light.noise)
        contrast = torch.zeros_like(begin.contrast)
        contrast[box.slices] = found.contrast
        misfit, share = found.misfit, 0.0
        if self._network is not None and beyond_noise(found.misfit, light.noise) > 0:
            seen = Seen(contrast, light.light(found.contrast), light.noise)
            inputs = corrected(tomogram, spectrum, seen, fields)
            other = self._network(*inputs, None, stop, unconstrained=unconstrained)
            share, mean, misfit = _averaged(seen, other, spectrum, fields, stop)
            if share and misfit < found.begin:
                contrast, notes = mean, f"{notes}, with {100 * share:.0f} % network {misfit:.4f}"
            else:
                misfit = found.misfit
        method = (
            f"multislice: {found.steps} steps; {notes}, noise {light.noise:.4f}; start: "
            f"{begin.provenance['regularizer']}"
        )
        made = with_contrast(begin, contrast, spectrum, method)
        return warned(made, misfit, light.noise)


def _averaged(
    seen: Seen,
    other: Tomogram,
    spectrum: Spectrum,
    fields: MeasuredFields,
    stop: threading.Event | None,
) -> tuple[float, torch.Tensor, float]:
    """Return the other's share, the mean with it by 1/e^2 (z, y, x), and the mean's misfit."""
    there = seen_of(other, spectrum, fields, stop)
    if there is None:
        return 0.0, seen.contrast, seen.light.misfit
    own, its = (beyond_noise(s.light.misfit, s.noise) ** 2 for s in (seen, there))
    if own == 0:
        return 0.0, seen.contrast, seen.light.misfit
    share = own / (own + its)
    mean = torch.lerp(seen.contrast, there.contrast, share)
    made = replace(other, index=index_from_contrast(mean, other.optics.medium_index))
    halfway = seen_of(made, spectrum, fields, stop)
    return share, mean, math.inf if halfway is None else halfway.light.misfit
