"""What the Rytov approximation gets wrong, computed on the result and taken off the measurement.

With f a regularized contrast, F the unitary transform, M the measured voxels, g the measured
spectrum, S the multi-slice model, and R the path from fields to a spectrum (its depths, weights and
angles left out),

    g' = g + M (F f - R(1 + S(f))),      f' = regularize(g')

M F f is what a reconstruction without error would see of f, R(1 + S(f)) what this one sees of it
(defect correction: Stetter, Numer. Math. 29, 425 (1978)).

A part of f' - f may come from the regularizer's own errors and not from Rytov's: structure that was
smoothed away, for example. So the step from f to f' is as long as the light wants it: with r the
difference of computed and measured light,

    f <- f + a (f' - f),      a = <r, r - r'> / |r - r'|^2  within 0 to 1

which is the best a as far as light is linear in so small a step. From there one step of the full
inversion on some of the angles (``light_step``) follows, as long as the light wants it, too: it
takes off what is the regularizer's error. The result is kept only if its light fits the measured
light better.
"""

import math
import threading
from dataclasses import dataclass, replace

import torch

from acquisition.errors import ConfigurationError, DataError
from reconstruction.inversion import contrast_of
from reconstruction.scattering.measured_fields import MeasuredFields
from reconstruction.tomogram import Spectrum, Tomogram, index_from_contrast
from regularizer.interface import Progress, SignedRegularizer
from regularizer.metrics import data_residual
from regularizer.scattering.full_inversion import MODEL
from regularizer.scattering.light_misfit import Light, LightMisfit
from regularizer.scattering.light_step import light_step
from regularizer.scattering.object_box import object_box

__all__ = [
    "DROWNED",
    "FILLED",
    "Corrected",
    "Seen",
    "beyond_noise",
    "check_corrections",
    "corrected",
    "fields_of",
    "seen_of",
    "share_of",
    "warned",
]

_MARGIN_UM = 0.3
_MOST = 20
_FAR = 0.15  # of the scattered light, beyond the noise; 0.02 to 0.1 where all is well
_NOISE_IS_KNOWN = 1.05  # to 5 %: it is read off the rim of the band
DROWNED = 0.9  # noise over the measured light: its structure, and the objects' box, are noise
FILLED = 0.5  # ``LightMisfit.at_rim``: 0.98 of a cell that fills the frame, 0.14 of a large one
_LIGHT = "the light of the regularized tomogram"
_SHORTEST, _WHOLE = 0.05, 0.95  # steps below gain nothing; above, they are as good as whole
# of a step by the light: more is taken whole, which gains nine tenths and saves a run
_NEARLY = 0.7
# times the noise, at least that of the model: where a correction leaves more, the light is not that
# of a contrast in the box alone, and a step by it goes astray
_EXPLAINED = 6.0


class Corrected:
    """A regularizer whose result is corrected for the error of the Rytov approximation.

    Parameters
    ----------
    base : SignedRegularizer
    corrections : int
        The largest number of corrections; they end at the first that fits no better. 0: none.
    after : SignedRegularizer or None
        Regularizes corrected spectra, for example a network that was trained on them; None:
        ``base`` does.
    light_steps : bool
        Whether each correction ends with a step towards the light.
    """

    def __init__(
        self,
        base: SignedRegularizer,
        corrections: int,
        *,
        after: SignedRegularizer | None = None,
        light_steps: bool = True,
    ) -> None:
        self.base, self.corrections = base, check_corrections(corrections)
        self.light_steps = light_steps
        self.after = base if after is None else after

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
        seen = seen_of(result, spectrum, fields, stop)
        if seen is None:  # nothing to be wrong about
            note = (
                f"0 of {self.corrections}; nothing stands out of the noise, or the sample's light "
                "fills the frame"
            )
            return replace(result, provenance={**result.provenance, "corrections": note})
        misfits = [seen.light.misfit]
        steps: list[float] = []
        light_steps: list[float] = []
        for number in range(1, runs):
            part = share_of(progress, number, runs)
            inputs = corrected(tomogram, spectrum, seen, fields)
            found = self.after(*inputs, part, stop, unconstrained=unconstrained)
            better = _Search(spectrum, fields, stop, nonnegative=not unconstrained).best(
                result, found, seen, self.light_steps
            )
            if better is None or not better.seen.light.misfit < misfits[-1]:
                break
            if beyond_noise(better.seen.light.misfit, better.seen.noise) >= _FAR:
                break  # what makes most of the difference is not the error of the approximation
            result, seen = better.tomogram, better.seen
            misfits.append(seen.light.misfit)
            steps.append(better.step)
            light_steps.append(better.light_step)
        if progress is not None:
            progress(runs, runs)
        note = f"{len(steps)} of {self.corrections}; misfit of the light " + " to ".join(
            f"{misfit:.4f}" for misfit in misfits
        )
        note += f", noise {seen.noise:.4f}"
        if any(step < 1 for step in steps):
            note += "; steps " + ", ".join(f"{step:.2f}" for step in steps)
        if any(light_steps):
            note += "; then by light " + ", ".join(f"{step:.2f}" for step in light_steps)
        result = replace(result, provenance={**result.provenance, "corrections": note})
        return warned(result, seen.light.misfit, seen.noise)


@dataclass(frozen=True, slots=True)
class Seen:
    """A contrast (z, y, x) that is zero outside its box, its light, and noise as a misfit."""

    contrast: torch.Tensor
    light: Light
    noise: float


@dataclass(frozen=True, slots=True)
class _Point:
    """A tomogram, its light, and the lengths of the steps to it: to a result, and by the light."""

    tomogram: Tomogram
    seen: Seen
    step: float
    light_step: float = 0.0


