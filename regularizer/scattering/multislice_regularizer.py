"""The regularizer "multislice": total variation on the measured light, from a corrected network.

DeepRegularizer with one correction of the Rytov error gives the start, and the inverse of
multi-slice scattering goes on from there (``full_inversion``). It takes seconds to minutes on
processors: the reference for what a faster regularizer shows.
"""

import threading

import torch

from reconstruction.tomogram import Spectrum, Tomogram
from regularizer.deep import DeepRegularizer
from regularizer.interface import Progress, SignedRegularizer, with_contrast
from regularizer.scattering.defect_correction import Corrected, fields_of, share_of, warned
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
    return MultisliceRegularizer(Corrected(DeepRegularizer(device, warm=warm), 1))


class MultisliceRegularizer:
    """Inverts multi-slice scattering, from the result of another regularizer.

    Parameters
    ----------
    start : SignedRegularizer
    steps : int
        The largest number of steps.
    """

    def __init__(self, start: SignedRegularizer, steps: int = STEPS) -> None:
        self._start, self._steps = start, steps

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
        method = (
            f"multislice: {found.steps} steps; {notes}, noise {light.noise:.4f}; start: "
            f"{begin.provenance['regularizer']}"
        )
        contrast = torch.zeros_like(begin.contrast)
        contrast[box.slices] = found.contrast
        made = with_contrast(begin, contrast, spectrum, method)
        return warned(made, found.misfit, light.noise)
