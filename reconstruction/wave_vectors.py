"""Carrier and illumination wave vectors, from the fringes of the empty field.

The interferogram of angle i has its sideband peak at k_c + k_i (and the conjugate at the opposite
place), k_c the carrier of the reference wave. Frequencies in cycles/um; on the camera they are
known only modulo 1/pixel, so a sideband may fold over the edge of the spectrum.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from acquisition.errors import DataError
from acquisition.interferograms import InterferogramStack
from acquisition.optics import Optics

__all__ = ["WaveVectors", "find_wave_vectors", "folded_conjugates"]

Points = NDArray[np.float64]  # (angles, 2): x, y in cycles/um

_ZERO_ORDER = 0.75  # radius left out around the zero order, in NA/wavelength
# Light this close (in NA/wavelength) to the middle between sideband and folded conjugate has lost
# half of what the sample scatters (docs/decisions/reconstruction.md).
_OVERLAP = 0.05
_OUTLIER = 0.05  # distance from the plan's affine image, in NA/wavelength
# Scans of 49 and 71 angles on a circle or a spiral have their neighbours 0.1 NA/wavelength apart,
# and the circle around a spiral is centred to 0.01.
_NORMAL = 0.04
_MIN_PEAK = 8.0  # sideband peak over the median spectrum, below which there are no fringes


@dataclass(frozen=True, slots=True)
class WaveVectors:
    """The fitted geometry of one scan.

    Parameters
    ----------
    carrier : (kx, ky)
        Of the reference wave, cycles/um, between -1/2 and 1/2 of the sampling frequency.
    k : (angles, 2) float64
        Illumination wave vectors, cycles/um. Where an unusable frame has no peak of its own, the
        one that the plan predicts; not finite without a plan.
    unusable : tuple of int
        Angles whose background frame shows no fringes, or whose light lies where the sideband and
        its conjugate, folded at the camera's Nyquist frequency, overlap.
    outliers : tuple of int
        Usable angles whose light is not where the plan says, by more than 0.05 NA/wavelength: the
        measured wave vector is kept.
    """

    carrier: tuple[float, float]
    k: Points
    unusable: tuple[int, ...]
    outliers: tuple[int, ...] = ()

    def mirrored(self) -> "WaveVectors":
        """Return what the conjugate sideband says: without a plan both are possible."""
        kx, ky = self.carrier
        return replace(self, carrier=(-kx, -ky), k=-self.k)


def find_wave_vectors(background: InterferogramStack) -> WaveVectors:
    """Find carrier and wave vectors on the background's fringes.

    With ``background.illumination_k`` the carrier is the shift between the peaks and these, and
    the sideband the one in which they agree in sign. Without it, the carrier is the peak of the
    normal angle: the one that ``background.normal`` declares, or the one nearest to the centre of
    the smallest circle around all peaks, if it is within 0.04 NA/wavelength of it. A scan without
    a normal angle has its carrier at that centre: right where it reaches as far on all sides.

    Raises
    ------
    DataError
        If no frame has fringes, or the peaks do not fit into one pupil.
    """
    optics = background.optics
    peaks, strength = _sideband_peaks(background.frames, optics)
    bright = strength > _MIN_PEAK
    bright[list(background.lost)] = False
    if not bright.any():
        raise DataError(
            f"the background must show fringes, but no sideband stands {_MIN_PEAK:.0f} times above "
            f"the spectrum (best {strength.max():.1f}): check reference beam and exposure"
        )
    planned = background.illumination_k
    if planned is None:
        carrier, k = _on_the_axis(peaks, bright, background.normal, optics)
    else:
        carrier, k = _align(peaks, bright, planned, optics)
    k[~bright] = np.nan
    centre = (float(carrier[0]), float(carrier[1]))
    clear = bright & (_overlap_distance(k, centre, optics) > _OVERLAP * optics.cutoff)
    outliers = np.zeros(len(k), bool)
    if planned is not None:
        expected = _predict(planned, k, clear)
        with np.errstate(invalid="ignore"):
            outliers = clear & (np.hypot(*(k - expected).T) > _OUTLIER * optics.cutoff)
        k = np.where(clear[:, None], k, expected)
    unusable = tuple(int(i) for i in np.flatnonzero(~clear) if i not in background.lost)
    return WaveVectors(centre, k, unusable, tuple(int(i) for i in np.flatnonzero(outliers)))


def _predict(planned: Points, k: Points, clear: NDArray[np.bool_]) -> Points:
    """Return where an affine map of the plan puts every angle; fitted without the worst."""
    design = np.column_stack([planned, np.ones(len(planned))])
    if np.linalg.matrix_rank(design[clear]) < 3:
        return planned
    kept = clear.copy()
    for _ in range(3):
        fit = np.linalg.lstsq(design[kept], k[kept], rcond=None)[0]
        error = np.hypot(*(k - design @ fit).T)
        kept = clear & (error <= max(3 * float(np.median(error[clear])), 1e-6))
        if np.linalg.matrix_rank(design[kept]) < 3:
            break
    return np.asarray(design @ fit)


def folded_conjugates(carrier: tuple[float, float], optics: Optics) -> Points:
    """Return where the conjugate sideband lies, seen from the carrier, (9, 2): kx, ky in cycles/um.

    The camera's spectrum is periodic, so there are several; the nearest ones matter.
    """
    folds = np.array(list(itertools.product((-1, 0, 1), repeat=2))) / optics.pixel_size_um
    return np.asarray(folds - 2 * np.array(carrier))


def _overlap_distance(k: Points, carrier: tuple[float, float], optics: Optics) -> Points:
    """Return how far each k is on its own side of the line to the folded conjugate, cycles/um."""
    conjugates = folded_conjugates(carrier, optics)
    length = np.hypot(*conjugates.T)
    with np.errstate(invalid="ignore"):
        gaps = length / 2 - (k @ conjugates.T) / length
    touching = length < 2 * optics.cutoff
    return np.asarray(np.where(touching, gaps, np.inf).min(axis=1))


def _sideband_peaks(frames: NDArray[np.uint8], optics: Optics) -> tuple[Points, Points]:
    """Return the strongest peak outside the zero order and its height over the median."""
    window = [scipy.signal.windows.hann(n, sym=False) for n in frames.shape[1:]]
    fy = scipy.fft.fftfreq(frames.shape[1], optics.pixel_size_um)
    fx = scipy.fft.rfftfreq(frames.shape[2], optics.pixel_size_um)
    outside = np.hypot(fx[None, :], fy[:, None]) > _ZERO_ORDER * optics.cutoff
    peaks, strength = np.empty((len(frames), 2)), np.empty(len(frames))
    for i, frame in enumerate(frames):  # once a background; not the frame path
        picture = (frame - frame.mean(dtype=np.float64)) * window[0][:, None] * window[1]
        power = np.abs(scipy.fft.rfft2(picture)) * outside
        row, column = np.unravel_index(int(np.argmax(power)), power.shape)
        strength[i] = power[row, column] / (np.median(power[outside]) + 1e-12)
        peaks[i] = fx[column], fy[row]
        if strength[i] > _MIN_PEAK:  # the row of a lost frame is zero: nothing to refine
            peaks[i] = _refine(picture, fx[column], fy[row], optics.pixel_size_um)
    return peaks, strength


def _refine(picture: Points, fx: float, fy: float, pixel: float) -> Points:
    """Newton steps to the maximum of the windowed picture's spectrum, to about 1e-3 of a sample."""
    y = (np.arange(picture.shape[0]) - picture.shape[0] / 2) * pixel
    x = (np.arange(picture.shape[1]) - picture.shape[1] / 2) * pixel
    # variance of a Hann window of length L: L^2 (1/12 - 1/(2 pi^2))
    spread_y, spread_x = ((len(a) * pixel) ** 2 * (1 / 12 - 1 / (2 * np.pi**2)) for a in (y, x))
    for _ in range(6):
        wave_x, wave_y = np.exp(-2j * np.pi * fx * x), np.exp(-2j * np.pi * fy * y)
        along_x = picture @ np.stack([wave_x, x * wave_x], axis=1)
        value, moment_x = wave_y @ along_x
        moment_y = (y * wave_y) @ along_x[:, 0]
        fx += (moment_x / value).imag / (2 * np.pi * spread_x)
        fy += (moment_y / value).imag / (2 * np.pi * spread_y)
    return np.array([fx, fy])


