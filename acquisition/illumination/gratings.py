"""Binary Lee gratings on a DMD, and the plane wave of their first order.

A DMD conjugate to the sample shows ((fx x + fy y + phase) mod 1) < duty with f in cycles/mirror;
a stop in the Fourier plane passes only the first order near ``carrier``. The illumination's
transverse wave vector is then k = C (f - carrier) / pitch. Here pitch is that of the mirrors' image
in the sample, and the matrix C the rotation, stretch or mirroring of that image against the camera
(measured by ``calibrate``). Lee, Progress in Optics 16 (1978).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acquisition.errors import ConfigurationError
from acquisition.illumination.angles import AngleSet

__all__ = [
    "UNCHANGED",
    "DmdGeometry",
    "FirstOrder",
    "Light",
    "Matrix",
    "apply_matrix",
    "diffracted_order",
    "far_field",
    "inverse_matrix",
    "lee_grating",
    "stray_light",
    "time_multiplexed",
]


Picture = NDArray[np.uint8] | NDArray[np.float32]
Matrix = tuple[tuple[float, float], tuple[float, float]]
UNCHANGED: Matrix = ((1.0, 0.0), (0.0, 1.0))

_SINGULAR = 0.05  # determinant, below which a measured correction is not plausible
_FULL_GRATING = 1 / math.pi  # amplitude of the first order of a binary grating with duty 1/2
_NEWTON_STEPS = 8
_SETTLED = 1e-9  # cycles/mirror: a step this small is the last one


def apply_matrix(matrix: Matrix, x: float, y: float) -> tuple[float, float]:
    """Return the matrix times (x, y)."""
    (xx, xy), (yx, yy) = matrix
    return xx * x + xy * y, yx * x + yy * y


def inverse_matrix(matrix: Matrix) -> Matrix:
    """Return the inverse of a correction matrix; ConfigurationError if it is singular."""
    (xx, xy), (yx, yy) = matrix
    determinant = xx * yy - xy * yx
    if not abs(determinant) > _SINGULAR:
        raise ConfigurationError(
            f"the correction of the DMD's image must be invertible, got {matrix}: run calibrate "
            "again"
        )
    return (yy / determinant, -xy / determinant), (-yx / determinant, xx / determinant)


@dataclass(frozen=True, slots=True)
class Light:
    """The light that a picture on the DMD sends into the sample.

    Parameters
    ----------
    k : (kx, ky)
        Transverse wave vector, cycles/um.
    amplitude : float
        1 is the amplitude of a full grating, or of a spot of the configured radius.
    spread : float
        Radius of the cone of waves around k, cycles/um; 0 for a plane wave.
    """

    k: tuple[float, float]
    amplitude: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class DmdGeometry:
    """Maps grating frequencies on the DMD to illumination wave vectors.

    Parameters
    ----------
    shape : (rows, columns) of mirrors
    carrier : (fx, fy)
        Grating frequency of normal illumination, cycles/mirror.
    mirror_pitch_um : float
        Pitch of the mirrors' image in the sample.
    stop_radius : float
        Radius of the Fourier stop around the carrier, cycles/mirror.
    correction : ((xx, xy), (yx, yy))
        The matrix C; the unit matrix if the DMD's image has the nominal axes and pitch.
    """

    shape: tuple[int, int]
    carrier: tuple[float, float]
    mirror_pitch_um: float
    stop_radius: float
    correction: Matrix = UNCHANGED

    def __post_init__(self) -> None:
        inverse_matrix(self.correction)  # raises if it is singular
        if self.stop_radius >= math.hypot(*self.carrier) / 2:
            raise ConfigurationError(
                f"stop_radius must be below half the carrier {math.hypot(*self.carrier):.3f} "
                f"cycles/mirror or the second order passes, got {self.stop_radius}"
            )

    def frequency(self, kx: float, ky: float) -> tuple[float, float]:
        """Return the grating's (fx, fy) in cycles/mirror that tilts the light to (kx, ky)."""
        x, y = apply_matrix(inverse_matrix(self.correction), kx, ky)
        pitch = self.mirror_pitch_um
        return self.carrier[0] + pitch * x, self.carrier[1] + pitch * y

    def wave_vector(self, fx: float, fy: float) -> tuple[float, float]:
        """Return (kx, ky) in cycles/um of the order at (fx, fy) cycles/mirror."""
        tilt_x = (fx - self.carrier[0]) / self.mirror_pitch_um
        tilt_y = (fy - self.carrier[1]) / self.mirror_pitch_um
        return apply_matrix(self.correction, tilt_x, tilt_y)

    def light(self, bit_plane: NDArray[np.uint8]) -> "Light | None":
        """Return the light of a picture's first order; None if none passes the stop."""
        order = diffracted_order(bit_plane, self)
        if order is None:
            return None
        return Light(self.wave_vector(order.fx, order.fy), abs(order.amplitude) / _FULL_GRATING)

    def check(self, angles: AngleSet) -> None:
        """Raise ConfigurationError if the stop blocks an angle."""
        tilts = [np.subtract(self.frequency(*k), self.carrier) for k in angles.k.tolist()]
        steepest = max(float(np.hypot(*tilt)) for tilt in tilts)
        if steepest > self.stop_radius:
            raise ConfigurationError(
                f"[dmd] stop_radius must let the steepest angle pass, {steepest:.4f} cycles/mirror,"
                f" got {self.stop_radius}: open the stop or reduce the scan's angles"
            )


