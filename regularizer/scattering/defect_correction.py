"""What the Rytov approximation gets wrong, computed on the result and taken off the measurement.

With f a regularized contrast, F the unitary transform, M the measured voxels, g the measured
spectrum, S the multi-slice model, and R the path from fields to a spectrum (its depths, weights and
angles left out),

    g' = g + M (F f - R(1 + S(f))),      f' = regularize(g')

M F f is what a reconstruction without error would see of f, R(1 + S(f)) what this one sees of it
(defect correction: Stetter, Numer. Math. 29, 425 (1978)). A corrected result is kept only if its
light fits the measured light better. Its error may be the regularizer's and not Rytov's: structure
that was smoothed away, for example.
"""

import threading
from dataclasses import dataclass, replace

import torch

from acquisition.errors import ConfigurationError, DataError
from reconstruction.inversion import contrast_of
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.interface import Progress, SignedRegularizer
from regularizer.scattering.light_misfit import Light, LightMisfit
from regularizer.scattering.object_box import object_box

__all__ = ["Corrected", "check_corrections", "fields_of", "share_of"]

_MARGIN_UM = 0.3
_MOST = 20


class Corrected:
    """A regularizer whose result is corrected for the error of the Rytov approximation.

    Parameters
    ----------
    base : SignedRegularizer
    corrections : int
        The largest number of corrections; they end at the first that fits no better. 0: none.
    """

    def __init__(self, base: SignedRegularizer, corrections: int) -> None:
        self.base, self.corrections = base, check_corrections(corrections)

    def __call__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        *,
        unconstrained: bool = False,
    ) -> Tomogram:
        """Return the tomogram whose light fits best; its provenance has the misfits.

        Raises
        ------
        DataError
            If the spectrum carries no fields.
        Stopped
            Soon after ``stop`` is set.
        """
        runs = self.corrections + 1
        result = self.base(
            tomogram, spectrum, share_of(progress, 0, runs), stop, unconstrained=unconstrained
        )
        if self.corrections == 0:
            return result
        fields = fields_of(spectrum)
        if fields.inversion.views.rotations is not None:
            return result.with_warning(
                "not corrected: the multi-slice model does not know samples that were rotated"
            )
        seen = _seen(result, spectrum, fields, stop)
        if seen is None:
            return result  # nothing there, so that nothing is wrong
        misfits = [seen.light.misfit]
        for number in range(1, runs):
            corrected = _corrected_spectrum(spectrum, seen, fields)
            index = index_from_contrast(contrast_of(corrected), tomogram.optics.medium_index)
            raw = replace(tomogram, index=index)
            part = share_of(progress, number, runs)
            found = self.base(raw, corrected, part, stop, unconstrained=unconstrained)
            better = _seen(found, spectrum, fields, stop)
            if better is None or not better.light.misfit < misfits[-1]:
                break
            result, seen = found, better
            misfits.append(seen.light.misfit)
        if progress is not None:
            progress(runs, runs)
        kept = len(misfits) - 1
        note = f"{kept} of {self.corrections}; misfit of the light " + " to ".join(
            f"{misfit:.4f}" for misfit in misfits
        )
        return replace(
            result,
            provenance={**result.provenance, "corrections": f"{note}, noise {seen.noise:.4f}"},
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A contrast (z, y, x) that is zero outside its box, and its light."""

    contrast: torch.Tensor
    light: Light
    noise: float


def _seen(
    tomogram: Tomogram, spectrum: Spectrum, fields: MeasuredFields, stop: threading.Event | None
) -> _Seen | None:
    """Return the contrast in the objects' box, and the light it scatters; None without objects."""
    contrast = tomogram.contrast
    box = object_box(contrast, spectrum.voxel_size_um, _MARGIN_UM)
    if box is None:
        return None
    boxed = torch.zeros_like(contrast)
    boxed[box.slices] = contrast[box.slices]
    misfit = LightMisfit(fields, box, stop)
    return _Seen(boxed, misfit.light(contrast[box.slices].contiguous()), misfit.noise)


def _corrected_spectrum(spectrum: Spectrum, seen: _Seen, fields: MeasuredFields) -> Spectrum:
    """Return g + M (F f - R(1 + S(f)))."""
    true = torch.fft.rfftn(torch.fft.ifftshift(seen.contrast), norm="ortho")
    made = fields.spectrum(seen.light.scattered).values
    defect = (true - fields.sign * made) * (spectrum.measured > 0)
    return replace(spectrum, values=spectrum.values + defect)


def check_corrections(count: int) -> int:
    """Return the number of corrections.

    Raises
    ------
    ConfigurationError
        If it is out of range.
    """
    if not 0 <= count <= _MOST:
        raise ConfigurationError(f"corrections must be 0 (none) to {_MOST}, got {count}")
    return count


def fields_of(spectrum: Spectrum) -> MeasuredFields:
    """Return the fields that a spectrum was made from.

    Raises
    ------
    DataError
        If they were not kept.
    """
    if spectrum.fields is None:
        raise DataError(
            "corrections and the regularizer multislice need the fields that a tomogram was made "
            "from, and they were not kept: reconstruct it from its recording, with keep_fields"
        )
    return spectrum.fields


def share_of(
    progress: Progress | None, part: int, parts: int, *, length: int = 1
) -> Progress | None:
    """Return the progress of the work that is ``length`` of so many parts, from ``part`` on."""
    if progress is None:
        return None
    return lambda done, total: progress(part * total + length * done, parts * total)
