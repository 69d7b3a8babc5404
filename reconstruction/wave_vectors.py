"""Finds carrier and illumination wave vectors from the fringes of the empty field.

The interferogram of angle i has its sideband peak at k_c + k_i (and the conjugate at the opposite
frequency), k_c the carrier of the reference wave. Frequencies are in cycles/um; the camera samples
them only modulo 1/pixel, so a sideband may fold over the edge of the spectrum.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError, DataError
from acquisition.illumination.angles import check_wave_vectors
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics
from reconstruction.fringes import MIN_PEAK, ZERO_ORDER, Fringes, folded

__all__ = ["WaveVectors", "find_wave_vectors", "folded_conjugates"]

Points = NDArray[np.float64]  # (angles, 2): x, y in cycles/um
Mask = NDArray[np.bool_]

# Light this close (in NA/wavelength) to the middle between sideband and folded conjugate loses half
# of the sample's scattered light (decision 0011).
_OVERLAP = 0.05
_AGREES = 0.1  # NA/wavelength: median difference between plan and fringes
_OUTLIER = 0.05  # distance from the plan's affine image, in NA/wavelength
# In scans of 49 and 71 angles on a circle or a spiral, neighbours are 0.1 NA/wavelength apart, and
# the circle around a spiral is centred to within 0.01.
_NORMAL = 0.04
_STEEPEST = 0.995  # of k in the medium: beyond, a wave is evanescent or nearly so
_COINCIDES = 0.5  # NA/wavelength between sideband and folded conjugate (decision 0011)
_MOST = 0.6  # of the peaks
_SHIFTS, _STEPS = 20, 400
# Measured light may lie slightly outside the pupil; the retrieved band is as wide.
_PUPIL = 1.05
# NA/wavelength; with a closer carrier the pupil overlaps the region that ``strongest`` leaves out
_NEAR_ZERO = _PUPIL + ZERO_ORDER
_ALONE = 0.03  # of the radius: a peak whose removal shrinks the circle by more is not of the scan
_FEW = 8  # angles; with fewer, each one may define the circle
_KEPT = 8  # backgrounds whose wave vectors are remembered


@dataclass(frozen=True, slots=True)
class WaveVectors:
    """The fitted geometry of one scan.

    Parameters
    ----------
    carrier : (kx, ky)
        Carrier of the reference wave, cycles/um, between -1/2 and 1/2 of the sampling frequency.
    k : (angles, 2) float64
        Illumination wave vectors, cycles/um. An unusable frame without a peak of its own has the
        predicted one; nan without a plan.
    unusable : tuple of int
        Angles whose background frame shows no fringes, or whose light lies where the sideband and
        its conjugate, folded at the camera's Nyquist frequency, overlap.
    outliers : tuple of int
        Usable angles whose light is more than 0.05 NA/wavelength from the plan; ``k`` holds the
        measured wave vector.
    outside, overlapping : tuple of int
        Unusable angles whose strongest light lies outside the pupil, and those whose light lies
        where sideband and folded conjugate overlap.
    """

    carrier: tuple[float, float]
    k: Points
    unusable: tuple[int, ...]
    outliers: tuple[int, ...] = ()
    outside: tuple[int, ...] = ()
    overlapping: tuple[int, ...] = ()

    def reasons(self) -> dict[int, str]:
        """Return the unusable angles, with the reason for each."""
        why = dict.fromkeys(self.unusable, "the background has no fringes there")
        why |= dict.fromkeys(self.outside, "the background's fringes lie outside the pupil")
        return why | dict.fromkeys(
            self.overlapping, "the sideband meets its folded conjugate (turn the reference mirror)"
        )

    def usable_k(self, lost: Sequence[int] = ()) -> Points:
        """Return k (angles, 2), nan where unusable or lost."""
        k = self.k.copy()
        k[[*self.unusable, *lost]] = np.nan
        return k

    def mirrored(self) -> "WaveVectors":
        """Return the wave vectors of the conjugate sideband, equally possible without a plan."""
        kx, ky = self.carrier
        return replace(self, carrier=(-kx, -ky), k=-self.k)


def find_wave_vectors(background: InterferogramStack) -> WaveVectors:
    """Find carrier and wave vectors from the background's fringes.

    With ``background.illumination_k`` the carrier is the shift between the peaks and these, and the
    sideband is the one in which they agree in sign. Without it, the carrier is the peak of the
    normal angle: the one that ``background.normal`` declares, or the one closest to the centre of
    the smallest circle around all peaks, if within 0.04 NA/wavelength. For a scan without a normal
    angle the carrier is taken at that centre, which is correct if the scan reaches equally far on
    all sides.

    If a frame's strongest peak is in the wrong place (a parasitic fringe), another one is searched
    near the plan, or without a plan within the pupil.

    Those of the last backgrounds are remembered: memory, tiles and plans of one scan all ask for
    them. Their ``k`` is read-only.

    Raises
    ------
    DataError
        If no frame has fringes, the peaks do not fit into one pupil, or the sideband meets its own
        conjugate or the zero order.
    """
    key = _fingerprint(background)
    found = _found.get(key)
    if found is None:
        found = _found_anew(background)
        found.k.flags.writeable = False
        _found[key] = found
        for oldest in list(_found)[:-_KEPT]:
            _found.pop(oldest, None)  # another thread may have been faster
    return found


_found: dict[bytes, WaveVectors] = {}  # by all that they depend on, the newest last


def _fingerprint(background: InterferogramStack) -> bytes:
    """Return a digest of what wave vectors depend on: a fifteenth of the time of finding them."""
    frames, k = background.frames, background.illumination_k
    about = (frames.shape, frames.dtype.str, background.optics, background.lost, background.normal)
    digest = hashlib.blake2b(repr((*about, k is None)).encode(), digest_size=16)
    for array in (frames, np.zeros(0) if k is None else k):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _found_anew(background: InterferogramStack) -> WaveVectors:
    """Return the wave vectors of a background."""
    optics, planned = background.optics, _possible(background)
    fringes = Fringes(background.frames, optics)
    peaks, strength = fringes.strongest()
    bright = strength > MIN_PEAK
    present = np.ones(len(bright), bool)
    present[list(background.lost)] = False
    bright &= present
    if not bright.any():
        raise DataError(
            f"the background must show fringes, but no sideband stands {MIN_PEAK:.0f} times above "
            f"the spectrum (best {strength.max():.1f}): check reference beam and exposure"
        )
    if planned is None:
        carrier, k = _on_the_axis(peaks, bright, background.normal, optics)
    else:
        carrier, k = _align(peaks, bright, planned, optics)
    centre = (float(carrier[0]), float(carrier[1]))
    _check_carrier(centre, optics)
    k[~bright] = np.nan
    expected = np.full_like(k, np.nan) if planned is None else _predict(planned, k, bright)
    if planned is None and np.hypot(*carrier) < _NEAR_ZERO * optics.cutoff:
        k[:] = np.nan  # the true peak lies behind the zero order, and a weaker one was found
    known = np.asarray(np.isfinite(expected).all(axis=1))
    reach = np.where(known, _OUTLIER, _PUPIL) * optics.cutoff
    expected = np.where(known[:, None], expected, 0.0)
    found_there = _distance(k, expected) <= reach
    for i in np.flatnonzero(present & ~found_there):
        found = fringes.near(int(i), carrier + expected[i], float(reach[i]))
        if found is not None:
            k[i] = expected[i] + found
    return _classified(k, centre, background, planned, bright)


def _possible(background: InterferogramStack) -> Points | None:
    """Return the planned k, nan where it lies outside the pupil; None without a plan."""
    planned = background.illumination_k
    if planned is None:
        return None
    try:
        check_wave_vectors(planned, background.optics)
    except ConfigurationError as error:
        raise DataError(str(error)) from error
    within = _distance(planned, 0) <= _reach(background.optics)
    return np.where(within[:, None], planned, np.nan)


def _classified(
    k: Points,
    carrier: tuple[float, float],
    background: InterferogramStack,
    planned: Points | None,
    bright: Mask,
) -> WaveVectors:
    """Return the wave vectors with unusable angles marked, whose k is then the predicted one."""
    optics = background.optics
    within = _distance(k, 0) <= _reach(optics)
    overlapping = _overlap_distance(k, carrier, optics) <= _OVERLAP * optics.cutoff
    if planned is None:
        overlapping |= _either_of_pair(k, within, carrier, optics)
    clear = within & ~overlapping
    outliers = np.zeros(len(k), bool)
    if planned is not None:
        expected = _predict(planned, k, clear)
        outliers = clear & ~(_distance(k, expected) <= _OUTLIER * optics.cutoff)
        k = np.where(clear[:, None], k, expected)
    else:
        k = np.where(within[:, None], k, np.nan)
    unusable = tuple(i for i in _numbers(~clear) if i not in background.lost)
    outside = _numbers(bright & ~within)
    return WaveVectors(carrier, k, unusable, _numbers(outliers), outside, _numbers(overlapping))


def _either_of_pair(k: Points, within: Mask, carrier: tuple[float, float], optics: Optics) -> Mask:
    """Return a mask of peaks that may be the folded conjugate of light in the scan's circle."""
    radius = float(_distance(k, 0)[within].max(initial=0.0)) + _OVERLAP * optics.cutoff
    others = np.stack([_distance(away - k, 0) for away in folded_conjugates(carrier, optics)])
    return np.asarray((others <= radius).any(axis=0))