def lee_grating(
    shape: tuple[int, int],
    frequency: tuple[float, float],
    phase: float = 0.0,
    duty: float = 0.5,
    disk_radius: float | None = None,
) -> NDArray[np.uint8]:
    """Return a (rows, columns) bit plane of 0 and 1.

    Parameters
    ----------
    shape : (rows, columns) of mirrors
    frequency : (fx, fy), cycles/mirror, x to the right
    phase : float
        Cycles.
    duty : float
        Share of a period that is on.
    disk_radius : float or None
        Mirrors farther than this from the middle are off; a disk needs a fraction of the upload of
        a full frame.
    """
    rows, columns = shape
    ramp_x = frequency[0] * np.arange(columns) + phase
    ramp_y = frequency[1] * np.arange(rows)
    on = ((ramp_y[:, None] + ramp_x[None, :]) % 1.0) < duty
    if disk_radius is not None:
        y, x = np.arange(rows) - (rows - 1) / 2, np.arange(columns) - (columns - 1) / 2
        on &= np.hypot(y[:, None], x[None, :]) <= disk_radius
    return on.astype(np.uint8)


def time_multiplexed(
    shape: tuple[int, int],
    frequency: tuple[float, float],
    planes: int,
    disk_radius: float | None = None,
) -> list[NDArray[np.uint8]]:
    """Return binary gratings whose mean is a sinusoidal one, to be shown within one exposure.

    Each is on where (1 + cos) / 2 of the grating's phase is above one of ``planes`` levels, which
    is a Lee grating of its own duty around the same middle. An interferogram is linear in the
    field, so the orders of the mean matter: 0, 1 and -1 and, weakly, those of ``planes`` steps. Its
    first order has 0.79 of a binary grating's amplitude.
    """
    levels = (np.arange(planes) + 0.5) / planes
    duties = np.arccos(2 * levels - 1) / np.pi
    return [
        lee_grating(shape, frequency, phase=duty / 2, duty=duty, disk_radius=disk_radius)
        for duty in duties.tolist()
    ]


@dataclass(frozen=True, slots=True)
class FirstOrder:
    """The strongest order in the stop: frequency in cycles/mirror, amplitude (1 = a mirror)."""

    fx: float
    fy: float
    amplitude: complex


