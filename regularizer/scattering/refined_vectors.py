"""Wave vectors as unknowns: refined on the object itself, and reported against the calibration.

The fields over the incident wave do not depend on the wave vectors; what the fields mean does. The
contrast of least total variation is found for the wave vectors as they are (``full_inversion``);
then each angle's moves to where the light wants it for that contrast (``angle_steps``), and both
again. Only frequencies that pass the pupil for all wave vectors that are tried are compared.

Not all unknowns can be found by an object that is unknown, too:

- One tilt of all angles is nearly the same as a sheared object. The object takes most of it up, and
  the light asks for the rest only; two steps tell for which part, and the next goes all the way.
- One scale of all angles (or another pixel) is nearly the same as a longer object, and the steps
  do not see it: it stays that of the calibration. Misfits of whole inversions tell 1 % without
  noise, and nothing with it.
- A lateral shift of one angle's image is nearly the same as a tilt of its wave vector, unless the
  object is deep. It is not an unknown here; the factor c of each angle's light is.
"""

import threading
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from acquisition.choices import Constraint
from acquisition.errors import DataError
from reconstruction.inversion import contrast_of
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.scattering.slice_model import Box
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.constraint import negated_spectrum, negated_tomogram, resolve_constraint
from regularizer.interface import Progress
from regularizer.scattering.angle_steps import angle_steps
from regularizer.scattering.defect_correction import DROWNED, Corrected, fields_of
from regularizer.scattering.full_inversion import invert
from regularizer.scattering.light_misfit import LightMisfit
from regularizer.scattering.object_box import object_box
from regularizer.scattering.vectors_report import RefinedVectors
from regularizer.total_variation.total_variation import TotalVariation

__all__ = ["refined"]

_MARGIN_UM = 0.6  # of the box, as in multislice
_COMPARED = 0.96  # of the pupil's radius
_FARTHEST = 0.03  # NA/wavelength from the calibration: the pupil then still passes what is compared
_FIRST, _NEXT = 8, 4  # steps of the first inversion and of those that go on from it
_ROUNDS = 4
_GAIN = 0.01  # of the squared misfit beyond the noise: a round that gains less is not taken
_SURE = 0.01  # of a squared misfit: the noise is not known better
_RIM = 0.06  # of the frame: light that has moved rings there, and what rings is no light
_FACTOR, _MOST = 2.0, 6.0  # of the common part of a step: the first, and the largest
_FEWEST = 8  # angles
_PARTS = _ROUNDS + 1  # of the progress


@dataclass(frozen=True, slots=True)
class _Fit:
    """The contrast (z, y, x) in the box that fits best for some wave vectors, and its misfit."""

    contrast: torch.Tensor
    misfit: float
    noise: float