def _fold(difference: Points, optics: Optics) -> Points:
    """Return frequencies modulo the camera's sampling frequency, nearest to zero."""
    sampling = 1 / optics.pixel_size_um
    return difference - sampling * np.round(difference / sampling)


def _nearest_of_pair(peaks: Points, centre: Points, optics: Optics) -> Points:
    """Return each peak, or its conjugate, relative to the centre: whichever is nearer."""
    pair = np.stack([_fold(peaks - centre, optics), _fold(-peaks - centre, optics)])
    nearer = np.argmin(np.hypot(pair[..., 0], pair[..., 1]), axis=0)
    return np.asarray(pair[nearer, np.arange(len(peaks))])


def _align(
    peaks: Points, bright: NDArray[np.bool_], planned: Points, optics: Optics
) -> tuple[Points, Points]:
    """Find the carrier for which peaks - carrier agrees best with the planned k."""
    best: tuple[float, Points, Points] | None = None
    for seed in np.flatnonzero(bright):
        for sign in (1, -1):
            carrier = sign * peaks[seed] - planned[seed]
            for _ in range(3):
                k = _nearest_of_pair(peaks, carrier, optics)
                carrier = carrier + np.median((k - planned)[bright], axis=0)
            k = _nearest_of_pair(peaks, carrier, optics)
            error = float(np.median(np.hypot(*(k - planned)[bright].T)))
            if best is None or error < best[0]:
                best = error, carrier, k
    assert best is not None
    if best[0] > 0.1 * optics.cutoff:
        raise DataError(
            f"measured and planned wave vectors must agree within 0.1 NA/wavelength, median "
            f"difference {best[0]:.3f} cycles/um: check pixel size and angle order, or calibrate "
            "the microscope, which finds out how the DMD's image is turned"
        )
    return _fold(best[1], optics), best[2]


