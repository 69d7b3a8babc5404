"""Peaks of the fringes in a frame's spectrum, from which wave vectors are measured.

Frequencies in cycles/um. A frame is real, so each peak has its conjugate at the opposite frequency,
and the camera samples frequencies only modulo 1/pixel.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from acquisition.optics import Optics

__all__ = ["MIN_PEAK", "ZERO_ORDER", "Fringes", "folded"]

Points = NDArray[np.float64]  # (angles, 2): x, y in cycles/um
_Number = TypeVar("_Number", np.float64, np.complex128)

MIN_PEAK = 8.0  # sideband peak over the median spectrum, below which there are no fringes
ZERO_ORDER = 0.75  # NA/wavelength around the zero order that ``strongest`` leaves out
# If the peak's place is known, only the zero order's own peak and its skirt are left out.
_ZERO_PEAK = 0.25
# Share of a frame's strongest peak; side lobes of a Hann window reach 0.03.
_LEAST_PART = 0.1
# Steps towards a peak's top at most, and the last step in samples of the spectrum.
_CLIMBS, _THERE = 6, 1e-4


def folded(difference: NDArray[_Number], optics: Optics) -> NDArray[_Number]:
    """Return frequencies folded into the camera's band, -1/2 to 1/2 of its sampling frequency.

    A complex number stands for both coordinates of a place, and each of them is folded.
    """
    sampling = 1 / optics.pixel_size_um
    return np.asarray(difference - sampling * np.round(difference / sampling))


class Fringes:
    """Peaks in the spectra of a background's frames; computed once, not in the frame path.

    Parameters
    ----------
    frames : (angles, y, x)
    optics : Optics
    """

    def __init__(self, frames: NDArray[np.uint8 | np.uint16], optics: Optics) -> None:
        self._frames, self._optics = frames, optics
        hann = [np.hanning(n + 1)[:-1] for n in frames.shape[1:]]
        self._window = hann[0][:, None] * hann[1]
        pixel = optics.pixel_size_um
        self._fy = np.fft.fftfreq(frames.shape[1], pixel)
        self._fx = np.fft.fftfreq(frames.shape[2], pixel)
        half = np.fft.rfftfreq(frames.shape[2], pixel)
        self._half_fx = half
        self._outside = np.hypot(half, self._fy[:, None]) > ZERO_ORDER * optics.cutoff
        self._strongest = np.zeros(len(frames))
        self._floor = np.zeros(len(frames))

    def strongest(self) -> tuple[Points, Points]:
        """Return each frame's strongest peak off the zero order, and its height over the median.

        It may be the sideband or its conjugate.
        """
        peaks, strength = np.empty((len(self._frames), 2)), np.empty(len(self._frames))
        for i in range(len(self._frames)):
            picture = self._picture(i)
            power = np.abs(np.fft.rfft2(picture))
            self._floor[i] = np.median(power[self._outside]) + 1e-12
            power *= self._outside & _tops(power)  # no skirt of what lies nearer to the zero order
            row, column = np.unravel_index(int(np.argmax(power)), power.shape)
            self._strongest[i] = power[row, column]
            strength[i] = self._strongest[i] / self._floor[i]
            peaks[i] = self._half_fx[column], self._fy[row]
            if strength[i] > MIN_PEAK:  # the row of a lost frame is zero: nothing to refine
                peaks[i] = _refined(picture, peaks[i], self._optics.pixel_size_um)
        return peaks, strength

    def near(self, frame: int, place: Points, reach: float) -> Points | None:
        """Return the peak within ``reach`` of a place, relative to it; None if there is none.

        A peak must have a tenth of the frame's strongest one. Call ``strongest`` first.
        """
        picture = self._picture(frame)
        away_x = folded(self._fx - place[0], self._optics)
        away_y = folded(self._fy - place[1], self._optics)[:, None]
        zero = np.hypot(self._fx, self._fy[:, None]) < _ZERO_PEAK * self._optics.cutoff
        power = np.abs(np.fft.fft2(picture)) * (np.hypot(away_x, away_y) <= reach) * ~zero
        row, column = np.unravel_index(int(np.argmax(power)), power.shape)
        least = max(MIN_PEAK * self._floor[frame], _LEAST_PART * self._strongest[frame])
        if power[row, column] < least:
            return None
        at = np.array([self._fx[column], self._fy[row]])
        offset = folded(_refined(picture, at, self._optics.pixel_size_um) - place, self._optics)
        # the skirt of another peak climbs towards that one
        return offset if np.hypot(*offset) <= reach else None

    def _picture(self, frame: int) -> Points:
        pixels = self._frames[frame]
        return np.asarray((pixels - pixels.mean(dtype=np.float64)) * self._window)


def _tops(power: Points) -> NDArray[np.bool_]:
    """Return a mask of local maxima, in a spectrum whose rows are periodic."""
    tall = np.maximum(power, np.maximum(np.roll(power, 1, axis=0), np.roll(power, -1, axis=0)))
    wide = np.pad(tall, ((0, 0), (1, 1)))
    return np.asarray(power >= np.maximum(tall, np.maximum(wide[:, :-2], wide[:, 2:])))


def _refined(picture: Points, at: Points, pixel: float) -> Points:
    """Return the maximum of the windowed frame's spectrum near ``at``, to 1e-3 of a sample."""
    fx, fy = at
    y = (np.arange(picture.shape[0]) - picture.shape[0] / 2) * pixel
    x = (np.arange(picture.shape[1]) - picture.shape[1] / 2) * pixel
    # variance of a Hann window of length L: L^2 (1/12 - 1/(2 pi^2))
    spread_y, spread_x = ((len(a) * pixel) ** 2 * (1 / 12 - 1 / (2 * np.pi**2)) for a in (y, x))
    for _ in range(_CLIMBS):
        wave_x, wave_y = np.exp(-2j * np.pi * fx * x), np.exp(-2j * np.pi * fy * y)
        columns = np.stack([wave_x, x * wave_x], axis=1)
        along_x = picture @ columns.real + 1j * (picture @ columns.imag)  # no complex picture
        value, moment_x = wave_y @ along_x
        moment_y = (y * wave_y) @ along_x[:, 0]
        step_x = (moment_x / value).imag / (2 * np.pi * spread_x)
        step_y = (moment_y / value).imag / (2 * np.pi * spread_y)
        fx, fy = fx + step_x, fy + step_y
        if abs(step_x) * len(x) * pixel + abs(step_y) * len(y) * pixel < _THERE:
            break
    return np.array([fx, fy])