def _numbers(mask: Mask) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(mask))


def _distance(k: Points, other: Points | float) -> Points:
    """Return the distance of each row from ``other``; nan where k is unknown."""
    return np.asarray(np.hypot(*(k - other).T))


def _reach(optics: Optics) -> float:
    """Return the largest |k| of light, in the pupil and not evanescent, in cycles/um."""
    return min(_PUPIL * optics.cutoff, _STEEPEST * optics.k_medium)


def _check_carrier(carrier: tuple[float, float], optics: Optics) -> None:
    """Refuse a sideband that overlaps its conjugate or holds the zero order."""
    conjugate = float(np.hypot(*folded_conjugates(carrier, optics).T).min())
    place = f"({carrier[0]:.2f}, {carrier[1]:.2f}) cycles/um"
    if conjugate < _COINCIDES * optics.cutoff:
        raise DataError(
            f"the sideband and its conjugate, folded at the camera's Nyquist frequency, must lie "
            f"at least {_COINCIDES:g} NA/wavelength apart; with the carrier at {place} they are "
            f"{conjugate / optics.cutoff:.2f} apart and cannot be distinguished: tilt the "
            "reference mirror in another direction or less, so that the fringes are not two pixels "
            "wide, or use smaller pixels"
        )
    distance = float(np.hypot(*carrier))
    if distance < _PUPIL * optics.cutoff:
        raise DataError(
            f"the carrier must be farther than NA/wavelength = {optics.cutoff:.2f} cycles/um from "
            f"the zero order, or the sideband holds it, got {place}: tilt the reference mirror "
            "more (3 NA/wavelength is best), or check pixel size, wavelength and NA"
        )