def diffracted_order(bit_plane: Picture, geometry: DmdGeometry) -> FirstOrder | None:
    """Return the order of a picture (a bit plane, or a mean of some) that passes the stop.

    None if there is none: a blank or unstructured picture has no order. The frequency is refined to
    about 1e-6 cycles/mirror by Newton steps on the discrete-time spectrum.
    """
    import scipy.fft  # half a second, in every process that reads microscope.toml

    rows, columns = bit_plane.shape
    spectrum = scipy.fft.rfft2(bit_plane.astype(np.float32), workers=-1) / bit_plane.size
    fy = np.fft.fftfreq(rows)[:, None]
    fx = np.fft.rfftfreq(columns)[None, :]
    inside = np.hypot(fx - geometry.carrier[0], fy - geometry.carrier[1]) <= geometry.stop_radius
    power = np.where(inside, np.abs(spectrum) ** 2, 0.0)
    row, column = np.unravel_index(int(np.argmax(power)), power.shape)
    # A grating over a fraction a of the mirrors reaches a/pi; 0.02 is a disk of 6 % of the area.
    if math.sqrt(power[row, column]) < 0.02 / 2:
        return None
    return _refine(bit_plane, float(fx[0, column]), float(fy[row, 0]))


def _refine(bit_plane: Picture, fx: float, fy: float) -> FirstOrder:
    """Return the maximum of the windowed spectrum near (fx, fy); a Hann window excludes others."""
    rows, columns = bit_plane.shape
    window_y, window_x = np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1]
    y, x = np.arange(rows) - (rows - 1) / 2, np.arange(columns) - (columns - 1) / 2
    curvature_x = 2 * np.pi * (window_x @ x**2) / window_x.sum()
    curvature_y = 2 * np.pi * (window_y @ y**2) / window_y.sum()
    picture = bit_plane.astype(np.float64)
    for _ in range(_NEWTON_STEPS):
        wave_x = window_x * np.exp(-2j * np.pi * fx * x)
        wave_y = window_y * np.exp(-2j * np.pi * fy * y)
        # real and imaginary parts by themselves: numpy would make a complex copy of the picture
        waves = np.stack([wave_x, x * wave_x], axis=1).view(np.float64)  # (columns, 4)
        along_x = (picture @ waves).view(np.complex128)  # (rows, 2)
        value = wave_y @ along_x[:, 0]
        # centroid of the demodulated picture's phase slope: d arg / d f, exact at the maximum
        moment_x, moment_y = wave_y @ along_x[:, 1], (y * wave_y) @ along_x[:, 0]
        step_x = float((moment_x / value).imag / curvature_x)
        step_y = float((moment_y / value).imag / curvature_y)
        fx, fy = fx + step_x, fy + step_y
        if math.hypot(step_x, step_y) < _SETTLED:
            break
    amplitude = value / (window_x.sum() * window_y.sum())
    return FirstOrder(fx, fy, complex(amplitude))


def far_field(bit_plane: Picture) -> NDArray[np.float32]:
    """Return the power in the Fourier plane, 1 for all mirrors on, zero frequency in the middle.

    A Hann window prevents the side lobes of an order from hiding weaker ones.

    Returns
    -------
    (rows, columns) float32, frequency 0 at index n//2
    """
    import scipy.fft

    rows, columns = bit_plane.shape
    window_y, window_x = np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1]
    window = (window_y[:, None] * window_x).astype(np.float32)
    field = scipy.fft.fft2(bit_plane * window, workers=-1) / window.sum()
    return np.asarray(np.fft.fftshift(field.real**2 + field.imag**2), dtype=np.float32)


def stray_light(
    power: NDArray[np.float32], geometry: DmdGeometry, first: FirstOrder, around: float
) -> float:
    """Return the power of the strongest other order in the stop over that of the first.

    Parameters
    ----------
    power : (rows, columns)
        Result of ``far_field``.
    geometry : DmdGeometry
    first : FirstOrder
    around : float
        Radius of the first order, cycles/mirror: a few divided by the lit width in mirrors.
    """
    rows, columns = power.shape
    fy = np.fft.fftshift(np.fft.fftfreq(rows))[:, None]
    fx = np.fft.fftshift(np.fft.fftfreq(columns))
    inside = np.hypot(fx - geometry.carrier[0], fy - geometry.carrier[1]) <= geometry.stop_radius
    its = np.hypot(fx - first.fx, fy - first.fy) <= around
    highest = float(power[inside & its].max(initial=0.0))
    other = float(power[inside & ~its].max(initial=0.0))
    return other / highest if highest else math.inf