class _Search:
    """Finds the tomogram whose light fits best, from one tomogram to another and beyond."""

    def __init__(
        self,
        spectrum: Spectrum,
        fields: MeasuredFields,
        stop: threading.Event | None,
        *,
        nonnegative: bool,
    ) -> None:
        self._spectrum, self._fields, self._stop = spectrum, fields, stop
        self._nonnegative = nonnegative

    def best(
        self, before: Tomogram, after: Tomogram, seen: Seen, light_steps: bool
    ) -> _Point | None:
        """Return the best point, ``seen`` being of ``before``; None where ``after`` is dark."""
        there = self._seen(after)
        if there is None:
            return None
        first, second = seen.light.difference, there.light.difference
        step = _length(first, second)
        between = torch.lerp(before.contrast, after.contrast, step)
        points = [_Point(after, there, 1.0)]
        length = 0.0
        expected = torch.lerp(first, second, step)
        left = there.light.misfit * float(expected.norm() / second.norm().clamp_min(1e-30))
        if light_steps and left < _EXPLAINED * max(there.noise, MODEL):
            further = self._after_light(between)
            beyond = self._point(after, further, step, 1.0)
            if beyond is not None:
                points.append(beyond)
                length = _length(expected, beyond.seen.light.difference)
                if length > _NEARLY:
                    return _fitting(points)
                between = torch.lerp(between, further, length)
        if 0 < step < 1 or length:
            halfway = self._point(after, between, step, length)
            points += [] if halfway is None else [halfway]
        return _fitting(points)

    def _after_light(self, contrast: torch.Tensor) -> torch.Tensor:
        spectrum = self._spectrum
        return light_step(
            contrast,
            self._fields,
            spectrum.voxel_size_um,
            spectrum.optics,
            self._stop,
            nonnegative=self._nonnegative,
        )

    def _point(
        self, like: Tomogram, contrast: torch.Tensor, step: float, light: float
    ) -> _Point | None:
        tomogram = replace(
            like,
            index=index_from_contrast(contrast, like.optics.medium_index),
            data_residual=data_residual(contrast, self._spectrum),
        )
        seen = self._seen(tomogram)
        return None if seen is None else _Point(tomogram, seen, step, light)

    def _seen(self, tomogram: Tomogram) -> Seen | None:
        return seen_of(tomogram, self._spectrum, self._fields, self._stop)


def _fitting(points: list[_Point]) -> _Point:
    return min(points, key=lambda point: point.seen.light.misfit)


def _length(before: torch.Tensor, after: torch.Tensor) -> float:
    """Return how far to go between two differences from the measured light, 0 to 1."""
    change = after - before
    along = -float((before.conj() * change).real.sum())
    length = along / max(float(change.abs().square().sum()), 1e-30)
    if length < _SHORTEST:
        return 0.0
    return length if length < _WHOLE else 1.0


def seen_of(
    tomogram: Tomogram, spectrum: Spectrum, fields: MeasuredFields, stop: threading.Event | None
) -> Seen | None:
    """Return the contrast in the objects' box, and the light it scatters.

    None without objects, and where their light fills the frame: much of it is lost then, and the
    rest does not tell a wide, flat contrast from a change of the incident wave.
    """
    contrast = tomogram.contrast
    box = object_box(contrast, spectrum.voxel_size_um, _MARGIN_UM)
    if box is None:
        return None
    boxed = torch.zeros_like(contrast)
    boxed[box.slices] = contrast[box.slices]
    misfit = LightMisfit(fields, box, stop)
    if misfit.noise > DROWNED or misfit.at_rim > FILLED:
        return None
    return Seen(boxed, misfit.light(contrast[box.slices].contiguous()), misfit.noise)


def corrected(
    tomogram: Tomogram, spectrum: Spectrum, seen: Seen, fields: MeasuredFields
) -> tuple[Tomogram, Spectrum]:
    """Return the raw tomogram and the spectrum M (F f + R(u) - R(1 + S(f))).

    u is the measured field over what the contrast's light says of the empty field.
    """
    true = torch.fft.rfftn(torch.fft.ifftshift(seen.contrast), norm="ortho")
    made = fields.spectrum(seen.light.scattered).values
    measured = fields.spectrum(fields.over(seen.light.wave, seen.light.scattered)).values
    values = (true + fields.sign * (measured - made)) * (spectrum.measured > 0)
    better = replace(spectrum, values=values)
    index = index_from_contrast(contrast_of(better), tomogram.optics.medium_index)
    return replace(tomogram, index=index), better


def warned(tomogram: Tomogram, misfit: float, noise: float) -> Tomogram:
    """Return a tomogram, with a warning if its light is far from the measured light.

    One of before, of another misfit, is taken away.
    """
    provenance = dict(tomogram.provenance)
    said = provenance.pop("warning", "").split("; ")
    others = [sentence for sentence in said if sentence and not sentence.startswith(_LIGHT)]
    if others:
        provenance["warning"] = "; ".join(others)
    tomogram = replace(tomogram, provenance=provenance)
    left = beyond_noise(misfit, noise)
    if left < _FAR:
        return tomogram
    return tomogram.with_warning(
        f"{_LIGHT} is {100 * left:.0f} % from the measured light, beyond its noise: the sample may "
        "scatter more than can be computed, or leave the field, so compare it with the raw tomogram"
    )


def beyond_noise(misfit: float, noise: float) -> float:
    """Return what is left of a relative misfit without the part that noise surely makes."""
    return math.sqrt(max(misfit**2 - (_NOISE_IS_KNOWN * noise) ** 2, 0.0))


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