def _predict(planned: Points, k: Points, clear: Mask) -> Points:
    """Return an affine map of the plan to the measured angles, fitted without the worst one."""
    design = np.column_stack([planned, np.ones(len(planned))])
    clear = clear & np.isfinite(planned).all(axis=1)
    if np.linalg.matrix_rank(design[clear]) < 3:
        return planned
    kept = clear.copy()
    for _ in range(3):
        fit = np.linalg.lstsq(design[kept], k[kept], rcond=None)[0]
        error = _distance(k, design @ fit)
        kept = clear & (error <= max(3 * float(np.median(error[clear])), 1e-6))
        if np.linalg.matrix_rank(design[kept]) < 3:
            break
    return np.asarray(design @ fit)


def folded_conjugates(carrier: tuple[float, float], optics: Optics) -> Points:
    """Return the conjugate sidebands relative to the carrier, (9, 2): kx, ky in cycles/um.

    The camera's spectrum is periodic, so there are several; these are the nearest.
    """
    folds = np.array(list(itertools.product((-1, 0, 1), repeat=2))) / optics.pixel_size_um
    return np.asarray(folds - 2 * np.array(carrier))


def _overlap_distance(k: Points, carrier: tuple[float, float], optics: Optics) -> Points:
    """Return each k's distance from the middle line to the folded conjugate, cycles/um."""
    conjugates = folded_conjugates(carrier, optics)
    length = np.hypot(*conjugates.T)
    gaps = length / 2 - (k @ conjugates.T) / length
    touching = length < 2 * optics.cutoff
    return np.asarray(np.where(touching, gaps, np.inf).min(axis=1))


