"""What the light path panel draws, computed from a scan's light; without Qt.

Frequencies are in cycles/um throughout: illumination at k_t, carrier at c, the sideband of an
off-axis interferogram within NA/wavelength of c, its conjugate at -c, the zero order within twice
that of the origin (Leith and Upatnieks, JOSA 52, 1123, 1962).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acquisition.optics import Optics
from pipeline.wire.state import LightPath

__all__ = ["Dot", "Spectrum", "coverage", "dots", "log_spectrum", "with_saturation"]

_RED = (255, 60, 50)
_FLOOR = 1e-6  # of the strongest light, the darkest that is drawn
_ARC_POINTS = 40


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The logarithmic spectrum of a frame, (fy, fx) from 0 to 1, zero frequency at n//2.

    ``highest`` is the Nyquist frequency in cycles/um.
    """

    image: NDArray[np.float32]
    highest: float


@dataclass(frozen=True, slots=True)
class Dot:
    """One angle in the pupil: where its light is, and what is said about it."""

    angle: int
    k: tuple[float, float]
    state: str  # "planned", "measured", "outlier" or "left out"
    text: str


def with_saturation(frame: NDArray[np.uint8] | NDArray[np.uint16], full: int) -> NDArray[np.uint8]:
    """Return a frame as colours (y, x, 3): gray up to ``full``, red where it is reached."""
    scaled = frame.astype(np.float32) * np.float32(255 / max(full, 1))
    colours = np.repeat(np.minimum(scaled, 255).astype(np.uint8)[..., None], 3, axis=2)
    colours[frame >= full] = _RED
    return colours


def log_spectrum(frame: NDArray[np.uint8] | NDArray[np.uint16], pixel_size_um: float) -> Spectrum:
    """Return the spectrum of a frame under a Hann window, on a logarithmic scale of six decades."""
    rows, columns = frame.shape
    window = np.hanning(rows)[:, None] * np.hanning(columns)[None, :]
    light = frame.astype(np.float32)
    power = np.abs(np.fft.fft2((light - light.mean()) * window.astype(np.float32))) ** 2
    power = np.fft.fftshift(power)
    scale = max(float(power.max()), 1e-30)
    image = 1 - np.log10(np.maximum(power / scale, _FLOOR)) / np.log10(_FLOOR)
    return Spectrum(image.astype(np.float32), 0.5 / pixel_size_um)


def dots(light: LightPath) -> list[Dot]:
    """Return the angles of a scan in the pupil, planned ones first."""
    found = []
    for angle, k in enumerate(light.planned):
        found.append(Dot(angle, k, "planned", f"angle {angle}: planned here"))
    for angle, measured in enumerate(light.found):
        reason = light.reasons.get(angle)
        planned = light.planned[angle] if angle < len(light.planned) else None
        place = measured or planned
        if place is None:
            continue
        if reason is not None:
            found.append(Dot(angle, place, "left out", f"angle {angle}: left out, {reason}"))
        elif angle in light.outliers:
            text = f"angle {angle}: the light is not where it was planned; used where it is"
            found.append(Dot(angle, place, "outlier", text))
        else:
            seen = f"visibility {light.visibility[angle]:.2f}" if light.visibility else ""
            found.append(Dot(angle, place, "measured", f"angle {angle}: used, {seen}".rstrip(", ")))
    return found


def coverage(light: LightPath, optics: Optics) -> list[NDArray[np.float64]]:
    """Return the Ewald caps of the angles in use, cut at K_y = 0: (points, 2) of (K_x, K_z).

    Cap of the illumination k_0: K = k - k_0 for all k of length n/wavelength that the objective
    takes, |k_t| <= NA/wavelength (Wolf, Opt. Commun. 1, 153, 1969). The real index makes the
    spectrum Hermitian, so that each cap counts at -K, too. What no cap reaches around the K_z axis
    is the missing cone.
    """
    arcs = []
    radius, cutoff = optics.k_medium, optics.cutoff
    for angle, k in enumerate(light.found):
        if k is None or angle in light.reasons:
            continue
        kx, ky = k
        reach = cutoff**2 - ky**2
        inside = radius**2 - kx**2 - ky**2
        if reach <= 0 or inside <= 0:
            continue
        along = np.linspace(-np.sqrt(reach), np.sqrt(reach), _ARC_POINTS)
        axial = np.sqrt(np.maximum(radius**2 - along**2 - ky**2, 0)) - np.sqrt(inside)
        arc = np.stack([along - kx, axial], axis=1)
        arcs += [arc, -arc]
    return arcs