def refined(
    tomogram: Tomogram,
    spectrum: Spectrum,
    constraint: Constraint = "auto",
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> tuple[Tomogram, Spectrum, RefinedVectors]:
    """Return raw tomogram and spectrum for refined wave vectors, and how these have moved.

    Where no others fit the light better, tomogram and spectrum are those that were given.

    Parameters
    ----------
    tomogram : Tomogram
        Raw.
    spectrum : Spectrum
        With its fields.
    constraint : "auto", "non-negative", "non-positive" or "none"
    progress : callable or None
    stop : Event or None

    Raises
    ------
    DataError
        If the spectrum carries no fields, or those of a rotated sample.
    Stopped
        Soon after ``stop`` is set.
    """
    fields = fields_of(spectrum)
    if fields.inversion.views.rotations is not None:
        raise DataError(
            "wave vectors are refined for a sample at rest that the light turns around, and this "
            "one was rotated: leave --refine out"
        )
    sign = resolve_constraint(constraint, spectrum)[0]
    found = _Refinement(tomogram, spectrum, sign, progress, stop).run()
    if not found.changed:
        return tomogram, spectrum, found
    moved = fields.with_wave_vectors(found.k).own_spectrum()
    index = index_from_contrast(contrast_of(moved), tomogram.optics.medium_index)
    provenance = {**tomogram.provenance, "wave_vectors": found.summary()}
    return replace(tomogram, index=index, provenance=provenance), moved, found


class _Refinement:
    """The refinement of one scan: what stays the same while wave vectors are tried."""

    def __init__(
        self,
        tomogram: Tomogram,
        spectrum: Spectrum,
        sign: Constraint,
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> None:
        self._unconstrained = sign == "none"
        if sign == "non-positive":
            tomogram, spectrum = negated_tomogram(tomogram), negated_spectrum(spectrum)
        self._tomogram, self._spectrum = tomogram, spectrum
        self._fields = _without_rim(fields_of(spectrum))
        self._calibrated = self._fields.inversion.views.vectors.k
        self._cutoff = self._fields.optics.cutoff
        # no step by the light: a start within the noise would stay, and wave vectors follow it
        tv = TotalVariation("auto", tomogram.index.device)
        self._start = Corrected(tv, 1, light_steps=False)
        self._progress, self._stop, self._done = progress, stop, 0

    def run(self) -> RefinedVectors:
        """Return the wave vectors whose light fits best."""
        fields, k = self._fields, self._calibrated
        if len(fields.used) < _FEWEST:
            return self._report(k, 0.0, 0.0, 0.0)
        begun = self._start(
            self._tomogram, self._spectrum, None, self._stop, unconstrained=self._unconstrained
        ).contrast
        box = object_box(begun, self._spectrum.voxel_size_um, _MARGIN_UM)
        if box is None:
            return self._report(k, 0.0, 0.0, 0.0)
        compared = fields.model(box).within(_COMPARED)
        best = self._fitted(fields, k, box, compared, begun[box.slices], _FIRST)
        first = best
        if best.noise > DROWNED or best.misfit <= best.noise:  # nothing is left to explain
            return self._report(k, best.misfit, best.misfit, best.noise)
        k, best = self._rounds(fields, k, box, compared, best)
        return self._report(k, first.misfit, best.misfit, best.noise)

    def _rounds(
        self,
        fields: MeasuredFields,
        k: NDArray[np.float64],
        box: Box,
        compared: torch.Tensor,
        best: _Fit,
    ) -> tuple[NDArray[np.float64], _Fit]:
        """Return the wave vectors after steps of all angles, as long as the light gains by them."""
        factor, last = _FACTOR, None
        for _ in range(_ROUNDS):
            steps = angle_steps(fields, box, best.contrast, k, compared, self._stop)
            wanted, single = steps.common, steps.single
            if last is not None and last.any():
                factor = _next_factor(last, wanted, factor)
            if not (wanted.any() or single.any()):
                break
            moved = k.copy()
            moved[fields.used] += single + factor * wanted
            moved = self._limited(moved)
            fit = self._fitted(fields, moved, box, compared, best.contrast, _NEXT)
            if not _better(fit, best):
                break
            k, best, last = moved, fit, wanted
        return k, best

    def _fitted(
        self,
        fields: MeasuredFields,
        k: NDArray[np.float64],
        box: Box,
        compared: torch.Tensor,
        start: torch.Tensor,
        steps: int,
    ) -> _Fit:
        self._done += 1
        if self._progress is not None:
            self._progress(min(self._done, _PARTS) - 1, _PARTS)
        light = LightMisfit(fields, box, self._stop, k=k, compared=compared, tilts=False)
        found = invert(
            light,
            start.contiguous(),
            self._spectrum.voxel_size_um,
            self._tomogram.optics,
            nonnegative=not self._unconstrained,
            steps=steps,
            stop=self._stop,
        )
        return _Fit(found.contrast, found.misfit, light.noise)

    def _limited(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return wave vectors that are not too far from the calibration."""
        off = k - self._calibrated
        length = np.hypot(*off.T)[:, None]
        most = _FARTHEST * self._cutoff
        return np.asarray(self._calibrated + off * np.minimum(1, most / np.maximum(length, 1e-12)))

    def _report(
        self, k: NDArray[np.float64], before: float, after: float, noise: float
    ) -> RefinedVectors:
        if self._progress is not None:
            self._progress(_PARTS, _PARTS)
        used = tuple(int(i) for i in self._fields.used)
        return RefinedVectors(self._calibrated, k, used, self._cutoff, before, after, noise)


def _better(fit: _Fit, than: _Fit) -> bool:
    """Return whether the squared misfit, beyond the noise, is lower by more than a share."""
    beyond = max(than.misfit**2 - than.noise**2, _SURE * than.misfit**2)
    return than.misfit**2 - fit.misfit**2 > _GAIN * beyond


def _without_rim(fields: MeasuredFields) -> MeasuredFields:
    """Return the fields, which fade to 1 at the frame's rim."""
    values = fields.values
    for axis in (1, 2):
        n = values.shape[axis]
        at = (torch.arange(n, device=values.device) + 0.5) / n
        depth = torch.minimum(at, 1 - at) / _RIM
        fade = torch.sin(torch.pi / 2 * depth.clamp_max(1)).square()
        values = 1 + (values - 1) * fade.reshape([-1 if a == axis else 1 for a in range(3)])
    return replace(fields, values=values)


def _next_factor(last: NDArray[np.float64], now: NDArray[np.float64], factor: float) -> float:
    """Return the factor that takes the common part of a step all the way.

    After a step of ``factor`` times ``last`` the light still wants ``now``: it has asked for the
    part (1 - now / last) / factor of what is wrong.
    """
    size = float(last @ last)
    part = (1 - float(now @ last) / max(size, 1e-30)) / factor
    return min(max(1 / part if part > 0 else _MOST, 1.0), _MOST)