def _nearest_of_pair(
    peaks: Points, centre: Points, optics: Optics, expected: Points | float = 0.0
) -> Points:
    """Return each peak or its conjugate relative to the centre, the one nearer ``expected``."""
    pair = np.stack([folded(sign * peaks - centre - expected, optics) for sign in (1, -1)])
    nearer = np.hypot(pair[0, ..., 0], pair[0, ..., 1]) <= np.hypot(
        pair[1, ..., 0], pair[1, ..., 1]
    )
    return np.asarray(np.where(nearer[..., None], pair[0], pair[1]) + expected)


def _align(peaks: Points, bright: Mask, planned: Points, optics: Optics) -> tuple[Points, Points]:
    """Find the carrier for which peaks - carrier agrees best with the planned k."""
    error, carrier, k = _best_agreement(peaks, bright, planned, optics)
    if error > _AGREES * optics.cutoff:
        raise DataError(
            f"measured and planned wave vectors must agree within {_AGREES:g} NA/wavelength, got a "
            f"median difference of {error:.3f} cycles/um: "
            + _agreement_hint(peaks, bright, planned, optics)
            + "check pixel size and angle order, or calibrate the microscope, which measures "
            "the orientation of the DMD's image"
        )
    return folded(carrier, optics), k


def _best_agreement(
    peaks: Points, bright: Mask, planned: Points, optics: Optics
) -> tuple[float, Points, Points]:
    """Return the median difference in cycles/um, the carrier, and k (angles, 2)."""
    known = bright & np.isfinite(planned).all(axis=1)
    if not known.any():
        raise DataError(
            "at least one angle must have both fringes and a planned k, and none has: check the "
            "background and its wave vectors"
        )
    plan = np.nan_to_num(planned)
    carriers = np.concatenate([sign * peaks[known] - plan[known] for sign in (1, -1)])[:, None]
    for _ in range(3):
        k = _nearest_of_pair(peaks, carriers, optics, plan)  # (carriers, angles, 2)
        carriers = carriers + np.median((k - plan)[:, known], axis=1)[:, None]
    k = _nearest_of_pair(peaks, carriers, optics, plan)
    off = (k - plan)[:, known]
    error = np.median(np.hypot(off[..., 0], off[..., 1]), axis=1)
    best = int(error.argmin())
    return float(error[best]), carriers[best, 0], k[best]


def _agreement_hint(peaks: Points, bright: Mask, planned: Points, optics: Optics) -> str:
    """Return the simple change to the plan that would make it agree; "" if there is none."""
    readings = {
        "divided by 2 pi (cycles/um, not rad/um)": planned / (2 * np.pi),
        "multiplied by NA/wavelength (not parts of the aperture)": planned * optics.cutoff,
        "divided by the wavelength (not sines times the index)": planned / optics.wavelength_um,
        "multiplied by n/wavelength (not sines)": planned * optics.k_medium,
        "with x and y exchanged": planned[:, ::-1],
        "with another sign of x or of y": planned * [1, -1],  # the other sideband turns both
        "in reverse order": planned[::-1],
        "one frame later": np.roll(planned, 1, axis=0),
        "one frame earlier": np.roll(planned, -1, axis=0),
    }
    for how, reading in readings.items():
        error = _best_agreement(peaks, bright, reading, optics)[0]
        spread = float(np.nanmedian(_distance(reading, np.nanmedian(reading, axis=0))))
        if error < min(_AGREES * optics.cutoff / 2, spread / 4):
            return f"they agree {how}; "
    return ""


def _on_the_axis(
    peaks: Points, bright: Mask, normal: int | None, optics: Optics
) -> tuple[Points, Points]:
    """Return carrier and k without a plan: from the normal angle's peak, else the centre of all."""
    carrier = _centre_on_circle(peaks[bright], optics)
    k = _nearest_of_pair(peaks, carrier, optics)
    distance = np.where(bright, np.hypot(*k.T), np.inf)
    if normal is not None:
        if not bright[normal]:
            raise DataError(
                f"the normal angle {normal} must show fringes, its frame has none: take a new "
                "background, or correct normal"
            )
    elif distance.min() <= _NORMAL * optics.cutoff:
        normal = int(np.argmin(distance))
    else:
        return folded(carrier, optics), k
    carrier = folded(carrier + k[normal], optics)
    return carrier, _nearest_of_pair(peaks, carrier, optics)