def _on_the_axis(
    peaks: Points, bright: NDArray[np.bool_], normal: int | None, optics: Optics
) -> tuple[Points, Points]:
    """Find the carrier without a plan: the normal angle's peak, else the centre of all."""
    carrier, k = _centre_on_circle(peaks, bright, optics)
    distance = np.where(bright, np.hypot(*k.T), np.inf)
    if normal is not None:
        if not bright[normal]:
            raise DataError(f"the normal angle {normal} must show fringes, its frame has none")
    elif distance.min() <= _NORMAL * optics.cutoff:
        normal = int(np.argmin(distance))
    else:
        return carrier, k
    carrier = _fold(carrier + k[normal], optics)
    return carrier, _nearest_of_pair(peaks, carrier, optics)


def _centre_on_circle(
    peaks: Points, bright: NDArray[np.bool_], optics: Optics
) -> tuple[Points, Points]:
    """Find the smallest circle that holds one peak of every pair."""
    best: tuple[float, Points] | None = None
    for seed in peaks[bright]:
        centre = seed
        for step in range(400):  # Badoiu and Clarkson's walk to the smallest enclosing circle
            k = _nearest_of_pair(peaks[bright], centre, optics)
            farthest = k[np.argmax(np.hypot(*k.T))]
            centre = centre + farthest / (step + 2)
        radius = float(np.hypot(*_nearest_of_pair(peaks[bright], centre, optics).T).max())
        if best is None or radius < best[0] - 1e-6:
            best = radius, centre
    assert best is not None
    if best[0] > 1.05 * optics.cutoff:
        raise DataError(
            f"illumination must lie within NA/wavelength = {optics.cutoff:.3f} cycles/um, the "
            f"peaks need a circle of {best[0]:.3f}: check pixel size, wavelength and NA"
        )
    return _fold(best[1], optics), _nearest_of_pair(peaks, best[1], optics)
