"""Exact scattering of a scalar plane wave by a homogeneous sphere: a truth for every other model.

Partial waves of (lap + K^2) u = -V u: with x = K a, m = n/n_m, continuity of u and du/dr at r = a,

    b_l = (m j_l(x) j_l'(m x) - j_l'(x) j_l(m x)) / (h_l'(x) j_l(m x) - m h_l(x) j_l'(m x))
    u_s = sum_l i^l (2l + 1) b_l h_l(K r) P_l(cos theta),   f(theta) = (1/iK) sum (2l + 1) b_l P_l

and, by Weyl's expansion of exp(iKr)/r, the forward angular spectrum at the plane through the
centre is (i / kz) f(theta), kz in cycles/um (Morse and Feshbach, section 11.3). Nothing here is
shared with the multi-slice models.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import eval_legendre, spherical_jn, spherical_yn

from acquisition.optics import Optics

__all__ = ["sphere_field"]


def scattering_amplitude(
    optics: Optics, radius_um: float, index: float, cosine: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Return f(theta) in um for the cosines of the scattering angles."""
    wave_number = 2 * math.pi * optics.k_medium
    x, m = wave_number * radius_um, index / optics.medium_index
    orders = np.arange(int(x + 4 * x ** (1 / 3) + 12))
    inside, inside_slope = spherical_jn(orders, m * x), spherical_jn(orders, m * x, True)
    j, j_slope = spherical_jn(orders, x), spherical_jn(orders, x, True)
    h = j + 1j * spherical_yn(orders, x)
    h_slope = j_slope + 1j * spherical_yn(orders, x, True)
    b = (m * j * inside_slope - j_slope * inside) / (h_slope * inside - m * h * inside_slope)
    total = np.zeros(cosine.shape, complex)
    for order, weight in zip(orders, (2 * orders + 1) * b, strict=True):
        total += weight * eval_legendre(order, cosine)
    return total / (1j * wave_number)


@functools.lru_cache(maxsize=8)
def _amplitude(optics: Optics, radius_um: float, index: float) -> CubicSpline:
    """Return f over the scattering angle in rad; 40 points a lobe leave an error of 1e-8."""
    size = 4 * math.pi * optics.k_medium * radius_um
    angles = np.linspace(0, math.pi, 40 * math.ceil(size) + 400)
    return CubicSpline(angles, scattering_amplitude(optics, radius_um, index, np.cos(angles)))


def sphere_field(
    optics: Optics,
    k: tuple[float, float],
    radius_um: float,
    index: float,
    shape: tuple[int, int],
    centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> NDArray[np.complex128]:
    """Return u/u0 at focus on (y, x) pixels, origin at n//2, u0 of phase zero at the origin.

    ``centre_um`` is (x, y, z); the objective's NA limits the field; the grid is periodic.
    """
    frequency_y = np.fft.fftfreq(shape[0], optics.pixel_size_um)[:, None]
    frequency_x = np.fft.fftfreq(shape[1], optics.pixel_size_um)[None, :]
    kx, ky = frequency_x + k[0], frequency_y + k[1]
    transverse = kx**2 + ky**2
    pupil = transverse <= optics.cutoff**2
    radius = optics.k_medium
    kz = np.sqrt(np.where(pupil, radius**2 - transverse, 1.0))
    k0z = math.sqrt(radius**2 - k[0] ** 2 - k[1] ** 2)
    cosine = np.where(pupil, (kx * k[0] + ky * k[1] + kz * k0z) / radius**2, 1.0)
    spectrum = np.zeros(shape, complex)
    amplitude = _amplitude(optics, radius_um, index)(np.arccos(np.clip(cosine[pupil], -1, 1)))
    shift = frequency_x * centre_um[0] + frequency_y * centre_um[1] + (kz - k0z) * centre_um[2]
    spectrum[pupil] = 1j / kz[pupil] * amplitude * np.exp(-2j * np.pi * shift[pupil])
    field = np.fft.ifft2(spectrum) / optics.pixel_size_um**2
    return np.fft.fftshift(field) + 1