def _centre_on_circle(peaks: Points, optics: Optics) -> Points:
    """Return the centre of the smallest circle that holds one peak of every conjugate pair.

    Peaks that do not belong to the scan are left out: those outside the fullest pupil, and single
    ones that enlarge the circle.
    """
    pupil = _PUPIL * optics.cutoff
    centre, radius = _smallest_circle(peaks, peaks, optics)
    if radius > pupil:
        start, kept = _fullest_pupil(peaks, optics)
        if kept.mean() > _MOST:
            peaks = peaks[kept]
            centre, _ = _smallest_circle(peaks, start[None], optics)
    centre, smaller = _without_the_odd(peaks, centre, optics)
    if smaller > pupil:
        raise DataError(
            f"illumination must lie within NA/wavelength = {optics.cutoff:.3f} cycles/um, but the "
            f"peaks span a circle of {radius:.3f}: check pixel size, wavelength and NA"
        )
    return centre


def _smallest_circle(peaks: Points, starts: Points, optics: Optics) -> tuple[Points, float]:
    """Return centre and radius of the smallest circle found from several starts, (starts, 2)."""
    centres, radii = _smallest_circles(peaks[None], starts, optics)
    best = int(radii.argmin())
    return centres[best], float(radii[best])


def _smallest_circles(
    peaks: Points, starts: Points, optics: Optics
) -> tuple[Points, NDArray[np.float64]]:
    """Return each start's centre and radius, by Badoiu and Clarkson's iteration.

    Peaks are (starts, peaks, 2), or (1, peaks, 2) for all starts. Complex numbers stand for
    places: this loop is where a scan without wave vectors spends its time.
    """
    signs = np.array([1, -1])[:, None, None]
    pairs = signs * np.ascontiguousarray(peaks, dtype=np.float64).view(np.complex128)[..., 0]
    centres = starts.astype(np.float64).view(np.complex128)[:, 0]
    each = np.arange(len(starts))
    for step in range(_STEPS):
        k = folded(pairs - centres[:, None], optics)  # (signs, starts, peaks)
        distance = np.abs(k)
        farthest = distance.min(axis=0).argmax(axis=1)
        nearer = distance[:, each, farthest].argmin(axis=0)
        centres = centres + k[nearer, each, farthest] / (step + 2)
    radii = np.abs(folded(pairs - centres[:, None], optics)).min(axis=0).max(axis=1)
    return centres[:, None].view(np.float64), radii


def _fullest_pupil(peaks: Points, optics: Optics) -> tuple[Points, Mask]:
    """Return the centre of the pupil that holds most peaks and their mask, by mean shift."""
    centres = peaks.astype(np.float64)
    for _ in range(_SHIFTS):
        k = _nearest_of_pair(peaks, centres[:, None], optics)  # (centres, peaks, 2)
        held = np.hypot(k[..., 0], k[..., 1]) <= _PUPIL * optics.cutoff
        centres = centres + (k * held[..., None]).sum(axis=1) / held.sum(axis=1)[:, None]
    best = int(held.sum(axis=1).argmax())
    return centres[best], held[best]


def _without_the_odd(peaks: Points, centre: Points, optics: Optics) -> tuple[Points, float]:
    """Return the smallest circle, without single peaks that enlarge it."""
    centre, radius = _smallest_circle(peaks, centre[None], optics)
    for _ in range(len(peaks) // _FEW):
        distance = np.hypot(*_nearest_of_pair(peaks, centre, optics).T)
        rim = np.argsort(distance)[-_FEW:]
        others = np.stack([np.delete(peaks, i, axis=0) for i in rim])
        centres, radii = _smallest_circles(others, np.tile(centre, (len(rim), 1)), optics)
        least = int(radii.argmin())
        if radii[least] > (1 - _ALONE) * radius:
            break
        peaks, centre, radius = others[least], centres[least], float(radii[least])
    return centre, radius
